"""Would VDPBF16PS make the native engine fast on CPUs without AMX? Its products, one thread, in turn.

The instruction adds the odd and then the even product of a pair to one sum; AMX keeps both apart over 32
inputs. The same bits need two instructions with half of their inputs zero, as many as fused multiply-adds
take. Measured beside them: the instruction as it is (other bits: the limit that OpenVINO bf16 works under),
and OpenVINO's own product. Expected on Zen 4: the same bits at about the rate of the avx512 form, half of
what the instruction reaches; so that no engine with these bits can beat OpenVINO bf16 there.

    python bench/vdpbf16.py [--rounds 15] [--save]       (needs a C++ compiler and a CPU with AVX512-BF16)
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from machine import arguments, finish

from legscore.engine.native_library import FORMS, load_library

KINDS = ("fused multiply-adds, bits of AMX", "VDPBF16PS, bits of AMX", "VDPBF16PS as it is, other bits")
STEPS = 16
KERNELS = Path(__file__).resolve().parent.parent / "kernels/cpu"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=off",
    *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "bf16")),
    "-mfma",
    "-mf16c",
]


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy at a multiple of 64 bytes."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


@functools.cache
def library() -> ctypes.CDLL:
    """vdpbf16.cpp, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vdpbf16.so"
        source = Path(__file__).with_name("vdpbf16.cpp")
        command = ["c++", *FLAGS, f"-I{KERNELS}", "-shared", "-fPIC", str(source), "-o", str(path)]
        subprocess.run(command, check=True)
        found = ctypes.CDLL(str(path))
    found.vdpbf16.restype = ctypes.c_double
    found.vdpbf16.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_double]
    return found


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Random bf16 rows and weights."""
    rng = np.random.default_rng(0)
    a, b = (
        aligned((rng.normal(size=STEPS * 1024).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
        for _ in range(2)
    )
    return a, b


def rate(threads: int, seconds: float = 0.05) -> float:
    """FLOP/s of VDPBF16PS as it is, on so many cores together."""
    a, b = inputs()

    def one(_: int) -> float:
        block = aligned(np.zeros((32, 32), np.float32))
        return float(library().vdpbf16(2, a.ctypes.data, b.ctypes.data, block.ctypes.data, seconds))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(threads)))


def main() -> None:
    options = arguments(__doc__ or "", rounds=15, seconds=0.1)
    a, b = inputs()
    run = library().vdpbf16

    def sums(kind: int) -> np.ndarray:
        block = aligned(np.zeros((32, 32), np.float32))
        run(kind, a.ctypes.data, b.ctypes.data, block.ctypes.data, 0.0)
        return block

    differ = [int((sums(kind) != sums(0)).sum()) for kind in range(len(KINDS))]
    block, rates = aligned(np.zeros((32, 32), np.float32)), np.empty((options.rounds, len(KINDS) + 1))
    for row in rates:
        for kind in range(len(KINDS)):
            row[kind] = run(kind, a.ctypes.data, b.ctypes.data, block.ctypes.data, options.seconds)
        row[-1] = load_library().legnet_rate(FORMS.index("avx512"), options.seconds)
    medians = np.median(rates, axis=0)
    for name, rate, count in zip(KINDS, medians, differ, strict=False):
        print(f"{name:34s} {rate / 1e9:6.1f} GFLOP/s, {count} of 1,024 sums differ from the first")
    print(f"{'the avx512 form (rate.h)':34s} {medians[-1] / 1e9:6.1f} GFLOP/s")
    found = {
        "flop_per_s": dict(zip([*KINDS, "avx512 form"], map(float, medians), strict=True)),
        "sums_that_differ": dict(zip(KINDS, differ, strict=True)),
        "ratio_of_medians_same_bits": float(np.median(rates[:, 1] / rates[:, 0])),
        "ratio_of_medians_other_bits": float(np.median(rates[:, 2] / rates[:, 0])),
        "rounds": options.rounds,
    }
    finish("vdpbf16", found, options.save)


if __name__ == "__main__":
    main()

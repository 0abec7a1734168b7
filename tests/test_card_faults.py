"""A fault at every CUDA call of a run: the command line, TensorRT's stand-in and the real PyCUDA card on PyCUDA's
stand-in. Each ends in one line, without output, with the parts kept, and leaves no context behind."""

# ruff: noqa: F811 (fixtures of another file)
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from fake_pycuda import Fake
from fake_tensorrt import World
from host_kernels import KERNEL, HostKernels
from test_tensorrt_engine import GPU, folder, kernels, members, world  # noqa: F401

from legscore.cuda.image import RejectedError
from legscore.engine import choose
from legscore.errors import EngineError
from legscore.system import resources


class AtOnce:
    """A stream of the stand-in, as TensorRT's stand-in queues on it: work runs when it is queued."""

    def __init__(self) -> None:
        self.card = self

    def queue(self, stream: Any, work: Any) -> None:
        work()


@pytest.fixture
def fake(
    world: World, kernels: HostKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fake]:
    made, package = Fake(kernels), ModuleType("pycuda")
    made.module.mem_get_info = lambda: (1 << 40, 1 << 41)  # type: ignore[attr-defined]
    package.driver = made.module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", made.module)
    monkeypatch.delitem(sys.modules, "legscore.cuda.driver")
    import legscore.cuda.driver as driver

    images = {
        path.stem: " ".join(KERNEL.findall(path.read_text())).encode()
        for path in resources.folder("kernels").glob("*.cu")
    }

    def load(accept: Any, architecture: str, say: Any) -> str:
        """What `image.load_images` does where the kernels are shipped and nvcc is not here."""
        try:
            accept(images)
        except RejectedError as error:
            raise EngineError(f"CUDA kernels: the driver rejects the installed kernels ({error})") from None
        return "shipped"

    monkeypatch.setattr(driver, "load_images", load)
    monkeypatch.setattr(world, "stream", lambda handle: AtOnce())
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 256)
    yield made
    sys.modules.pop("legscore.cuda.driver", None)


def test_a_fault_at_any_cuda_call_ends_in_one_line(
    fake: Fake, folder: Path, tmp_path: Path, cli: Any
) -> None:
    """The first and the last of each kind of call, of loading, scoring and closing."""
    text = (resources.folder("engines") / "fp16.toml").read_text()
    (tmp_path / "small.toml").write_text(text.replace("batch = [256, 128, 64]", "batch = [64]"))
    rng, out = np.random.default_rng(0), tmp_path / "out.csv"
    rows = ["".join("ACGT"[i] for i in rng.integers(0, 4, 24)) for _ in range(150)]
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    asked = [
        *("run", tmp_path / "in.csv", "-m", folder, "-o", out, "--sequence-is", "window"),
        *("--recipe", tmp_path / "small.toml", "--part-rows", "50"),
    ]
    ran = cli(*asked)
    assert ran.code == 0, ran.err
    expected, clean = out.read_bytes(), list(fake.calls)
    out.unlink()
    fake.calls.clear()
    ran = cli(*asked, "--force", "--restart")
    assert ran.code == 0
    clean = list(fake.calls)
    kinds = dict.fromkeys(clean)
    assert set(kinds) >= {
        "cuCtxPushCurrent",
        "cuCtxPopCurrent",
        "cuLaunchKernel",
        "cuMemcpyDtoHAsync",
        "cuMemFree",
    }
    tried = {clean.index(kind) for kind in kinds} | {
        len(clean) - 1 - clean[::-1].index(kind) for kind in kinds
    }
    resumed = 0
    for number in sorted(tried):
        for path in (out, Path(f"{out}.run.json")):
            path.unlink(missing_ok=True)
        fake.calls.clear()
        fake.fail_at = number
        ran = cli(*asked, "--restart")
        faults = [line for line in ran.err.splitlines() if "illegal memory access" in line]
        closing = ran.code == 0  # the file was complete: what is only given back cannot spoil it
        if not closing:
            assert ran.code == 2, (number, clean[number], ran.err)
            assert len(faults) == 1, (number, clean[number], ran.err)
            assert ran.err.splitlines()[-1] == faults[0]
            assert faults[0].startswith(
                ("legscore: GPU 0 (NVIDIA H200): cu", "legscore: CUDA kernels: the driver")
            )
            assert "Traceback" not in ran.err
            assert not out.exists()
        assert not any(fake.stacks.values()), f"a context was left behind by a fault at {clean[number]}"
        fake.fail_at = -1
        fake.allocations.clear()
        ran = cli(*asked) if not closing else ran
        assert ran.code == 0, ran.err
        assert out.read_bytes() == expected
        resumed += "resum" in ran.err
    assert resumed > 3, "parts that were scored before a fault are kept"

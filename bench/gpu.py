"""Does everything hold on this GPU, and how fast is it? One part at a time, or prepared calls of several.

    python bench/gpu.py --part kernels             kernels against numpy, bit for bit; GB/s against a copy
    python bench/gpu.py --part torch-right         engine torch against FP32: every way it can be run
    python bench/gpu.py --part torch-rates         kernels, batches, forms in TFLOP/s, against a product
    python bench/gpu.py --part torch-ensembles     its ensembles of 1, 5 and 50
    python bench/gpu.py --part torch-plain         PyTorch without the engine: eager, compiled, CUDA graphs
    python bench/gpu.py --part streams             the pipeline on PyCUDA's streams, members run by PyTorch
    python bench/gpu.py --part fault               a faulting kernel
    python bench/gpu.py --part tensorrt-first      TensorRT: one member built, opened again, against FP32
    python bench/gpu.py --part tensorrt-forms      its batches and forms in TFLOP/s, against a product
    python bench/gpu.py --part tensorrt-ensembles  its ensembles of 1, 5 and 50
    python bench/gpu.py --part tensorrt-fidelity   every member against FP32, FP16 and FP32
    python bench/gpu.py --part end-to-end          from Parquet to Parquet against the engine alone
    python bench/gpu.py --call 1                   the steps of gpu_calls.py for a card lent for minutes
    python bench/gpu.py --table                    all results as Markdown

Parts may be run by different Pythons: kernels needs PyCUDA, torch parts PyTorch with CUDA, streams and
fault both, the others TensorRT and PyCUDA. Each part checks numbers before it times them, and keeps every
row in bench/results/GPU-DATE.json as it comes. What a part could not reach within its time is listed in
its entry. FP32 scores come from --reference (gpu_reference.py), or are computed where OpenVINO is
installed. Expected: one_hot ≥ 0.6 of the copy; an engine ≥ 0.4 of the FP16 product and ≥ 2 ×
torch.compile; end to end ≥ 0.9 of the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_streams
import gpu_tensorrt
import gpu_torch
from gpu_calls import CALLS, default_places, run_call
from gpu_kernels import kernels
from gpu_store import RESULTS, Limits, add, table, title
from machine import describe

from legscore.cuda.libcuda import Gpu, driver_branch, find_gpus
from legscore.errors import LegscoreError

TENSORRT, TORCH, BOTH = ("tensorrt", "pycuda"), ("torch",), ("torch", "pycuda")
PARTS: dict[str, tuple[Callable[[Gpu, Limits], dict[str, Any]], tuple[str, ...]]] = {
    "kernels": (kernels, ("pycuda",)),
    "torch-right": (gpu_torch.right, TORCH),
    "torch-rates": (gpu_torch.rates, TORCH),
    "torch-ensembles": (gpu_torch.many, TORCH),
    "torch-plain": (gpu_torch.plain, TORCH),
    "streams": (gpu_streams.streams, BOTH),
    "fault": (gpu_streams.fault, BOTH),
    "tensorrt-first": (gpu_tensorrt.first, TENSORRT),
    "tensorrt-forms": (gpu_tensorrt.engines, TENSORRT),
    "tensorrt-ensembles": (gpu_tensorrt.ensemble, TENSORRT),
    "tensorrt-fidelity": (gpu_tensorrt.fidelity, TENSORRT),
    "end-to-end": (gpu_tensorrt.end_to_end, TENSORRT),
}
"""What each part runs, and the packages that it needs."""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.table:
        print(table(Path(options.results or RESULTS)))
        return 0
    what = f"part {options.part}" if options.part else f"call {options.call}"
    gpus, reason = find_gpus()
    if options.device >= len(gpus):
        why = reason or f"there is no GPU {options.device}"
        print(f"{what} needs an NVIDIA GPU: {why}", file=sys.stderr)
        return 2
    gpu = gpus[options.device]
    if options.call:
        places = default_places(options.results, options.store, options.carried)
        more = ["--device", str(options.device), "--windows", str(options.windows)]
        more += ["--model", options.model] if options.model else []
        more += ["--reference", options.reference] if options.reference else []
        return 1 if run_call(options.call, gpu, places, more) else 0
    return _part(options, gpu)


def _part(options: argparse.Namespace, gpu: Gpu) -> int:
    """Run one part and keep its rows as they come."""
    folder, (job, needed) = Path(options.results or RESULTS), PARTS[options.part]
    about = {"machine": describe(), "driver": driver_branch()}

    def keep(rows: list[dict[str, Any]]) -> None:
        add(folder, gpu, options.part, {"rows": rows, "not_reached": limits.not_reached, **about})

    limits = Limits(
        time.monotonic() + options.seconds, options.model, options.windows, options.reference, keep
    )
    try:
        for package in needed:
            __import__(package)
        found = job(gpu, limits)
    except ImportError as error:
        print(f"part {options.part} needs {' and '.join(needed)}: {error}", file=sys.stderr)
        return 2
    except LegscoreError as error:
        print(f"part {options.part}: {error}", file=sys.stderr)
        return 2
    entry = {**found, "rows": limits.rows, "not_reached": limits.not_reached, **about}
    path = add(folder, gpu, options.part, entry)
    print(f"{title(gpu)}: {options.part} added to {path}", file=sys.stderr)
    print(json.dumps({"bench": f"gpu {options.part}", **entry}))
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--call", type=int, choices=CALLS, help="one of the prepared calls")
    parser.add_argument("--table", action="store_true", help="print all results as Markdown")
    parser.add_argument("--device", type=int, default=0, help="GPU by number [0]")
    parser.add_argument("--model", default="", help="checkpoint or directory [the bundled models]")
    parser.add_argument("--reference", default="", help="FP32 scores, from gpu_reference.py [computed here]")
    parser.add_argument("--results", default="", help="folder of results [bench/results]")
    parser.add_argument("--store", default="/tmp/legscore-gpu-store", help="what stays between calls")
    parser.add_argument("--carried", default=".gpu", help="folder of what came with a call [.gpu]")
    parser.add_argument(
        "--seconds", type=float, default=420.0, help="after this long a part begins nothing new [420]"
    )
    parser.add_argument(
        "--windows", type=int, default=200_000, help="windows of ensembles and end-to-end [200000]"
    )
    options = parser.parse_args(arguments)
    if sum((options.table, options.part is not None, options.call is not None)) != 1:
        parser.error("give one of --part, --call and --table")
    return options


if __name__ == "__main__":
    sys.exit(main())

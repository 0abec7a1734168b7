"""Does everything hold on this GPU, and how fast is it? One part at a time, each within 8 minutes once
packages are warm.

    python bench/gpu.py --part kernels      kernels against numpy, bit for bit; GB/s against a measured copy
    python bench/gpu.py --part fidelity     TensorRT's scores and effects against FP32
    python bench/gpu.py --part engines      TFLOP/s of forms of the network and batches, against a product
    python bench/gpu.py --part ensemble     ensembles of 1, 5 and 50
    python bench/gpu.py --part torch        torch eager, torch.compile and CUDA graphs on that card
    python bench/gpu.py --part end-to-end   from Parquet to Parquet against the engine alone
    python bench/gpu.py --table             all results as Markdown

Parts may be run by different Pythons: kernels needs PyCUDA, torch needs PyTorch with CUDA, the others
TensorRT and PyCUDA. Each part checks numbers before it times them, and adds its entry to
bench/results/GPU-DATE.json; `--table` reads them all. What a part could not reach within its time is listed
in its entry. Expected: one_hot ≥ 0.6 of the copy; the engine ≥ 0.4 of the FP16 product and ≥ 2 ×
torch.compile FP16; end to end ≥ 0.9 of the engine alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_kernels import kernels
from gpu_store import RESULTS, Limits, add, table, title
from gpu_tensorrt import end_to_end, engines, ensemble, fidelity
from gpu_torch import torch_rates
from machine import describe

from legscore.cuda.libcuda import Gpu, driver_branch, find_gpus
from legscore.errors import LegscoreError

PARTS: dict[str, Callable[[Gpu, Limits], dict[str, Any]]] = {
    "kernels": kernels,
    "fidelity": fidelity,
    "engines": engines,
    "ensemble": ensemble,
    "torch": torch_rates,
    "end-to-end": end_to_end,
}
NEEDS = {"kernels": ("pycuda",), "torch": ("torch",)}


def main(arguments: list[str] | None = None, folder: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--table", action="store_true", help="print all results as Markdown")
    parser.add_argument("--device", type=int, default=0, help="GPU by number [0]")
    parser.add_argument("--model", default="", help="checkpoint or directory [the bundled model]")
    parser.add_argument(
        "--seconds", type=float, default=420.0, help="after this long a part begins nothing new [420]"
    )
    parser.add_argument(
        "--windows", type=int, default=200_000, help="windows of the ensemble and end-to-end parts [200000]"
    )
    options = parser.parse_args(arguments)
    if options.table == (options.part is not None):
        parser.error("give --part or --table")
    if options.table:
        print(table(folder))
        return 0
    gpus, reason = find_gpus()
    if options.device >= len(gpus):
        print(
            f"part {options.part} needs an NVIDIA GPU: {reason or f'there is no GPU {options.device}'}",
            file=sys.stderr,
        )
        return 2
    gpu = gpus[options.device]
    limits = Limits(time.monotonic() + options.seconds, options.model, options.windows)
    needed = NEEDS.get(options.part, ("tensorrt", "pycuda"))
    try:
        for package in needed:
            __import__(package)
        entry = PARTS[options.part](gpu, limits)
    except ImportError as error:
        print(f"part {options.part} needs {' and '.join(needed)}: {error}", file=sys.stderr)
        return 2
    except LegscoreError as error:
        print(f"part {options.part}: {error}", file=sys.stderr)
        return 2
    entry |= {"not_reached": limits.not_reached, "machine": describe(), "driver": driver_branch()}
    path = add(folder, gpu, options.part, entry)
    print(f"{title(gpu)}: {options.part} added to {path}", file=sys.stderr)
    print(json.dumps({"bench": f"gpu {options.part}", **entry}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a benchmark ran on, and the limits it is compared with. Imported by the scripts beside it."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from legscore.engine.native_library import fastest_form
from legscore.measure import hardware, rates
from legscore.model.checkpoint import Checkpoint, load_checkpoint, load_members
from legscore.system.cores import usable_cores
from legscore.version import __version__

ORIGINAL = Path(__file__).resolve().parent.parent / "examples/original/yeast_complex_original.safetensors"
"""A trained network of the original architecture, which rates are given for."""
OPTIMISED = ORIGINAL.parent.parent / "models/yeast_complex2_seed1.safetensors"
"""One of the optimised architecture."""
RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Machine, versions, commit."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    commit, dirty = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "legscore")
    versions = {"legscore": __version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("openvino", "onnxruntime", "torch", "pyarrow"):
        try:
            versions[name] = str(__import__(name).__version__)
        except ImportError:
            continue
    return {
        "cpu": model,
        "cores": usable_cores(),
        "isa": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "versions": versions,
        "commit": commit + ("+changes" if dirty else ""),
        "date": time.strftime("%Y-%m-%d"),
    }


def _git(*arguments: str) -> str:
    """What git says of the checkout; nothing where there is no git, as on machines that only run."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True
        ).stdout.strip()
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def alternate(jobs: dict[str, Callable[[], object]], work: dict[str, float], rounds: int) -> dict[str, float]:
    """Run the jobs in turn, `rounds` times; median rate (work a second) of each. Turns cancel a machine's
    moods."""
    return rates.alternate({name: rates.Job(job, work[name]) for name, job in jobs.items()}, rounds)


def gemm_jobs(precision: str) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Matrix products through OpenVINO in the given precision, over shapes; work in FLOP."""
    found = hardware.matrix_products(precision)
    return {name: job.run for name, job in found.items()}, {name: job.work for name, job in found.items()}


def bare_tiles() -> tuple[str, float]:
    """What the bare rate of products is of, and the rate on all cores, FLOP/s, random data, by a benchmark of
    the project's own: AMX tiles where the CPU has them (kernels/cpu/rate.h); else VDPBF16PS as it is
    (vdpbf16.cpp), which OpenVINO bf16 works under; else the products of the native library's form."""
    form = fastest_form()
    isa = describe()["isa"]
    if form == "amx" or "avx512_bf16" not in isa:
        return f"products of form {form}", hardware.bare_products(form)
    from vdpbf16 import rate

    return "VDPBF16PS", rate(usable_cores())


def family(path: Path, n: int, folder: Path) -> list[Checkpoint]:
    """n different members, as files in `folder`, with the weights of one model times noise of 2 %. What is
    timed does not depend on weights, but members must differ: equal ones would be computed once."""
    model = load_checkpoint(path)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        rng = np.random.default_rng(i)
        noisy = {
            name: (array * (1 + 0.02 * rng.standard_normal(array.shape))).astype(np.float32)
            if array.ndim > 1
            else array
            for name, array in model.arrays.items()
        }
        replace(model, arrays=noisy).save(folder / f"member{i:02d}.safetensors")
    return load_members([folder])


def arguments(about: str, **defaults: Any) -> argparse.Namespace:
    """Command line of a benchmark: one option per default, and --save to keep the result in
    bench/results/."""
    parser = argparse.ArgumentParser(description=about)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"[{value}]")
    parser.add_argument("--save", action="store_true", help="keep the JSON line in bench/results/")
    return parser.parse_args()


def finish(name: str, result: dict[str, Any], save: bool) -> None:
    """Print the result as one JSON line, last; keep it if asked."""
    line = json.dumps({"bench": name, **result, "machine": describe()})
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(json.loads(line), indent=1) + "\n")
    print(line)

"""What a benchmark ran on, and the limits it is compared with. Imported by the scripts beside it."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from legscore import __version__
from legscore.engine.openvino_engine import usable_cores

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Machine, versions, commit."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor()
    )
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True
    ).stdout.strip()
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "legscore"], cwd=RESULTS.parent, capture_output=True, text=True
    ).stdout.strip()
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


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def alternate(jobs: dict[str, Callable[[], object]], work: dict[str, float], rounds: int) -> dict[str, float]:
    """Run the jobs in turn, `rounds` times; median rate (work a second) of each. Turns cancel a machine's moods."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    return {name: work[name] / statistics.median(taken) for name, taken in seconds.items()}


def gemm_jobs(precision: str) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Matrix products through OpenVINO in the given precision, over shapes; work in FLOP."""
    import openvino
    from onnx import TensorProto, helper, numpy_helper

    core, jobs, work = openvino.Core(), {}, {}
    kind = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
    for m, k, n in ((2400, 256, 512), (2400, 512, 256), (4096, 1024, 1024), (2048, 2048, 2048)):
        weight = np.random.default_rng(0).normal(size=(k, n)).astype(np.float32)
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("ReduceSum", ["y", "axes"], ["score"], keepdims=0),
        ]
        graph = helper.make_graph(
            nodes, "gemm", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, [m])],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1]), "axes")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        threads = usable_cores()
        settings = {"INFERENCE_PRECISION_HINT": kind, "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        queue = openvino.AsyncInferQueue(core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings), threads)
        x = np.random.default_rng(1).normal(size=(m, k)).astype(np.float32)
        repeats = max(4, int(2e10 / (2 * m * k * n)))

        def job(queue: Any = queue, x: np.ndarray = x, repeats: int = repeats) -> None:
            for _ in range(repeats):
                queue.start_async({0: x})
            queue.wait_all()

        name = f"gemm {precision} {m}x{k}x{n}"
        jobs[name], work[name] = job, float(2 * m * k * n * repeats)
    return jobs, work


def arguments(about: str, **defaults: Any) -> argparse.Namespace:
    """Command line of a benchmark: one option per default, and --save to keep the result in bench/results/."""
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

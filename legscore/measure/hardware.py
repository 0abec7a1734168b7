"""Measure what a CPU can do at most: matrix products and memory copies, with the engine's runtime and
cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from legscore.engine.openvino_cpu import openvino_core
from legscore.measure.rates import Job
from legscore.model.onnx_model import FLOAT, Node, OnnxModel, Value
from legscore.system.cores import usable_cores

SHAPES = ((2400, 256, 512), (2400, 512, 256), (4096, 1024, 1024), (2048, 2048, 2048))
"""m × k × n: two of LegNet's own sizes, two at which processors reach their peak. The best of them is the
limit."""
JOB_FLOP = 2e10
COPY_BYTES = 1 << 28
BARE_S = 0.05
"""Seconds that bare products are timed for."""


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def matrix_products(precision: str) -> dict[str, Job]:
    """Matrix products in a precision (fp32, bf16), by name; work in FLOP."""
    import openvino

    core, jobs = openvino_core(), {}
    kind = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
    threads = usable_cores()
    for m, k, n in SHAPES:
        weight = np.random.default_rng(0).normal(size=(k, n)).astype(np.float32)
        nodes = [  # the sum keeps the result small: what is timed is the product
            Node("MatMul", ("x", "w"), ("y",), "y"),
            Node("ReduceSum", ("y", "axes"), ("score",), "score", {"keepdims": 0}),
        ]
        constants: dict[str, np.ndarray] = {"w": weight, "axes": np.array([1], dtype=np.int64)}
        model = OnnxModel("gemm", nodes, constants, Value("x", FLOAT, [m, k]), Value("score", FLOAT, [m]))
        settings = {
            "INFERENCE_PRECISION_HINT": kind,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
        }
        queue = openvino.AsyncInferQueue(
            core.compile_model(core.read_model(model.to_bytes()), "CPU", settings), threads
        )
        x = np.random.default_rng(1).normal(size=(m, k)).astype(np.float32)
        repeats = max(4, int(JOB_FLOP / (2 * m * k * n)))

        def job(queue: Any = queue, x: np.ndarray = x, repeats: int = repeats) -> None:
            for _ in range(repeats):
                queue.start_async({0: x})
            queue.wait_all()

        jobs[f"gemm {precision} {m}x{k}x{n}"] = Job(job, float(2 * m * k * n * repeats))
    return jobs


def bare_products(form: str) -> float:
    """FLOP/s of bare products of a form of the native library (kernels/cpu/rate.h) on all cores together:
    what its network reaches at most."""
    from legscore.engine.native_library import FORMS, load_library

    library, threads = load_library(), usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: library.legnet_rate(FORMS.index(form), BARE_S), range(threads)))


def memory_copy() -> Job:
    """Copying 256 MB on all cores; work in bytes read and written."""
    threads = usable_cores()
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    pool = ThreadPoolExecutor(threads)
    pieces = [slice(i * len(source) // threads, (i + 1) * len(source) // threads) for i in range(threads)]

    def job() -> None:
        list(pool.map(lambda piece: np.copyto(target[piece], source[piece]), pieces))

    return Job(job, 2.0 * COPY_BYTES)


def best(rates: dict[str, float], precision: str) -> float:
    """The highest matrix-product rate of a precision, FLOP/s."""
    return max(rate for name, rate in rates.items() if name.startswith(f"gemm {precision} "))

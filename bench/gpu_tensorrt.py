"""TensorRT on the GPU: fidelity, forms and batches of one network, ensembles, and from Parquet to Parquet."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_engine import (
    PRODUCTS,
    agreement,
    best_form,
    ensembles,
    members_of,
    opened,
    pass_seconds,
    row_of,
    rows_a_pass,
    say,
)
from gpu_store import Limits, seconds_each

from legscore.cuda.libcuda import Gpu
from legscore.dna.batch import Batch
from legscore.engine.recipe import load_recipe
from legscore.model.gpu_form import GROUPS, LAYOUTS, SILU
from legscore.model.onnx_model import FLOAT16, Node, OnnxModel, Value

BATCHES = (128, 64, 512, 1024)
"""Strands of a pass, beside the recipe's 256."""


def first(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """One member at the recipe's batch: seconds to build, seconds from the cache, fidelity, rate."""
    member = members_of(limits)[:1]
    for what in ("built", "opened again"):
        if not limits.may(what):
            continue
        started = time.perf_counter()
        with opened("tensorrt", member, load_recipe("fp16"), gpu) as engine:
            taken = time.perf_counter() - started
            found, rate = agreement(engine, member, limits), rows_a_pass(engine) / pass_seconds(engine)
            limits.note(
                **row_of(what, found), seconds=taken, rate=rate, unit="strands/s", about=engine.describe()
            )
    return {}


def fidelity(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    members = members_of(limits)
    for precision in ("fp16", "fp32"):
        if limits.may(precision):
            with opened("tensorrt", members, load_recipe(precision), gpu) as engine:
                limits.note(**row_of(precision, agreement(engine, members, limits)))
    return {}


def product_rate(gpu: Gpu, limits: Limits) -> float:
    """FLOP/s of the faster of two FP16 matrix products through TensorRT."""
    from legscore.cuda.driver import PyCudaCard
    from legscore.engine.plans import TimingCache
    from legscore.engine.trt import common
    from legscore.system.resources import cache_folder

    card, best = PyCudaCard(gpu, say), 0.0
    try:
        with card.use():
            for m, k, n in PRODUCTS:
                weight = np.random.default_rng(0).normal(0, 0.02, (k, n)).astype(np.float16)
                x, y = Value("x", FLOAT16, [m, k]), Value("score", FLOAT16, [m, n])
                product = Node("MatMul", ("x", "w"), ("score",), "score")
                model = OnnxModel("product", [product], {"w": weight}, x, y)
                settings = common.Settings("fp16", "ncl", 3, 0, False, False, gpu.compute)
                timings = TimingCache(cache_folder("timing") / "products.cache")
                stored, engine = common.build(model.to_bytes(), frozenset(), settings, timings)
                held = [
                    card.allocate(max(1, size)) for size in (2 * m * k, 2 * m * n, stored.facts["scratch"])
                ]
                context = common.bind(
                    engine, held[0].address, held[1].address, held[2].address, held[2].nbytes
                )
                stream = card.stream()
                taken = seconds_each(
                    lambda context=context, stream=stream: common.enqueue(context, stream.handle), card.drain
                )
                best = max(best, 2.0 * m * k * n / taken)
                del context, engine
                for memory in held:
                    memory.free()
    finally:
        card.close()
    return best


def engines(gpu: Gpu, limits: Limits, batch: int = 256) -> dict[str, Any]:
    """One member: batches, then forms of the grouped convolution, layouts, SiLU, each on the best so far."""
    choices: dict[str, tuple[Any, ...]] = {
        "batch": tuple([rows] for rows in (batch, *BATCHES)), "groups": GROUPS, "layout": LAYOUTS,
        "silu": SILU,
    }  # fmt: skip

    def named(form: dict[str, Any]) -> str:
        return f"{form['groups']}, {form['layout']}, {form['silu']}, batch {form['batch'][0]:,}"

    return best_form("tensorrt", gpu, limits, product_rate(gpu, limits), choices, named)


def ensemble(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """Ensembles in one CUDA graph each, with the timing cache of the parts before."""
    ensembles("tensorrt", gpu, limits)
    return {}


def end_to_end(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from legscore.rows.schema import KINDS
    from legscore.rows.window import Windower
    from legscore.run.job import score
    from legscore.run.options import Options
    from legscore.run.plan import part_rows
    from legscore.run.stream import in_flight

    members = members_of(limits)
    insert = np.random.default_rng(0).integers(0, 4, (limits.windows, members[0].contract.insert_max))
    sequences = [row.tobytes().decode() for row in np.frombuffer(b"AGCT", np.uint8)[insert]]
    table = pa.table({"id": np.arange(limits.windows), "sequence": sequences})
    windower, step = (
        Windower(members[0].contract, KINDS["sequence"], "insert"),
        part_rows(len(members), "tensorrt"),
    )
    parts = (table["sequence"].slice(start, step).combine_chunks() for start in range(0, len(table), step))
    batches = [windower({"sequence": part}).batch for part in parts]
    with opened("tensorrt", members, load_recipe("fp16"), gpu, both=True) as engine:
        engine.score(Batch(batches[0].codes_WL[:4096]))
        started = time.perf_counter()
        expected = np.concatenate(
            [found.mean(axis=0) for _, found in in_flight(iter(batches), engine.submit, engine.depth)]
        )
        alone = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        pq.write_table(table, source)
        options = Options(
            [str(source)],
            str(out),
            [limits.model] if limits.model else [],
            engine="tensorrt",
            precision="fp16",
            rc="construct",
            sequence_is="insert",
            device=str(gpu.number),
        )
        started = time.perf_counter()
        record = score(options, say=say)
        whole = time.perf_counter() - started
        if not np.allclose(np.array(pq.read_table(out)["score"]), expected, atol=1e-4):
            raise SystemExit("the file's scores differ from the engine's; nothing is reported")
    limits.note(what="engine alone", rate=limits.windows / alone, unit="windows/s")
    for what, taken in (("Parquet to Parquet", record["seconds"]), ("the same with loading", whole)):
        limits.note(
            what=what, rate=limits.windows / taken, unit="windows/s", ratio=alone / taken,
            of="of the engine alone",
        )  # fmt: skip
    return {"windows": limits.windows}

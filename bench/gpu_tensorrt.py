"""TensorRT on the GPU: fidelity, forms and batches of one network, ensembles, and from Parquet to Parquet."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from gpu_store import Limits, seconds_each

from legscore.cuda.libcuda import Gpu
from legscore.dna.batch import Batch
from legscore.engine.fidelity import probe
from legscore.engine.open_engine import measure
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import LegscoreError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.model.gpu_graph import GROUPS, LAYOUTS, SILU
from legscore.model.onnx_model import FLOAT16, Node, OnnxModel, Value
from legscore.run.plan import part_rows
from legscore.run.stream import in_flight

PRODUCTS = ((8192, 8192, 8192), (65_536, 512, 512))
"""m, k, n of the FP16 matrix products that the engine's rate is compared with; the faster one counts."""
SIZES = (1, 5, 50)
BATCHES = (512, 1024, 2048, 8192, 16_384)
LEAST_WINDOWS = 8192


def say(line: str) -> None:
    print(line, flush=True)


def members_of(limits: Limits) -> list[Checkpoint]:
    return open_members([limits.model] if limits.model else [], False, say)


def with_settings(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe with other settings of its [tensorrt] table (and no batches of its own for some GPUs)."""
    table = {**recipe.settings["tensorrt"], "batch_of": {}, **changes}
    return replace(recipe, settings={**recipe.settings, "tensorrt": table})


@contextmanager
def opened(members: Sequence[Checkpoint], recipe: Recipe, gpu: Gpu, both: bool = False) -> Iterator[Any]:
    from legscore.engine.tensorrt_engine import TensorRTEngine

    engine = TensorRTEngine(members, recipe, gpu, both_strands=both, say=say)
    try:
        yield engine
    finally:
        engine.close()


def close_enough(engine: Any, members: Sequence[Checkpoint]) -> float:
    """Largest error of 64 windows a distinct member against OpenVINO FP32; SystemExit when it is no
    rounding."""
    worst = 0.0
    for m, member in enumerate(members):
        if any(member is before for before in members[:m]):
            continue
        batch, reference = (
            probe(member.contract, 64, m),
            OpenVINOEngine([member], load_recipe("fp32"), both_strands=False),
        )
        truth, found = reference.score_forward(batch, 0), engine.score_forward(batch, m)
        reference.close()
        error = float(np.abs(found - truth).max())
        if not error <= 0.1 * float(truth.std()):
            raise SystemExit(f"{member.name} differs from FP32 by {error}; nothing is timed")
        worst = max(worst, error)
    return worst


def fidelity(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    members, rows, found = members_of(limits), [], {}
    for precision in ("fp16", "fp32"):
        if limits.may(precision):
            with opened(members, load_recipe(precision), gpu) as engine:
                report = measure(engine, members)
            found[precision] = asdict(report)
            rows.append({"what": f"{precision}: {report}"})
    return {"fidelity": found, "rows": rows}


def pass_seconds(engine: Any) -> float:
    """Seconds of one pass of all members, nothing else."""
    with engine.card.use():
        stream, places = engine.card.stream(), list(range(engine.n_members))
        return seconds_each(lambda: engine.scorer.members.enqueue(places, stream), engine.card.drain)


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
                settings = common.Settings("fp16", "ncl", 3, 0, tf32=False, refit=False)
                timings = TimingCache(cache_folder("timing") / "products.cache")
                stored = common.build(model.to_bytes(), frozenset(), settings, timings)
                engine = common.load(stored)
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


def engines(gpu: Gpu, limits: Limits, batch: int = 4096) -> dict[str, Any]:
    """One member: forms of the grouped convolution, then layouts, then SiLU, each on the best so far; then
    batches."""
    members, recipe = members_of(limits)[:1], load_recipe("fp16")
    flop = 2.0 * members[0].architecture.multiply_adds(members[0].contract.length)
    peak = product_rate(gpu, limits)
    rows: list[dict[str, Any]] = [{"what": "FP16 matrix product", "rate": peak / 1e12, "unit": "TFLOP/s"}]
    best, best_rate = {"groups": GROUPS[0], "layout": LAYOUTS[0], "silu": SILU[0]}, 0.0

    def run(form: dict[str, str], rows_a_pass: int) -> float:
        what = f"{form['groups']}, {form['layout']}, {form['silu']}, batch {rows_a_pass:,}"
        if not limits.may(what):
            return 0.0
        try:
            with opened(members, with_settings(recipe, batch=[rows_a_pass], **form), gpu) as engine:
                error = close_enough(engine, members)
                rate = rows_a_pass / pass_seconds(engine)
        except LegscoreError as problem:  # a form that does not build here is a result; the others go on
            rows.append({"what": f"{what}: {problem}"})
            return 0.0
        done = rate * flop
        rows.append(
            {
                "what": what,
                "rate": done / 1e12,
                "unit": "TFLOP/s",
                "ratio": done / peak,
                "of": "of the product",
                "strands_per_s": rate,
            }
            | {"max_error": error}
        )
        return done

    for setting, choices in (("groups", GROUPS), ("layout", LAYOUTS), ("silu", SILU)):
        for choice in choices:
            form = {**best, setting: choice}
            if form == best and best_rate:
                continue
            rate = run(form, batch)
            if rate > best_rate:
                best, best_rate = form, rate
    for other in BATCHES:
        run(best, other)
    return {"best": best, "flop_per_strand": flop, "rows": rows}


def random_windows(member: Checkpoint, n: int) -> Batch:
    codes = np.random.default_rng(1).integers(0, 4, (n, member.contract.length), dtype=np.uint8)
    return Batch(codes)


def ensemble(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    distinct, rows = members_of(limits), []
    for size in SIZES:
        members = [distinct[i % len(distinct)] for i in range(size)]
        repeated = "" if len(distinct) >= size else f" ({len(distinct)} distinct, loaded repeatedly)"
        what = f"{size} members{repeated}, both strands"
        if not limits.may(what):
            continue
        with opened(members, load_recipe("fp16"), gpu, both=True) as engine:
            close_enough(engine, members)
            n = max(LEAST_WINDOWS, limits.windows // size)
            batches = [random_windows(members[0], min(n, part_rows(size, engine.name)))] * 4
            started = time.perf_counter()
            done = sum(batch.n_windows for batch, _ in in_flight(iter(batches), engine.submit, engine.depth))
            taken = time.perf_counter() - started
            alone = engine.arrangement.batch / 2 / pass_seconds(engine)
        rate = done / taken
        rows.append(
            {
                "what": what,
                "rate": rate,
                "unit": "windows/s",
                "ratio": rate / alone,
                "of": "of the passes alone",
            }
            | {"groups": len(engine.arrangement.groups), "batch": engine.arrangement.batch}
        )
    return {"rows": rows}


def end_to_end(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from legscore.rows.schema import KINDS
    from legscore.rows.window import Windower
    from legscore.run.job import score
    from legscore.run.options import Options

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
    with opened(members, load_recipe("fp16"), gpu, both=True) as engine:
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
    rows = [{"what": "engine alone", "rate": limits.windows / alone, "unit": "windows/s"}]
    for what, taken in (("Parquet to Parquet", record["seconds"]), ("the same with loading", whole)):
        rate = limits.windows / taken
        rows.append(
            {
                "what": what,
                "rate": rate,
                "unit": "windows/s",
                "ratio": alone / taken,
                "of": "of the engine alone",
            }
        )
    return {"windows": limits.windows, "rows": rows}

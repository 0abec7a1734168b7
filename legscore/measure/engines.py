"""Measure the CPU engine over batch sizes and precisions against the machine's limits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from legscore.engine.fidelity import probe
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.measure.hardware import best, has_bf16, matrix_products, memory_copy
from legscore.measure.rates import Job, Tick, alternate
from legscore.model.checkpoint import Checkpoint

BATCHES = (8, 16, 32)
PROBE_WINDOWS = 256


@dataclass(frozen=True)
class EngineRate:
    """One setting of the engine. `strands_per_s` counts forward strands × members, `of_limit` is the share of
    the matrix-product rate of that precision."""

    precision: str
    batch: int
    members: int
    strands_per_s: float
    flop_per_s: float
    of_limit: float


def with_batch(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with another batch on CPUs."""
    settings = copy.deepcopy(recipe.settings)
    settings["openvino"]["batch"] = batch
    return replace(recipe, settings=settings)


def measure_engines(
    members: Sequence[Checkpoint],
    batches: Sequence[int] = BATCHES,
    rounds: int = 3,
    tick: Tick = lambda: None,
) -> tuple[list[EngineRate], dict[str, float]]:
    """Rates of the engine, and the limits measured in the same turns: FLOP/s of products by precision,
    bytes/s of a copy."""
    windows = probe(members[0].contract, PROBE_WINDOWS // 2, 0)
    flop = 2.0 * members[0].architecture.multiply_adds(members[0].contract.length)
    precisions = ("bf16", "fp32") if has_bf16() else ("fp32",)
    jobs, engines = {"copy": memory_copy()}, {}
    try:
        for precision in precisions:
            jobs |= matrix_products(precision)
            recipe = load_recipe(precision)
            settings = [(batch, 1) for batch in batches]
            if len(members) > 1:
                settings.append((int(recipe.get("openvino", "batch")), len(members)))
            for batch, n in settings:
                engine = OpenVINOEngine(members[:n], with_batch(recipe, batch), both_strands=False)
                engines[precision, batch, n] = engine
                work = float(windows.n_windows * n)
                jobs[f"{precision} {batch} {n}"] = Job(lambda engine=engine: engine.score(windows), work)  # type: ignore[misc]
        rates = alternate(jobs, rounds, tick)
    finally:
        for engine in engines.values():
            engine.close()
    limits = {precision: best(rates, precision) for precision in precisions}
    found = []
    for precision, batch, n in engines:
        rate = rates[f"{precision} {batch} {n}"]
        found.append(EngineRate(precision, batch, n, rate, rate * flop, rate * flop / limits[precision]))
    return found, {**limits, "copy_bytes_per_s": rates["copy"]}


def calls(members: int, batches: Sequence[int] = BATCHES, rounds: int = 3) -> int:
    """How often `measure_engines` calls `tick`."""
    each = len(batches) + (members > 1) + 4
    return (rounds + 1) * (1 + each * (2 if has_bf16() else 1))

"""Measure the CPU engines over batch sizes and precisions against the machine's limits."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from legscore.engine.base import ThreadedEngine
from legscore.engine.fidelity import probe
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import fastest_form, library_path
from legscore.engine.native_pack import uncovered
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.measure.hardware import bare_products, best, has_bf16, matrix_products, memory_copy
from legscore.measure.rates import Job, Tick, alternate
from legscore.model.checkpoint import Checkpoint

BATCHES = (8, 16, 32)
PROBE_WINDOWS = 256


@dataclass(frozen=True)
class EngineRate:
    """One setting of an engine. `strands_per_s` counts forward strands × members, `of_limit` is the share of
    OpenVINO's matrix-product rate of that precision (of FP32 where the CPU has no bf16), `of_bare` that of
    the native engine's own bare products. `batch` is 0 for the native engine, which has none."""

    engine: str
    precision: str
    batch: int
    members: int
    strands_per_s: float
    flop_per_s: float
    of_limit: float
    of_bare: float | None


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
    """Rates of the engines, and the limits measured in the same turns: FLOP/s of products by precision and,
    where the native library is here, of its bare products (`bare`); bytes/s of a copy."""
    windows = probe(members[0].contract, PROBE_WINDOWS // 2, 0)
    flop = 2.0 * members[0].architecture.multiply_adds(members[0].contract.length)
    precisions = ("bf16", "fp32") if has_bf16() else ("fp32",)
    jobs: dict[str, Job] = {"copy": memory_copy()}
    engines: dict[tuple[str, str, int, int], ThreadedEngine] = {}
    bare: list[float] = []
    try:
        if native := runs_natively(members[0]):
            jobs["bare"] = Job(lambda: bare.append(bare_products(fastest_form())), 1.0)
            for n in sorted({1, len(members)}):
                engines["native", "bf16", 0, n] = NativeEngine(
                    members[:n], load_recipe("bf16"), both_strands=False
                )
        for precision in precisions:
            jobs |= matrix_products(precision)
            recipe = load_recipe(precision)
            settings = [(batch, 1) for batch in batches]
            if len(members) > 1:
                settings.append((int(recipe.get("openvino", "batch")), len(members)))
            for batch, n in settings:
                engines["openvino", precision, batch, n] = OpenVINOEngine(
                    members[:n], with_batch(recipe, batch), both_strands=False
                )
        for setting, opened in engines.items():
            work = float(windows.n_windows * setting[-1])
            jobs[" ".join(map(str, setting))] = Job(lambda engine=opened: engine.score(windows), work)  # type: ignore[misc]
        rates = alternate(jobs, rounds, tick)
    finally:
        for engine in engines.values():
            engine.close()
    limits = {precision: best(rates, precision) for precision in precisions}
    if native:
        limits["bare"] = statistics.median(bare[1:])
    found = []
    for name, precision, batch, n in engines:
        rate = rates[f"{name} {precision} {batch} {n}"]
        done, limit = rate * flop, limits.get(precision)
        found.append(
            EngineRate(
                name,
                precision,
                batch,
                n,
                rate,
                done,
                done / (limit or limits["fp32"]),
                done / limits["bare"] if name == "native" else None,
            )
        )
    return found, {**limits, "copy_bytes_per_s": rates["copy"]}


def runs_natively(member: Checkpoint) -> bool:
    """Whether the native engine's library is here and covers a network."""
    return library_path().is_file() and not uncovered(member)


def calls(members: Sequence[Checkpoint], batches: Sequence[int] = BATCHES, rounds: int = 3) -> int:
    """How often `measure_engines` calls `tick`."""
    several = len(members) > 1
    each, native = len(batches) + several + 4, runs_natively(members[0]) * (2 + several)
    return (rounds + 1) * (1 + native + each * (2 if has_bf16() else 1))

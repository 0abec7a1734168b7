"""What the parts of bench/gpu.py share: members, opened engines, the time of a pass, agreement with FP32."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from gpu_reference import Reference, compared
from gpu_store import Limits, seconds_each

from legscore.cuda.libcuda import Gpu
from legscore.dna.batch import Batch
from legscore.engine import fidelity as fid
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members

SIZES = (1, 5, 50)
LEAST_WINDOWS, PART = 8192, 16_384
"""Windows of a batch through the pipeline."""
PROBE = 64
PRODUCTS = ((8192, 8192, 8192), (65_536, 512, 512))
"""m, k, n of the FP16 matrix products that rates are compared with; the faster one counts."""


def say(line: str) -> None:
    print(line, flush=True)


def members_of(limits: Limits) -> list[Checkpoint]:
    return open_members([limits.model] if limits.model else [], False, say)


def with_settings(recipe: Recipe, table: str, **changes: Any) -> Recipe:
    """A recipe with other settings of a table (and no batches of its own for some GPUs)."""
    changed = {**recipe.settings[table], "batch_of": {}, **changes}
    return replace(recipe, settings={**recipe.settings, table: changed})


@contextmanager
def opened(
    kind: str,
    members: Sequence[Checkpoint],
    recipe: Recipe,
    gpu: Gpu,
    *,
    both: bool = False,
    device: str = "",
) -> Iterator[Any]:
    """An engine of `kind` tensorrt or torch; closed at the end. `device`: PyTorch's name, for the CPU."""
    engine: Any
    if kind == "tensorrt":
        from legscore.engine.tensorrt_engine import TensorRTEngine

        engine = TensorRTEngine(members, recipe, gpu, both_strands=both, say=say)
    else:
        from legscore.engine.torch_engine import TorchEngine

        where = device or f"cuda:{gpu.number}"
        engine = TorchEngine(members, recipe, both_strands=both, device=where, say=say)
    try:
        yield engine
    finally:
        engine.close()


def agreement(
    engine: Any, members: Sequence[Checkpoint], limits: Limits, *, both: bool = False
) -> fid.Fidelity:
    """Fidelity over distinct members, against scores that came along, or else computed here.

    EngineError when it is below the recipe's; what was found is kept.
    """
    if limits.reference:
        found = compared(engine, members, Reference(limits.reference), both=both)
    else:
        found = _computed(engine, members)
    shortfall = found.shortfall(engine.recipe.settings["fidelity"])
    if shortfall:
        limits.note(**row_of(f"{engine.name} {engine.precision} falls short", found))
        raise EngineError(f"{engine.name} {engine.precision}: {shortfall}; nothing is timed")
    return found


def _computed(engine: Any, members: Sequence[Checkpoint]) -> fid.Fidelity:
    from legscore.engine.reference import reference_engine, reference_name

    pairs = []
    for m, member in enumerate(members):
        if any(member is before for before in members[:m]):
            continue
        batch = fid.probe(member.contract, PROBE, m)
        with reference_engine(member, is_singleton=engine.is_singleton) as reference:
            pairs.append((engine.score_forward(batch, m), reference.score_forward(batch, 0)))
    return fid.compare(pairs, reference_name())


def row_of(what: str, found: fid.Fidelity) -> dict[str, Any]:
    """A row that says how an engine agrees with FP32."""
    return {"what": f"{what}: {found}", "fidelity": asdict(found)}


def pass_seconds(engine: Any) -> float:
    """Seconds of one pass of all members, nothing else."""
    with engine.card.use():
        stream, places = engine.card.stream(), list(range(engine.n_members))
        return seconds_each(lambda: engine.scorer.members.enqueue(places, stream), engine.card.drain)


def rows_a_pass(engine: Any) -> int:
    """Strands of a pass."""
    return int(engine.scorer.batch)


def random_windows(member: Checkpoint, n: int) -> Batch:
    codes = np.random.default_rng(1).integers(0, 4, (n, member.contract.length), dtype=np.uint8)
    return Batch(codes)


def best_form(
    kind: str,
    gpu: Gpu,
    limits: Limits,
    peak: float,
    choices: dict[str, tuple[Any, ...]],
    named: Callable[[dict[str, Any]], str],
    device: str = "",
) -> dict[str, Any]:
    """One member in FP16: the values of each setting in turn, all else as in the fastest form so far.

    Args:
        peak: FLOP/s of the matrix product that rates are compared with.
        choices: values of settings of the recipe's table; the first of each are where it starts.
        named: what a form is called.
    """
    member = members_of(limits)[:1]
    flop = 2.0 * member[0].architecture.multiply_adds(member[0].contract.length)
    limits.note(what="FP16 matrix product", rate=peak / 1e12, unit="TFLOP/s")
    best, best_rate = {setting: values[0] for setting, values in choices.items()}, 0.0
    tried: list[dict[str, Any]] = []
    for setting, values in choices.items():
        for form in [{**best, setting: value} for value in values]:
            what = named(form)
            if form in tried or not limits.may(what):
                continue
            tried.append(form)
            recipe = with_settings(load_recipe("fp16"), kind, **form)
            try:
                with opened(kind, member, recipe, gpu, device=device) as engine:
                    found, rate = (
                        agreement(engine, member, limits),
                        rows_a_pass(engine) / pass_seconds(engine),
                    )
                    kernels = engine.describe().get("kernels")
            except Exception as problem:  # a form that is not to be had here is a result; the others go on
                limits.note(what=f"{what}: {type(problem).__name__}: {problem}")
                continue
            limits.note(
                what=f"{what} (kernels used: {kernels})" if kernels else what, rate=rate * flop / 1e12,
                unit="TFLOP/s", ratio=rate * flop / peak, of="of the product", strands_per_s=rate,
                max_error=found.score_max_error,
            )  # fmt: skip
            if rate > best_rate:
                best, best_rate = form, rate
    return {"best": best, "flop_per_strand": flop}


def ensembles(kind: str, gpu: Gpu, limits: Limits, device: str = "") -> None:
    """Ensembles of SIZES on both strands: four batches through the pipeline, against the passes alone."""
    distinct = members_of(limits)
    for size in SIZES:
        members = [distinct[i % len(distinct)] for i in range(size)]
        repeated = "" if len(distinct) >= size else f" ({len(distinct)} distinct, loaded repeatedly)"
        what = f"{size} members{repeated}, both strands"
        if not limits.may(what):
            continue
        with opened(kind, members, load_recipe("fp16"), gpu, both=True, device=device) as engine:
            found = agreement(engine, members, limits, both=bool(limits.reference))
            windows = min(max(LEAST_WINDOWS, limits.windows // size), PART)
            rate, batch = windows_per_s(engine, random_windows(members[0], windows), 4), rows_a_pass(engine)
            alone, groups = batch / 2 / pass_seconds(engine), len(engine.scorer.members.groups)
        limits.note(
            what=what, rate=rate, unit="windows/s", ratio=rate / alone, of="of the passes alone",
            groups=groups, batch=batch, max_error=found.score_max_error,
        )  # fmt: skip


def windows_per_s(engine: Any, batch: Batch, times: int) -> float:
    """Rate of a batch scored several times, as many in flight as the engine asks for."""
    started, under_way = time.perf_counter(), deque[Any]()
    for _ in range(times):
        if len(under_way) == engine.depth:
            under_way.popleft().result()
        under_way.append(engine.submit(batch))
    for future in under_way:
        future.result()
    return times * batch.n_windows / (time.perf_counter() - started)

"""Open the engine of an ensemble: build it, and measure its fidelity or read that from the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from legscore.engine import fidelity as fid
from legscore.engine.base import Engine, ThreadedEngine, consecutive, refusals
from legscore.engine.choose import Request, check_device, choose_engine, choose_recipe, why_native_first
from legscore.engine.fit import choose_devices
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.student import sd_networks
from legscore.system.allocator import trim
from legscore.system.log import Detail, Notice, Say
from legscore.system.resources import cache_folder
from legscore.version import __version__


def open_engine(members: Sequence[Checkpoint], request: Request, say: Say = lambda line: None) -> Engine:
    """Build the engine for an ensemble, with its fidelity measured or read from the cache.

    Args:
        members: a loaded ensemble.
        request: engine and precision wanted.
        say: receives one line for each choice made.

    Raises:
        EngineError: what was asked for cannot be served here.
    """
    try:
        return _opened(members, request, say)
    finally:
        for member in members:  # the engine has what it needs of the arrays
            member.release()


def _opened(members: Sequence[Checkpoint], request: Request, say: Say) -> Engine:
    name, reason = choose_engine(request.engine)
    check_device(name, reason, request.device)
    if name == "null":
        from legscore.engine.null_engine import NullEngine

        if request.precision != "auto" or request.recipe:
            raise EngineError("engine null computes nothing; --precision and --recipe do not go with it")
        say(f"engine: null ({reason})")
        return NullEngine(members, windows_per_s=request.null_rate)
    if first := why_native_first(request, name, reason):
        native = _native_if_good(members, request, first, say)
        if native is not None:
            return native
    recipe, why = choose_recipe(request, name, reason)
    say(f"engine: {name} ({reason}), precision {recipe.precision} ({why})")
    engine, shortfall = _build_measured(name, members, recipe, request, say)
    if not shortfall:
        return engine
    engine.close()
    if request.precision != "auto" or request.recipe or recipe.precision == "fp32" or name == "native":
        raise EngineError(
            f"precision {recipe.precision}: measured fidelity is too low for this ensemble ({shortfall}); "
            "use --precision fp32"
            + (" on another engine" if recipe.precision == "fp32" or name == "native" else "")
        )
    say(Notice(f"precision: fp32 instead of {recipe.precision} ({shortfall} for this ensemble)"))
    engine, shortfall = _build_measured(name, members, load_recipe("fp32"), request, say)
    if shortfall:
        engine.close()
        raise EngineError(
            f"precision fp32 on {name}: {shortfall}; this ensemble's scores hardly vary, check its training"
        )
    return engine


def _native_if_good(
    members: Sequence[Checkpoint], request: Request, reason: str, say: Say
) -> ThreadedEngine | None:
    """The native engine, or None where it does not cover the ensemble, fails its checks or is not close
    enough to FP32, which is said."""
    recipe, why = choose_recipe(request, "native", reason)
    say(f"engine: native ({reason}), precision {recipe.precision} ({why})")
    try:
        engine, shortfall = _build_measured("native", members, recipe, request, say)
    except EngineError as error:
        say(Notice(f"engine: openvino instead of native ({error})"))
        return None
    if not shortfall:
        return engine
    engine.close()
    say(Notice(f"engine: openvino instead of native ({shortfall} for this ensemble)"))
    return None


def _build(
    name: str, members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say
) -> ThreadedEngine:
    """An engine of the members, and of the network that tells a student's SD beside them."""
    beside = sd_networks(members)
    engine = _built(name, [*members, *beside], recipe, request, say)
    engine.set_beside(len(beside))
    return engine


def _built(
    name: str, members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say
) -> ThreadedEngine:
    both, singleton = request.both_strands, request.is_singleton
    if name == "torch":
        return _on_torch(members, recipe, request, say)
    if name == "tensorrt":
        return _on_cards(members, recipe, request, say)
    if name == "native":
        from legscore.engine.native_engine import NativeEngine

        return NativeEngine(members, recipe, both_strands=both, is_singleton=singleton)
    if name != "openvino":
        raise EngineError(f"engine {name!r} cannot be built")
    from legscore.engine.openvino_engine import OpenVINOEngine

    with refusals("OpenVINO cannot compile the networks"):
        engine = OpenVINOEngine(
            members,
            recipe,
            both_strands=both,
            is_singleton=singleton,
            separate_members=request.separate_members,
            cache=cache_folder("networks"),
            say=say,
        )
    if engine.form != "rewritten":
        say(f"form: {engine.form} ({engine.form_reason})")
    return engine


def _on_torch(members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say) -> ThreadedEngine:
    """PyTorch on its best device, or on each GPU chosen, as one engine."""
    from legscore.engine.torch_devices import best_device, gpu_names
    from legscore.engine.torch_engine import TorchEngine

    make = partial(
        TorchEngine,
        members,
        recipe,
        both_strands=request.both_strands,
        is_singleton=request.is_singleton,
        say=say,
    )
    if best_device() != "cuda":
        return make()
    names, makers = gpu_names(), list[Callable[[], ThreadedEngine]]()
    for number in choose_devices(request.device, names):
        say(f"gpu: {number} ({names[number]})")
        makers.append(partial(make, device=f"cuda:{number}"))
    return _as_one(makers)


def _on_cards(members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say) -> ThreadedEngine:
    """TensorRT on each card chosen, as one engine."""
    from legscore.cuda.libcuda import find_gpus
    from legscore.engine.tensorrt_engine import TensorRTEngine

    gpus, _ = find_gpus()
    makers = list[Callable[[], ThreadedEngine]]()
    for number in choose_devices(request.device, [gpu.name for gpu in gpus]):
        gpu = gpus[number]
        say(f"gpu: {number} ({gpu.name}, compute capability {gpu.compute})")
        makers.append(
            partial(
                TensorRTEngine,
                members,
                recipe,
                gpu,
                both_strands=request.both_strands,
                is_singleton=request.is_singleton,
                say=say,
            )
        )
    return _as_one(makers)


def _as_one(makers: Sequence[Callable[[], ThreadedEngine]]) -> ThreadedEngine:
    """An engine on each card as one; when a later one cannot be made, the earlier ones are closed."""
    from legscore.engine.card_engine import Cards

    opened: list[ThreadedEngine] = []
    try:
        for make in makers:
            opened.append(make())
    except BaseException:
        for engine in opened:
            engine.close()
        raise
    return opened[0] if len(opened) == 1 else Cards(opened)


def _build_measured(
    name: str, members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say
) -> tuple[ThreadedEngine, str]:
    """An engine with its fidelity attached, and what falls short of the recipe, if anything."""
    engine = _build(name, members, recipe, request, say)
    try:
        return engine, _attach_fidelity(engine, members, recipe, say)
    except BaseException:
        engine.close()
        raise


def _attach_fidelity(engine: ThreadedEngine, members: Sequence[Checkpoint], recipe: Recipe, say: Say) -> str:
    """Measure (or read) the engine's fidelity, keep it on the engine; returns what falls short, if
    anything."""
    if engine.name == "openvino" and recipe.precision == "fp32":
        say(Detail("fidelity: fp32 on openvino is the reference"))
        return ""

    def measured() -> fid.Fidelity:
        say(
            Notice(
                f"fidelity: measuring {recipe.precision} against fp32, once for these models on this machine"
            )
        )
        found = measure(engine, members)
        trim()
        return found

    record = _record(engine, members, recipe)
    engine.fidelity, cached = fid.remembered(*record, measured, say) if record else (measured(), False)
    say(Detail(f"fidelity: {engine.fidelity}{' (cached)' if cached else ''}"))
    return engine.fidelity.shortfall(recipe.settings["fidelity"])


def _record(
    engine: ThreadedEngine, members: Sequence[Checkpoint], recipe: Recipe
) -> tuple[Path, dict[str, Any]] | None:
    """Where the fidelity of this engine is remembered, and its key; None for models that are not files."""
    if not all(m.sha256 for m in members):
        return None
    from legscore.engine.reference import reference_key
    from legscore.model.headroom import MARGIN

    key: dict[str, Any] = {
        "engine": engine.describe(),
        "reference": reference_key(),
        "legscore": __version__,
        "models": [m.sha256 for m in members],
        "windows": fid.per_member(len(members), recipe.precision),
        "singleton": engine.is_singleton,
        "length": members[0].contract.length,
    }
    if recipe.precision == "fp16":
        key["headroom"] = MARGIN
    return fid.record_path(cache_folder("fidelity"), key), key


def measure(engine: ThreadedEngine, members: Sequence[Checkpoint]) -> fid.Fidelity:
    """Score probes with the engine and with the FP32 reference, one reference at a time; members that are
    computed together share their probe. In FP16 the headroom of activations is measured, too.

    Raises:
        EngineError: the reference of a member cannot be had.
    """
    from legscore.engine.reference import reference_engine, reference_name
    from legscore.model.headroom import largest_activation

    pairs = []
    for group in engine.computed_together or consecutive(len(members), 1):
        mine = [m for m in group if m < len(members)]
        batch = fid.probe(members[0].contract, fid.per_member(len(members), engine.precision), group[0])
        for m, found in zip(mine, engine.scores_forward(batch, mine), strict=True):
            with reference_engine(members[m], is_singleton=engine.is_singleton) as reference:
                pairs.append((found, reference.score_forward(batch, 0)))
    found = fid.compare(pairs, reference_name())
    if engine.precision != "fp16":
        return found
    largest = [largest_activation(member, is_singleton=engine.is_singleton) for member in members]
    return fid.HalfFidelity(**vars(found), largest_activation=float(np.max(largest)))

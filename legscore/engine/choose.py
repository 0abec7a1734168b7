"""Which engine and precision, and why. Nothing falls back in silence.

A forced engine or precision that cannot be served is an error. `auto` takes what the machine has, says so, and gives up
a reduced precision whose measured fidelity is below its recipe's threshold, saying that too.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore import __version__
from legscore.engine import fidelity as fid
from legscore.engine.base import Engine, ThreadedEngine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError, OutputError
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import REWRITE_VERSION
from legscore.resources import cache_folder

ENGINES = ("auto", "openvino", "torch", "tensorrt", "null")
PRECISION_CHOICES = ("auto", "fp32", "bf16", "fp16")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What the user asked of the engine."""

    engine: str = "auto"
    precision: str = "auto"
    recipe: str | None = None
    both_strands: bool = True
    is_singleton: bool = False
    null_rate: float = 0.0


def open_engine(members: Sequence[Checkpoint], request: Request, say: Say = lambda line: None) -> Engine:
    """Build the engine for an ensemble, with its fidelity measured or read from the cache.

    Args:
        members: a loaded ensemble.
        request: engine and precision wanted.
        say: receives one line for each choice made.

    Raises:
        EngineError: what was asked for cannot be served here.
    """
    name, reason = _choose_engine(request.engine)
    if name == "null":
        from legscore.engine.null_engine import NullEngine

        if request.precision != "auto" or request.recipe:
            raise EngineError("engine null computes nothing; --precision and --recipe do not go with it")
        say(f"engine: null ({reason})")
        return NullEngine(members, windows_per_s=request.null_rate)
    recipe, why = _choose_recipe(request, name)
    say(f"engine: {name} ({reason}), precision {recipe.precision} ({why})")
    engine, shortfall = _build_measured(name, members, recipe, request, say)
    if not shortfall:
        return engine
    engine.close()
    if request.precision != "auto" or request.recipe or recipe.precision == "fp32":
        raise EngineError(
            f"precision {recipe.precision}: measured fidelity is too low for this ensemble ({shortfall}); "
            "use --precision fp32" + (" on another engine" if recipe.precision == "fp32" else "")
        )
    say(f"precision: fp32 instead of {recipe.precision} ({shortfall} for this ensemble)")
    engine, shortfall = _build_measured(name, members, load_recipe("fp32"), request, say)
    if shortfall:
        engine.close()
        raise EngineError(f"precision fp32 on {name}: {shortfall}; this ensemble's scores hardly vary, check its training")
    return engine


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def _choose_engine(asked: str) -> tuple[str, str]:
    has_torch = importlib.util.find_spec("torch") is not None
    if asked not in ENGINES:
        raise EngineError(f"engine is {asked!r}; known are {', '.join(ENGINES)}")
    if asked == "tensorrt":
        raise EngineError(
            "engine tensorrt is not part of this version of legscore; use --engine torch on this machine's GPU "
            "or --engine openvino on its CPU"
        )
    if asked == "torch" and not has_torch:
        raise EngineError("engine torch needs PyTorch: pip install 'legscore[train]'")
    if asked != "auto":
        return asked, "asked for"
    if nvidia_driver():
        if not has_torch:
            return "openvino", "an NVIDIA driver is there, but PyTorch, which would use it, is not installed"
        from legscore.engine.torch_engine import best_device

        if best_device() == "cuda":
            return "torch", "NVIDIA GPU"
        return "openvino", "an NVIDIA driver is there, but the installed PyTorch cannot use it"
    if sys.platform == "darwin" and has_torch:
        from legscore.engine.torch_engine import best_device

        if best_device() == "mps":
            return "torch", "Apple GPU"
    return "openvino", "no NVIDIA driver"


def _choose_recipe(request: Request, engine: str) -> tuple[Recipe, str]:
    if request.precision not in PRECISION_CHOICES:
        raise EngineError(f"precision is {request.precision!r}; known are {', '.join(PRECISION_CHOICES)}")
    if request.precision == "fp16":
        raise EngineError("precision fp16 needs TensorRT, which this version does not have; use fp32 or bf16")
    if request.recipe:
        recipe = load_recipe(request.recipe)
        if request.precision not in ("auto", recipe.precision):
            raise EngineError(f"--recipe {request.recipe} is {recipe.precision}, --precision {request.precision}; drop one")
        return recipe, f"recipe {recipe.name}"
    if request.precision != "auto":
        return load_recipe(request.precision), "asked for"
    if engine == "torch":
        return load_recipe("fp32"), "torch is the reference"
    import openvino

    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return load_recipe("bf16"), "the CPU has bf16"
    return load_recipe("fp32"), "the CPU has no bf16"


def _build(name: str, members: Sequence[Checkpoint], recipe: Recipe, request: Request) -> ThreadedEngine:
    both, singleton = request.both_strands, request.is_singleton
    if name == "torch":
        from legscore.engine.torch_engine import TorchEngine

        return TorchEngine(members, recipe, both_strands=both, is_singleton=singleton)
    if name != "openvino":
        raise EngineError(f"engine {name!r} cannot be built")
    from legscore.engine.openvino_engine import OpenVINOEngine

    return OpenVINOEngine(members, recipe, both_strands=both, is_singleton=singleton)


def _build_measured(
    name: str, members: Sequence[Checkpoint], recipe: Recipe, request: Request, say: Say
) -> tuple[ThreadedEngine, str]:
    """An engine with its fidelity attached, and what falls short of the recipe, if anything."""
    engine = _build(name, members, recipe, request)
    try:
        return engine, _attach_fidelity(engine, members, recipe, say)
    except BaseException:
        engine.close()
        raise


def _attach_fidelity(engine: ThreadedEngine, members: Sequence[Checkpoint], recipe: Recipe, say: Say) -> str:
    """Measure (or read) the engine's fidelity, keep it on the engine; returns what falls short, if anything."""
    if engine.name == "openvino" and recipe.precision == "fp32":
        say("fidelity: fp32 on openvino is the reference")
        return ""
    record = _record(engine, members, recipe)
    engine.fidelity = fid.load_record(*record) if record else None
    cached = engine.fidelity is not None
    if engine.fidelity is None:
        say(f"fidelity: measuring {recipe.precision} against fp32, once for these models on this machine")
        engine.fidelity = measure(engine, members)
        try:
            if record:
                fid.save_record(*record, engine.fidelity)
        except OutputError as error:
            say(f"fidelity: not remembered ({error})")
    say(f"fidelity: {engine.fidelity}{' (cached)' if cached else ''}")
    return engine.fidelity.shortfall(recipe.settings["fidelity"])


def _record(engine: ThreadedEngine, members: Sequence[Checkpoint], recipe: Recipe) -> tuple[Path, dict[str, Any]] | None:
    """Where the fidelity of this engine is remembered, and its key; None for models that are not files."""
    if not all(m.sha256 for m in members):
        return None
    import openvino

    key: dict[str, Any] = {
        "engine": engine.describe(),
        "reference": {"openvino": openvino.get_version(), "rewrite": REWRITE_VERSION},
        "legscore": __version__,
        "models": [m.sha256 for m in members],
        "windows": fid.per_member(len(members), recipe.precision),
        "singleton": engine.is_singleton,
    }
    return fid.record_path(cache_folder("fidelity"), key), key


def measure(engine: ThreadedEngine, members: Sequence[Checkpoint]) -> fid.Fidelity:
    """Score the probes of every member with the engine and with OpenVINO FP32, one reference network at a time."""
    from legscore.engine.openvino_engine import OpenVINOEngine

    recipe, pairs = load_recipe("fp32"), []
    for m, member in enumerate(members):
        batch = fid.probe(member.contract, fid.per_member(len(members), engine.precision), m)
        reference = OpenVINOEngine([member], recipe, both_strands=False, is_singleton=engine.is_singleton)
        try:
            pairs.append((engine.score_forward(batch, m), reference.score_forward(batch, 0)))
        finally:
            reference.close()
    return fid.compare(pairs, "openvino fp32")

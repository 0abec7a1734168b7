"""Which engine and precision, and why. Nothing falls back in silence.

A forced engine or precision that cannot be served is an error. `auto` takes what the machine has, says so,
and gives up a reduced precision whose measured fidelity is below its recipe's threshold, saying that too.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from legscore.engine.machine import GPU_EXTRA, missing_for_tensorrt, nvidia_driver
from legscore.engine.names import ENGINES, PRECISION_CHOICES
from legscore.engine.native_library import library_path, missing_form
from legscore.engine.recipe import ENGINES_OF, Recipe, load_recipe
from legscore.errors import EngineError


@dataclass(frozen=True)
class Request:
    """What the user asked of the engine."""

    engine: str = "auto"
    precision: str = "auto"
    recipe: str | None = None
    both_strands: bool = True
    is_singleton: bool = False
    null_rate: float = 0.0
    device: str | None = None
    separate_members: bool = False
    """Compile each member alone: rows will be scored by different members."""


def choose_engine(asked: str) -> tuple[str, str]:
    """Name of the engine, and why. EngineError when the one asked for cannot be used here, with what to
    install."""
    has_torch = importlib.util.find_spec("torch") is not None
    if asked not in ENGINES:
        raise EngineError(f"engine is {asked!r}; known are {', '.join(ENGINES)}")
    if asked == "tensorrt" and (missing := missing_for_tensorrt()):
        raise EngineError(f"engine tensorrt cannot be used here: {'; '.join(missing)}")
    if asked == "torch" and not has_torch:
        raise EngineError("engine torch needs PyTorch: pip install 'legscore[train]'")
    if asked == "native":
        missing_form("portable")  # an error where the library is not there
    if asked != "auto":
        return asked, "asked for"
    if nvidia_driver():
        missing = missing_for_tensorrt()
        if not missing:
            return "tensorrt", "NVIDIA GPU"
        lacking = f"TensorRT cannot be used: {'; '.join(missing)}"
        there = f"an NVIDIA driver is there, but {lacking}"
        if not has_torch:
            return "openvino", f"{there}; and PyTorch, which would use it, is not installed"
        from legscore.engine.torch_devices import best_device

        if best_device() == "cuda":
            return "torch", f"NVIDIA GPU; {lacking}"
        return "openvino", f"{there}; and the installed PyTorch cannot use it"
    if sys.platform == "darwin" and has_torch:
        from legscore.engine.torch_devices import best_device

        if best_device() == "mps":
            return "torch", "Apple GPU"
    return "openvino", "no NVIDIA driver"


def prefers_native(request: Request) -> bool:
    """Whether `auto` shall try the native engine where it would take OpenVINO: on a CPU with AMX, with the
    precision left open or bf16."""
    if request.engine != "auto" or request.recipe or request.precision not in ("auto", "bf16"):
        return False
    return library_path().is_file() and not missing_form("amx")


def why_native_first(request: Request, name: str, reason: str) -> str:
    """Why the native engine is tried before the engine chosen; an empty string where it is not."""
    return f"the CPU has AMX; {reason}" if name == "openvino" and prefers_native(request) else ""


def preferred_engine(request: Request) -> tuple[str, str]:
    """As `choose_engine`, with the native engine where `auto` tries it before OpenVINO."""
    name, reason = choose_engine(request.engine)
    first = why_native_first(request, name, reason)
    return ("native", first) if first else (name, reason)


def check_device(name: str, reason: str, device: str | None) -> None:
    """EngineError when GPUs were chosen and the engine does not use them."""
    if device is None or name == "tensorrt":
        return
    if name != "torch" or not nvidia_driver():
        raise EngineError(f"--device {device}: engine {name} ({reason}) uses no NVIDIA GPU")


def choose_recipe(request: Request, engine: str, reason: str = "") -> tuple[Recipe, str]:
    """Recipe for an engine, and why. EngineError when precision, recipe and engine do not go together."""
    if request.precision not in PRECISION_CHOICES:
        raise EngineError(f"precision is {request.precision!r}; known are {', '.join(PRECISION_CHOICES)}")
    if request.recipe:
        recipe, why = load_recipe(request.recipe), f"recipe {Path(request.recipe).stem}"
        if request.precision not in ("auto", recipe.precision):
            raise EngineError(
                f"--recipe {request.recipe} is {recipe.precision}, --precision {request.precision}; drop one"
            )
    elif request.precision != "auto":
        recipe, why = load_recipe(request.precision), "asked for"
    elif engine == "tensorrt":
        recipe, why = load_recipe("fp16"), "the recipe for GPUs"
    elif engine == "torch":
        from legscore.engine.torch_devices import best_device

        on_gpu = best_device() == "cuda"
        recipe = load_recipe("fp16" if on_gpu else "fp32")
        why = "the recipe for GPUs" if on_gpu else "torch is the reference"
    elif engine == "native":
        recipe, why = load_recipe("bf16"), "the native engine's own"
    else:
        from legscore.engine.openvino_cpu import openvino_core

        has_bf16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        recipe = load_recipe("bf16" if has_bf16 else "fp32")
        why = f"the CPU has {'bf16' if has_bf16 else 'no bf16'}"
    if engine not in ENGINES_OF[recipe.precision]:
        known = " or ".join(precision for precision, engines in ENGINES_OF.items() if engine in engines)
        here = f"engine {engine}" + (f" ({reason})" if reason else "")
        if recipe.precision == "fp16":
            raise EngineError(
                f"precision fp16 is for engines tensorrt and torch, and this is {here}; use {known}, or pip "
                f"install '{GPU_EXTRA}' for NVIDIA GPUs"
            )
        raise EngineError(f"precision {recipe.precision}: {here} computes in {known}")
    if engine not in recipe.settings:
        raise EngineError(f"recipe {recipe.name} has no table [{engine}]; add one, or use another recipe")
    return recipe, why

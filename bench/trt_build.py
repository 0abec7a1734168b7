"""Does every form of every network build on TensorRT's own parser and builder? No GPU is needed.

The Python API and the builder are TensorRT-RTX's, which compile ahead of time for a card that is not here
(`pip install 'legscore[trt-test]'`); the graphs, the types and legscore's code are those that TensorRT gets.
A plan cannot be loaded or timed without a card: this proves that graphs are read, typed as meant and built.
What the builder tells of a plan's layers shows whether a mean is one kernel with the SiLU and the casts
around it, or reads an FP32 copy of a wide tensor (`fp32_share`: elements of the largest FP32 tensor between
kernels, of the largest one in FP16). The recipe's form must write none.

    python bench/trt_build.py [--targets 8.0,12.0] [--only F1] [--save]

Networks: the bundled ensemble (F2), the original one (F1), the human one (F3, random weights of the preset)
and the example generator's loop. Every form that a recipe can name is built for F1 and F2, what the recipes
fp16 and fp32 name for all. The SHA-256 of each graph is kept: a test fails when a graph is no longer the one
that was built. Expected: all build, in seconds each.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import itertools
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import OPTIMISED, ORIGINAL, finish

from legscore.engine.recipe import load_recipe
from legscore.engine.trt.installed import RTX, TENSORRT, is_installed
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.gpu_form import GROUPS, LAYOUTS, SILU, GpuForm
from legscore.model.gpu_graph import build_gpu_graph, float_names
from legscore.train.presets import PRESETS

GENERATOR = ORIGINAL.parent.parent / "generator/yeast_complex_generator.safetensors"
BATCH = 256
LIBRARIES = "tensorrt_rtx_libs"
MOST_FP32 = 1 / 8
"""Of the elements of the widest tensor, in the recipe's FP16 form: what has a length is FP16."""
TENSOR = re.compile(r"Dimensions: \[([\d,]+)\][^{}]*?Datatype: (\w+)")
TOLD: list[str] = []
"""What the builder said of the last plan's layers."""


@dataclass(frozen=True)
class Case:
    """A network in one form."""

    network: str
    form: GpuForm
    loop: bool = False

    @property
    def name(self) -> str:
        form = self.form
        return f"{self.network} {form.precision} {form.groups} {form.layout} {form.silu}"


def human(seed: int = 0) -> Checkpoint:
    """The human network with random weights that keep activations near unit size."""
    recipe = PRESETS["human"]
    architecture, rng, arrays = recipe.architecture(), np.random.default_rng(seed), {}
    for name, shape in architecture.shapes().items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = rng.uniform(0.5, 1.5, shape) if "norm" in name or "running_var" in name else None
        arrays[name] = (rng.normal(0, 1.4 / np.sqrt(fan_in), shape) if values is None else values).astype(
            np.float32
        )
    return Checkpoint("legscore", architecture, recipe.contract(), arrays)


def networks() -> dict[str, Checkpoint]:
    found = {"F1": load_checkpoint(ORIGINAL), "F3": human(), "generator": load_checkpoint(GENERATOR)}
    for path in sorted(OPTIMISED.parent.glob("*.safetensors")):
        found[f"F2 {path.stem.rsplit('_', 1)[-1]}"] = load_checkpoint(path)
    return found


def cases() -> Iterator[Case]:
    """Every form that a recipe can name for F1 and one F2, what the recipes name for all."""
    every = [
        GpuForm(*choice)
        for choice in itertools.product(("fp16", "fp32"), GROUPS, LAYOUTS, SILU)
        if choice[:1] + choice[2:3] != ("fp32", "hwc8")
    ]
    named = [recipe_form("fp16"), recipe_form("fp32")]
    for network in networks():
        forms = every if network in ("F1", "F2 seed1") else named
        yield from (Case(network, form, loop=network == "generator") for form in forms)


def recipe_form(name: str) -> GpuForm:
    recipe = load_recipe(name)
    return GpuForm(
        recipe.precision, *(str(recipe.get("tensorrt", key)) for key in ("groups", "layout", "silu"))
    )


def graph(case: Case, members: dict[str, Checkpoint]) -> Any:
    return build_gpu_graph(members[case.network], case.form, BATCH, loop=case.loop)


def graph_hashes() -> dict[str, str]:
    """SHA-256 of each case's graph: nodes, names, types and shapes. Weights are left out, since their last
    bits may differ between CPUs."""
    members, found = networks(), {}
    for case in cases():
        model = graph(case, members)
        found[case.name] = hashlib.sha256(model.to_bytes(weights=False)).hexdigest()
    return found


def missing() -> str:
    """What keeps the builder from being used here; empty when nothing does."""
    for package in (RTX, LIBRARIES):
        if not is_installed(package):
            return f"{package} is not installed: pip install 'legscore[trt-test]' (Linux, x86-64)"
    return ""


def use_rtx() -> None:
    """Let TensorRT-RTX be what legscore finds, in this process, and hear what it says of layers."""
    sys.modules[TENSORRT] = None  # type: ignore[assignment]  # as if it were not installed
    from legscore.engine.trt import common

    class Told(common.Log):
        def log(self, severity: Any, msg: str) -> None:
            if "LayerType: " in msg:
                TOLD.append(msg)
            super().log(severity, msg)

    common.LOG = Told()


def fp32_share() -> float:
    """Elements of the largest FP32 tensor that a kernel of the last plan reads or writes, of those of the
    largest one in FP16."""
    most = {"Half": 0, "Float": 0}
    for dimensions, kind in TENSOR.findall("\n".join(TOLD)):
        if kind in most:
            most[kind] = max(most[kind], math.prod(map(int, dimensions.split(","))))
    return most["Float"] / most["Half"]


def check_types(network: Any, form: GpuForm) -> int:
    """Layers looked at, by kind, whatever the graph says: convolutions compute in the form's precision;
    sums, means and softmax, and the output, always in FP32. AssertionError else."""
    trt: Any = importlib.import_module(RTX)

    full = trt.DataType.FLOAT
    expected = {
        trt.LayerType.CONVOLUTION: trt.DataType.HALF if form.precision == "fp16" else full,
        trt.LayerType.REDUCE: full,
        trt.LayerType.SOFTMAX: full,
    }
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    looked_at = [layer for layer in layers if layer.type in expected]
    for layer in looked_at:
        for side, tensor in (("reads", layer.get_input(0)), ("writes", layer.get_output(0))):
            assert tensor.dtype == expected[layer.type], f"{layer.name} {side} {tensor.dtype}"
    assert network.get_output(0).dtype == full, f"the output is {network.get_output(0).dtype}"
    return len(looked_at)


def build(case: Case, members: dict[str, Checkpoint], target: str, model: Any = None) -> dict[str, Any]:
    """Parse, check types and build one case for a card that is not here; size and seconds.

    Args:
        target: compute capability of the card.
    """
    trt: Any = importlib.import_module(RTX)

    from legscore.engine.plans import TimingCache
    from legscore.engine.trt import common

    model = graph(case, members) if model is None else model
    kept_float, seen = float_names(model), 0

    def before(network: Any, config: Any) -> None:
        nonlocal seen
        seen = check_types(network, case.form)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED

    TOLD.clear()
    settings = common.Settings(case.form.precision, case.form.layout, 3, 0, False, False, target)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        timings = TimingCache(Path(folder) / "timings.cache")
        plan = common.compile_plan(model.to_bytes(), kept_float, settings, timings, before)
    found = {"seconds": round(time.perf_counter() - started, 2), "bytes": len(plan), "layers_checked": seen}
    if case.form.precision == "fp16":
        found["fp32_share"] = round(fp32_share(), 5)
        wide = case.form == recipe_form("fp16") and found["fp32_share"] >= MOST_FP32
        assert not wide, f"{case.name}: a wide tensor is FP32 ({found['fp32_share']})"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--targets",
        default="8.0,12.0",
        help="compute capabilities: the first for all cases, others for recipes",
    )
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--save", action="store_true", help="keep the JSON line in bench/results/")
    options = parser.parse_args()
    if lacking := missing():
        sys.exit(lacking)
    use_rtx()
    from legscore.engine.trt import common

    members, found = networks(), {}
    first, *others = options.targets.split(",")
    named = (recipe_form("fp16"), recipe_form("fp32"))
    for case in cases():
        if not case.name.startswith(options.only):
            continue
        targets = [first, *(others if case.form in named else [])]
        found[case.name] = {target: build(case, members, target) for target in targets}
        print(f"{case.name}: {json.dumps(found[case.name])}", flush=True)
    seconds = [one["seconds"] for by_target in found.values() for one in by_target.values()]
    print(f"{len(found)} forms, {len(seconds)} builds, {min(seconds):.1f} to {max(seconds):.1f} s each")
    result = {"builder": common.title(), "batch": BATCH, "builds": found}
    result["graphs"] = graph_hashes()
    finish("trt_build", result, options.save and not options.only)


if __name__ == "__main__":
    main()

"""PyTorch on the card: the engine `torch` (agreement with FP32, forms and batches, ensembles), and the
network of legscore.model.legnet as it is, which the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from gpu_engine import (
    PRODUCTS,
    agreement,
    best_form,
    ensembles,
    members_of,
    opened,
    row_of,
    with_settings,
)
from gpu_store import Limits, seconds_each

from legscore.cuda.libcuda import Gpu
from legscore.dna.one_hot import strands
from legscore.engine.fidelity import probe
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError

BATCHES = (256, 128, 64, 512, 1024)
GROUPS = ("repack16", "shifted", "repack8", "repack32", "native")


@dataclass(frozen=True)
class Place:
    """Where PyTorch runs: its device and what waits for it. The CPU is for rehearsals."""

    device: str
    finish: Callable[[], object]


def place_of(gpu: Gpu) -> Place:
    """The GPU. EngineError where PyTorch does not see it."""
    import torch

    if not torch.cuda.is_available():
        raise EngineError("this PyTorch does not see the GPU; install one with CUDA")
    torch.cuda.set_device(gpu.number)
    return Place(f"cuda:{gpu.number}", torch.cuda.synchronize)


def right(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """The engine against FP32: precisions, kernels, one strand and both, edits made on the card."""
    import torch

    place, members = place_of(gpu), members_of(limits)
    for precision, kernels, both in product(("fp32", "fp16"), ("torch", "triton"), (False, True)):
        what = f"{precision}, kernels of {kernels}, {'both strands' if both else 'forward'}"
        if not limits.may(what):
            continue
        recipe = with_settings(load_recipe(precision), "torch", kernels=kernels)
        try:
            with opened("torch", members, recipe, gpu, both=both, device=place.device) as engine:
                used = engine.describe()["kernels"]
                limits.note(**row_of(f"{what} (used: {used})", agreement(engine, members, limits, both=both)))
        except Exception as problem:  # a way that is not to be had here is a result; the others go on
            limits.note(what=f"{what}: {type(problem).__name__}: {problem}")
    return {"torch": torch.__version__}


def rates(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """One member in FP16: kernels, batches, then groups and torch.compile on the best so far."""
    import torch

    place = place_of(gpu)
    choices: dict[str, tuple[Any, ...]] = {
        "kernels": ("triton", "torch"), "batch": tuple([batch] for batch in BATCHES),
        "groups": GROUPS, "compile": (False, True),
    }  # fmt: skip

    def named(form: dict[str, Any]) -> str:
        compiled = ", torch.compile" if form["compile"] else ""
        return f"{form['kernels']}, {form['groups']}, batch {form['batch'][0]:,}{compiled}"

    found = best_form("torch", gpu, limits, product_rate(place), choices, named, place.device)
    return {**found, "torch": torch.__version__}


def many(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """Ensembles on both strands, batch after batch, against their passes alone."""
    place = place_of(gpu)
    ensembles("torch", gpu, limits, place.device)
    return {}


def product_rate(place: Place) -> float:
    """FLOP/s of the faster of two FP16 matrix products."""
    import torch

    best, kind = 0.0, torch.float32 if place.device == "cpu" else torch.float16
    for m, k, n in PRODUCTS:
        a, b = (torch.randn(shape, device=place.device, dtype=kind) for shape in ((m, k), (k, n)))
        best = max(best, 2.0 * m * k * n / seconds_each(lambda a=a, b=b: a @ b, place.finish))  # type: ignore[misc]
    return best


def plain(gpu: Gpu, limits: Limits, batches: tuple[int, ...] = (1024, 4096)) -> dict[str, Any]:
    """The network as it is: eager, torch.compile and CUDA graphs in strands/s, checked against FP32 first."""
    import torch

    from legscore.engine.torch_reference import reordered

    place, member = place_of(gpu), members_of(limits)[0]
    device, on_gpu = torch.device(place.device), place.device != "cpu"
    flop = 2.0 * member.architecture.multiply_adds(member.contract.length)
    codes = probe(member.contract, 64, 0).codes_WL
    small = torch.from_numpy(strands(codes, member.contract, both=False, is_singleton=False))
    ways = {"eager": lambda n, x: lambda: n(x), "compile": _compiled, "CUDA graph": _graphed}
    # cuDNN's TF32 is on by default: not FP32, and further from it than the check below allows
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        truth = reordered(member)(small).numpy()
        for kind in (torch.float32, torch.float16) if on_gpu else (torch.float32,):
            name = "fp32" if kind == torch.float32 else "fp16"
            network = reordered(member).to(device, kind)
            found = network(small.to(device, kind)).float().cpu().numpy()
            error = float(np.abs(found - truth).max())
            if not error <= (1e-3 if name == "fp32" else 0.1 * float(truth.std())):
                raise SystemExit(f"torch {name} differs from the CPU's FP32 by {error}; nothing is timed")
            for batch, (how, make) in product(batches, ways.items()):
                what = f"torch {name} {how}, batch {batch:,}"
                if (how == "CUDA graph" and not on_gpu) or not limits.may(what):
                    continue
                x = small.to(device, kind).repeat(-(-batch // len(small)), 1, 1)[:batch].contiguous()
                try:
                    taken = seconds_each(make(network, x), place.finish)
                except Exception as problem:
                    # what torch cannot do here is a result too, and the others go on
                    limits.note(what=f"{what}: failed ({type(problem).__name__})")
                    continue
                rate = batch / taken
                limits.note(what=what, rate=rate, unit="strands/s", tflops=flop * rate / 1e12)
    return {"flop_per_strand": flop, "torch": torch.__version__}


def _compiled(network: Any, x: Any) -> Callable[[], object]:
    import torch

    # else a second batch is compiled for any batch, which is slower
    made = torch.compile(network, dynamic=False)
    return lambda: made(x)


def _graphed(network: Any, x: Any) -> Callable[[], object]:
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(x)
    return graph.replay

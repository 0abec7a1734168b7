"""Which form of the graph does OpenVINO run fastest on this CPU in FP32, and what does each rewrite of
`phases.py` bring?

Engines of one member take turns of a few batches, each round beginning with another, since machines change
their pace within seconds; ratios are those of turns of the same round. Scores are compared first (1e-5). Then
single convolutions as the first block has them, with the border that keeps the length added by the
convolution or before it. Expected with AVX2 kernels: phases 1.15 to 1.25 × rewritten, and a fifth more from a
convolution without a border of its own; elsewhere nothing is known, and the engine takes the rewritten form.

    python bench/forms.py [--rounds 60] [--save]
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import openvino
from machine import OPTIMISED, ORIGINAL, arguments, finish
from openvino import opset8 as ops
from openvino import properties

from legscore.engine.fidelity import probe
from legscore.engine.forms import FORMS, SETTINGS, choose_form, convolution
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import load_checkpoint
from legscore.model.phases import PhasedLowering
from legscore.system.cores import usable_cores


class Bordered(PhasedLowering):
    phased_channels = 1 << 30


class PhasedFirst(PhasedLowering):
    phased_channels = 512


TRIED = {"borders before convolutions": Bordered, "phases in the first block only": PhasedFirst}


def networks(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Strands a second, and times of the rewritten form, of each form on each network."""
    for name, lowering in TRIED.items():
        FORMS[name] = ("rewritten", 4, lowering)
        SETTINGS[name] = SETTINGS["phases"]
    recipe, found = load_recipe("fp32"), {}
    for network, path in (("original", ORIGINAL), ("optimised", OPTIMISED)):
        checkpoint = load_checkpoint(path)
        names = ["rewritten", "phases", *TRIED]
        engines = {
            name: OpenVINOEngine([checkpoint], recipe, both_strands=False, form=name) for name in names
        }
        batch = probe(checkpoint.contract, recipe.get("openvino", "batch") * usable_cores(), 0)
        scores = {name: engine.score(batch)[0] for name, engine in engines.items()}
        for name in names:
            error = float(np.abs(scores[name] - scores["rewritten"]).max())
            if not error <= 1e-5:
                raise SystemExit(f"{network}, {name}: scores differ by {error}; no timing of wrong numbers")
        taken: dict[str, list[float]] = {name: [] for name in names}
        for r in range(rounds):
            for name in names[r % len(names) :] + names[: r % len(names)]:
                started = time.perf_counter()
                engines[name].score(batch)
                taken[name].append(time.perf_counter() - started)
        n = len(scores["rewritten"])
        found[network] = {
            name: {
                "strands_per_s": n / median(taken[name]),
                "x_rewritten": median(a / b for a, b in zip(taken["rewritten"], taken[name], strict=True)),
            }
            for name in names
        }
        for engine in engines.values():
            engine.close()
    return found


def border_cost(rounds: int) -> dict[str, float]:
    """GFLOP/s a core of a convolution of 7 taps, 256 → 128 channels, by where its border is added."""
    core, jobs = openvino.Core(), {}
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(128, 256, 1, 7)).astype(np.float32)
    for name, border, length in (("by itself", 3, 150), ("before", 0, 156)):
        x = ops.parameter([16, 256, 1, length], np.float32)
        y = ops.convolution(ops.relu(x), ops.constant(weight), [1, 1], [0, border], [0, border], [1, 1])
        mean = ops.result(ops.reduce_mean(y, ops.constant(np.array([2, 3]))))
        asked = {
            properties.hint.inference_precision: openvino.Type.f32,
            properties.num_streams: 1,
            properties.inference_num_threads: 1,
            properties.enable_profiling: True,
        }
        request = core.compile_model(openvino.Model([mean], [x], "conv"), "CPU", asked).create_infer_request()
        jobs[name] = (request, rng.normal(size=(16, 256, 1, length)).astype(np.float32), [])
    for _ in range(rounds):
        for request, values, taken in jobs.values():
            request.infer({0: values})
            taken += [
                node.real_time.total_seconds()
                for node in request.profiling_info
                if node.node_type == "Convolution"
            ]
    return {name: 2 * 16 * 150 * weight.size / median(taken) / 1e9 for name, (_, _, taken) in jobs.items()}


def main() -> None:
    options = arguments(__doc__ or "", rounds=60)
    kernel = convolution(openvino.Core(), {})
    chosen, _ = choose_form(openvino.Core(), "fp32")
    found, border = networks(options.rounds), border_cost(options.rounds)
    print(f"OpenVINO's convolutions: {kernel}; the engine takes {chosen}")
    for network, forms in found.items():
        for name, form in forms.items():
            print(
                f"{network:10s} {name:30s} {form['strands_per_s']:7.1f} strands/s  "
                f"{form['x_rewritten']:.3f} × rewritten"
            )
    print(
        "a convolution's border: " + ", ".join(f"{name} {rate:.1f} GFLOP/s" for name, rate in border.items())
    )
    finish(
        "forms",
        {"kernel": kernel, "chosen": chosen, "forms": found, "border_gflop_per_s": border},
        options.save,
    )


if __name__ == "__main__":
    main()

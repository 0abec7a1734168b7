"""Which batch and how many streams are fastest on this kind of CPU? Rates of the engine over both, in one
run.

Every setting scores the same random windows, both strands; settings take turns, and their scores are compared
before any time is believed. Results are kept by kind of CPU (name and instruction sets), so that the defaults
in `engines/*.toml` rest on a table with as many rows as machines were measured. Expected: batch 16 on one
stream a core within 3 % of the best everywhere.

    python bench/batches.py [--windows 256] [--rounds 3] [--save]
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
from machine import OPTIMISED, ORIGINAL, RESULTS, alternate, arguments, describe, finish

from legscore.engine.fidelity import probe
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.measure.hardware import has_bf16
from legscore.model.checkpoint import load_members
from legscore.system.cores import usable_cores

BATCHES = (4, 8, 16, 32, 64)
TOLERANCE = {"fp32": 1e-5, "bf16": 0.02}
"""Of the largest score; sums are cut otherwise among threads of one stream."""


def changed(recipe: Recipe, batch: int, streams: int) -> Recipe:
    """The recipe with another batch and number of streams."""
    settings = copy.deepcopy(recipe.settings)
    settings["openvino"] |= {"batch": batch, "streams": streams}
    return replace(recipe, settings=settings)


def measure(precision: str, network: Any, windows: int, rounds: int) -> dict[str, float]:
    """Strands a second by `batch x streams`."""
    members = load_members([network])
    batch_W = probe(members[0].contract, windows // 2, 0)
    engines: dict[str, OpenVINOEngine] = {}
    for streams in sorted({1, usable_cores()}):
        for batch in BATCHES:
            recipe = changed(load_recipe(precision), batch, streams)
            engines[f"{batch} x {streams}"] = OpenVINOEngine(members, recipe, both_strands=True)
    try:
        scores = {name: engine.score(batch_W) for name, engine in engines.items()}
        first = next(iter(scores.values()))
        for name, found in scores.items():
            if np.abs(found - first).max() > TOLERANCE[precision] * np.abs(first).max():
                raise SystemExit(f"{precision}, {name}: other scores; no timing of wrong numbers")
        jobs: dict[str, Any] = {
            name: lambda engine=engine: engine.score(batch_W) for name, engine in engines.items()
        }
        return alternate(jobs, dict.fromkeys(jobs, 2.0 * batch_W.n_windows), rounds)
    finally:
        for engine in engines.values():
            engine.close()


def main() -> None:
    options = arguments(__doc__ or "", windows=256, rounds=3)
    machine = describe()
    kind = f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['isa'])}"
    kept = RESULTS / "batches.json"
    kinds: dict[str, Any] = json.loads(kept.read_text())["kinds"] if kept.exists() else {}
    found: dict[str, Any] = {}
    for precision in ("bf16", "fp32") if has_bf16() else ("fp32",):
        for label, network in (("original", ORIGINAL), ("optimised", OPTIMISED)):
            rates = measure(precision, network, options.windows, options.rounds)
            best, default = max(rates.values()), rates[f"16 x {usable_cores()}"]
            found[f"{precision}, {label}"] = {"strands_per_s": rates, "default_of_best": default / best}
            for name, rate in rates.items():
                print(
                    (
                        f"{precision} {label:10s} batch x streams {name:8s} {rate:8.1f} strands/s "
                        f"{rate / best:6.3f} of the best"
                    ),
                    flush=True,
                )
    kinds[kind] = {
        "settings": found,
        "versions": machine["versions"],
        "commit": machine["commit"],
        "date": machine["date"],
    }
    finish("batches", {"kinds": kinds}, options.save)


if __name__ == "__main__":
    main()

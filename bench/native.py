"""How fast is the native engine? Alternating pairs with OpenVINO bf16, the bare rate of products between.

For each network (original, optimised) on one thread, then on all: native and OpenVINO take turns of at
least `--seconds` each; what counts is the median of the ratios of pairs, and the median share of the bare
rate of products measured between the turns (random data in tiles, kernels/cpu/rate.h). Expected on a CPU
with AMX: one thread ≥ 4.0 × for the original network and ≥ 3.8 × for the optimised one, all cores ≥ 3.0 ×,
share ≥ 0.50. Then effects against FP32, opening 50 members, and time by stage. A machine whose bare rate
swings by more than 20 % within a run is "not settled". Each run is kept in bench/results/native.json, also
those that fall short; the exit code is 1 when a line falls short. Without AMX nothing is claimed: the
figures of the other form are printed and kept, and the exit code is 2.

    python bench/native.py [--pairs 200] [--seconds 0.2] [--windows 2048]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import OPTIMISED, ORIGINAL, RESULTS, arguments, describe, family

from legscore.dna.batch import Batch
from legscore.dna.one_hot import strands
from legscore.engine.fidelity import compare, probe
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import FORMS, fastest_form, load_library, missing_form
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.graph import build_graph
from legscore.system.cores import usable_cores

WANTED = {
    ("original", "one thread"): 4.0,
    ("optimised", "one thread"): 3.8,
    ("original", "all cores"): 3.0,
    ("optimised", "all cores"): 3.0,
}
SHARE, SWING, BATCH = 0.50, 0.20, 16
NETWORKS = {"original": ORIGINAL, "optimised": OPTIMISED}


class OpenVINO:
    """OpenVINO bf16 on a number of threads, the faster way for each: one request, or a stream a core."""

    def __init__(self, member: Checkpoint, threads: int) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(build_graph(member, "rewritten", rank=4).to_bytes())
        model.reshape([BATCH, len(member.contract.channels), member.contract.length])
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16",
                "NUM_STREAMS": threads,
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self.queue = openvino.AsyncInferQueue(compiled, threads + 1)

    def run(self, x: np.ndarray) -> None:
        for start in range(0, len(x), BATCH):
            self.queue.start_async({0: x[start : start + BATCH]})
        self.queue.wait_all()


def turn(job: Any, seconds: float) -> float:
    """Calls a second over at least `seconds`."""
    calls, started = 0, time.perf_counter()
    while True:
        job()
        calls += 1
        taken = time.perf_counter() - started
        if taken >= seconds:
            return calls / taken


def pairs(name: str, where: str, form: str, wanted_pairs: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    member = load_checkpoint(NETWORKS[name])
    threads = 1 if where == "one thread" else usable_cores()
    codes = probe(member.contract, 20 * threads, 0).expand()[: 40 * threads]
    x = strands(codes, member.contract, both=False, is_singleton=False, rows=-(-len(codes) // BATCH) * BATCH)
    ours = NativeEngine([member], load_recipe("bf16"), both_strands=False, threads=threads, form=form)
    theirs, library, windows = OpenVINO(member, threads), load_library(), Batch(codes)
    flop = 2.0 * member.architecture.multiply_adds(member.contract.length)
    ours.stage_ticks()
    rates, number = [], FORMS.index(form)
    for i in range(wanted_pairs + 1):
        found = (
            turn(lambda: ours.score(windows), seconds) * len(codes),
            turn(lambda: theirs.run(x), seconds) * len(x),
            library.legnet_rate(number, 0.01),
        )
        if i:
            rates.append(found)
        else:
            ours.stage_ticks()
    ticks = ours.stage_ticks()
    ours.close()
    native, openvino, bare = np.array(rates).T
    swing = float(np.quantile(bare, 0.95) / np.quantile(bare, 0.05) - 1)
    total = sum(ticks.values())
    return {
        "network": name,
        "where": where,
        "threads": threads,
        "pairs": len(rates),
        "native_per_s": float(np.median(native)),
        "openvino_per_s": float(np.median(openvino)),
        "ratio": float(np.median(native / openvino)),
        "share": float(np.median(native * flop / (bare * threads))),
        "bare_flop_per_s": float(np.median(bare)),
        "swing": swing,
        "settled": swing <= SWING,
        "stages": {stage: ticks[stage] / total for stage in ticks},
    }


def fidelity(name: str, form: str, windows: int) -> dict[str, Any]:
    """Against OpenVINO FP32 over windows and as many changes."""
    member = load_checkpoint(NETWORKS[name])
    batch = probe(member.contract, windows, 0)
    scores = []
    for engine in (
        NativeEngine([member], load_recipe("bf16"), both_strands=False, form=form),
        OpenVINOEngine([member], load_recipe("bf16"), both_strands=False),
        OpenVINOEngine([member], load_recipe("fp32"), both_strands=False),
    ):
        scores.append(engine.score(batch)[0])
        engine.close()
    found = {}
    for label, values in zip(("native", "openvino bf16"), scores, strict=False):
        agreement = compare([(values, scores[2])], "openvino fp32")
        print(f"{name}, {label}: {agreement}")
        found[label] = {
            "changes": windows,
            "rmse": agreement.score_rmse,
            "effect_spearman": agreement.effect_spearman,
        }
    return found


def opening(form: str) -> dict[str, float]:
    """Seconds to open 50 members, and bytes a member."""
    with tempfile.TemporaryDirectory() as folder:
        members = family(ORIGINAL, 50, Path(folder))
        started = time.perf_counter()
        engine = NativeEngine(members, load_recipe("bf16"), both_strands=True, form=form)
        taken, size = time.perf_counter() - started, engine.bytes_per_member
        engine.close()
    print(f"50 members: opened in {taken:.1f} s, {size / 1e6:.1f} MB a member")
    return {"open_50_s": taken, "bytes_per_member": float(size)}


def keep(result: dict[str, Any]) -> None:
    """Add a run to those in bench/results/native.json."""
    path = RESULTS / "native.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else []
    path.write_text(json.dumps({"bench": "native", "runs": [*runs, result]}, indent=1) + "\n")


def main() -> None:
    options = arguments(__doc__ or "", pairs=200, seconds=0.2, windows=2048)
    has_amx = not missing_form("amx")
    form = fastest_form()
    print(f"form {form}" + ("" if has_amx else f": no claim is made ({missing_form('amx')})"))
    lines, short = [], False
    for (name, where), wanted in WANTED.items():
        line = pairs(name, where, form, options.pairs, options.seconds)
        lines.append(line)
        good = line["ratio"] >= wanted and line["share"] >= SHARE and line["settled"]
        short |= not good
        verdict = "no claim" if not has_amx else "holds" if good else "falls short"
        print(
            f"{name}, {where}: {line['ratio']:.2f} x OpenVINO bf16 (wanted {wanted}), {line['share']:.2f} of "
            f"{line['bare_flop_per_s'] / 1e9:.0f} GFLOP/s a thread (wanted {SHARE}), {line['pairs']} pairs: "
            + verdict
            + ("" if line["settled"] else f"; not settled (the bare rate swings by {line['swing']:.0%})")
        )
        print("  " + ", ".join(f"{stage} {share:.0%}" for stage, share in line["stages"].items()))
    result = {
        "form": form,
        "lines": lines,
        "fidelity": {name: fidelity(name, form, options.windows) for name in NETWORKS},
        **opening(form),
        "machine": describe(),
    }
    short |= result["open_50_s"] > 5 or result["bytes_per_member"] > 10e6
    keep(result)
    sys.exit(2 if not has_amx else int(short))


if __name__ == "__main__":
    main()

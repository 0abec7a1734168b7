"""How fast is the native engine? Alternating pairs with OpenVINO bf16, the bare rate of products between.

For each network (original, optimised) on one thread, then on all: native and OpenVINO take turns of at least
`--seconds` each; what counts is the median of the ratios of pairs, and the median share of the bare rate of
products measured between the turns (random data in tiles, kernels/cpu/rate.h). Expected on a CPU with AMX:
one thread ≥ 4.0 × for the original network and ≥ 3.8 × for the optimised one, all cores ≥ 3.0 ×, share ≥
0.50. A machine whose bare rate swings by more than 20 % within a line is "not settled". Then a whole run of
`--windows` × 3 members (≥ 0.95 of the engine alone), and the proofs of `native_proofs.py`.

Each run is kept in bench/results/native.json line by line, also those that fall short or are stopped; the
exit code is 1 when a line falls short or is not settled. Without AMX nothing is claimed of speed: the figures
of the other form are printed and kept, and the exit code is 2, or 1
where a proof falls short.

    python bench/native.py [--pairs 200] [--seconds 0.2] [--windows 20000] [--proofs bits,…|none]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import OPTIMISED, ORIGINAL, RESULTS, arguments, describe, family
from native_proofs import PARTS, PROMOTERS, STRANDS, prove

from legscore.dna.batch import Batch
from legscore.dna.one_hot import strands
from legscore.engine.choose import Request
from legscore.engine.fidelity import probe
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import FORMS, fastest_form, load_library, missing_form
from legscore.engine.recipe import load_recipe
from legscore.measure.whole_run import whole_run
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.forward import Forward
from legscore.model.graph import build_graph
from legscore.run.verify import DEFAULT_SHARE
from legscore.system.cores import usable_cores

WANTED = {
    ("original", "one thread"): 4.0,
    ("optimised", "one thread"): 3.8,
    ("original", "all cores"): 3.0,
    ("optimised", "all cores"): 3.0,
}
SHARE, SWING, RUN_SHARE, VERIFY_SHARE, BATCH = 0.50, 0.20, 0.95, 0.02, 16
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


def run_share(windows: int) -> dict[str, Any]:
    """A whole run against the engine alone, three members, `--verify` as it is by default; the core seconds
    of a run without a network, and what verifying takes of the engine's."""
    with tempfile.TemporaryDirectory() as folder:
        members = family(ORIGINAL, 3, Path(folder))
        run = whole_run([folder], windows, rounds=3, request=Request(engine="native"))
        host = whole_run([folder], windows, rounds=1, request=Request(engine="null"))
    few = probe(members[0].contract, 5, 0).expand()
    forward, began = Forward(members[0], both_strands=True, is_singleton=False), time.process_time()
    forward.score(few)
    verifying_s = (time.process_time() - began) / len(few) * DEFAULT_SHARE * windows
    return {
        **asdict(run),
        "of_engine": run.of_engine,
        "of_engine_cpu": run.of_engine_cpu,
        "host_cpu_s": host.run_cpu_s[0],
        "verify_share": verifying_s / float(np.median(run.engine_cpu_s)),
    }


class Kept:
    """This run's record in bench/results/native.json, written again after every line: each run is kept, also
    one that falls short or is stopped."""

    def __init__(self, form: str) -> None:
        self._path = RESULTS / "native.json"
        self._runs = json.loads(self._path.read_text())["runs"] if self._path.is_file() else []
        self.run: dict[str, Any] = {"form": form, "lines": [], "machine": describe(), "ended": False}

    def write(self) -> None:
        self._path.write_text(
            json.dumps({"bench": "native", "runs": [*self._runs, self.run]}, indent=1) + "\n"
        )


def verdict(line: dict[str, Any], claims: bool) -> str:
    """What is said of a line."""
    if not claims:
        return "no claim"
    if not line["settled"]:
        return f"not settled (the bare rate swings by {line['swing']:.0%})"
    return "holds" if line["holds"] else "falls short"


def main() -> None:
    options = arguments(__doc__ or "", pairs=200, seconds=0.2, windows=20_000, proofs=",".join(PARTS))
    claims, form = not missing_form("amx"), fastest_form()
    kept = Kept(form)
    print(f"form {form}" + ("" if claims else f": no claim is made ({missing_form('amx')})"))
    for (name, where), wanted in WANTED.items():
        line = pairs(name, where, form, options.pairs, options.seconds)
        line |= {"wanted": wanted, "wanted_share": SHARE}
        line["holds"] = line["ratio"] >= wanted and line["share"] >= SHARE
        kept.run["lines"].append(line)
        kept.write()
        print(
            f"{name}, {where}: {line['ratio']:.2f} × OpenVINO bf16 (wanted {wanted}), {line['share']:.2f} of "
            f"the bare rate of {line['bare_flop_per_s'] / 1e9:,.0f} GFLOP/s a thread (wanted {SHARE}), "
            f"{line['pairs']} pairs: {verdict(line, claims)}",
            flush=True,
        )
        print("  " + ", ".join(f"{stage} {share:.0%}" for stage, share in line["stages"].items()), flush=True)
    run = run_share(options.windows)
    kept.run["run"] = run
    kept.write()
    print(
        f"legscore run, {run['windows']:,} windows × {run['members']} members: {run['of_engine']:.3f} of the "
        f"engine alone, {run['of_engine_cpu']:.3f} of its core seconds (wanted {RUN_SHARE}); verifying takes "
        f"{run['verify_share']:.2%} of them (at most {VERIFY_SHARE:.0%} wanted)",
        flush=True,
    )
    parts = [] if options.proofs == "none" else options.proofs.split(",")
    kept.run["proofs"], kept.run["proofs_hold"] = parts, prove(parts, STRANDS, PROMOTERS) if parts else None
    kept.run["ended"] = True
    kept.write()
    lines_hold = all(line["holds"] and line["settled"] for line in kept.run["lines"])
    good = (
        lines_hold
        and run["of_engine"] >= RUN_SHARE
        and run["verify_share"] <= VERIFY_SHARE
        and kept.run["proofs_hold"] is not False
    )
    sys.exit(int(not good) if claims or kept.run["proofs_hold"] is False else 2)


if __name__ == "__main__":
    main()

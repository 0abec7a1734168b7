"""How fast is the native engine? Alternating pairs with OpenVINO bf16, the bare rate of products between.

For each network (original, optimised) on one thread, then on all: native and OpenVINO take turns of at least
`--seconds` each; what counts is the median of the ratios of pairs, and the median share of the bare rate of
products measured between the pairs (random data in tiles, kernels/cpu/rate.h). Expected on a CPU with AMX:
one thread ≥ 4.0 × for the original network and ≥ 3.8 × for the optimised one, all cores ≥ 3.0 ×, share ≥
0.50. A machine whose bare rate swings by more than 20 % within a line is "not settled". Then a whole run of
`--windows` × 3 members (≥ 0.95 of the engine alone), and the proofs of `native_proofs.py`.

Each run is kept in bench/results/native.json line by line, also those that fall short or are stopped; the
exit code is 1 when a line falls short or is not settled. Without AMX nothing is claimed of speed: the figures
of the other form are printed and kept, and the exit code is 2, or 1 where a proof falls short.

A part of it alone: `--lines original/1,optimised/all` (`none` for no line), `--windows 0`, `--proofs none`.

    python bench/native.py [--pairs 200] [--seconds 0.2] [--windows 20000] [--proofs bits,…|none] [--lines …]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable
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

WANTED = {"original/1": 4.0, "optimised/1": 3.8, "original/all": 3.0, "optimised/all": 3.0}
"""Lines: network / threads, and how many times as fast as OpenVINO native must be there."""
WHERE = {"1": "one thread", "all": "all cores"}
SHARE, SWING, RUN_SHARE, VERIFY_SHARE, BATCH, ROUNDS = 0.50, 0.20, 0.95, 0.02, 16, 3
NETWORKS = {"original": ORIGINAL, "optimised": OPTIMISED}
MOST_STRANDS = 1280
"""Strands for each thread that one call scores, at most."""


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


def strands_of_a_turn(ours: NativeEngine, codes_NL: np.ndarray, least: int, seconds: float) -> int:
    """How many strands one call scores: as many as last for about `seconds`, in steps of `least`, so that a
    slow machine's turn is no longer than it need be."""
    few = Batch(codes_NL[:least])
    ours.score(few)
    whole = int(seconds * turn(lambda: ours.score(few), seconds))
    return min(max(1, whole) * least, len(codes_NL))


def pairs(line: str, form: str, wanted_pairs: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    name, where = line.split("/")
    member = load_checkpoint(NETWORKS[name])
    threads = 1 if where == "1" else usable_cores()
    ours = NativeEngine([member], load_recipe("bf16"), both_strands=False, threads=threads, form=form)
    codes = probe(member.contract, MOST_STRANDS // 2 * threads, 0).expand()
    codes = codes[: strands_of_a_turn(ours, codes, BATCH * threads, seconds)]
    x = strands(codes, member.contract, both=False, is_singleton=False)
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
        "where": WHERE[where],
        "threads": threads,
        "strands_of_a_turn": len(codes),
        "pairs": len(rates),
        "native_per_s": float(np.median(native)),
        "openvino_per_s": float(np.median(openvino)),
        "ratio": float(np.median(native / openvino)),
        "share": float(np.median(native * flop / (bare * threads))),
        "bare_flop_per_s": float(np.median(bare)),
        "swing": swing,
        "stages": {stage: ticks[stage] / total for stage in ticks},
    }


def run_share(windows: int) -> dict[str, Any]:
    """A whole run against the engine alone, three members, `--verify` as it is by default; the core seconds
    of a run without a network, and what verifying takes of the engine's."""
    with tempfile.TemporaryDirectory() as folder:
        members = family(ORIGINAL, 3, Path(folder))
        run = whole_run([folder], windows, rounds=ROUNDS, request=Request(engine="native"))
        host = whole_run([folder], windows, rounds=1, request=Request(engine="null"))
    few = probe(members[0].contract, 5, 0).expand()
    forward, began = Forward(members[0], both_strands=True, is_singleton=False), time.process_time()
    forward.score(few)
    verifying_s = (time.process_time() - began) / len(few) * DEFAULT_SHARE * windows
    verify_share = verifying_s / float(np.median(run.engine_cpu_s))
    return {
        **asdict(run),
        "of_engine": run.of_engine,
        "of_engine_cpu": run.of_engine_cpu,
        "host_cpu_s": host.run_cpu_s[0],
        "verify_share": verify_share,
        "holds": run.of_engine >= RUN_SHARE and verify_share <= VERIFY_SHARE,
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


def judged(line: dict[str, Any], wanted: float) -> dict[str, Any]:
    """A line with what it must reach and whether it does."""
    holds = line["ratio"] >= wanted and line["share"] >= SHARE
    return {
        **line,
        "wanted": wanted,
        "wanted_share": SHARE,
        "settled": line["swing"] <= SWING,
        "holds": holds,
    }


def verdict(line: dict[str, Any], claims: bool) -> str:
    """What is said of a line."""
    if not claims:
        return "no claim"
    if not line["settled"]:
        return f"not settled (the bare rate swings by {line['swing']:.0%})"
    return "holds" if line["holds"] else "falls short"


def exit_code(run: dict[str, Any], claims: bool) -> int:
    """0 where all that was asked for holds, 1 where something falls short or is not settled, 2 where nothing
    is claimed of speed."""
    if run["proofs_hold"] is False:
        return 1
    if not claims:
        return 2
    lines_hold = all(line["holds"] and line["settled"] for line in run["lines"])
    return int(not (lines_hold and (run["run"] is None or run["run"]["holds"])))


def print_line(line: dict[str, Any], claims: bool) -> None:
    print(
        f"{line['network']}, {line['where']}: {line['ratio']:.2f} × OpenVINO bf16 (wanted {line['wanted']}), "
        f"{line['share']:.2f} of the bare rate of {line['bare_flop_per_s'] / 1e9:,.0f} GFLOP/s a thread "
        f"(wanted {SHARE}), {line['pairs']} pairs: {verdict(line, claims)}"
    )
    print("  " + ", ".join(f"{stage} {share:.0%}" for stage, share in line["stages"].items()), flush=True)


def print_run(run: dict[str, Any]) -> None:
    print(
        f"legscore run, {run['windows']:,} windows × {run['members']} members: {run['of_engine']:.3f} of the "
        f"engine alone, {run['of_engine_cpu']:.3f} of its core seconds (wanted {RUN_SHARE}); verifying takes "
        f"{run['verify_share']:.2%} of them (at most {VERIFY_SHARE:.0%} wanted)",
        flush=True,
    )


def asked(words: str, known: Iterable[str]) -> list[str]:
    """What a list of an option names. SystemExit at what is not known."""
    found = [] if words == "none" else words.split(",")
    if unknown := set(found) - set(known):
        raise SystemExit(f"{', '.join(sorted(unknown))} is not known; known are none, {', '.join(known)}")
    return found


def main() -> None:
    options = arguments(
        __doc__ or "", pairs=200, seconds=0.2, windows=20_000, proofs=",".join(PARTS), lines=",".join(WANTED)
    )
    lines, parts = asked(options.lines, WANTED), asked(options.proofs, PARTS)
    claims, form = not missing_form("amx"), fastest_form()
    kept = Kept(form)
    kept.run |= {"run": None, "proofs": parts, "proofs_hold": None}
    kept.write()
    print(f"form {form}" + ("" if claims else f": no claim is made ({missing_form('amx')})"), flush=True)
    for line in lines:
        found = judged(pairs(line, form, options.pairs, options.seconds), WANTED[line])
        kept.run["lines"].append(found)
        kept.write()
        print_line(found, claims)
    if options.windows:
        kept.run["run"] = run_share(options.windows)
        kept.write()
        print_run(kept.run["run"])
    if parts:
        kept.run["proofs_hold"] = prove(parts, STRANDS, PROMOTERS)
    kept.run["ended"] = True
    kept.write()
    sys.exit(exit_code(kept.run, claims))


if __name__ == "__main__":
    main()

"""Make a set of designs and write its files: what `legscore design` does."""

from __future__ import annotations

import contextlib
import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from legscore.design import outputs
from legscore.design.constraints import Rules
from legscore.design.final_check import broken_rules
from legscore.design.judge import Judge, mean_and_sd, open_judge
from legscore.design.keep import text_of
from legscore.design.options import DesignOptions
from legscore.design.plan import Plan, prepare
from legscore.design.produce import Chosen, Producer, choose
from legscore.design.starts import Starts, read_starts
from legscore.engine.choose import Request
from legscore.errors import LegscoreError
from legscore.generate.draws import start_codes
from legscore.generate.open_denoiser import open_denoiser
from legscore.generate.sample import Denoiser
from legscore.model.checkpoint import Checkpoint
from legscore.system.log import Say
from legscore.version import __version__

RANDOM_SEED = 1 << 50
Bar = Callable[[int, str], Callable[[int], object]]


def design(
    options: DesignOptions, say: Say = lambda line: None, bar: Bar = lambda total, unit: lambda done: None
) -> dict[str, Any]:
    """Make designs and write them.

    Args:
        bar: called with (expected work, its unit), returns what takes work done.

    Returns:
        The record: metadata of the output, counts, agreement of targets and scores, times; also in
            OUTPUT.run.json.

    Raises:
        LegscoreError: before any work, for what cannot be done; nothing is written then.
    """
    started, began = datetime.datetime.now(datetime.timezone.utc), time.perf_counter()
    plan = prepare(options, say)
    training = _read_training(options, plan, say)
    request = Request(options.engine, options.precision, device=options.device)
    with contextlib.ExitStack() as stack:
        judge = open_judge(plan.members, options.rc, request, plan.length, say)
        stack.callback(judge.close)
        denoiser, agreement = None, None
        if plan.generator is not None:
            denoiser, agreement = open_denoiser(plan.generator, request, say)
            stack.callback(denoiser.close)
        producer = _producer(options, plan, judge, denoiser, bar)
        chosen = choose(producer, options.min_distance)
        calls = judge.calls
        if not len(chosen.row_C):
            raise LegscoreError("no design is far enough from the others; lower --min-distance")
        _verify(chosen, options.rules, plan)
        random = _random_scores(judge, chosen, plan)
        check, checker = _check(options, plan, request, chosen)
        table = outputs.table_of(
            chosen, plan.target_N, judge.contract, _starts(plan, judge, chosen), check, training
        )
        found = outputs.agreement(table, random)
        metadata = {
            "legscore": __version__,
            "design": {
                **options.described(), "schedule": asdict(plan.schedule), "emphasis": plan.emphasis,
                "generator": _named(plan.generator), "judge": judge.describe(), "check": checker,
                "generator_engine": denoiser.describe() if denoiser else None,
                "generator_agreement": asdict(agreement) if agreement else None, "length": plan.length,
                "random": outputs.random_summary(random, found["random_mae"]),
            },
        }  # fmt: skip
    n = len(plan.target_N)
    record = {
        **metadata,
        "designs": len(chosen.row_C),
        "left_out": n - len(chosen.row_C),
        "predictor_calls": calls,
        "predictor_calls_per_design": round(calls / n, 2),
        "agreement": found,
        "output": options.output,
        "started": started.isoformat(timespec="seconds"),
        "host": platform.node(),
        "seconds": round(time.perf_counter() - began, 2),
        "generator_s": round(producer.generator_s, 3),
        "engine_share": round(producer.engine_s / producer.generator_s, 4) if producer.generator_s else None,
    }
    outputs.write(table, options.output, options.fasta, metadata)
    if options.report is not None:
        from legscore.design.report import write_report

        write_report(table, Path(options.report), record, Path(options.output).name)
    outputs.write_record(record, options.output)
    return record


def _read_training(options: DesignOptions, plan: Plan, say: Say) -> Starts | None:
    """The sequences of --training, to report the nearest to each design."""
    if options.training is None:
        return None
    training = read_starts(options.training, plan.members[0].contract, plan.length, strict=False)
    say(f"training: {len(training.names):,} sequences of {plan.length} bases to compare with")
    return training


def _producer(
    options: DesignOptions, plan: Plan, judge: Judge, denoiser: Denoiser | None, bar: Bar
) -> Producer:
    work = len(plan.target_N) * options.budget * (plan.schedule.steps if denoiser else 1)
    return Producer(
        options.method,
        judge,
        plan.constraints,
        plan.target_N,
        options.seed,
        options.budget,
        plan.schedule,
        plan.told_N,
        denoiser,
        plan.start_NL,
        bar(work, "steps" if denoiser else "calls"),
    )


def _check(
    options: DesignOptions, plan: Plan, request: Request, chosen: Chosen
) -> tuple[tuple[np.ndarray, np.ndarray] | None, dict[str, Any] | None]:
    """Mean and SD, float32 [C], by the models of --check, and what they are; None without any."""
    if not plan.checkers:
        return None, None
    checker = open_judge(plan.checkers, options.rc, request, plan.length, lambda line: None)
    try:
        return mean_and_sd(checker.scores(chosen.codes_CL)), checker.describe()
    finally:
        checker.close()


def _starts(plan: Plan, judge: Judge, chosen: Chosen) -> tuple[Starts, np.ndarray] | None:
    """What the chosen designs started from, and its scores, float32 [C]; None where nothing was given."""
    if plan.starts is None or plan.start_NL is None:
        return None
    codes = plan.start_NL[chosen.row_C]
    names = [plan.starts.names[row % len(plan.starts.names)] for row in chosen.row_C]
    return Starts(codes, names), mean_and_sd(judge.scores(codes))[0]


def _verify(chosen: Chosen, rules: Rules, plan: Plan) -> None:
    """AssertionError, a defect, should a design break a constraint after all."""
    contract = plan.members[0].contract
    for row, codes in zip(chosen.row_C, chosen.codes_CL, strict=True):
        start = None if plan.start_NL is None else text_of(plan.start_NL[row])
        if broken := broken_rules(text_of(codes), rules, contract, start):
            raise AssertionError(f"design {row} {broken[0]}, against the constraints")


def _random_scores(judge: Judge, chosen: Chosen, plan: Plan) -> np.ndarray:
    """Scores of as many random sequences, float32 [C]: what the designs are compared with."""
    codes = start_codes(RANDOM_SEED + np.arange(len(chosen.row_C)), plan.length)
    return mean_and_sd(judge.scores(codes))[0]


def _named(checkpoint: Checkpoint | None) -> dict[str, str] | None:
    return None if checkpoint is None else {"name": checkpoint.name, "sha256": checkpoint.sha256}


def summary(record: dict[str, Any]) -> list[str]:
    """Closing lines for the user."""
    a = record["agreement"]
    left = f" ({record['left_out']:,} left out: too near to others)" if record["left_out"] else ""
    lines = [f"designs: {record['designs']:,}{left}"]
    shown = f"error {a['mae']:.2f} on average, that of random sequences {a['random_mae']:.2f}"
    if a["pearson"] is not None:
        shown = f"target and score: Pearson {a['pearson']:.3f}, Spearman {a['spearman']:.3f}; {shown}"
    lines.append(shown)
    if "check_mae" in a:
        r = (
            ""
            if a["check_pearson"] is None
            else f"Pearson {a['check_pearson']:.3f}, Spearman {a['check_spearman']:.3f}; "
        )
        lines.append(f"by the models of --check: {r}error {a['check_mae']:.2f}")
    if "nearest_distance_min" in a:
        least, median = a["nearest_distance_min"], a["nearest_distance_median"]
        lines.append(f"nearest training sequence: at least {least} substitutions away, median {median:g}")
    share = (
        "" if record["engine_share"] is None else f", {record['engine_share']:.0%} of the loop in the engine"
    )
    lines.append(
        f"predictor calls: {record['predictor_calls']:,} ({record['predictor_calls_per_design']:g} a design)"
    )
    lines.append(f"time: {record['seconds']:,.1f} s{share}")
    if record["output"] != "-":
        lines.append(f"output: {record['output']} (record: {record['output']}.run.json)")
    return lines

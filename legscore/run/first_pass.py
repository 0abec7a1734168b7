"""The first pass of a cascade: a student scores every row, and its results choose those that the ensemble
scores again.

It is an ordinary run into kept parts (OUT.parts/student_scores), resumed like one. What can be wrong with the
second pass is found before it starts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import InputError, LegscoreError, ModelError
from legscore.input.read import Input
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.model.student import expected_recall, student_record
from legscore.output.parts import PartFolder
from legscore.output.remote_parts import locked_parts
from legscore.rows.schema import STATUS_CODE, STATUSES
from legscore.run.cascade import Cascade
from legscore.run.choice import Choice, Keys, choose, kept_results, keys_of, ranked_values, sample_share
from legscore.run.input_and_models import PreparedModels, checked_schema, prepare_input, prepare_models
from legscore.run.job import Workers
from legscore.run.options import Options, Staging
from legscore.run.pipeline import scored_parts
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.record import Summary
from legscore.run.rescore import ABS_EFFECT, Rescore
from legscore.run.rescore_check import chosen_line
from legscore.run.resume import resuming, start_event
from legscore.run.settings import resolve_rc
from legscore.system.log import RunLog, Say, StartProgress

HELD_ROWS = 1 << 24
"""Most rows whose keys are held in memory, 4 bytes each; those of more rows are read again where needed."""


@dataclass(frozen=True)
class FirstPass:
    """A first pass, checked together with the second.

    Attributes:
        options: of the student's run. opened: the input of both passes.
        rescore: which rows the ensemble scores again. sample_share: of all rows, to check the choice.
        is_its_ensemble: whether the student was distilled from the very models of the second pass.
    """

    options: Options
    opened: Input
    rescore: Rescore
    sample_share: float
    is_its_ensemble: bool


def check_both_passes(options: Options, place: str) -> FirstPass:
    """Find what is wrong with either pass before any row is scored.

    Args:
        options: of the second pass, with `student` and `rescore`. place: of the student's parts.

    Raises:
        LegscoreError: input, models, student and options do not go together.
    """
    assert options.student is not None
    assert options.rescore is not None
    rescore, source = Rescore.parse(options.rescore), prepare_input(options)
    models = prepare_models(options, source, lambda line: None)
    if models.adaptive is not None:
        models.adaptive.close()
    checked_schema(options, source, models)
    _check_rows(rescore, models, source.roles.kind.windows, options)
    is_its_ensemble = _check_student(options, models.members)
    return FirstPass(
        student_options(options, models.sequence_is, place),
        source.opened,
        rescore,
        sample_share(options.rescore_sample, source.opened.n_rows),
        is_its_ensemble,
    )


def student_options(options: Options, sequence_is: str, place: str) -> Options:
    """The student's run: what it reads is that of the ensemble, what is written is the second pass's."""
    assert options.student is not None
    return replace(
        options,
        models=(options.student,),
        output=f"{place}.parquet",  # its format alone counts: nothing is written there
        format=None,
        sequence_is=sequence_is,
        keep="none",
        rc=None,
        per_model=False,
        allow_duplicates=False,
        until_se=None,
        calibration=None,
        file_rows=None,
        student=None,
        rescore=None,
        rescore_sample=None,
        force_student=False,
    )


def _check_rows(rescore: Rescore, models: PreparedModels, windows: int, options: Options) -> None:
    """LegscoreError where the rows have nothing that they could be chosen by, or a student cannot stand for
    how they are read."""
    if windows == 1 and rescore.quantity == ABS_EFFECT:
        raise InputError(
            f"--rescore {rescore.text!r} chooses rows by their effect, which single sequences have none of; "
            "choose them by their score: --rescore 'score>12', or 'score<4'"
        )
    if windows == 2 and rescore.quantity != ABS_EFFECT:
        raise InputError(
            f"--rescore {rescore.text!r}: these rows compare two sequences and are chosen by their effect, "
            "such as --rescore 'abs_effect>2'"
        )
    if models.sequence_is == "window":
        raise InputError(
            "--student reads inserts, and the window around one is longer for the ensemble than for it; "
            "score inserts or oligos, or score windows without --student"
        )
    if models.rc != resolve_rc(models.contract, None, models.sequence_is):
        raise LegscoreError(
            f"--rc {options.rc}: the student stands for scores on the strands that the models were trained "
            "on; leave --rc out"
        )


def _check_student(options: Options, members: list[Checkpoint]) -> bool:
    """Whether the student was distilled from these very models.

    Raises:
        ModelError: it is no student, or was distilled from others and that is not asked for, or its scores
            mean something else.
    """
    assert options.student is not None
    found = load_members([options.student])
    record = student_record(found[0])
    if len(found) > 1 or record is None:
        raise ModelError(
            f"--student {options.student} is {'several models' if len(found) > 1 else 'no student'}; it "
            "takes one model that legscore distill made"
        )
    if other := next((member for member in members if student_record(member)), None):
        raise ModelError(
            f"{other.path} is a student; with --student the models are the ensemble it stands for"
        )
    mine, theirs = members[0].contract.output, found[0].contract.output
    if mine != theirs:
        raise ModelError(f"--student {options.student}: its scores are {theirs}, those of the models {mine}")
    taught = sorted(str(model.get("sha256")) for model in record["teacher"])
    given = sorted(member.sha256 for member in members)
    if taught != given and not options.force_student:
        shared = len(set(taught) & set(given))
        raise ModelError(
            f"--student {options.student} stands for {len(taught)} other models, or not all the same "
            f"({shared} of them are among these {len(given)}): distill a student of these, or add "
            "--force-student"
        )
    return taught == given


def score_by_student(
    first: FirstPass,
    place: str,
    staging: Staging,
    *,
    say: Say,
    progress: StartProgress | None,
    log: RunLog,
    workers: Workers | None,
) -> tuple[Cascade, int]:
    """Score every row with the student, or resume that, and choose the rows of the second pass.

    Args:
        first: the pass, checked. place: where parts are kept. staging: of the run.
        say, progress, log, workers: as of `legscore.run.job.score`.

    Returns:
        What the second pass needs, and the rows of a part in both.

    Raises:
        LegscoreError: as of `legscore.run.job.score`; the parts kept so far stay.
    """
    options = first.options
    decisions: list[str] = []

    def tell(line: str) -> None:
        decisions.append(str(line))
        say(line)

    say("pass 1 of 2: the student scores every row")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(locked_parts(options.output, place, Path(place)))
        opener = workers.open_engine if workers is not None else None
        plan = stack.enter_context(prepared(options, tell, opener, data=first.opened))
        log.event("start", inputs=list(map(str, options.inputs)), **start_event(plan, options.shard))
        stack.enter_context(
            resuming(plan, store, say, log, derived_input=staging.derived_input, restart=options.restart)
        )
        tick = progress(plan.n_rows, 1) if progress else lambda rows: None
        summary, began = Summary(), time.perf_counter()
        if workers is not None:
            workers.score(plan, store, tick, log)
        else:
            with contextlib.closing(scored_parts(plan, store, summary, tick, log.event)) as tables:
                for _ in tables:  # kept, not written
                    pass
        told = {
            "seconds": round(time.perf_counter() - began, 3),
            "rows_resumed": summary.rows_resumed,
            "decisions": decisions,
            "verify": plan.verifier.record() if plan.verifier else None,
        }
        return _cascade(first, plan, store, told, say), plan.part_rows


def _cascade(first: FirstPass, plan: Plan, store: PartFolder, told: dict[str, Any], say: Say) -> Cascade:
    """What the second pass needs, from the student's parts; what was chosen is said."""
    rescore, by_status = first.rescore, np.zeros(len(STATUSES), dtype=np.int64)

    def read() -> Iterator[tuple[int, np.ndarray]]:
        by_status[:] = 0
        for row, results in kept_results(store, plan.numbers, plan.part_rows, plan.opened.n_rows):
            by_status[:] += np.bincount(results.status_N, minlength=len(STATUSES))
            yield row, keys_of(ranked_values(results), rescore.quantity, below=rescore.below)

    held = list(read()) if plan.n_rows <= HELD_ROWS else None

    def keys() -> Iterable[tuple[int, np.ndarray]]:
        return read() if held is None else held

    choice = choose(rescore, keys, first.sample_share)
    student = plan.metadata["models"][0]
    counted = _counted(choice, keys)
    share = counted["chosen_rows"] / max(counted["ranked_rows"], 1)
    promised = first.is_its_ensemble and rescore.quantity == ABS_EFFECT
    counted |= {
        "share": share,
        "expected": expected_recall(student["student"], share) if promised else None,
        "fixed": not rescore.is_rank,
        "first_pass": told,
    }
    described = {
        "student": student,
        "engine": plan.metadata["engine"],
        "fidelity": plan.metadata["fidelity"],
        "rescore": rescore.text,
        **choice.to_json(),
        "ties": "by row",
        "sample": {"share": choice.sample_share, "seed": choice.seed},
    }
    say(chosen_line(described | counted))
    for line in _about(first, counted, by_status):
        say(line)
    return Cascade(store.where, choice, described, counted)


def _counted(choice: Choice, keys: Keys) -> dict[str, Any]:
    """How many rows can be chosen, and how many are."""
    counts = np.zeros(2, dtype=np.int64)
    for first_row, part in keys():
        counts += [np.isfinite(part).sum(), choice.chosen(part, first_row).sum()]
    return {"ranked_rows": int(counts[0]), "chosen_rows": int(counts[1])}


def _about(first: FirstPass, counted: dict[str, Any], by_status: np.ndarray) -> Iterator[str]:
    """Lines about what the choice rests on."""
    if not first.is_its_ensemble:
        yield "        the student stands for other models (--force-student), so nothing is expected of it"
    elif counted["expected"] is None and first.rescore.quantity == ABS_EFFECT:
        yield "        the student's record does not say what that finds; distill it again for a promise"
    yield "        size alone chooses: adding rows where a student is unsure found no more of the largest"
    if lengths := sum(int(by_status[STATUS_CODE[name]]) for name in ("too_short", "too_long")):
        yield f"        the ensemble also scores {lengths:,} rows of lengths that the student does not read"

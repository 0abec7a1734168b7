"""A scoring job: options → checked plan → run → record. What `legscore run` and `legscore.score_file` share.

Everything that can be wrong with input, models, options or output is found before the first row is scored.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.errors import OutputError
from legscore.input.read import Input
from legscore.model.checkpoint import Checkpoint
from legscore.output.parts import PartFolder, parts_folder
from legscore.output.remote_parts import locked_parts
from legscore.output.write import output_format
from legscore.run.dataset import (
    check_folder,
    check_replaced,
    file_name,
    n_files,
    remove_previous_files,
    run_files,
)
from legscore.run.finished import asked_of, earlier_output, finished_record
from legscore.run.open_engines import OpenEngine
from legscore.run.options import DIRECT, Options, Staging
from legscore.run.pipeline import run
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.record import Summary, circumstances, mostly_unscored
from legscore.run.resume import resuming, start_event
from legscore.system.json_records import sealed
from legscore.system.log import Progress, RunLog, Say, StartProgress
from legscore.system.overwrite import check_apart
from legscore.system.publish import (
    base_of,
    check_moves,
    check_output,
    is_dataset,
    is_stream,
    record_of,
    remove_stale,
    write_record,
    written_by,
)
from legscore.system.storage import is_remote


class Workers(Protocol):
    """Other processes that score the parts of a run (`legscore.cluster`); this one then joins them."""

    def open_engine(self, members: Sequence[Checkpoint], request: Request, say: Say) -> Engine:
        """What stands for the engines that score."""

    def score(self, plan: Plan, store: PartFolder, tick: Progress, log: RunLog) -> set[int]:
        """Have every part scored that the store lacks; the parts that were."""

    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""


def score(
    options: Options,
    staging: Staging = DIRECT,
    *,
    say: Say = lambda line: None,
    progress: StartProgress | None = None,
    log: RunLog | None = None,
    workers: Workers | None = None,
    opener: OpenEngine | None = None,
    data: Input | None = None,
) -> dict[str, Any]:
    """Run a job, or resume one that was interrupted.

    Args:
        options: what to do.
        staging: what the code around the run arranged, where the input was made of something else.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows done since its
            last call.
        log: receives events and warnings; by default warnings go to `say`.
        workers: scores the parts; without it this process does.
        opener: opens the engine, instead of the workers or `legscore.engine.open_engine.open_engine`.
        data: the input, where it is opened already.

    Returns:
        The run's record: metadata of the output plus paths, times, rates and counts; also written to
        OUTPUT.run.json.

    Raises:
        LegscoreError: what was asked for cannot be done, or went wrong; the parts kept so far stay.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    _check_output_name(options)
    with contextlib.ExitStack() as stack:
        store, asked = stack.enter_context(_kept_parts(options, staging)), staging.asked
        if store is not None:
            asked = asked_of(options) if asked is None else asked
            finished = finished_record(
                options.output, [options.output], asked, store, force=options.force, on_replace=say
            )
            if finished is not None:
                if not store.is_begun():  # what a kill left of parts that were being thrown away
                    store.clear()
                return finished
            if options.force and is_dataset(options.output):
                check_replaced(options.output)
        if opener is None and workers is not None:
            opener = workers.open_engine
        decisions: list[str] = []

        def tell(line: str) -> None:
            decisions.append(str(line))
            say(line)

        plan = stack.enter_context(prepared(options, tell, opener, data=data, cascade=staging.cascade))
        log = log or RunLog(say=say)
        shown = [str(path) for path in staging.shown_inputs or options.inputs]
        log.event("start", inputs=shown, **start_event(plan, options.shard))
        if store is not None:
            if (options.restart or options.force) and is_dataset(options.output):
                remove_previous_files(options.output)
            stack.enter_context(
                resuming(plan, store, say, log, derived_input=staging.derived_input, restart=options.restart)
            )
        tick = progress(plan.n_rows, plan.engine.n_members) if progress else lambda rows: None
        summary = _scored(plan, store, tick, log, workers)
        if told := mostly_unscored(summary.status_counts):
            log.warn("most rows without a score", told)
        record = {**plan.metadata, **circumstances(options, staging, summary, started, plan.engine.n_members)}
        record["decisions"] = decisions
        if workers is not None:
            record["cluster"] = workers.record()
        record["verify"] = plan.verifier.record() if plan.verifier else None
        record |= _told_of_students(plan, store, summary, log)
        if store is not None:
            record |= {"asked": asked, "output_files": _written(plan, store)}
            write_record(options.output, sealed(record))
            if staging.parts is None:
                store.clear()
    return record


def _told_of_students(plan: Plan, store: PartFolder | None, summary: Summary, log: RunLog) -> dict[str, Any]:
    """What the record says of a cascade and what it found, or of the thresholds of a run with a student
    alone."""
    if plan.cascade is not None:
        from legscore.run.rescore_check import below_promise, check_of

        cascade = plan.cascade
        found = {**cascade.described, **cascade.counted, **check_of(cascade.choice, summary.checks)}
        if told := below_promise(found):
            log.warn("cascade below its promise", told)
        return {"cascade": found}
    alone = len(plan.metadata["models"]) == 1 and "student" in plan.metadata["models"][0]
    if store is None or not alone or plan.roles.kind.windows != 2:
        return {}
    from legscore.run.choice import common_thresholds, kept_results, keys_of, ranked_values
    from legscore.run.rescore import ABS_EFFECT

    def keys() -> Iterator[tuple[int, Any]]:
        for row, results in kept_results(store, plan.numbers, plan.part_rows, plan.opened.n_rows):
            yield row, keys_of(ranked_values(results), ABS_EFFECT)

    return {"thresholds": common_thresholds(keys)}


def _written(plan: Plan, store: PartFolder) -> dict[str, Any]:
    """Checksums of the files of the output, as they were when they got their names."""
    if plan.parts_a_file:
        names = [file_name(number) for number in range(n_files(plan))]
    else:
        names = [base_of(plan.output).rpartition("/")[2]]
    noted = {name: store.noted(f"output-{name}") for name in names}
    return {name: found.to_json() for name, found in noted.items() if found}


def _check_output_name(options: Options) -> None:
    """OutputError when the output is an input, cannot be written, or its format is none."""
    if not options.output:
        raise OutputError("an empty name was given for the output; is a shell variable unset?")
    check_apart(
        {"-o": written_by(options.output)},
        [*options.inputs, options.calibration, options.background, options.recipe],
        options.named_models,
        earlier_output(options.output, force=options.force),
    )
    check_output(options.output)
    output_format(options.output, options.format)


@contextlib.contextmanager
def _kept_parts(options: Options, staging: Staging) -> Iterator[PartFolder | None]:
    """The folder of kept parts, locked; None for a stream, which keeps nothing."""
    output = options.output
    if is_stream(output):
        yield None
        return
    with locked_parts(output, staging.parts, parts_folder(output)) as store:
        if not is_remote(output):
            remove_stale(base_of(output), record_of(output))
            check_moves(store.folder, output)
        if is_dataset(output):
            check_folder(output)
        yield store


def _scored(
    plan: Plan, store: PartFolder | None, tick: Progress, log: RunLog, workers: Workers | None
) -> Summary:
    """Score the parts, here or by workers, and publish the output: a file, or a folder of files."""
    if store is None:
        return run(plan, None, tick, log.event)
    publish = run_files if plan.parts_a_file else run
    if workers is None:
        return publish(plan, store, tick, log.event)
    begun = time.perf_counter()
    fresh = workers.score(plan, store, tick, log)  # tells of the parts, too
    scored_s = time.perf_counter() - begun
    summary = publish(plan, store, fresh=fresh)
    summary.seconds += scored_s
    return summary

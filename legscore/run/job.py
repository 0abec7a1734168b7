"""A scoring job: options → checked plan → run → record. What `legscore run` and `legscore.score_file` share.

Everything that can be wrong with input, models, options or output is found here, before the first row is
scored.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.errors import OutputError
from legscore.model.checkpoint import Checkpoint
from legscore.output.parts import PartFolder, parts_folder
from legscore.output.remote_parts import locked_parts
from legscore.output.shards import KEY as SHARD
from legscore.output.write import output_format
from legscore.run.dataset import check_free, remove_previous_files, run_files
from legscore.run.options import Options
from legscore.run.pipeline import run
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.record import _circumstances
from legscore.run.resume import resuming, start_event
from legscore.system.log import RunLog, Say, StartProgress
from legscore.system.publish import base_of, check_output, is_dataset, record_of, remove_stale, write_record
from legscore.system.storage import Remote, is_remote, stamp


class Workers(Protocol):
    """Other processes that score the parts of a run (`legscore.cluster`); this one then joins them."""

    def open_engine(self, members: Sequence[Checkpoint], request: Request, say: Say) -> Engine:
        """What stands for the engines that score."""

    def score(
        self, plan: Plan, store: PartFolder, options: Options, tick: Callable[[float], object], log: RunLog
    ) -> set[int]:
        """Have every part scored that the store lacks; the parts that were."""

    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""


def score(
    options: Options,
    *,
    say: Say = lambda line: None,
    progress: StartProgress | None = None,
    log: RunLog | None = None,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Run a job, or go on with one that was interrupted.

    Args:
        options: what to do.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows done since its
            last call.
        log: receives events and warnings; by default warnings go to `say`.
        workers: scores the parts; without it this process does.

    Returns:
        The run's record: metadata of the output plus paths, times, rates and counts; also written to
        OUTPUT.run.json.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    to_file = options.output != "-"
    if to_file:
        if not options.output:
            raise OutputError("an empty name was given for the output; is a shell variable unset?")
        check_output(options.output)
    output_format(options.output, options.format)
    with contextlib.ExitStack() as stack:
        store = None
        if to_file:
            store = stack.enter_context(
                locked_parts(options.output, options.parts, parts_folder(options.output))
            )
            if not is_remote(options.output):
                remove_stale(base_of(options.output), record_of(options.output))
            if is_dataset(options.output):
                check_free(options.output, store)
        plan = stack.enter_context(prepared(options, say, workers.open_engine if workers else None))
        log = log or RunLog(say=say)
        inputs = [str(path) for path in options.shown_inputs or options.inputs]
        log.event("start", inputs=inputs, **start_event(plan, options.shard))
        if store is not None:
            if options.restart and is_dataset(options.output):
                remove_previous_files(options.output, store)
            stack.enter_context(
                resuming(plan, store, say, log, derived_input=options.derived_input, restart=options.restart)
            )
        tick = progress(plan.n_rows, plan.engine.n_members) if progress else lambda rows: None
        if workers is not None and store is not None:
            begun = time.perf_counter()
            fresh = workers.score(plan, store, options, tick, log)
            scored_s = time.perf_counter() - begun
            # told when they were scored
            summary = (run_files if plan.parts_a_file else run)(plan, store, fresh=fresh)
            summary.seconds += scored_s
        elif plan.parts_a_file and store is not None:
            summary = run_files(plan, store, tick, log.event)
        else:
            summary = run(plan, store, tick, log.event)
        record = {**plan.metadata, **_circumstances(options, summary, started, plan.engine.n_members)}
        if workers is not None:
            record["cluster"] = workers.record()
        record["verify"] = plan.verifier.verified.record() if plan.verifier else None
        if to_file:
            if SHARD in record:
                record["output_bytes"] = stamp(
                    Remote(options.output) if is_remote(options.output) else Path(options.output)
                ).size
            write_record(options.output, json.dumps(record, indent=1) + "\n")
        if store is not None and options.parts is None:
            store.clear()
    return record

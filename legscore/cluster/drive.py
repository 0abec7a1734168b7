"""The driver of a run on Ray: parts scored by a pool of actors, then joined by the ordinary pipeline.

Actors keep parts where a run on one machine would keep them, with the same record. So whatever dies, what was
scored is kept; the same command, with Ray or without, resumes from it and ends with the same bytes. This
module holds only what is in between: which parts are missing, whether actors agree, what is reported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from legscore.cluster.connect import connected
from legscore.cluster.options import ClusterOptions
from legscore.cluster.placeholder import PlaceholderEngine
from legscore.cluster.pool import Actor, Pool
from legscore.cluster.schedule import Schedule, consecutive_runs
from legscore.cluster.table import closing_table
from legscore.cluster.worker import PartDone, Ready
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.errors import ClusterError, shorten
from legscore.measure.dry_run import MEASURED_S, Expected
from legscore.model.checkpoint import Checkpoint
from legscore.output.part_file import DamagedPartError
from legscore.output.parts import PartFolder
from legscore.run.dataset import n_files
from legscore.run.options import Options, Staging
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.resume import fingerprint
from legscore.system.json_records import difference
from legscore.system.log import RunLog, Say
from legscore.system.memory import parse_bytes
from legscore.system.storage import is_remote

LEAST_PARTS = 4
"""Parts a worker below which the work is shared unevenly enough to be said."""


class Cluster:
    """A connection to Ray and the actors of one run; what `legscore.run.job.score` takes as `workers`. A
    context."""

    def __init__(self, options: ClusterOptions, job: Options, staging: Staging, log: RunLog) -> None:
        self._options, self._job, self._staging, self._log = options, job, staging, log
        self._stack = ExitStack()
        self._pool: Pool | None = None
        self._schedule = Schedule((), options.retries)
        self._elapsed_s = 0.0
        self._retried = 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def open_engine(self, members: Sequence[Checkpoint], request: Request, say: Say) -> Engine:
        """Connect, start the actors and wait for the first: its engine is what the run's engine is."""
        ray = self._stack.enter_context(connected(self._options))
        memory = parse_bytes(self._job.memory) if self._job.memory else None
        job = worker_job(self._job, self._staging, self._options)
        self._pool = Pool(ray, self._options, job, memory, self._tell_fault)
        self._stack.callback(self._pool.close)
        say(
            f"ray: {self._options.address}, {len(self._pool.actors)} workers of "
            f"{describe_resources(self._options)}"
        )
        first = self._pool.first_ready()
        for line in first.said:
            say(line)
        return PlaceholderEngine(first.engine, members[0].contract)

    def expect(self, options: Options, say: Say) -> tuple[Expected, int]:
        """What the run would do, measured by one worker, and how many workers there are."""
        with prepared(options, say, self.open_engine):
            assert self._pool is not None
            return self._pool.measure(MEASURED_S), len(self._pool.actors)

    def score(self, plan: Plan, store: PartFolder, tick: Callable[[float], object], log: RunLog) -> set[int]:
        """Score every part that is missing.

        Raises:
            ClusterError: parts failed again and again (they are named, all others are kept), or the run
                cannot go on.
        """
        assert self._pool is not None
        started = time.perf_counter()
        mine = fingerprint(
            plan.opened,
            plan.metadata,
            plan.schema,
            plan.output,
            plan.format_name,
            derived_input=self._staging.derived_input,
        )
        missing, done = self._missing(plan, store, tick)
        self._schedule = Schedule(missing, self._options.retries)
        if missing and len(plan.numbers) < LEAST_PARTS * len(self._pool.actors):
            self._log.warn(
                "few parts",
                f"{len(plan.numbers)} parts for {len(self._pool.actors)} workers are shared unevenly; "
                f"--part-rows below {plan.part_rows:,} makes more (the output's record says it)",
            )
        answers = _Answers(plan, mine, tick, log, done)
        whole = bool(plan.parts_a_file)
        try:
            if missing:
                self._pool.run(self._schedule, store.where, answers.check, answers.on_part, last=not whole)
        finally:
            self._elapsed_s = time.perf_counter() - started
        if self._schedule.poison:
            raise ClusterError(
                self._poisoned(plan, store, self._schedule, "part", plan.part_rows, len(plan.numbers))
            )
        if whole:  # the workers write the files, so that no process joins everything
            files = Schedule(range(n_files(plan)), self._options.retries)
            self._pool.run(files, store.where, answers.check, answers.on_file, "write")
            self._retried += files.retried
            if files.poison:
                rows = plan.part_rows * plan.parts_a_file
                raise ClusterError(self._poisoned(plan, store, files, "file", rows, n_files(plan)))
        return answers.fresh

    def _missing(
        self, plan: Plan, store: PartFolder, tick: Callable[[float], object]
    ) -> tuple[list[int], int]:
        """Numbers of the parts to score, and rows of the others. Damaged parts are found now, not at the
        end."""
        missing, done, there = [], 0, store.numbers()
        for number in plan.numbers:
            rows = min(plan.part_rows, plan.opened.n_rows - number * plan.part_rows)
            try:
                kept = number in there and store.load(number, rows) is not None
            except DamagedPartError as error:
                self._log.event("retry", part=number, reason=str(error))
                kept = False
            if not kept:
                missing.append(number)
                continue
            done += rows
            self._log.event(
                "part", part=number, rows=rows, rows_done=done, rows_total=plan.n_rows, resumed=True
            )
            tick(rows)
        return missing, done

    def _tell_fault(self, worker: str, part: int | None, reason: str) -> None:
        if part is None:
            self._log.warn("worker start", f"{worker} could not be started: {reason}")
        else:
            self._log.event("retry", part=part, reason=f"{worker}: {reason}", kind="worker")

    def _poisoned(
        self, plan: Plan, store: PartFolder, schedule: Schedule, what: str, rows: int, n: int
    ) -> str:
        named = []
        for run in consecutive_runs(schedule.poison):
            first, stop = run.start * rows, min(run.stop * rows, plan.opened.n_rows)
            those = f"{what} {run.start}" if len(run) == 1 else f"{what}s {run.start} to {run.stop - 1}"
            named.append(f"{those} (rows {first + 1:,} to {stop:,}): {schedule.poison[run.start]}")
        return (
            f"{len(schedule.poison)} of {n:,} {what}s failed {self._options.retries + 1} times each: "
            f"{shorten(named, 3)}. The others are kept ({store.where}); the same command tries these again"
        )

    def record(self) -> dict[str, Any]:
        """Workers, retries and what each did; rates in rows a second, utilisation as a share of the time
        since each was ready."""
        actors = self._pool.everyone if self._pool else []
        now = time.monotonic()
        return {
            "ray": asdict(self._options),
            "seconds": round(self._elapsed_s, 3),
            "retries": self._schedule.retried + self._retried,
            "workers": [
                {
                    "worker": actor.name,
                    "rows": actor.rows,
                    "parts": actor.n_parts,
                    "deaths": actor.deaths,
                    "busy_s": round(actor.busy_s, 3),
                    "open_s": round(actor.open_s, 3),
                    "utilisation": round(min(actor.busy_s / actor.open_for(now), 1.0), 4)
                    if actor.since
                    else 0.0,
                }
                for actor in actors
            ],
        }

    def lines(self) -> list[str]:
        """The closing table."""
        return closing_table(self.record())


class _Answers:
    """Handles the answers of workers: they are ready, a part is scored, a file is written."""

    def __init__(
        self, plan: Plan, mine: dict[str, Any], tick: Callable[[float], object], log: RunLog, done: int
    ) -> None:
        """`mine`: what this run's parts belong to; `done`: rows of parts that were there already."""
        self._plan, self._mine, self._tick, self._log, self._done = plan, mine, tick, log, done
        self.fresh: set[int] = set()

    def check(self, ready: Ready) -> None:
        """ClusterError unless a worker would make the very parts of this run."""
        here, there = (json.loads(json.dumps(record)) for record in (self._mine, ready.record))
        if found := difference(here, there, words=("is", "here and")):
            raise ClusterError(
                f"worker on {ready.host} does not fit this run: {found} there; workers must be alike"
            )
        seconds = round(ready.seconds, 3)
        self._log.event("worker", host=ready.host, process=ready.pid, cores=ready.cores, seconds=seconds)

    def on_part(self, actor: Actor, part: PartDone) -> None:
        """A part is scored and kept."""
        plan = self._plan
        self.fresh.add(part.number)
        self._done += part.rows
        actor.rows += part.rows
        actor.n_parts += 1
        if plan.verifier is not None:
            plan.verifier.compared.add(part.compared)
        counts = {"rows": part.rows, "rows_done": self._done, "rows_total": plan.n_rows}
        self._log.event("part", part=part.number, **counts, resumed=False, worker=actor.name)
        self._tick(part.rows)

    def on_file(self, actor: Actor, file: PartDone) -> None:
        """A file of a folder output is written."""
        self._log.event("file", file=file.number, rows=file.rows, worker=actor.name)


def worker_job(job: Options, staging: Staging, options: ClusterOptions) -> dict[str, Any]:
    """What an actor opens: the options, with absolute paths and all of its GPUs, whether the input is
    derived, and what a student's pass left."""
    device = "all" if options.num_gpus > 1 else None
    changed = replace(
        job,
        inputs=[absolute(path) for path in job.inputs],
        output=absolute(job.output),
        models=[absolute(name) if os.path.exists(name) else name for name in job.models],
        device=device,
        recipe=absolute(job.recipe) if job.recipe and os.path.exists(job.recipe) else job.recipe,
        calibration=absolute(job.calibration) if job.calibration else None,
        student=absolute(job.student) if job.student and os.path.exists(job.student) else job.student,
        columns=dict(job.columns),
    )
    fields = {name: getattr(changed, name) for name in Options.__dataclass_fields__}
    return {"options": fields, "derived_input": staging.derived_input, "cascade": staging.cascade}


def absolute(path: str) -> str:
    """A path that means the same in another process's folder."""
    return path if is_remote(path) else os.path.abspath(path) + ("/" if path.endswith("/") else "")


def describe_resources(options: ClusterOptions) -> str:
    """`2 cores` or `1 core and 1 GPU`."""
    text = f"{options.num_cpus} core{'s' if options.num_cpus > 1 else ''}"
    return text + (
        f" and {options.num_gpus:g} GPU{'s' if options.num_gpus > 1 else ''}" if options.num_gpus else ""
    )

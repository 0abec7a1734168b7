"""THE PAGE: the whole machine, from a table of sequences to a table of scores.

    read → window → score → reduce → keep → write

Reading with windowing, scoring, keeping and writing run in threads of their own and overlap; queues are bounded, order is
kept, an exception in any stage ends the run and leaves no output. Results of a part are kept as soon as they are there
(`legscore.parts`); a run that goes on takes them from there and scores the rest. Expected: at least 0.93 of the engine
alone, since all other stages together cost about 3 µs a window (`bench/end_to_end.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.adaptive import Until
from legscore.calibration import COLUMNS, Calibration
from legscore.engine.base import Engine
from legscore.heldout import Group, HeldOut, merge
from legscore.limits import Budget, Limits
from legscore.parts import DamagedPartError, PartFolder, Scored
from legscore.read import Input, Part, role_array
from legscore.reduce import reduce_scores
from legscore.schema import RESULT_COLUMNS, STATUSES, Roles
from legscore.stream import apply, background, gathered, in_flight
from legscore.verify import Guard
from legscore.window import Windower
from legscore.write import open_writer, result_schema, result_table

QUEUE_PARTS = 1
"""Parts that wait between two stages. The engine keeps two of its own; more only costs memory."""
KEEPING = 4
"""Parts kept at once: a disk may take longer to sync one than a fast engine to score it, but hardly longer for several."""


def part_rows(n_members: int, engine: str = "") -> int:
    """Rows of a part: about the same work whatever the ensemble, more for an engine on GPUs, where a part should be many
    passes of thousands of rows, one or two minutes on two cores of a CPU: that much is lost when a run is killed. More than
    8,192 there would only cost memory. Never from timing: bytes depend on it."""
    least, most, whole = (32_768, 262_144, 262_144) if engine == "tensorrt" else (1024, 8_192, 16_384)
    return min(max(least, whole // n_members), most)


def output_schema(
    opened: Input,
    kept: Sequence[str],
    roles: Roles,
    members: int,
    per_model: bool,
    varying: bool = False,
    calibrated: bool = False,
) -> pa.Schema:
    """Columns of the output."""
    results = RESULT_COLUMNS[roles.kind.windows]
    lists = [f"{name}_per_model" for name in results if not name.endswith("_sd")] if per_model else []
    named = [*results, *(COLUMNS if calibrated else ())]
    return result_schema([opened.schema.field(c) for c in kept], named, lists, members, varying)


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first row: what to read, how to window, what to write where."""

    opened: Input
    roles: Roles
    kept: tuple[str, ...]
    windower: Windower
    engine: Engine
    output: str
    format_name: str
    part_rows: int
    schema: pa.Schema
    per_model: bool
    metadata: dict[str, Any]
    held_out: HeldOut | None = None
    until: Until | None = None
    parts: range | None = None
    """Numbers of the parts to score; all of the input's when None."""
    limits: Limits = field(default_factory=lambda: Limits.of(None))
    guard: Guard | None = None
    calibration: Calibration | None = None
    parts_a_file: int = 0
    """Where the output is a folder of files (`legscore.dataset`)."""

    @property
    def numbers(self) -> range:
        return range(self.opened.n_parts(self.part_rows)) if self.parts is None else self.parts

    @property
    def n_rows(self) -> int:
        """Rows of the parts to score."""
        first, stop = (min(number * self.part_rows, self.opened.n_rows) for number in (self.numbers.start, self.numbers.stop))
        return stop - first

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to read."""
        apart = self.held_out.reads if self.held_out else ()
        return tuple(dict.fromkeys((*self.kept, *self.roles.column_of.values(), *apart)))

    def groups(self, part: Part) -> list[Group]:
        """A part windowed: one group that every member scores, or groups by the fold kept from their members."""
        columns = {role: role_array(part, role, c) for role, c in self.roles.column_of.items()}
        if self.held_out is None:
            return [Group(None, None, self.windower(columns))]
        return self.held_out.groups(part.table, columns, self.windower)


@dataclass
class Summary:
    """What happened: rows by status, windows asked for and scored, windows × members scored, seconds of scoring; rows whose
    results were there already, and parts that were there but damaged."""

    rows: int = 0
    by_status: np.ndarray = field(default_factory=lambda: np.zeros(len(STATUSES), dtype=np.int64))
    windows_asked: int = 0
    windows_scored: int = 0
    member_windows: int = 0
    seconds: float = 0.0
    rows_resumed: int = 0
    windows_resumed: int = 0
    member_windows_resumed: int = 0
    parts_damaged: int = 0

    def add(self, scored: Scored, *, resumed: bool) -> None:
        n = len(scored.results.status_N)
        self.rows += n
        self.by_status += np.bincount(scored.results.status_N, minlength=len(STATUSES))
        self.windows_asked += scored.windows_asked
        self.windows_scored += scored.windows_scored
        self.member_windows += scored.member_windows
        if resumed:
            self.rows_resumed += n
            self.windows_resumed += scored.windows_scored
            self.member_windows_resumed += scored.member_windows

    def take(self, other: Summary) -> None:
        """Add what another one counted."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    @property
    def status_counts(self) -> dict[str, int]:
        return {name: int(count) for name, count in zip(STATUSES, self.by_status, strict=True) if count}


Progress = Callable[[float], object]
Tell = Callable[..., object]


def _nothing(*_: object, **__: object) -> None:
    """What is called when nobody listens."""


@dataclass(frozen=True)
class Work:
    """A part on its way: its number, the columns to carry over, and either its results or what to score."""

    number: int
    first_row: int
    carried: pa.Table
    done: Scored | None
    groups: list[Group]


@dataclass(frozen=True)
class Done:
    """A part that is scored: its number, the columns to carry over, its results, and whether they were there before."""

    number: int
    carried: pa.Table
    scored: Scored
    resumed: bool


def run(
    plan: Plan,
    store: PartFolder | None = None,
    progress: Progress = lambda rows: None,
    tell: Tell = lambda *a, **k: None,
    fresh: Collection[int] = (),
) -> Summary:
    """Score the whole input and publish the output.

    Args:
        fresh: parts that are in the store because this very run had them scored (`legscore.cluster`).
        store: keeps the results of parts, and has those of an interrupted run; None keeps nothing (standard output).
        progress: called with the rows done since its last call (a share of a part's rows, so not whole), from several
            threads.
        tell: called with what happens to parts: (event, fields); with `part` once it is kept, in order.
    """
    summary, started = Summary(), time.perf_counter()
    aside = store.output if store else None
    with (
        open_writer(plan.output, plan.format_name, plan.schema, plan.metadata, aside) as writer,
        contextlib.closing(scored_parts(plan, store, summary, progress, tell, fresh)) as tables,
    ):
        for table in tables:
            writer.write(table)
    summary.seconds = time.perf_counter() - started
    return summary


def scored_elsewhere(plan: Plan, store: PartFolder, parts: range) -> Generator[pa.Table, None, None]:
    """Score these parts and keep their results, for `run` to find: what a worker does. Their tables, in order."""
    return scored_parts(replace(plan, parts=parts), store, Summary(), _nothing, _nothing)


def scored_parts(
    plan: Plan, store: PartFolder | None, summary: Summary, progress: Progress, tell: Tell, fresh: Collection[int] = ()
) -> Generator[pa.Table, None, None]:
    """The output's tables, part by part in order; `summary` grows with them."""

    def window(part: Part | None) -> Work | None:
        if part is None:
            return None
        carried, done = part.table.select(list(plan.kept)), None
        if store is not None:
            try:
                done = store.load(part.number, part.table.num_rows)
            except DamagedPartError as error:
                summary.parts_damaged += 1
                tell("retry", part=part.number, reason=str(error))
        return Work(part.number, part.first_row, carried, done, [] if done else plan.groups(part))

    def submit(work: Work) -> Future[list[Any]]:
        def one(group: Group) -> Future[Any]:
            rows = len(group.windows.status_N)

            def watch(share: float) -> None:
                progress(share * rows)

            if plan.until is not None:
                return plan.until.submit(plan.engine, group.windows, watch)
            return plan.engine.submit(group.windows.batch, group.members, watch=watch)

        if work.done is not None:
            progress(work.carried.num_rows)
        return gathered([one(group) for group in work.groups])

    def reduce(work: Work, found: list[Any]) -> Done:
        done = work.done
        if done is None:
            groups, scores = (found[0].groups, found[0].scores) if plan.until else (work.groups, found)
            if plan.guard is not None:
                plan.guard(work.first_row, groups, scores)
            reduced = [
                reduce_scores(scores_MW, w.index_NKS, w.status_N, w.n_count_N, per_model=plan.per_model)
                for w, scores_MW in zip((group.windows for group in groups), scores, strict=True)
            ]
            results = merge(groups, reduced, plan.engine.n_members)
            if plan.calibration is not None:
                results.columns.update(plan.calibration.columns(results.columns))
            done = Scored(
                results,
                sum(group.windows.n_asked for group in groups),
                sum(group.windows.batch.n_windows for group in groups),
                found[0].member_windows if plan.until else sum(scores_MW.size for scores_MW in scores),
            )
        return Done(work.number, work.carried, done, work.done is not None and work.number not in fresh)

    def keep(part: Done, is_there: bool) -> Done:
        if store is not None and not is_there:
            first_row = part.number * plan.part_rows  # what was read is what the record pins
            plan.opened.check_unchanged(first_row, first_row + part.carried.num_rows)
            store.save(part.number, part.scored)
        return part

    def kept(part: Done) -> pa.Table:
        summary.add(part.scored, resumed=part.resumed)
        n = part.carried.num_rows
        tell("part", part=part.number, rows=n, rows_done=summary.rows, rows_total=plan.n_rows, resumed=part.resumed)
        return result_table(part.carried, part.scored.results, plan.schema)

    numbers = plan.numbers
    budget = Budget(plan.limits.parts)

    def stop() -> None:
        budget.end()
        plan.engine.interrupt()

    parts = budget.admit(plan.opened.parts(plan.columns, plan.part_rows, numbers.start, numbers.stop))
    windows = background(apply(window, parts), QUEUE_PARTS, "window", budget.end)
    scored = in_flight(windows, submit, plan.engine.depth)
    with ThreadPoolExecutor(KEEPING, "legscore-keep") as pool:
        keeping = apply(lambda pair: pool.submit(keep, reduce(*pair), pair[0].done is not None), scored)
        with contextlib.closing(background(keeping, KEEPING, "score", stop)) as futures:
            for future in futures:
                yield kept(future.result())
                budget.done()

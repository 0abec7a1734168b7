"""THE PAGE: the whole machine, from a table of sequences to a table of scores.

    read → window → score → reduce → keep → write

Reading with windowing, scoring, keeping and writing run in threads of their own and overlap; queues are
bounded, order is kept, an exception in any stage ends the run and leaves no output. Results of a part are
kept as soon as they are there (`legscore.output.parts`); a run that goes on takes them from there and scores
the rest. Expected: at least 0.93 of the engine alone, since all other stages together cost about 3 µs a
window (`bench/end_to_end.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from legscore.input.read import Part
from legscore.output.parts import DamagedPartError, PartFolder, Scored
from legscore.output.write import open_writer, result_table
from legscore.rows.groups import Group, merge
from legscore.rows.reduce import reduce_scores
from legscore.run.plan import Plan
from legscore.run.record import Summary
from legscore.run.stream import apply, background, gathered, in_flight
from legscore.system.log import Progress, Tell
from legscore.system.memory import Budget

QUEUE_PARTS = 1
"""Parts that wait between two stages. The engine keeps two of its own; more only costs memory."""
KEEPING = 4
"""Parts kept at once: a disk may take longer to sync one than a fast engine to score it, but hardly longer
for several."""


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
    """A part that is scored: its number, the columns to carry over, its results, and whether they were there
    before."""

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
        store: keeps the results of parts, and has those of an interrupted run; None keeps nothing (standard
            output).
        progress: called with the rows done since its last call (a share of a part's rows, so not whole), from
            several threads.
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
    """Score these parts and keep their results, for `run` to find: what a worker does. Their tables, in
    order."""
    return scored_parts(replace(plan, parts=parts), store, Summary(), _nothing, _nothing)


def scored_parts(
    plan: Plan,
    store: PartFolder | None,
    summary: Summary,
    progress: Progress,
    tell: Tell,
    fresh: Collection[int] = (),
) -> Generator[pa.Table, None, None]:
    """The output's tables, part by part in order; `summary` grows with them."""

    def window(part: Part | None) -> Work | None:
        if part is None:
            return None
        carried, done = part.table.select(list(plan.carried_columns)), None
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

            if plan.adaptive is not None:
                return plan.adaptive.submit(plan.engine, group.windows, watch)
            return plan.engine.submit(group.windows.batch, group.members, watch=watch)

        if work.done is not None:
            progress(work.carried.num_rows)
        return gathered([one(group) for group in work.groups])

    def reduce(work: Work, found: list[Any]) -> Done:
        done = work.done
        if done is None:
            groups, scores = (found[0].groups, found[0].scores) if plan.adaptive else (work.groups, found)
            if plan.verifier is not None:
                plan.verifier(work.first_row, groups, scores)
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
                found[0].member_windows if plan.adaptive else sum(scores_MW.size for scores_MW in scores),
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
        tell(
            "part",
            part=part.number,
            rows=n,
            rows_done=summary.rows,
            rows_total=plan.n_rows,
            resumed=part.resumed,
        )
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

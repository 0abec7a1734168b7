"""THE PAGE: the whole machine, from a table of sequences to a table of scores.

    read → window → score → reduce → keep → write

Reading with windowing, scoring, keeping and writing run in threads of their own and overlap; queues are
bounded, order is kept, an exception in any stage ends the run and leaves no output. Results of a part are
kept as soon as they are there (`legscore.output.parts`); a resumed run takes them from there and scores the
rest. What each stage does to a part: `legscore.run.stages`. Expected: at least 0.93 of the engine alone,
since all other stages together cost about 3 µs a window (`bench/end_to_end.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from legscore.output.parts import PartFolder
from legscore.output.write import open_writer
from legscore.run.plan import Plan
from legscore.run.record import Summary
from legscore.run.stages import Stages
from legscore.run.stream import apply, background, in_flight
from legscore.system import interrupts
from legscore.system.checksum import checksum_of
from legscore.system.log import Progress, Tell
from legscore.system.memory import Budget

QUEUE_PARTS = 1
"""Parts that wait between two stages. The engine keeps two of its own; more only costs memory."""
KEEPING = 4
"""Parts kept at once: a disk may take longer to sync one than a fast engine to score it, but hardly longer
for several."""


def run(
    plan: Plan,
    store: PartFolder | None = None,
    progress: Progress = lambda rows: None,
    tell: Tell = lambda *a, **k: None,
    fresh: Collection[int] = (),
) -> Summary:
    """Score the whole input and publish the output.

    Args:
        plan: what was decided before the first row.
        store: keeps the results of parts, and has those of an interrupted run; None keeps nothing (standard
            output).
        progress: called with the rows done since its last call (a share of a part's rows, so not whole), from
            several threads.
        tell: called with what happens to parts: (event, fields); with `part` once it is kept, in order.
        fresh: parts that are in the store because this very run had them scored (`legscore.cluster`).

    Returns:
        What was counted on the way.

    Raises:
        LegscoreError: the input changed or is damaged, a score cannot be right, or the output cannot be
            written.
    """
    summary, started = Summary(), time.perf_counter()
    aside = store.output if store else None

    def note(path: Path) -> None:
        if store is not None:
            store.note(f"output-{plan.output.rpartition('/')[2]}", checksum_of(path))

    with (
        open_writer(plan.output, plan.format_name, plan.schema, plan.metadata, aside, note) as writer,
        contextlib.closing(scored_parts(plan, store, summary, progress, tell, fresh)) as tables,
    ):
        for table in tables:
            writer.write(table)
    summary.seconds = time.perf_counter() - started
    return summary


def scored_elsewhere(plan: Plan, store: PartFolder, parts: range) -> Generator[pa.Table, None, None]:
    """Score these parts and keep their results, for `run` to find: what a worker does. Their tables, in
    order."""
    return scored_parts(replace(plan, parts=parts), store, Summary(), lambda rows: None, lambda *a, **k: None)


def scored_parts(
    plan: Plan,
    store: PartFolder | None,
    summary: Summary,
    progress: Progress,
    tell: Tell,
    fresh: Collection[int] = (),
) -> Generator[pa.Table, None, None]:
    """The output's tables, part by part in order; `summary` grows with them. Arguments as of `run`."""
    stages = Stages(plan, store, summary, progress, tell, fresh)
    budget, numbers = Budget(plan.limits.parts), plan.numbers

    def stop() -> None:
        budget.end()
        plan.engine.interrupt()

    parts = budget.admit(plan.opened.parts(plan.columns, plan.part_rows, numbers.start, numbers.stop))
    windows = background(apply(stages.window, parts), QUEUE_PARTS, "window", budget.end)
    scored = in_flight(windows, stages.submit, plan.engine.depth)
    with ThreadPoolExecutor(KEEPING, "legscore-keep") as pool:
        keeping = apply(lambda pair: pool.submit(stages.keep, stages.reduce(*pair)), scored)
        with contextlib.closing(background(keeping, KEEPING, "score", stop)) as futures:
            for future in futures:
                interrupts.check()
                yield stages.count(future.result())
                budget.done()

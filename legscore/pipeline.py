"""THE PAGE: the whole machine, from a table of sequences to a table of scores.

    read → window → score → reduce → write

Reading, windowing and writing run in threads of their own and overlap with scoring; queues are bounded, order is kept,
an exception in any stage ends the run and leaves no output. Expected: at least 0.93 of the engine alone, since all other
stages together cost about 3 µs a window (`bench/end_to_end.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.engine.base import Engine
from legscore.read import Input, Part, role_array
from legscore.reduce import Results, reduce_scores
from legscore.schema import RESULT_COLUMNS, STATUSES, Roles
from legscore.stream import apply, background, in_flight
from legscore.window import Windower, Windows
from legscore.write import open_writer, result_schema, result_table

QUEUE_PARTS = 1
"""Parts that wait between two stages. The engine keeps two of its own; more only costs memory."""


def part_rows(n_members: int) -> int:
    """Rows of a part on a CPU: about the same work whatever the ensemble. Never from timing: bytes depend on it."""
    return max(1024, 32_768 // n_members)


def output_schema(opened: Input, kept: Sequence[str], roles: Roles, members: int, per_model: bool) -> pa.Schema:
    """Columns of the output."""
    results = RESULT_COLUMNS[roles.kind.windows]
    lists = [f"{name}_per_model" for name in results if not name.endswith("_sd")] if per_model else []
    return result_schema([opened.schema.field(c) for c in kept], results, lists, members)


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


@dataclass
class Summary:
    """What happened: rows by status, windows asked for and scored, seconds of scoring."""

    rows: int = 0
    by_status: np.ndarray = field(default_factory=lambda: np.zeros(len(STATUSES), dtype=np.int64))
    windows_asked: int = 0
    windows_scored: int = 0
    seconds: float = 0.0

    def add(self, windows: Windows, results: Results) -> None:
        self.rows += len(results.status_N)
        self.by_status += np.bincount(results.status_N, minlength=len(STATUSES))
        self.windows_asked += windows.n_asked
        self.windows_scored += windows.batch.n_windows

    @property
    def status_counts(self) -> dict[str, int]:
        return {name: int(count) for name, count in zip(STATUSES, self.by_status, strict=True) if count}


def run(plan: Plan, progress: Callable[[float], object] = lambda rows: None) -> Summary:
    """Score the whole input and publish the output; `progress` is called with the rows scored since its last call (a
    share of a part's rows, so not whole), from the engine's thread."""
    summary, started = Summary(), time.perf_counter()
    columns = tuple(dict.fromkeys((*plan.kept, *plan.roles.column_of.values())))

    def window(part: Part) -> tuple[pa.Table, Windows]:
        columns = {role: role_array(part, role, c) for role, c in plan.roles.column_of.items()}
        return part.table.select(list(plan.kept)), plan.windower(columns)

    def reduce(kept: pa.Table, windows: Windows, scores_MW: np.ndarray) -> pa.Table:
        results = reduce_scores(scores_MW, windows.index_NKS, windows.status_N, windows.n_count_N, per_model=plan.per_model)
        summary.add(windows, results)
        return result_table(kept, results, plan.schema)

    def submit(kept: pa.Table, windows: Windows) -> Future[np.ndarray]:
        rows = len(windows.status_N)
        return plan.engine.submit(windows.batch, watch=lambda share: progress(share * rows))

    with open_writer(plan.output, plan.format_name, plan.schema, plan.metadata) as writer:
        parts = background(plan.opened.parts(columns, plan.part_rows), QUEUE_PARTS, "read")
        windows = background(apply(window, parts), QUEUE_PARTS, "window")
        scored = in_flight(windows, lambda item: submit(*item), plan.engine.depth)
        reduced = apply(lambda done: reduce(*done[0], done[1]), scored)
        with contextlib.closing(background(reduced, QUEUE_PARTS, "score", plan.engine.interrupt)) as tables:
            for table in tables:
                writer.write(table)
    summary.seconds = time.perf_counter() - started
    return summary

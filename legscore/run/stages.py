"""What is done to one part on its way through a run: windowed, submitted, reduced, kept, counted."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from legscore.input.read import Part
from legscore.output.part_file import DamagedPartError, Scored
from legscore.output.parts import PartFolder
from legscore.output.result_columns import result_table
from legscore.rows.groups import Group, merge
from legscore.run.plan import Plan
from legscore.run.record import Summary
from legscore.run.stream import gathered
from legscore.system.log import Progress, Tell

if TYPE_CHECKING:
    from legscore.run.cascade import Picked


@dataclass(frozen=True)
class Work:
    """A part on its way: number, columns to carry over, and either its kept results or what to score, of
    all its rows or of those that are picked."""

    number: int
    first_row: int
    carried: pa.Table
    kept: Scored | None
    groups: list[Group]
    picked: Picked | None = None
    classes: np.ndarray | None = None
    """Of its rows in the background of `--background`."""


@dataclass(frozen=True)
class Done:
    """A scored part: number, columns to carry over, results, and whether they were kept before."""

    number: int
    carried: pa.Table
    scored: Scored
    was_kept: bool


class Stages:
    """The stages of a run, each a function of one part; `summary` grows with the last of them."""

    def __init__(
        self,
        plan: Plan,
        store: PartFolder | None,
        summary: Summary,
        progress: Progress,
        tell: Tell,
        fresh: Collection[int] = (),
    ) -> None:
        self._plan, self._store, self._summary = plan, store, summary
        self._progress, self._tell, self._fresh = progress, tell, fresh

    def window(self, part: Part | None) -> Work | None:
        """The windows of a part, or its results where an interrupted run left them. None passes: no part may
        be read before another has ended."""
        if part is None:
            return None
        carried, kept = part.table.select(list(self._plan.carried_columns)), None
        if self._store is not None:
            try:
                kept = self._store.load(part.number, part.table.num_rows)
            except DamagedPartError as error:
                self._summary.parts_damaged += 1
                self._tell("retry", part=part.number, reason=str(error))
        cascade, picked = self._plan.cascade, None
        if cascade is not None and kept is None:
            picked = cascade.pick(part.number, part.first_row, part.table.num_rows)
        groups = [] if kept else self._plan.groups(part, None if picked is None else picked.rows)
        classes = None if kept else self._plan.rank_classes(part, groups)
        return Work(part.number, part.first_row, carried, kept, groups, picked, classes)

    def submit(self, work: Work) -> Future[list[Any]]:
        """The scores of each group of windows, on their way."""
        if work.kept is not None:
            self._progress(work.carried.num_rows)
        if work.picked is not None:  # in one group; the other rows are done with it
            return gathered([self._submit_group(group, work.carried.num_rows) for group in work.groups])
        return gathered([self._submit_group(group, len(group.windows.status_N)) for group in work.groups])

    def _submit_group(self, group: Group, rows: int) -> Future[Any]:
        plan, progress = self._plan, self._progress

        def watch(share: float) -> None:
            progress(share * rows)

        if plan.adaptive is not None:
            return plan.adaptive.submit(plan.engine, group.windows, watch)
        return plan.engine.submit(group.windows.batch, plan.asked(group), watch=watch)

    def reduce(self, work: Work, found: list[Any]) -> Done:
        """Verify the scores and reduce them to results: means, effects and spreads over members."""
        if work.kept is not None:
            return Done(work.number, work.carried, work.kept, was_kept=True)
        plan = self._plan
        groups, scores = (found[0].groups, found[0].scores) if plan.adaptive else (work.groups, found)
        if plan.verifier is not None:
            plan.verifier.check(work.first_row, _in_part(groups, work.picked), scores)
        reduced = [plan.results(group, scores_MW) for group, scores_MW in zip(groups, scores, strict=True)]
        results = merge(groups, reduced, plan.engine.n_members)
        if plan.calibration is not None:
            results.columns.update(plan.calibration.columns(results.columns))
        if plan.background is not None and work.classes is not None:
            results.columns.update(plan.background.ranks(results.columns["effect"], work.classes))
        if plan.cascade is not None and work.picked is not None:
            results = plan.cascade.merged(work.picked, results)
        scored = Scored(
            results,
            sum(group.windows.n_asked for group in groups),
            sum(group.windows.batch.n_windows for group in groups),
            found[0].member_windows
            if plan.adaptive
            else sum(scores_MW[: plan.engine.n_members].size for scores_MW in scores),
        )
        return Done(work.number, work.carried, scored, was_kept=False)

    def keep(self, done: Done) -> Done:
        """Keep the results, once the input is seen to be what the run's record says."""
        if self._store is not None and not done.was_kept:
            first_row = done.number * self._plan.part_rows
            self._plan.opened.check_unchanged(first_row, first_row + done.carried.num_rows)
            self._store.save(done.number, done.scored)
        return done

    def count(self, done: Done) -> pa.Table:
        """Count and tell of a part that is kept; its rows of the output."""
        resumed = done.was_kept and done.number not in self._fresh
        self._summary.add(done.scored, resumed=resumed)
        self._tell(
            "part",
            part=done.number,
            rows=done.carried.num_rows,
            rows_done=self._summary.rows,
            rows_total=self._plan.n_rows,
            resumed=resumed,
        )
        return result_table(done.carried, done.scored.results, self._plan.schema)


def _in_part(groups: list[Group], picked: Picked | None) -> list[Group]:
    """The groups with places of rows in the whole part, where only some of its rows were windowed."""
    if picked is None:
        return groups
    return [replace(g, rows=picked.rows if g.rows is None else picked.rows[g.rows]) for g in groups]

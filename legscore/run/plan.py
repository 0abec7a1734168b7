"""Everything decided before the first row: what to read, how to window, what to write where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from legscore.engine.base import Engine
from legscore.input.read import Input, Part
from legscore.input.roles import role_array
from legscore.rows.groups import Group
from legscore.rows.reduce import Results, reduce_scores
from legscore.rows.schema import Roles
from legscore.rows.window import Windower
from legscore.run.background import TILE_ID
from legscore.run.verify import Verifier
from legscore.system.memory import Limits

if TYPE_CHECKING:
    from legscore.rows.shifts import Shifts
    from legscore.run.adaptive import AdaptiveScorer
    from legscore.run.background import Background
    from legscore.run.calibration import Calibration
    from legscore.run.cascade import Cascade
    from legscore.run.named_ensembles import NamedEnsemble
    from legscore.run.out_of_fold import OutOfFold
    from legscore.run.student_intervals import StudentIntervals


def part_rows(n_members: int, engine: str = "") -> int:
    """Rows of a part by ensemble and engine; never from timing, since bytes depend on it.

    About the same work for any ensemble: one or two minutes on two cores of a CPU, which is what a killed run
    loses. More than 8,192 rows would only cost memory there. GPUs take thousands of rows a pass, and a part
    should be many passes.
    """
    least, most, whole = (32_768, 262_144, 262_144) if engine == "tensorrt" else (1024, 8_192, 16_384)
    return min(max(least, whole // n_members), most)


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first row: what to read, how to window, what to write where."""

    opened: Input
    roles: Roles
    carried_columns: tuple[str, ...]
    windower: Windower
    engine: Engine
    output: str
    format_name: str
    part_rows: int
    schema: pa.Schema
    per_model: bool
    metadata: dict[str, Any]
    out_of_fold: OutOfFold | None = None
    adaptive: AdaptiveScorer | None = None
    parts: range | None = None
    """Numbers of the parts to score; all of the input's when None."""
    limits: Limits = field(default_factory=lambda: Limits.of(None))
    verifier: Verifier | None = None
    calibration: Calibration | StudentIntervals | None = None
    background: Background | None = None
    shifts: Shifts | None = None
    cascade: Cascade | None = None
    """What a student's pass left, where the ensemble scores only some rows."""
    parts_a_file: int = 0
    """Where the output is a folder of files (`legscore.run.dataset`)."""
    ensembles: tuple[NamedEnsemble, ...] = ()
    """Where several ensembles score the rows; none where one does."""
    tells_sd: bool = False
    """Whether a student's second head tells `score_sd`."""

    def asked(self, group: Group) -> Sequence[int] | None:
        """Networks that score a group, None for all members; last what tells the SD, where something does."""
        return range(self.engine.n_members + 1) if self.tells_sd else group.members

    @property
    def numbers(self) -> range:
        return range(self.opened.n_parts(self.part_rows)) if self.parts is None else self.parts

    @property
    def n_rows(self) -> int:
        """Rows of the parts to score."""
        first, stop = (
            min(number * self.part_rows, self.opened.n_rows)
            for number in (self.numbers.start, self.numbers.stop)
        )
        return stop - first

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to read."""
        apart = self.out_of_fold.reads if self.out_of_fold else ()
        ranked = (TILE_ID,) if self.background is not None and TILE_ID in self.opened.schema.names else ()
        return tuple(dict.fromkeys((*self.carried_columns, *self.roles.column_of.values(), *apart, *ranked)))

    def rank_classes(self, part: Part, groups: Sequence[Group]) -> np.ndarray | None:
        """The class of each row in the background, int64 [rows, 2]; None without one."""
        if self.background is None:
            return None
        tile_ids = part.column(TILE_ID) if TILE_ID in self.columns else None
        made_by, contract = self.opened.sources[0].made_by, self.windower.contract
        return self.background.classes_of(tile_ids, made_by, groups[0].windows, contract)

    def results(self, group: Group, scores_MW: np.ndarray) -> Results:
        """Scores of a group, float32 [networks asked, windows], as columns."""
        w, sd_W = group.windows, None
        if self.tells_sd:
            scores_MW, sd_W = scores_MW[:-1], scores_MW[-1]
        if self.ensembles:
            from legscore.run.named_ensembles import reduce_named

            return reduce_named(self.ensembles, scores_MW, w, per_model=self.per_model)
        return reduce_scores(
            scores_MW, w.index_NKS, w.status_N, w.n_count_N, per_model=self.per_model, sd_W=sd_W
        )

    def groups(self, part: Part, rows: np.ndarray | None = None) -> list[Group]:
        """A part windowed: one group that every member scores, or groups by the fold kept from their
        members.

        Args:
            rows: places in the part of the rows that are windowed; all when None.
        """
        columns = {role: role_array(part, role, c) for role, c in self.roles.column_of.items()}
        if rows is not None:
            columns = {role: column.take(pa.array(rows)) for role, column in columns.items()}
        if self.out_of_fold is None:
            groups = [Group(None, None, self.windower(columns))]
        else:
            groups = self.out_of_fold.groups(part.table, columns, self.windower)
        if self.shifts is None:
            return groups
        return [replace(group, windows=self.shifts(group.windows)) for group in groups]

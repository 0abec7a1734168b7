"""The second pass of a cascade: the ensemble scores the rows that a student's scores chose, part by part.

Kept parts of the first pass hold the student's results of every row. Of each part the second pass windows and
scores the rows that are chosen, those of the random sample, and those that the student could not read; the
results of the chosen and the unread ones take the place of the student's. What the sample shows is kept with
the part and changes no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from legscore.output.parts import PartFolder
from legscore.output.remote_parts import open_store
from legscore.rows.reduce import Results
from legscore.rows.schema import BY_CHOICE, BY_NEED, BY_NOBODY, BY_STUDENT, OK
from legscore.run.choice import Choice, kept_part, ranked_values


@dataclass(frozen=True)
class Picked:
    """Rows of a part that the ensemble scores.

    Attributes:
        rows: places in the part, int64, ascending.
        student: the student's results of the whole part.
        by_N: who scores each row of the part (`legscore.rows.schema.BY_STUDENT` and others).
        sampled_N: bool, rows of the random sample that the student scored.
    """

    rows: np.ndarray
    student: Results
    by_N: np.ndarray
    sampled_N: np.ndarray


@dataclass(frozen=True)
class Cascade:
    """What the first pass left for the second.

    Attributes:
        place: where the student's parts are kept.
        choice: which rows are chosen.
        described: what the output's metadata says under `cascade`.
        counted: what the record says beside that: rows, shares, expectations.
    """

    place: str
    choice: Choice
    described: Mapping[str, Any]
    counted: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _store(self) -> PartFolder:
        return open_store(self.place)

    def pick(self, number: int, first_row: int, rows: int) -> Picked:
        """The rows of a part that the ensemble scores. OutputError where the student's part is damaged."""
        student = kept_part(self._store, number, rows)
        read_N = student.status_N == OK
        chosen_N = self.choice.chosen(self.choice.keys(ranked_values(student)), first_row)
        by_N = np.select([chosen_N, read_N], [BY_CHOICE, BY_STUDENT], BY_NEED).astype(np.uint8)
        sampled_N = self.choice.sampled(first_row, rows) & read_N
        return Picked(np.flatnonzero((by_N != BY_STUDENT) | sampled_N), student, by_N, sampled_N)

    @staticmethod
    def merged(picked: Picked, ensemble: Results) -> Results:
        """The results of a whole part: the ensemble's where rows were chosen or not read, else the student's.

        Args:
            picked: the rows; `ensemble`: its results of these rows alone.
        """
        student, n = picked.student, len(picked.by_N)
        within = picked.by_N[picked.rows] != BY_STUDENT
        rows = picked.rows[within]

        def placed(values: np.ndarray, others: np.ndarray) -> np.ndarray:
            whole = others.copy()
            whole[rows] = values[within]
            return whole

        def unknown(values: np.ndarray) -> np.ndarray:
            return np.full((n, *values.shape[1:]), np.nan, dtype=np.float32)

        status = placed(ensemble.status_N, student.status_N)
        members = ensemble.n_members_N
        merged = Results(
            {
                name: placed(values, student.columns.get(name, unknown(values)))
                for name, values in ensemble.columns.items()
            },
            {name: placed(values, unknown(values)) for name, values in ensemble.per_model.items()},
            status,
            placed(ensemble.n_count_N, student.n_count_N),
            None if members is None else placed(members, np.full(n, -1, dtype=np.int32)),
            np.where(status == OK, picked.by_N, np.uint8(BY_NOBODY)),
        )
        sampled = picked.sampled_N[picked.rows]
        for who, values in (
            ("student", ranked_values(student)[picked.rows]),
            ("ensemble", ranked_values(ensemble)),
        ):
            merged.sampled[who] = np.full(n, np.nan, dtype=np.float32)
            merged.sampled[who][picked.rows[sampled]] = values[sampled]
        return merged

"""Rows of a part grouped by the members that score them, and the groups' results merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legscore.rows.reduce import Results
from legscore.rows.schema import OK
from legscore.rows.window import Windows


@dataclass(frozen=True)
class Group:
    """Rows of a part that the same members score; None stands for all."""

    rows: np.ndarray | None
    members: tuple[int, ...] | None
    windows: Windows


def merge(groups: Sequence[Group], results: Sequence[Results], n_members: int) -> Results:
    """The groups' results as those of the whole part, in row order; members that did not score a row are NaN
    in its list."""
    if groups[0].rows is None:
        return results[0]
    n = sum(len(result.status_N) for result in results)
    columns = {name: np.full(n, np.nan, dtype=np.float32) for name in results[0].columns}
    lists = {name: np.full((n, n_members), np.nan, dtype=np.float32) for name in results[0].per_model}
    status, count, used = (
        np.empty(n, dtype=np.uint8),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
    )
    for group, result in zip(groups, results, strict=True):
        assert group.rows is not None
        assert group.members is not None
        status[group.rows], count[group.rows] = result.status_N, result.n_count_N
        used[group.rows] = np.where(result.status_N == OK, len(group.members), -1)
        for name, values in result.columns.items():
            columns[name][group.rows] = values
        for name, values in result.per_model.items():
            lists[name][np.ix_(group.rows, np.array(group.members))] = values
    return Results(columns, lists, status, count, used)

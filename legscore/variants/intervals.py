"""Which intervals overlap which: sorted starts and a running maximum of ends, vectorised over queries."""

from __future__ import annotations

import numpy as np


class Intervals:
    """Half-open intervals on one contig, in any order."""

    def __init__(self, start_T: np.ndarray, end_T: np.ndarray) -> None:
        """start_T, end_T: int64 [T]."""
        self._order = np.argsort(start_T, kind="stable")
        self._start, self._end = start_T[self._order], end_T[self._order]
        self._reach = np.maximum.accumulate(self._end) if len(start_T) else self._end

    def overlapping(self, start_Q: np.ndarray, end_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a query and an interval that overlaps it, as int64 (query, interval), by query, then
        interval start.

        A query with start == end is a point between two bases: it lies in an interval only strictly inside
        (interval start < point < interval end).
        """
        low = np.searchsorted(self._reach, start_Q, side="right")
        high = np.searchsorted(self._start, end_Q, side="left")
        count = np.maximum(high - low, 0)
        query = np.repeat(np.arange(len(start_Q)), count)
        first = np.cumsum(count) - count
        place = low[query] + np.arange(len(query)) - first[query]
        hit = self._end[place] > start_Q[query]
        return query[hit], self._order[place[hit]]

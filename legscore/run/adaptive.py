"""As many members as a row needs: `--until-se` stops adding them once the row's mean is known well enough.

Members are added one at a time in the ensemble's order, at least five to a row; a row is done when the
standard error of its effect (of its score, where a row is one sequence) over the n members so far, t(n -
1)·SD / √n, is below the bound, or when no member is left. t is the quantile that makes it cover what one
standard error of many members covers (68.27 %), 1.14 for five members: few members' SD is itself uncertain. A
row uses exactly the members it needed, also where equal windows of other rows needed more, so its numbers do
not depend on its neighbours. Scores of rows with different members are not strictly comparable: column
`n_members` says how many each has. Expected: nothing is lost but one engine call a member and part, about 0.2
ms.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import Engine
from legscore.rows.groups import Group
from legscore.rows.reduce import spread
from legscore.rows.schema import OK
from legscore.rows.window import Windows

LEAST = 5
"""Members that every row gets."""
T_QUANTILE = (
    1.1416, 1.1105, 1.0906, 1.0767, 1.0665, 1.0587, 1.0526, 1.0476, 1.0434, 1.0400, 1.0370, 1.0345, 1.0322,
    1.0303, 1.0286, 1.0270, 1.0256, 1.0244, 1.0232, 1.0222, 1.0213, 1.0204, 1.0196, 1.0189, 1.0182, 1.0175,
    1.0169, 1.0164, 1.0159, 1.0154, 1.0149, 1.0145, 1.0141, 1.0137, 1.0133, 1.0130, 1.0127, 1.0123, 1.0120,
    1.0118, 1.0115, 1.0112, 1.0110, 1.0108, 1.0105, 1.0103,
)  # fmt: skip
"""Quantiles of Student's t at Φ(1) for 4 to 49 degrees of freedom: an ensemble has at most 50 members."""


@dataclass(frozen=True)
class Adapted:
    """A part scored with as many members as each row needed.

    Attributes:
        groups: rows by number of members; the first one holds the part's batch, so that windows are counted
            once.
        scores: for each group, scores_MW float32 [its members, windows of the part].
        member_windows: windows × members that were scored.
    """

    groups: list[Group]
    scores: list[np.ndarray]
    member_windows: int


class AdaptiveScorer:
    """Scores parts until every row's standard error is below `bound`, in score units."""

    def __init__(self, bound: float, depth: int) -> None:
        self.bound = bound
        self._threads = ThreadPoolExecutor(depth, thread_name_prefix="legscore-until")

    def submit(self, engine: Engine, windows: Windows, watch: Callable[[float], object]) -> Future[Adapted]:
        """Score a part; `watch` hears what share of its windows × members is done or will not be needed, up
        to 1."""
        return self._threads.submit(self._score, engine, windows, watch)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _score(self, engine: Engine, windows: Windows, watch: Callable[[float], object]) -> Adapted:
        codes, total = windows.batch.expand(), engine.n_members
        scores_MW = np.full((total, len(codes)), np.nan, dtype=np.float32)
        rows = np.flatnonzero(windows.status_N == OK)
        needed_N = np.zeros(len(windows.status_N), dtype=np.int64)
        open_, n, done = rows, 0, 0
        while len(open_) and n < total:
            members = list(range(n, max(n + 1, min(LEAST, total))))
            wanted = np.unique(windows.index_NKS[open_])
            scores_MW[members[0] : members[-1] + 1, wanted] = engine.score(Batch(codes[wanted]), members)
            n, done = members[-1] + 1, done + len(wanted) * len(members)
            needed_N[open_] = n
            if n >= LEAST:
                finished = standard_error(values(scores_MW[:n], windows.index_NKS[open_])) < self.bound
                watch(finished.sum() / max(len(rows), 1))
                open_ = open_[~finished]
        watch(len(open_) / max(len(rows), 1) if len(rows) else 1.0)
        return Adapted(*_grouped(windows, needed_N, scores_MW), done)


def values(scores_MW: np.ndarray, index_RKS: np.ndarray) -> np.ndarray:
    """Each member's effect (two windows) or score (one) of rows, float64 [members, rows]; strands of inserts
    averaged."""
    kinds_MRK = scores_MW[:, index_RKS].astype(np.float64).mean(axis=3)
    return kinds_MRK[..., 1] - kinds_MRK[..., 0] if kinds_MRK.shape[2] == 2 else kinds_MRK[..., 0]


def standard_error(values_MR: np.ndarray) -> np.ndarray:
    """t(n - 1)·SD / √n over n = 5 to 50 members, float64 [rows]."""
    n = len(values_MR)
    return T_QUANTILE[n - LEAST] * spread(values_MR) / np.sqrt(n)


def _grouped(
    windows: Windows, needed_N: np.ndarray, scores_MW: np.ndarray
) -> tuple[list[Group], list[np.ndarray]]:
    """Rows by how many members they needed; rows that are not ok go with the first."""
    counts = np.unique(needed_N[needed_N > 0])
    if not len(counts):
        return [Group(np.arange(len(needed_N)), tuple(range(len(scores_MW))), windows)], [scores_MW]
    groups, scores, nothing = [], [], Batch(windows.batch.codes_WL[:0])
    for i, count in enumerate(counts):
        rows = np.flatnonzero((needed_N == count) | ((needed_N == 0) & (i == 0)))
        picked = (windows.index_NKS[rows], windows.status_N[rows], windows.n_count_N[rows])
        batch, asked = (windows.batch, windows.n_asked) if i == 0 else (nothing, 0)
        groups.append(Group(rows, tuple(range(count)), Windows(batch, *picked, asked)))
        scores.append(scores_MW[:count])
    return groups, scores

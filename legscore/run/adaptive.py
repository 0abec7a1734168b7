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
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from math import atan, cos, erf, pi, sin, sqrt

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import Engine
from legscore.rows.groups import Group
from legscore.rows.reduce import spread
from legscore.rows.schema import OK
from legscore.rows.window import Windows
from legscore.system.threads import running_pool

LEAST = 5
"""Members that every row gets."""


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
        self._threads = running_pool(depth, "legscore-until")

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
    """t(n - 1)·SD / √n over n = 2 members or more, float64 [rows]."""
    n = len(values_MR)
    return t_quantile(n - 1) * spread(values_MR) / np.sqrt(n)


@cache
def t_quantile(df: int) -> float:
    """The t within which Student's |T| of `df` degrees of freedom lies as often as a normal |Z| within 1."""
    low, high = 1.0, 2.0  # 1.8373 at one degree of freedom, 1 at infinitely many
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, df) < erf(sqrt(0.5)) else (low, middle)
    return low


def t_within(t: float, df: int) -> float:
    """P(|T| < t) of Student's T, by its finite sum for a whole number of degrees of freedom (Abramowitz and
    Stegun 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(df))
    odd = df % 2
    term, total = (cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= cos(angle) ** 2 * (k - 1) / k
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


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

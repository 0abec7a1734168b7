"""Paired bootstrap: the same resampled rows for every model and every statistic, ranks taken anew in each
resample.

A resample is how often each row was drawn, `counts_ND` [rows, draws]. Sums over a resample are then matrix
products, and ranks need no sorting: rows are sorted once, and the ranks of a resample are running sums of its
counts in that order. Rows lie along the first axis so that picking rows moves whole lines of draws. Indices
come from numpy's `Generator.integers` draw by draw, as in scipy.stats.bootstrap, so the same generator gives
both the same resamples. Expected: 10,000 draws of 4,000 rows and five models within seconds
(`bench/bootstrap.py`).

With clusters whole clusters are drawn, and a row counts as often as its cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from legscore.system.cores import usable_cores
from legscore.system.rank_order import Ranking, ranking

BLOCK = 1 << 18
"""Counts worked on at a time: 2 MB, about a core's cache."""
CONSTANT = 1e-13
"""A resample whose variance is below this share of the data's is constant but for rounding."""


@dataclass(frozen=True)
class Resampling:
    """How to draw.

    Attributes:
        draws: number of resamples.
        seed: of numpy's default generator.
        cluster_N: number of each row's cluster, from 0; None draws rows.
    """

    draws: int
    seed: int = 0
    cluster_N: np.ndarray | None = None

    def blocks(self, n_rows: int) -> Iterator[np.ndarray]:
        """counts_ND float64, a block of draws at a time; the blocks together hold `draws`."""
        rng = np.random.default_rng(self.seed)
        units = n_rows if self.cluster_N is None else int(self.cluster_N.max()) + 1
        size = max(1, BLOCK // max(n_rows, units))
        for first in range(0, self.draws, size):
            draws = min(size, self.draws - first)
            drawn_DN = rng.integers(0, units, (draws, units))
            counts = np.bincount(
                (drawn_DN * draws + np.arange(draws)[:, None]).ravel(), minlength=units * draws
            )
            counts_UD = counts.reshape(units, draws).astype(np.float64)
            yield counts_UD if self.cluster_N is None else counts_UD[self.cluster_N]


Statistic = Callable[[np.ndarray], np.ndarray]
"""counts_ND [rows, draws] → values_SD [statistics, draws]."""


def resample(statistic: Statistic, n_rows: int, how: Resampling) -> np.ndarray:
    """Values of a statistic in each resample, float64 [statistics, draws]; the work is shared by the cores.

    Blocks are counted in one thread, in order, so that neither cores nor block sizes change the draws.
    """
    workers = usable_cores()
    found: list[np.ndarray] = []
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[object] = deque()
        for counts_ND in how.blocks(n_rows):
            waiting.append(pool.submit(statistic, counts_ND))
            if len(waiting) > workers:
                found.append(waiting.popleft().result())  # type: ignore[attr-defined]
        found += [future.result() for future in waiting]  # type: ignore[attr-defined]
    return np.concatenate(found, axis=1)


class PairedMetrics:
    """Pearson, Spearman, RMSE and MAE of several (truth, prediction) pairs over columns of the same rows.

    Args:
        columns_VN: float64 [variables, rows].
        pairs: (truth, prediction) as numbers of variables.
    """

    def __init__(
        self, columns_VN: np.ndarray, pairs: Sequence[tuple[int, int]], *, spearman: bool = True
    ) -> None:
        self.pairs = list(pairs)
        scale = np.abs(columns_VN - columns_VN.mean(axis=1, keepdims=True)).max(axis=1, keepdims=True)
        self._scale = np.where(scale > 0, scale, 1.0)
        centred = (columns_VN - columns_VN.mean(axis=1, keepdims=True)) / self._scale
        truth, predicted = ([pair[side] for pair in self.pairs] for side in (0, 1))
        error = columns_VN[predicted] - columns_VN[truth]
        terms = [
            np.ones((1, columns_VN.shape[1])),
            centred,
            centred**2,
            centred[truth] * centred[predicted],
            error**2,
            np.abs(error),
        ]
        self._ends = np.cumsum([len(term) for term in terms])[:-1]
        self._terms_TN = np.concatenate(terms)
        self._variance = (centred**2).mean(axis=1)
        self._rankings: list[Ranking] = [ranking(column) for column in columns_VN] if spearman else []

    def __call__(self, counts_ND: np.ndarray) -> np.ndarray:
        """values_SD: all pairs' Pearson, then Spearman, RMSE and MAE; NaN where a resample is constant."""
        total, first, second, products, squares, absolute = np.split(self._terms_TN @ counts_ND, self._ends)
        mean = first / total
        variance = second / total - mean**2
        variance[variance <= CONSTANT * self._variance[:, None]] = np.nan
        found = np.empty((4, len(self.pairs), counts_ND.shape[1]))
        for i, (truth, prediction) in enumerate(self.pairs):
            covariance = products[i] / total[0] - mean[truth] * mean[prediction]
            found[0, i] = covariance / np.sqrt(variance[truth] * variance[prediction])
        found[1] = self._rank_correlations(counts_ND, total[0])
        found[2], found[3] = np.sqrt(squares / total), absolute / total
        found[:2] = np.clip(found[:2], -1.0, 1.0)
        return found.reshape(-1, counts_ND.shape[1])

    def _rank_correlations(self, counts_ND: np.ndarray, total_D: np.ndarray) -> np.ndarray:
        if not self._rankings:
            return np.full((len(self.pairs), counts_ND.shape[1]), np.nan)
        used = sorted({variable for pair in self.pairs for variable in pair})
        # their mean, ties or not
        ranks = {v: ranks_of(counts_ND, self._rankings[v]) - (total_D + 1) / 2 for v in used}
        squares = {}
        for v in used:
            squares[v] = np.einsum("nd,nd,nd->d", counts_ND, ranks[v], ranks[v])
            squares[v][squares[v] <= 0] = np.nan
        return np.stack(
            [
                np.einsum("nd,nd,nd->d", counts_ND, ranks[t], ranks[p]) / np.sqrt(squares[t] * squares[p])
                for t, p in self.pairs
            ]
        )


def ranks_of(counts_ND: np.ndarray, of: Ranking) -> np.ndarray:
    """Ranks from 1 of each row in each resample, ties (a row with its own copies too) averaged; rows not
    drawn get any value."""
    placed_GD = counts_ND[of.order_N]
    if len(of.starts_G) < len(of.order_N):
        placed_GD = np.add.reduceat(placed_GD, of.starts_G, axis=0)
    ends_GD = np.cumsum(placed_GD, axis=0)
    ends_GD -= placed_GD / 2
    return np.asarray(ends_GD[of.group_N] + 0.5)


@dataclass(frozen=True)
class Spread:
    """What the draws of one statistic say: percentile interval, mean, SD, draws without a value."""

    low: float
    high: float
    mean: float
    sd: float
    undefined: int


def spread(draws_D: np.ndarray, confidence: float) -> Spread:
    """Percentile interval (Efron 1979), quantiles interpolated linearly."""
    known = draws_D[np.isfinite(draws_D)]
    if not len(known):
        return Spread(np.nan, np.nan, np.nan, np.nan, len(draws_D))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    sd = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    return Spread(float(low), float(high), float(known.mean()), sd, len(draws_D) - len(known))


def p_of_difference(draws_D: np.ndarray) -> float:
    """Two-sided p that a difference is 0: twice the smaller share of draws on one side of 0, counting one
    more draw."""
    known = draws_D[np.isfinite(draws_D)]
    if not len(known):
        return float("nan")
    fewer = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return float(min(1.0, 2 * (1 + fewer) / (len(known) + 1)))

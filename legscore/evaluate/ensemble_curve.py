"""How much does an ensemble gain with size? Metrics of the mean of the first k members, and of random subsets
of k.

Subsets of k members overlap more the nearer k comes to all of them, so the spread over subsets shrinks to 0
by construction: it is called spread, and is no standard error. Where k members can be chosen in at most
`SUBSETS` ways, all of them are taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from legscore.evaluate.correlation import METRICS, metric

SUBSETS = 100
BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class Point:
    """One metric at one ensemble size.

    Attributes:
        first: of the first k members in the ensemble's order.
        mean, spread, low, high: over subsets: mean, sample SD (NaN for one subset), smallest, largest.
        subsets: how many. exhaustive: all there are.
    """

    group: str
    truth: str
    prediction: str
    metric: str
    k: int
    first: float
    mean: float
    spread: float
    low: float
    high: float
    subsets: int
    exhaustive: bool
    reason: str = ""


def subsets(members: int, k: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Subsets of k of `members`, int [subsets, k]: all, or `most` different ones at random."""
    if math.comb(members, k) <= most:
        return np.array(list(itertools.combinations(range(members), k)))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < most:
        found[tuple(sorted(rng.choice(members, k, replace=False).tolist()))] = None
    return np.array(list(found))


def ensemble_curve(
    group: str,
    truth: str,
    prediction: str,
    truth_N: np.ndarray,
    members_NM: np.ndarray,
    *,
    seed: int = 0,
    most: int = SUBSETS,
) -> Iterator[Point]:
    """Points for k = 1…M and every metric.

    Args:
        truth_N, members_NM: float64 [rows], [rows, members], finite.
        seed: of the random subsets. most: subsets for each k.
    """
    rng = np.random.default_rng(seed)
    n, members = members_NM.shape
    for k in range(1, members + 1):
        chosen = subsets(members, k, most, rng)
        values: dict[str, list[float]] = {name: [] for name in METRICS}
        step = max(1, BLOCK_VALUES // max(1, n))
        for begin in range(0, len(chosen), step):
            picks = np.zeros((members, len(chosen[begin : begin + step])))
            for column, subset in enumerate(chosen[begin : begin + step]):
                picks[subset, column] = 1 / k
            for mean_N in (members_NM @ picks).T:
                for name in METRICS:
                    values[name].append(metric(name, truth_N, mean_N).value)
        front = members_NM[:, :k].mean(axis=1)
        for name in METRICS:
            found, own = np.array(values[name]), metric(name, truth_N, front)
            several = len(found) > 1
            yield Point(
                group,
                truth,
                prediction,
                name,
                k,
                own.value,
                float(found.mean()),
                float(found.std(ddof=1)) if several else math.nan,
                float(found.min()),
                float(found.max()),
                len(found),
                math.comb(members, k) == len(found),
                own.reason,
            )

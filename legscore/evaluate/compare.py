"""One group of rows → its metrics, intervals and comparisons of models.

Which test fits is decided by which variables two correlations share: a truth (or a prediction) in common
takes Hittner, May & Silver 2003, nothing in common Silver, Hittner & May 2004; the result says which. Both
assume independent rows; the bootstrap's own interval and p, by cluster where clusters were given, stand
beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from legscore.evaluate.bootstrap import PairedMetrics, Resampling, p_of_difference, resample, spread
from legscore.evaluate.changes import CHANGE_METRICS, ChangeMetrics
from legscore.evaluate.correlation import CORRELATIONS, METRICS, metric, pearson
from legscore.evaluate.dependent import Interval, Test, hittner, silver, zou, zou_overlapping
from legscore.system.rank_order import ranks

ASSUMES = "Silver, Hittner and Zou assume independent rows; of ranks (Spearman) they are approximations"


@dataclass(frozen=True)
class Metric:
    """One statistic of one prediction: value, bootstrap interval, bootstrap mean and SD, or the reason for
    none."""

    group: str
    truth: str
    prediction: str
    metric: str
    n: int
    value: float
    low: float = math.nan
    high: float = math.nan
    boot_mean: float = math.nan
    boot_sd: float = math.nan
    undefined: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two predictions on the same rows: difference of a statistic, first − second."""

    group: str
    metric: str
    first: str
    second: str
    n: int
    difference: float
    boot_low: float
    boot_high: float
    boot_p: float
    shares: str = ""
    method: str = ""
    z: float = math.nan
    p: float = math.nan
    zou_low: float = math.nan
    zou_high: float = math.nan
    reason: str = ""


@dataclass
class Group:
    """Results of the rows that share the values of --by."""

    name: str
    n: int
    n_clusters: int = 0
    n_beyond: int | None = None
    """Rows whose truth is beyond the noise threshold; None without one."""
    dropped: dict[str, int] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    draws: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """(prediction, metric) → values in the resamples."""


@dataclass(frozen=True)
class Pair:
    """A truth column and the prediction set against it."""

    truth: str
    prediction: str


def compare(
    group: Group,
    columns: dict[str, np.ndarray],
    pairs: Sequence[Pair],
    how: Resampling | None,
    confidence: float,
    threshold: float | None = None,
) -> None:
    """Compute the metrics and comparisons of a group.

    Args:
        columns: name → float64 [rows], finite.
        how: resampling, None for no bootstrap.
        threshold: of effects, in variant mode (NaN when noise is unknown); None for levels.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.truth, pair.prediction)))
    matrix = np.stack([columns[name] for name in names])
    at = [(names.index(pair.truth), names.index(pair.prediction)) for pair in pairs]
    draws = resample(PairedMetrics(matrix, at), group.n, how) if how else None
    for k, name in enumerate(METRICS):
        for i, pair in enumerate(pairs):
            _add(
                group,
                pair,
                name,
                metric(name, columns[pair.truth], columns[pair.prediction]),
                draws,
                k * len(pairs) + i,
                confidence,
            )
    if threshold is not None:
        for truth in dict.fromkeys(pair.truth for pair in pairs):
            mine = [pair for pair in pairs if pair.truth == truth]
            if not math.isnan(threshold):
                group.n_beyond = int((np.abs(columns[truth]) > threshold).sum())
            changes = ChangeMetrics(
                columns[truth], np.stack([columns[p.prediction] for p in mine]), threshold
            )
            changed = resample(changes, group.n, how) if how else None
            values = changes.reasons(group.n)
            for i, pair in enumerate(mine):
                for k, name in enumerate(CHANGE_METRICS):
                    _add(
                        group,
                        pair,
                        name,
                        values[i * len(CHANGE_METRICS) + k],
                        changed,
                        i * len(CHANGE_METRICS) + k,
                        confidence,
                    )
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    for k, name in enumerate(METRICS):
        seen = {name_: ranks(columns[name_]) if name == "spearman" else columns[name_] for name_ in names}
        for i, first in enumerate(pairs):
            for j in range(i + 1, len(pairs)):
                drawn = None if draws is None else draws[k * len(pairs) + i] - draws[k * len(pairs) + j]
                group.comparisons.append(
                    _compared(group, name, first, pairs[j], seen, drawn, confidence, normal)
                )


def _add(
    group: Group,
    pair: Pair,
    name: str,
    found: tuple[float, str],
    draws: np.ndarray | None,
    row: int,
    confidence: float,
) -> None:
    value, reason = found
    spreads: tuple[float, ...] = ()
    if draws is not None:
        group.draws[pair.prediction, name] = draws[row]
        if not math.isnan(value):
            about = spread(draws[row], confidence)
            spreads = (about.low, about.high, about.mean, about.sd)
            if about.undefined:
                reason = f"{about.undefined:,} resamples had no value"
            group.metrics.append(
                Metric(
                    group.name,
                    pair.truth,
                    pair.prediction,
                    name,
                    group.n,
                    value,
                    *spreads,
                    about.undefined,
                    reason,
                )
            )
            return
    group.metrics.append(Metric(group.name, pair.truth, pair.prediction, name, group.n, value, reason=reason))


def _compared(
    group: Group,
    name: str,
    first: Pair,
    second: Pair,
    seen: dict[str, np.ndarray],
    drawn: np.ndarray | None,
    confidence: float,
    normal: float,
) -> Comparison:
    values = {(m.truth, m.prediction): m.value for m in group.metrics if m.metric == name}
    difference = values[first.truth, first.prediction] - values[second.truth, second.prediction]
    low = high = p = math.nan
    if drawn is not None:
        about = spread(drawn, confidence)
        low, high, p = about.low, about.high, p_of_difference(drawn)
    one, other = (
        p.prediction if first.truth == second.truth else f"{p.prediction}~{p.truth}" for p in (first, second)
    )
    if name not in CORRELATIONS:
        return Comparison(group.name, name, one, other, group.n, difference, low, high, p)
    shares, test, interval = dependent_test(first, second, seen, group.n, normal)
    reason = test.reason or interval.reason
    return Comparison(
        group.name,
        name,
        one,
        other,
        group.n,
        difference,
        low,
        high,
        p,
        shares,
        test.method,
        test.z,
        test.p,
        interval.low,
        interval.high,
        reason,
    )


def dependent_test(
    first: Pair, second: Pair, seen: dict[str, np.ndarray], n: int, normal: float
) -> tuple[str, Test, Interval]:
    """The test and interval for two correlations of the same rows, and the variable that they share (empty
    for none)."""

    def r(one: str, other: str) -> float:
        return pearson(seen[one], seen[other]).value

    shared = {first.truth, first.prediction} & {second.truth, second.prediction}
    if shared:
        j = shared.pop()
        k, h = (pair.prediction if pair.truth == j else pair.truth for pair in (first, second))
        three = r(j, k), r(j, h), r(k, h)
        return j, hittner(*three, n), zou_overlapping(*three, n, normal)
    j, k, h, m = first.truth, first.prediction, second.truth, second.prediction
    six = r(j, k), r(h, m), r(j, h), r(j, m), r(k, h), r(k, m)
    return "", silver(*six, n), zou(*six, n, normal)

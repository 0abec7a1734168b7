"""Pearson, Spearman, RMSE and MAE of predictions against measurements; undefined values are NaN with a
reason.

Everything is float64. Spearman is Pearson of ranks, ties averaged. What has no value (a constant column,
fewer than two rows) is NaN and says why, so that one bad column does not end an evaluation of five.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from legscore.system.rank_order import ranks

METRICS = ("pearson", "spearman", "rmse", "mae")
CORRELATIONS = METRICS[:2]


class Found(NamedTuple):
    """A statistic, or NaN and the reason why there is none."""

    value: float
    reason: str = ""


def pearson(x_N: np.ndarray, y_N: np.ndarray) -> Found:
    """Correlation of two float64 columns without NaN."""
    if len(x_N) < 2:
        return Found(float("nan"), f"{len(x_N)} rows are too few")
    for name, values in (("first", x_N), ("second", y_N)):
        if values.min() == values.max():
            return Found(float("nan"), f"the {name} column is constant")
    x, y = _scaled(x_N), _scaled(y_N)
    return Found(float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0)))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Centred, and divided by the largest magnitude, so that squares neither overflow nor vanish."""
    halved = values / 2 if np.abs(values).max() > 1e300 else values
    centred = halved - halved.mean()
    return np.asarray(centred / np.abs(centred).max())


def spearman(x_N: np.ndarray, y_N: np.ndarray) -> Found:
    """Pearson of ranks, ties averaged."""
    return pearson(ranks(x_N), ranks(y_N))


def rmse(truth_N: np.ndarray, prediction_N: np.ndarray) -> Found:
    """Root of the mean squared difference."""
    if not len(truth_N):
        return Found(float("nan"), "no rows")
    return Found(float(np.sqrt(np.mean((prediction_N - truth_N) ** 2))))


def mae(truth_N: np.ndarray, prediction_N: np.ndarray) -> Found:
    """Mean absolute difference."""
    if not len(truth_N):
        return Found(float("nan"), "no rows")
    return Found(float(np.mean(np.abs(prediction_N - truth_N))))


def metric(name: str, truth_N: np.ndarray, prediction_N: np.ndarray) -> Found:
    """One of METRICS; the reason names the column's part in it."""
    found = {"pearson": pearson, "spearman": spearman, "rmse": rmse, "mae": mae}[name](truth_N, prediction_N)
    words = {"first": "truth", "second": "prediction"}
    reason = found.reason
    for word, part in words.items():
        reason = reason.replace(f"the {word} column", f"the {part}")
    return Found(found.value, reason)

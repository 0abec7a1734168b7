"""Ranks with ties averaged, and the correlation of numbers or of their ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; NaN for constant or non-finite values."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


@dataclass(frozen=True)
class Ranking:
    """Rows of one variable in order: what ranks need, in a resample as well as in the data.

    Attributes:
        order_N: row at each place, smallest value first.
        starts_G: first place of each group of equal values.
        group_N: group of each row (not place).
    """

    order_N: np.ndarray
    starts_G: np.ndarray
    group_N: np.ndarray


def ranking(values_N: np.ndarray) -> Ranking:
    """Sort once; -0.0 and 0.0 are equal. NaN must be gone."""
    order = np.argsort(values_N, kind="stable")
    placed = values_N[order]
    new = np.concatenate([[True], placed[1:] != placed[:-1]]) if len(placed) else np.zeros(0, dtype=bool)
    group = np.empty(len(order), dtype=np.intp)
    group[order] = np.cumsum(new) - 1
    return Ranking(order, np.flatnonzero(new), group)


def ranks(values_N: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties averaged; float64 [N]."""
    found = ranking(values_N)
    size = np.diff(np.append(found.starts_G, len(values_N)))
    return (np.cumsum(size) - (size - 1) / 2)[found.group_N]

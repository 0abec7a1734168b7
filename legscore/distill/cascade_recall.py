"""How many of the largest effects are among those that a student ranks highest: what a cascade can expect."""

from __future__ import annotations

from typing import Any

import numpy as np

TOP = 0.01
"""Share of the rows whose effects by the ensemble are the ones to find."""
SHARES = (
    0.001,
    0.002,
    0.003,
    0.005,
    0.007,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.05,
    0.07,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
)
"""Shares of the rows that the ensemble would score again."""  # fmt: skip
RESAMPLES = 400


def recall_curve(ours_N: np.ndarray, theirs_N: np.ndarray, tile_N: np.ndarray) -> dict[str, Any]:
    """What share of the largest effects each share of the student's ranking finds.

    Args:
        ours_N, theirs_N: effects by the student and by the ensemble.
        tile_N: the stretch of DNA that each row changes; tiles are what is drawn again for the interval.

    Returns:
        `top` (share of rows that are to be found), `effects`, `tiles` and `recall`: [share, recall, low,
        high], the last two a 95 % bootstrap interval.
    """
    tiles, tile_N = np.unique(tile_N, return_inverse=True)
    truth_N, order_N = (np.argsort(-np.abs(effect_N), kind="stable") for effect_N in (theirs_N, ours_N))
    rng = np.random.default_rng(17)
    drawn = [rng.multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles))) for _ in range(RESAMPLES)]
    found = _recalls(truth_N, order_N, np.ones(len(ours_N), dtype=np.int64))
    resampled = np.stack([_recalls(truth_N, order_N, times[tile_N]) for times in drawn])
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    curve = [
        [share, *(round(float(value), 4) for value in line)]
        for share, *line in zip(SHARES, found, low, high, strict=True)
    ]
    return {"top": TOP, "effects": len(ours_N), "tiles": len(tiles), "recall": curve}


def _recalls(truth_N: np.ndarray, order_N: np.ndarray, times_N: np.ndarray) -> np.ndarray:
    """Recall at each of SHARES, where each row counts so many times.

    Args:
        truth_N, order_N: rows from the largest effect down, by the ensemble and by the student.
    """
    total = int(times_N.sum())
    wanted = np.zeros(len(times_N), dtype=bool)
    wanted[truth_N[: _rows(times_N[truth_N], TOP * total)]] = True
    times = times_N[order_N]
    hits = np.concatenate([[0], np.cumsum(times * wanted[order_N])])
    return np.array([hits[_rows(times, share * total)] for share in SHARES]) / max(hits[-1], 1)


def _rows(times_N: np.ndarray, count: float) -> int:
    """How many rows from the first one make up a count, the last of them whole."""
    return min(int(np.searchsorted(np.cumsum(times_N), count - 1e-9)) + 1, len(times_N))

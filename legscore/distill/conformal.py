"""Intervals for the ensemble's effect around the student's: split conformal by tile, in bins of |effect|.

Rows of one tile resemble each other, so that tiles are what is exchangeable: every tile of a bin weighs the
same, shared by its rows, and a tile that is still to come weighs as much as one of them and lies beyond all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

COVERAGE = 0.9
EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99)
"""Bins begin at these quantiles of the student's |effect|."""
LEAST_TILES = 30
"""Of a bin; one with fewer is joined to the one below it."""


def interval_table(ours_N: np.ndarray, theirs_N: np.ndarray, tile_N: np.ndarray) -> dict[str, Any]:
    """Half-widths of intervals that hold the ensemble's effect in COVERAGE of all rows.

    Args:
        ours_N, theirs_N: effects by the student and by the ensemble, of tiles that training never saw.
        tile_N: the stretch of DNA that each row changes.

    Returns:
        `coverage`, `effects`, `tiles` and `bins`: [from which |effect| of the student, half-width]. The
        half-width is None where there are too few tiles for one.
    """
    size_N, distance_N = np.abs(ours_N), np.abs(ours_N - theirs_N)
    lows = [float(low) for low in np.unique(np.quantile(size_N, EDGES))]
    lows[0] = 0.0
    bins: list[list[float | None]] = []
    end = np.inf
    for low in reversed(lows):
        inside = (size_N >= low) & (size_N < end)
        if low > 0 and len(np.unique(tile_N[inside])) < LEAST_TILES:
            continue
        bins.insert(0, [low, conformal_quantile(distance_N[inside], tile_N[inside])])
        end = low
    return {
        "coverage": COVERAGE,
        "effects": len(ours_N),
        "tiles": len(np.unique(tile_N)),
        "bins": bins,
    }


def conformal_quantile(
    distance_N: np.ndarray, tile_N: np.ndarray, coverage: float = COVERAGE
) -> float | None:
    """The distance that a row of a further tile keeps with the probability `coverage` at least; None where
    there are too few tiles to say so."""
    _, tile_N, rows_T = np.unique(tile_N, return_inverse=True, return_counts=True)
    order = np.argsort(distance_N, kind="stable")
    reached = np.cumsum(1 / rows_T[tile_N[order]]) / (len(rows_T) + 1)
    place = int(np.searchsorted(reached, coverage - 1e-9))
    return float(distance_N[order[place]]) if place < len(order) else None

"""Runs of high contribution: where a tile's bases, taken together, contribute more than the rest of all tiles
lets expect.

The rule, in the manner of TF-MoDISco's seqlets: contributions are summed over every stretch of WIDTH
positions that all have one. Most stretches hold no motif, so the middle of all sums says how far they
scatter: their |sum| is taken as exponential (the sums as Laplace's distribution) with the median of all.
Stretches whose |sum| passes at the false discovery rate asked for (Benjamini and Hochberg) are high. High
stretches of one sign that overlap or touch are one run; bases of the other sign at its ends are cut off.
Nothing is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.attribute.contributions import Contributions

WIDTH = 8
"""Positions of a stretch: about a binding site in yeast."""
FDR = 0.05


@dataclass(frozen=True)
class HighRun:
    """Positions `start` to `stop` (exclusive) of a tile, and the sum of their contributions, score units."""

    tile: int
    start: int
    stop: int
    total: float


def high_runs(found: Contributions, width: int = WIDTH, fdr: float = FDR) -> list[HighRun]:
    """The runs of all tiles, by tile and position."""
    values, has = found.at_base.astype(np.float64), found.has_TL
    sums, whole = _sums(values, width), _sums(has.astype(np.float64), width) == width
    bound = threshold(np.abs(sums[whole]), fdr)
    runs = []
    for sign in (1, -1):
        high_TS = whole & (sign * sums >= bound)
        for tile in np.flatnonzero(high_TS.any(axis=1)):
            covered = np.convolve(high_TS[tile], np.ones(width)) > 0
            runs += _cut(int(tile), covered, values[tile], sign)
    return sorted(runs, key=lambda run: (run.tile, run.start, run.stop))


def threshold(sizes_S: np.ndarray, fdr: float) -> float:
    """The smallest |sum| that passes: p = exp(-|sum| ln 2 / median), Benjamini and Hochberg at `fdr`;
    infinite where none does."""
    n, middle = len(sizes_S), float(np.median(sizes_S)) if len(sizes_S) else 0.0
    if middle == 0:
        return np.inf
    ordered = np.sort(sizes_S)[::-1]
    passes = np.exp(-ordered * np.log(2) / middle) <= fdr * np.arange(1, n + 1) / n
    return float(ordered[np.flatnonzero(passes)[-1]]) if passes.any() else np.inf


def _sums(values_TL: np.ndarray, width: int) -> np.ndarray:
    """Sums of every stretch of `width` positions, float64 [tiles, stretches]; no stretch where tiles are
    shorter."""
    if values_TL.shape[1] < width:
        return np.zeros((len(values_TL), 0))
    return np.lib.stride_tricks.sliding_window_view(values_TL, width, axis=1).sum(axis=-1)


def _cut(tile: int, covered: np.ndarray, values: np.ndarray, sign: int) -> list[HighRun]:
    """Stretches of covered positions, without the ends that have the other sign or none."""
    bounds = np.flatnonzero(np.diff(np.concatenate([[0], covered.astype(np.int8), [0]])))
    runs = []
    for start, stop in bounds.reshape(-1, 2):
        inside = start + np.flatnonzero(sign * values[start:stop] > 0)
        first, last = int(inside[0]), int(inside[-1]) + 1
        runs.append(HighRun(tile, first, last, float(values[first:last].sum())))
    return runs

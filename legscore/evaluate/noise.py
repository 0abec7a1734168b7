"""Measurement noise of a truth: as given, or as its replicates tell; what it allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from legscore.errors import InputError
from legscore.evaluate.compare import Pair
from legscore.evaluate.correlation import pearson
from legscore.evaluate.options import EvaluationOptions

AWAY = 0.1
"""A truth that strays further than this share of the noise SD from the mean of its replicates is not that
mean."""


@dataclass(frozen=True)
class Noise:
    """What measurement noise is, and what it allows.

    Attributes:
        sd: SD of the error of the truth column. threshold: |truth| beyond it is a change.
        source: where the SD comes from.
        replicate_r, reliability, ceiling: Pearson of two replicates; of their mean with another such mean
            (Spearman-Brown); the largest Pearson that a perfect prediction can expect against that mean. NaN
            without replicates.
    """

    sd: float
    threshold: float
    source: str
    n: int = 0
    replicate_r: float = math.nan
    reliability: float = math.nan
    ceiling: float = math.nan
    reason: str = ""


def noise_of_replicates(first_N: np.ndarray, second_N: np.ndarray, z: float) -> Noise:
    """Noise of the mean of two replicates with equal and independent errors: SD of their difference over 2.

    A shift between them is no noise of an effect and is taken out. The ceiling is √(2r / (1 + r)) for the
    mean of both.
    """
    both = np.isfinite(first_N) & np.isfinite(second_N)
    a, b = first_N[both], second_N[both]
    if len(a) < 3:
        return Noise(math.nan, math.nan, "replicates", len(a), reason=f"{len(a)} rows have both replicates")
    sd = float(np.std(a - b, ddof=1)) / 2
    r = pearson(a, b)
    reliability = 2 * r.value / (1 + r.value) if r.value > 0 else math.nan
    reason = r.reason or ("the replicates do not correlate" if not r.value > 0 else "")
    return Noise(sd, z * sd, "replicates", len(a), r.value, reliability, math.sqrt(reliability), reason)


def noise_asked_for(
    options: EvaluationOptions, pairs: list[Pair], columns: dict[str, np.ndarray]
) -> dict[str, Noise]:
    """Noise of each truth, as far as it was given."""
    if options.noise_sd is not None and options.replicates:
        raise InputError("--noise-sd and --replicate both give the noise; choose one")
    if options.replicates and len(options.replicates) != 2:
        raise InputError(
            f"--replicate was given {len(options.replicates)} times; give two replicates of the truth"
        )
    truths = list(dict.fromkeys(pair.truth for pair in pairs))
    if (options.replicates or options.noise_sd is not None) and len(truths) > 1:
        raise InputError("--replicate and --noise-sd are about one truth; evaluate truths in separate calls")
    if options.noise_sd is not None:
        return {truths[0]: Noise(options.noise_sd, options.noise_z * options.noise_sd, "--noise-sd")}
    if options.replicates:
        first, second = (columns[name] for name in options.replicates)
        return {truths[0]: noise_of_replicates(first, second, options.noise_z)}
    return {}


def not_their_mean(
    options: EvaluationOptions, truth: str, columns: dict[str, np.ndarray], noise: dict[str, Noise]
) -> list[str]:
    """A note where the truth is no mean of the replicates: noise and ceiling are then another quantity's."""
    if not options.replicates:
        return []
    first, second = options.replicates
    away = columns[truth] - (columns[first] + columns[second]) / 2
    away = away[np.isfinite(away)]
    if len(away) < 3 or not away.std() > AWAY * noise[truth].sd:
        return []
    return [
        f"{truth} is not the mean of {first} and {second} (median distance {np.median(np.abs(away)):.3g}): "
        "threshold and ceiling "
        "are that mean's"
    ]

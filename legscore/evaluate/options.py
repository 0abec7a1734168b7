"""Options of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from legscore.errors import InputError

NOISE_Z = 1.96
MOST_RESAMPLES = 10_000_000


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate; the command line's options, with the same names.

    Attributes:
        truths: one column for all predictions, or one for each.
        substitutions: column with the number of substitutions, in variant mode; None looks for `n_mut`,
            `substitutions`, or counts them in the sequences.
    """

    paths: Sequence[str]
    truths: Sequence[str]
    predictions: Sequence[str]
    keys: Sequence[str] = ()
    by: Sequence[str] = ()
    cluster: str | None = None
    where: Sequence[tuple[str, str]] = ()
    bootstrap: int = 10_000
    seed: int = 1
    confidence: float = 0.95
    variant: bool = False
    substitutions: str | None = None
    replicates: Sequence[str] = ()
    noise_sd: float | None = None
    noise_z: float = NOISE_Z
    curve: bool = False
    class_weights: str | None = None
    class_column: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.bootstrap <= MOST_RESAMPLES:
            raise InputError(
                f"--bootstrap is {self.bootstrap:,}; it must be from 0 (no intervals) to {MOST_RESAMPLES:,}"
            )
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; it must be 0 or more")
        if not 0 < self.confidence < 1:
            raise InputError(f"--confidence is {self.confidence}; it must lie between 0 and 1")
        for option, value in (("--noise-sd", self.noise_sd), ("--noise-z", self.noise_z)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{option} is {value}; it must be a number above 0")

"""Scores as numbers of 16 bits: a whole number times a factor that is the same for a whole atlas.

The factor follows from the contract alone, never from the scores: shards of an atlas then agree. It spans the
range that the models' scores have; for models without one it is 1/1024, which holds ±32. The error of a
number is at most half of its factor; the largest one found is in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from legscore.dna.contract import Contract
from legscore.errors import InputError

MOST = 32_767
WITHOUT_RANGE = 1 / 1024
COLUMNS = ("alt_score", "effect", "effect_sd")
"""Columns of an atlas that hold scores; as scaled numbers their names end in SUFFIX."""
SUFFIX = "_scaled"


@dataclass(frozen=True)
class Scale:
    """Factors by column; empty where numbers are float32."""

    factor: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.factor)

    def names(self) -> list[str]:
        """Columns in a file of scores."""
        return [f"{name}{SUFFIX}" if self else name for name in COLUMNS]

    def encode(self, name: str, values: np.ndarray) -> tuple[np.ndarray, float]:
        """A column of float32 (NaN: none, 0 comes for it) as int16; and the largest error.

        Raises:
            InputError: a value does not fit.
        """
        factor, known = self.factor[name], np.isfinite(values)
        exact = np.where(known, values, 0).astype(np.float64)
        whole = np.rint(exact / factor)
        if len(whole) and np.abs(whole).max() > MOST:
            worst = float(exact[np.abs(whole).argmax()])
            raise InputError(
                f"{name} {worst:.6g} does not fit 16 bits, which hold ±{MOST * factor:.6g} here; build the "
                "atlas with --numbers float32"
            )
        number = whole.astype(np.int16)
        error = float(np.abs(self.decode(name, number) - exact).max()) if len(exact) else 0.0
        return number, error

    def decode(self, name: str, number: np.ndarray) -> np.ndarray:
        """float32 values of a column of int16."""
        return (number.astype(np.float64) * self.factor[name]).astype(np.float32)


def scale_of(contract: Contract) -> Scale:
    """The factors of int16 numbers of models with this contract."""
    low, high = contract.output.min, contract.output.max
    if low is None or high is None:
        return Scale(dict.fromkeys(COLUMNS, WITHOUT_RANGE))
    reach = {"alt_score": max(abs(low), abs(high)), "effect": high - low, "effect_sd": high - low}
    return Scale({name: most / MOST for name, most in reach.items()})

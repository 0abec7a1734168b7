"""What `--rescore` asks for: which rows the ensemble scores again after a student has scored all of them."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from legscore.errors import LegscoreError

ABS_EFFECT, SCORE = "abs_effect", "score"
_SHARE = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*%\s*")
_TOP = re.compile(r"\s*top\s*:\s*(\d{1,15})\s*")
_FIXED = re.compile(rf"\s*({ABS_EFFECT}|{SCORE})\s*([<>])\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Rescore:
    """Which rows the ensemble scores again.

    Attributes:
        text: as the user wrote it.
        quantity: what rows are chosen by: `abs_effect`, or `score` where a row is one sequence.
        share: of the rows, above 0 to 1, those with the largest |effect|.
        number: of such rows, instead.
        bound: a fixed threshold in score units, instead.
        below: rows below the threshold are chosen, not those above it.
    """

    text: str
    quantity: str = ABS_EFFECT
    share: Decimal | None = None
    number: int | None = None
    bound: float | None = None
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> Rescore:
        """`5%`, `top:1000`, `abs_effect>2`, `score>12` or `score<4`. LegscoreError for anything else."""
        if not isinstance(text, str):
            raise LegscoreError(f"rescore is {text!r}; it must be a text such as '5%'")
        if (found := _SHARE.fullmatch(text)) and 0 < (percent := Decimal(found[1])) <= 100:
            return cls(text.strip(), share=percent / 100)
        if (found := _TOP.fullmatch(text)) and int(found[1]):
            return cls(text.strip(), number=int(found[1]))
        if found := _FIXED.fullmatch(text):
            quantity, sign, bound = found[1], found[2], _finite(found[3])
            fits = quantity == SCORE or (sign == ">" and bound is not None and bound >= 0)
            if bound is not None and fits:
                return cls(f"{quantity}{sign}{found[3]}", quantity, bound=bound, below=sign == "<")
        raise LegscoreError(
            f"--rescore {text!r}: write a share of the rows such as '5%', a number of them such as "
            "'top:1000', or a threshold such as 'abs_effect>2' (of sequences 'score>12' or 'score<4')"
        )

    @property
    def is_rank(self) -> bool:
        """Whether which rows are chosen depends on all rows of the input."""
        return self.bound is None

    def rows_of(self, n: int) -> int:
        """How many of `n` ranked rows are chosen by rank; a share is rounded up to whole rows."""
        if self.share is not None:
            return int((self.share * n).to_integral_value(rounding=ROUND_CEILING))
        return min(self.number or 0, n)


def _finite(text: str) -> float | None:
    """The number as a threshold; None where it is none, or beyond what a score (float32) can be."""
    try:
        value = float(text)
        struct.pack("<f", value)
    except (ValueError, OverflowError):
        return None
    return value + 0.0 if math.isfinite(value) else None  # + 0.0: of -0 too

"""--target: the scores wanted, from one value, a list, a range, or a column of a file.

`12`; `6,9,12` (in turn); `6:15` (evenly spaced over the range); `6:15:0.5` (in steps, in turn);
`wanted.parquet:column`.
"""

from __future__ import annotations

import math
import re

import numpy as np

from legscore.dna.contract import Output
from legscore.errors import InputError, nearest, shorten

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DEFAULT_N = 100


def read_targets(
    text: str, n: int | None, low: float | None, high: float | None, whose: str, fallback_n: int | None = None
) -> np.ndarray:
    """Targets of all designs, float32 [n].

    Args:
        n: designs; by default one for each row of a column, `fallback_n` (sequences of --from), or 100.
        low, high: range that targets must lie in; `whose` says who sets it.

    Raises:
        InputError: unreadable, outside the range.
    """
    if n is not None and n < 1:
        raise InputError(f"--n {n}: at least 1")
    if re.fullmatch(rf"{NUMBER}(,{NUMBER})*", text):
        values = np.array([float(part) for part in text.split(",")])
    elif match := re.fullmatch(rf"({NUMBER}):({NUMBER})(?::({NUMBER}))?", text):
        first, last = float(match[1]), float(match[2])
        if not first < last:
            raise InputError(
                f"--target {text}: the range runs from {first:g} to {last:g}; write the lower bound first"
            )
        if match[3] is None:
            values = np.linspace(first, last, n or fallback_n or DEFAULT_N)
        else:
            step = float(match[3])
            if not step > 0 or (last - first) / step > 100_000:
                raise InputError(f"--target {text}: the step must be above 0, and not that small")
            values = first + step * np.arange(math.floor((last - first) / step + 1e-9) + 1)
    else:
        values = _column(text)
        n = n or len(values)
    if not np.isfinite(values).all():
        raise InputError(f"--target {text}: {np.count_nonzero(~np.isfinite(values))} targets are no numbers")
    outside = [
        value for value in values if (low is not None and value < low) or (high is not None and value > high)
    ]
    if outside:
        raise InputError(
            f"--target {text}: {shorten([f'{v:g}' for v in outside], 3)} outside {low:g}..{high:g}, the "
            f"range of {whose}"
        )
    return np.resize(values, n or fallback_n or max(DEFAULT_N, len(values))).astype(np.float32)


def _column(text: str) -> np.ndarray:
    from legscore.input.read import open_input
    from legscore.input.whole_table import read_columns

    path, colon, column = text.rpartition(":")
    if not colon or not path or not column:
        raise InputError(
            f"--target {text}: write a number, a list 6,9,12, a range 6:15 or 6:15:0.5, or FILE:COLUMN"
        )
    opened = open_input([path])
    if column not in opened.schema.names:
        names = opened.schema.names
        raise InputError(
            f"--target: {path} has no column {column!r}{nearest(column, names)}; it has {shorten(names)}"
        )
    import pyarrow as pa

    values = read_columns(opened, [column]).column(0)
    try:
        return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowException, ValueError):
        raise InputError(f"--target: column {column!r} of {path} must hold numbers") from None


def target_range(generator: Output | None, predictor: Output) -> tuple[float | None, float | None, str]:
    """Lowest and highest target, and who sets them: the generator's range within the predictor's bins."""
    low, high, whose = predictor.min, predictor.max, "the predictors' scores"
    if generator is not None:
        assert generator.min is not None and generator.max is not None  # noqa: PT018 (a generator's contract has both)
        if low is None or generator.min >= low:
            low, whose = generator.min, "the expression that the generator was trained on"
        if high is None or generator.max <= high:
            high, whose = generator.max, "the expression that the generator was trained on"
    return low, high, whose

"""Which rows the ensemble scores again: a threshold with a rule for ties, exact, found in bounded memory.

A rank is found by counting: float32 numbers that are not negative are in the order of their bits, so a first
pass over the student's results counts their upper 16 bits, a second the lower 16 bits of those that share
them with the wanted number. Rows at the threshold itself are chosen from the first row on, as many as the
rank takes. So the choice depends on the rows alone: not on parts, threads or order. The random sample that
checks the choice is drawn by row number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from legscore.errors import OutputError
from legscore.output.part_file import DamagedPartError
from legscore.output.parts import PartFolder
from legscore.rows.reduce import Results
from legscore.rows.schema import OK
from legscore.run.rescore import ABS_EFFECT, Rescore

SEED = 1
SAMPLE_SHARE, LEAST_SAMPLED, MOST_SAMPLED, OF_FEW = 0.01, 1_000, 10_000, 0.1
"""Rows of the random sample where none was asked for: one in a hundred, but so many at least and at most, and
of few rows a tenth."""
COMMON_SHARES = tuple(
    Decimal(text) for text in ("0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2")
)
"""Shares of the rows whose thresholds the record of a student's run holds."""
HALF = 1 << 16
Keys = Callable[[], Iterable[tuple[int, np.ndarray]]]
"""Gives, each time it is called, first row and keys of each part (float32, NaN where there is none)."""


@dataclass(frozen=True)
class Choice:
    """Which rows the ensemble scores.

    Attributes:
        quantity: `abs_effect` or `score`. below: small ones are chosen.
        bound: rows beyond it are chosen; a float32.
        last_tie: rows at the bound are chosen up to this row of the input, from 0; -1 for none.
        sample_share: of all rows, drawn at random to check the choice. seed: of that draw.
    """

    quantity: str
    below: bool
    bound: float
    last_tie: int
    sample_share: float
    seed: int = SEED

    def keys(self, values_N: np.ndarray) -> np.ndarray:
        """What rows are ranked by, float32 [rows], the largest first, from their effects or scores."""
        return keys_of(values_N, self.quantity, below=self.below)

    def chosen(self, keys_N: np.ndarray, first_row: int) -> np.ndarray:
        """bool [rows]; a row without a key is not chosen."""
        bound = np.float32(-self.bound if self.below else self.bound)
        at_bound = (keys_N == bound) & (first_row + np.arange(len(keys_N)) <= self.last_tie)
        return np.asarray((keys_N > bound) | at_bound)

    def sampled(self, first_row: int, rows: int) -> np.ndarray:
        """bool [rows] of the random sample: each row by itself, from its number and the seed."""
        drawn = _mixed(
            np.arange(first_row, first_row + rows, dtype=np.uint64) + (np.uint64(self.seed) << np.uint64(48))
        )
        return np.asarray(drawn.astype(np.float64) < self.sample_share * 2.0**64)

    def to_json(self) -> dict[str, Any]:
        """What the metadata says of it."""
        said = asdict(self)
        return {name: said[name] for name in ("quantity", "below", "bound", "last_tie")}


def keys_of(values_N: np.ndarray, quantity: str, *, below: bool = False) -> np.ndarray:
    """What rows are ranked by, float32 [rows], the largest first, from their effects or scores."""
    return np.abs(values_N) if quantity == ABS_EFFECT else (-values_N if below else values_N)


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64, uint64 [N]: neighbours have nothing to do with each other."""
    x = x * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sample_share(asked: int | None, n_rows: int) -> float:
    """The share of the rows that checks the choice, of the number asked for, or of the usual one."""
    if asked is None:
        least = min(LEAST_SAMPLED, math.ceil(OF_FEW * n_rows))
        asked = min(max(round(SAMPLE_SHARE * n_rows), least), MOST_SAMPLED)
    return min(asked / n_rows, 1.0) if n_rows else 0.0


def choose(rescore: Rescore, keys: Keys, share: float) -> Choice:
    """The threshold that takes what was asked for.

    Args:
        rescore: what was asked for. keys: of all rows. share: of the rows that check the choice.
    """
    if rescore.bound is not None:
        return Choice(rescore.quantity, rescore.below, _shortest(rescore.bound), -1, share)
    rows = rescore.rows_of(sum(int(np.isfinite(part).sum()) for _, part in keys()))
    if not rows:
        return Choice(rescore.quantity, False, _shortest(float(np.finfo(np.float32).max)), -1, share)
    [(bound, above)] = ranked(keys, [rows])
    last_tie = _last_tie(keys, bound, rows - above)
    return Choice(rescore.quantity, False, _shortest(bound), last_tie, share)


def ranked(keys: Keys, ranks: Sequence[int]) -> list[tuple[float, int]]:
    """The keys of these ranks (1 is the largest), and for each how many keys are larger.

    Args:
        keys: not negative; NaN where a row has none.
        ranks: from 1 to the number of keys.
    """
    upper_counts = np.zeros(HALF, dtype=np.int64)
    for _, part in keys():
        upper_counts += np.bincount(_bits(part) >> 16, minlength=HALF)
    places = [_place(upper_counts, rank) for rank in ranks]
    lower_counts = {upper: np.zeros(HALF, dtype=np.int64) for upper, _ in places}
    for _, part in keys():
        bits = _bits(part)
        for upper, counts in lower_counts.items():
            counts += np.bincount(bits[bits >> 16 == upper] & (HALF - 1), minlength=HALF)
    found = []
    for rank, (upper, above) in zip(ranks, places, strict=True):
        lower, more = _place(lower_counts[upper], rank - above)
        bits = np.array([upper << 16 | lower], dtype=np.uint32)
        found.append((float(bits.view(np.float32)[0]), above + more))
    return found


def _bits(keys_N: np.ndarray) -> np.ndarray:
    """The bits of the keys that are there, int64; of 0.0 where a key is -0.0."""
    known = np.asarray(keys_N, dtype=np.float32)[np.isfinite(keys_N)] + np.float32(0)
    return known.view(np.uint32).astype(np.int64)


def _place(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """Where the rank falls, counted from the end, and how many lie beyond that place."""
    beyond = np.cumsum(counts[::-1])
    at = int(np.searchsorted(beyond, rank))
    return len(counts) - 1 - at, int(beyond[at] - counts[::-1][at])


def _last_tie(keys: Keys, bound: float, rows: int) -> int:
    """The last of the first `rows` rows whose key is the bound."""
    for first_row, part in keys():
        tied = np.flatnonzero(part == np.float32(bound))
        if len(tied) >= rows:
            return first_row + int(tied[rows - 1])
        rows -= len(tied)
    raise AssertionError("the rank was counted among these rows")


def kept_results(
    store: PartFolder, numbers: range, part_rows: int, n_rows: int
) -> Iterator[tuple[int, Results]]:
    """First row and results of each part that is kept, in order.

    Args:
        n_rows: of the whole input.

    Raises:
        OutputError: a part is damaged or gone.
    """
    for number in numbers:
        first = number * part_rows
        yield first, kept_part(store, number, min(part_rows, n_rows - first))


def kept_part(store: PartFolder, number: int, rows: int) -> Results:
    """Results of one part that is kept. OutputError where it is damaged or gone."""
    try:
        found = store.load(number, rows)
    except DamagedPartError as error:
        raise OutputError(f"{error}; the same command scores it again") from error
    if found is None:
        raise OutputError(f"part {number} in {store.where} is gone; the same command scores it again")
    return found.results


def ranked_values(results: Results) -> np.ndarray:
    """The effects of rows, or the scores where a row is one sequence; NaN where there is none."""
    values = results.columns["effect" if "effect" in results.columns else "score"]
    return np.where(results.status_N == OK, values, np.float32(np.nan))


def common_thresholds(keys: Keys) -> list[dict[str, Any]]:
    """Fixed thresholds of |effect| that take common shares of the rows, for the record of a student's run:
    `share`, `abs_effect`, and `rows`, how many lie above it (fewer where rows are tied)."""
    n = sum(int(np.isfinite(part).sum()) for _, part in keys())
    wanted = {share: Rescore("", share=share).rows_of(n) for share in COMMON_SHARES}
    wanted = {share: rows for share, rows in wanted.items() if rows < n}
    found = ranked(keys, [rows + 1 for rows in wanted.values()])
    return [
        {"share": float(share), "abs_effect": _shortest(bound), "rows": above}
        for share, (bound, above) in zip(wanted, found, strict=True)
    ]


def _shortest(value: float) -> float:
    """The shortest number that is this float32; 0 has no sign."""
    return float(str(np.float32(value))) + 0.0

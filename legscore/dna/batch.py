"""What travels to an engine: windows as codes, and single-base edits of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def _none(dtype: type) -> Any:
    return field(default_factory=lambda: np.empty(0, dtype=dtype))


@dataclass(frozen=True)
class Batch:
    """Windows to score: first every row of `codes_WL`, then one per edit.

    Attributes:
        codes_WL: uint8 [windows, length], A,G,C,T,N = 0..4.
        window_E, offset_E, base_E: int32, int16 and uint8 [edits]: window `window_E` with the base at
            `offset_E` replaced by `base_E`. Saturation mutagenesis so sends each window once.
    """

    codes_WL: np.ndarray
    window_E: np.ndarray = _none(np.int32)
    offset_E: np.ndarray = _none(np.int16)
    base_E: np.ndarray = _none(np.uint8)

    @property
    def n_windows(self) -> int:
        """Windows scored: rows of codes_WL plus edits."""
        return len(self.codes_WL) + len(self.window_E)

    def expand(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Codes of scored windows start..stop, uint8 [stop - start, length] (the numpy twin of a device's
        mutate)."""
        stop = self.n_windows if stop is None else min(stop, self.n_windows)
        plain = len(self.codes_WL)
        if stop <= plain:
            return self.codes_WL[start:stop]
        edits = slice(max(start - plain, 0), stop - plain)
        changed_EL = self.codes_WL[self.window_E[edits]]
        changed_EL[np.arange(len(changed_EL)), self.offset_E[edits]] = self.base_E[edits]
        return changed_EL if start >= plain else np.concatenate([self.codes_WL[start:], changed_EL])


def join(batches: Sequence[Batch]) -> Batch:
    """One batch: all windows first, then all edits."""
    if len(batches) == 1:
        return batches[0]
    before = np.cumsum([0] + [len(b.codes_WL) for b in batches[:-1]])
    return Batch(
        np.concatenate([b.codes_WL for b in batches]),
        np.concatenate([b.window_E + n for b, n in zip(batches, before, strict=True)]).astype(np.int32),
        np.concatenate([b.offset_E for b in batches]),
        np.concatenate([b.base_E for b in batches]),
    )

"""Which rows a step trains on: a function of (seed, step) alone, so that resuming needs no sampler state.

Without weights each pass is a permutation of the samples, drawn from (seed, pass); with weights every step
draws with replacement from (seed, step). A sample is a row and a strand: with `rc="both"` each pass holds
every row on both strands (as published), with "random" once, on a strand drawn for it, with "none" once,
forward. Shifts along the vector are drawn uniformly from 0 to `shift_max`, for every sample of every step.
"""

from __future__ import annotations

import numpy as np


class Sampler:
    """Batches of (rows, is_reverse, shifts) for N rows."""

    def __init__(
        self, n: int, batch: int, seed: int, rc: str, weight_N: np.ndarray | None = None, shift_max: int = 0
    ) -> None:
        self.n, self.batch, self.seed, self.rc = n, batch, seed, rc
        self.shift_max = shift_max
        self.size = 2 * n if rc == "both" else n
        self._cumulative = None if weight_N is None else np.cumsum(weight_N / weight_N.sum())
        self._pass, self._order = -1, np.empty(0, dtype=np.int64)

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows int64 [batch], strand bool [batch] (True: reverse complement), shifts int64 [batch] of a
        step."""
        return (*self._rows(step), self._shifts(step))

    def _shifts(self, step: int) -> np.ndarray:
        if not self.shift_max:
            return np.zeros(self.batch, dtype=np.int64)
        return np.random.default_rng([self.seed, 4, step]).integers(0, self.shift_max + 1, self.batch)

    def _rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        if self._cumulative is not None:
            rng = np.random.default_rng([self.seed, 2, step])
            rows = np.minimum(
                np.searchsorted(self._cumulative, rng.random(self.batch), side="right"), self.n - 1
            )
            reverse = np.zeros(self.batch, dtype=bool) if self.rc == "none" else rng.random(self.batch) < 0.5
            return rows, reverse
        samples = self._samples(step * self.batch)
        if self.rc == "both":
            return samples // 2, samples % 2 == 1
        if self.rc == "none":
            return samples, np.zeros(self.batch, dtype=bool)
        return samples, np.random.default_rng([self.seed, 3, step]).random(self.batch) < 0.5

    def _samples(self, start: int) -> np.ndarray:
        """Samples start..start + batch of the endless sequence of permutations."""
        pieces, wanted = [], self.batch
        while wanted:
            number, at = divmod(start, self.size)
            piece = self._permutation(number)[at : at + wanted]
            pieces.append(piece)
            start, wanted = start + len(piece), wanted - len(piece)
        return np.concatenate(pieces)

    def _permutation(self, number: int) -> np.ndarray:
        if number != self._pass:
            self._order = np.random.default_rng([self.seed, 1, number]).permutation(self.size)
            self._pass = number
        return self._order

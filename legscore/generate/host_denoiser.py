"""The mutate–denoise loop of a generator on the CPU: shuffling and random numbers are numpy's, and take a few
percent of the time; a subclass runs the network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from legscore.dna.contract import BASES
from legscore.generate.draws import PERMUTATIONS, drawn, shuffles


class HostDenoiser(ABC):
    """See `legscore.generate.sample.Denoiser`."""

    batch = 1
    """Rows that the network takes at once; what is held is padded to a multiple."""

    def __init__(self, length: int) -> None:
        self.length, self.engine_s = length, 0.0
        self._x = self._out = np.empty((0, 0, 0), dtype=np.float32)
        self._seeds = np.empty(0, dtype=np.int64)

    def begin(self, bases_N4L: np.ndarray, target_N: np.ndarray, seed_N: np.ndarray) -> None:
        n, four = len(bases_N4L), len(BASES)
        rows = -(-n // self.batch) * self.batch
        self._x = np.zeros((rows, four + 2, self.length), dtype=np.float32)
        self._x[:n, four] = np.asarray(target_N, dtype=np.float32)[:, None]
        self._out = np.zeros((rows, four, self.length), dtype=np.float32)
        self._seeds = np.asarray(seed_N, dtype=np.int64)
        self.put(bases_N4L)

    def step(self, number: int, n_mutations: int, told: int, draw: bool = False) -> None:
        n = len(self._seeds)
        order_NL = shuffles(self._seeds, number, n_mutations, self.length)
        at_n, at_l = np.nonzero(order_NL)
        self._x[:, :4] = self._out
        moved = self._out[at_n, :, at_l]
        self._x[at_n, :4, at_l] = np.take_along_axis(moved, PERMUTATIONS[order_NL[at_n, at_l]], axis=1)
        self._x[:n, 5] = told
        self._run()
        if draw:
            self._out[:n] = drawn(self._seeds, number, self._out[:n])

    @abstractmethod
    def _run(self) -> None:
        """The network: `_x` [rows, 6, L] → `_out` [rows, 4, L]; adds to `engine_s`."""

    def probabilities(self, x_N6L: np.ndarray) -> np.ndarray:
        """The network alone: float32 [N, 6, L] → probabilities [N, 4, L]; for comparing engines."""
        self.begin(x_N6L[:, :4], x_N6L[:, 4, 0], np.zeros(len(x_N6L)))
        self._x[: len(x_N6L)] = x_N6L
        self._run()
        return self.bases()

    def bases(self) -> np.ndarray:
        return self._out[: len(self._seeds)].copy()

    def put(self, bases_N4L: np.ndarray) -> None:
        self._out[: len(bases_N4L)] = bases_N4L

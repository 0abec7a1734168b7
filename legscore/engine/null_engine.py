"""Zeros at a set rate: for tests of the pipeline, of memory and of ceilings. Only by name; outputs and
summary say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import ThreadedEngine
from legscore.model.checkpoint import Checkpoint

TILE_WINDOWS = 256


class NullEngine(ThreadedEngine):
    """Scores everything 0.

    Args:
        windows_per_s: windows × members a second to pretend; 0 is as fast as possible.
    """

    name = "null"
    precision = "none"

    def __init__(self, members: Sequence[Checkpoint], *, windows_per_s: float = 0.0) -> None:
        super().__init__(members[0].contract, both_strands=True, is_singleton=False)
        self.n_members, self.windows_per_s = len(members), windows_per_s

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Callable[[int], None]) -> np.ndarray:
        for start in range(0, batch.n_windows, TILE_WINDOWS) if self.windows_per_s > 0 else ():
            n = min(TILE_WINDOWS, batch.n_windows - start) * len(members)
            time.sleep(n / self.windows_per_s)
            tell(n)
        return np.zeros((len(members), batch.n_windows), dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "precision": self.precision,
            "warning": "every score is zero: nothing was computed",
        }

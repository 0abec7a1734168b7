"""What an engine is.

`submit(batch, members=None)` returns a Future of scores_MN, float32 [members, batch.n_windows], strands averaged where
the engine was built for both. At most `depth` batches should be in flight; they are scored in the order of submission,
so a caller that keeps `depth` in flight never leaves the engine idle and gets its results in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from legscore.batch import Batch
from legscore.contract import Contract
from legscore.engine.fidelity import Fidelity


class Engine(Protocol):
    """Runs a compiled ensemble."""

    name: str
    precision: str
    contract: Contract
    n_members: int
    depth: int
    fidelity: Fidelity | None

    def submit(self, batch: Batch, members: Sequence[int] | None = None) -> Future[np.ndarray]:
        """Score a batch with all members, or those listed, in that order."""

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        """`submit(...).result()`."""

    def describe(self) -> dict[str, Any]:
        """What defines the numbers (engine, versions, precision, batch, instruction set), for the output's metadata."""

    def close(self) -> None:
        """Release everything; scoring afterwards is an error."""


class ThreadedEngine:
    """Base of engines whose `_score` runs a whole batch: one thread takes the batches in order.

    A subclass sets `name`, `precision`, `n_members` and defines `_score` and `describe`.
    """

    name = ""
    precision = ""
    n_members = 0
    depth = 2

    def __init__(self, contract: Contract, *, both_strands: bool, is_singleton: bool) -> None:
        self.contract = contract
        self.both_strands, self.is_singleton = both_strands, is_singleton
        self.fidelity: Fidelity | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="legscore-engine")

    def submit(self, batch: Batch, members: Sequence[int] | None = None) -> Future[np.ndarray]:
        chosen = list(range(self.n_members)) if members is None else list(members)
        if any(not 0 <= m < self.n_members for m in chosen):
            raise IndexError(f"members {chosen} of an ensemble of {self.n_members}")
        return self._thread.submit(self._score, batch, chosen)

    def score_forward(self, batch: Batch, member: int) -> np.ndarray:
        """One member's scores of the forward strands, float32 [windows], whatever the engine was built for."""
        return self._thread.submit(self._score, batch, [member], False).result()[0]

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        return self.submit(batch, members).result()

    def _score(self, batch: Batch, members: list[int], both: bool | None = None) -> np.ndarray:
        """Scores_MN of a batch; `both` overrides the engine's strands."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        raise NotImplementedError

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def average(rows_MR: np.ndarray, n_windows: int, both: bool) -> np.ndarray:
        """Rows as `encode.strands` lays them out → scores_MN, float32."""
        if not both:
            return rows_MR[:, :n_windows]
        return (rows_MR[:, :n_windows] + rows_MR[:, n_windows : 2 * n_windows]) * np.float32(0.5)

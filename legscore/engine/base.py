"""What an engine is.

`submit(batch, members=None)` returns a Future of scores_MN, float32 [members, batch.n_windows], strands
averaged where the engine was built for both. At most `depth` batches should be in flight; they are scored in
the order of submission, so a caller that keeps `depth` in flight never leaves the engine idle and gets its
results in order.
"""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.engine.fidelity import Fidelity
from legscore.errors import EngineError
from legscore.system.threads import running_pool

Watch = Callable[[float], object]


@contextlib.contextmanager
def refusals(what: str) -> Iterator[None]:
    """OpenVINO's RuntimeErrors (also for memory that the system refuses) as an EngineError that ends with
    their last line, which says why; the lines before it name files of its source. Also a decorator."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise EngineError(f"{what}: {lines[-1] if lines else type(error).__name__}") from error


class Engine(Protocol):
    """Runs a compiled ensemble."""

    name: str
    precision: str
    contract: Contract
    n_members: int
    n_beside: int
    """Networks after the members, scored only where their number is asked for: what a student's SD is told
    by."""
    depth: int
    fidelity: Fidelity | None

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        """Score a batch with all members, or with the networks listed, in that order. `watch` is called from
        another thread with the share of the work done since its last call; the shares add up to 1."""

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        """`submit(...).result()`."""

    def describe(self) -> dict[str, Any]:
        """What defines the numbers (engine, versions, precision, batch, instruction set), for the output's
        metadata."""

    def interrupt(self) -> None:
        """Stop scoring: futures under way fail with EngineError, and nothing can be scored afterwards."""

    def close(self) -> None:
        """Release everything; scoring afterwards is an error."""


class ThreadedEngine(ABC):
    """Base of engines whose `_score` runs a whole batch: one thread takes the batches in order.

    A subclass sets `name`, `precision`, `n_members` and defines `_score` and `describe`.
    """

    name = ""
    precision = ""
    n_members = 0
    n_beside = 0
    depth = 2

    def __init__(self, contract: Contract, *, both_strands: bool, is_singleton: bool) -> None:
        self.contract = contract
        self.both_strands, self.is_singleton = both_strands, is_singleton
        self.fidelity: Fidelity | None = None
        self._stop = threading.Event()
        self._pid = os.getpid()
        self._thread = running_pool(1, "legscore-engine")
        self.computed_together: list[list[int]] = []
        """Members that are computed together, whichever of them is asked for; each alone where empty."""

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        return self._thread.submit(self._watched, batch, self._chosen(members), self.both_strands, watch)

    def _chosen(self, members: Sequence[int] | None) -> list[int]:
        """The members asked for, checked; also that the engine can still be used."""
        chosen = list(range(self.n_members)) if members is None else list(members)
        if any(not 0 <= m < self.n_members + self.n_beside for m in chosen):
            raise IndexError(f"members {chosen} of an ensemble of {self.n_members}")
        if os.getpid() != self._pid:
            raise EngineError(
                "an engine does not survive a fork; load the ensemble in the child, or start it with spawn"
            )
        if self._stop.is_set():
            raise EngineError("this engine is closed")
        return chosen

    def set_beside(self, n: int) -> None:
        """Count the last n networks as beside the members."""
        self.n_members, self.n_beside = self.n_members - n, n

    def score_forward(self, batch: Batch, member: int) -> np.ndarray:
        """One member's scores of the forward strands, float32 [windows], whatever the engine was built
        for."""
        return self.scores_forward(batch, [member])[0]

    def scores_forward(self, batch: Batch, members: list[int]) -> np.ndarray:
        """Members' scores of the forward strands, float32 [members, windows], whatever the engine was built
        for."""
        return self._thread.submit(self._score, batch, members, False, lambda windows: None).result()

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        return self.submit(batch, members).result()

    def _watched(self, batch: Batch, members: list[int], both: bool, watch: Watch) -> np.ndarray:
        total = max(batch.n_windows * len(members), 1)
        told = 0.0

        def tell(windows: float) -> None:
            nonlocal told
            if self._stop.is_set():
                raise EngineError("scoring was interrupted")
            told += windows / total
            watch(windows / total)

        scores = self._score(batch, members, both, tell)
        watch(1.0 - told)  # rounding, and batches without windows
        return scores

    @abstractmethod
    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        """Scores_MN of a batch, one strand or both; calls `tell` with windows × members done, often, and lets
        what it raises pass."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """As `Engine.describe`."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine cannot be pickled: it holds threads and compiled networks. Pickle the "
            "legscore.Ensemble, which is loaded anew, or load the models where they are needed"
        )

    def interrupt(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def average(rows_MR: np.ndarray, n_windows: int, both: bool) -> np.ndarray:
        """Rows as `encode.strands` lays them out → scores_MN, float32."""
        if not both:
            return rows_MR[:, :n_windows]
        return (rows_MR[:, :n_windows] + rows_MR[:, n_windows : 2 * n_windows]) * np.float32(0.5)


def consecutive(n: int, size: int) -> list[list[int]]:
    """0..n-1 in runs of `size`, the last perhaps shorter."""
    return [list(range(start, min(start + size, n))) for start in range(0, n, size)]

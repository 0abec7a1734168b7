"""An engine on one card, and several cards as one engine.

One thread queues batches on the card, a second waits for them, so that the next batch is on the card before
the last is done. A CUDA error fails every batch in flight and closes the engine: no score is ever given for
work that failed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from legscore.cuda.card import Card, CardError
from legscore.cuda.scorer import Flight, Scorer
from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.engine.base import ThreadedEngine, Watch
from legscore.errors import EngineError
from legscore.system.threads import running_pool


class CardEngine(ThreadedEngine):
    """Scores on one card. A subclass makes `card` and `scorer` and defines `describe`."""

    def __init__(self, contract: Contract, card: Card, *, both_strands: bool, is_singleton: bool) -> None:
        super().__init__(contract, both_strands=both_strands, is_singleton=is_singleton)
        self.card = card
        self.scorer: Scorer | None = None
        self._lost: CardError | None = None
        self._waiter = running_pool(1, "legscore-card")

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        scores: Future[np.ndarray] = Future()
        self._thread.submit(self._begin, batch, self._chosen(members), watch, scores)
        return scores

    def _begin(self, batch: Batch, chosen: list[int], watch: Watch, scores: Future[np.ndarray]) -> None:
        if not scores.set_running_or_notify_cancel():
            return
        try:
            flight = self._started(batch, chosen, self.both_strands)
        except BaseException as error:
            scores.set_exception(error)
            return
        self._waiter.submit(self._end, flight, watch, scores)

    def _end(self, flight: Flight, watch: Watch, scores: Future[np.ndarray]) -> None:
        total, told = max(flight.shape[0] * flight.shape[1], 1), 0.0

        def tell(work: float) -> None:
            nonlocal told
            self._still_wanted()
            told += work / total
            watch(work / total)

        try:
            found = self._finished(flight, tell)
            watch(1.0 - told)
        except BaseException as error:
            scores.set_exception(error)
        else:
            scores.set_result(found)

    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        return self._finished(self._started(batch, members, both), tell)

    def _chosen(self, members: Sequence[int] | None) -> list[int]:
        self._still_there()
        return super()._chosen(members)

    def _still_there(self) -> None:
        """After a CUDA error whoever comes next hears of it, and not that the engine is closed."""
        if self._lost is not None:
            raise CardError(str(self._lost))

    def _still_wanted(self) -> None:
        self._still_there()
        if self._stop.is_set():
            raise EngineError("scoring was interrupted")

    def _started(self, batch: Batch, members: list[int], both: bool) -> Flight:
        self._still_wanted()
        if self.scorer is None:
            raise EngineError("this engine is closed")
        with self._losing(), self.card.use():
            return self.scorer.begin(batch, members, both)

    def _finished(self, flight: Flight, tell: Callable[[float], None]) -> np.ndarray:
        if self.scorer is None:
            raise EngineError("this engine is closed")
        with self._losing(), self.card.use():
            return self.scorer.finish(flight, tell)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """A CUDA error is final: nothing else is begun."""
        try:
            yield
        except CardError as error:
            self._stop.set()
            self._still_there()
            self._lost = error
            raise

    def close(self) -> None:
        self._stop.set()
        # nothing is cancelled: what is queued fails by itself, and its future with it
        self._thread.shutdown(wait=True)
        self._waiter.shutdown(wait=True)
        scorer, self.scorer = self.scorer, None
        if scorer is not None:
            # a lost card was reported where it was lost
            with contextlib.suppress(CardError), self.card.use():
                scorer.close()


class Cards(ThreadedEngine):
    """Several cards of one kind as one engine: each batch goes to the card with the fewest windows × members
    left to do. Results come back in the order of submission, as from one card."""

    def __init__(self, engines: Sequence[ThreadedEngine]) -> None:
        first = engines[0]
        super().__init__(first.contract, both_strands=first.both_strands, is_singleton=first.is_singleton)
        self.name, self.precision, self.n_members = first.name, first.precision, first.n_members
        self.engines, self.depth = list(engines), sum(engine.depth for engine in engines)
        self._left, self._lock = [0] * len(self.engines), threading.Lock()

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        chosen = self._chosen(members)
        work = max(batch.n_windows * len(chosen), 1)
        with self._lock:
            card = self._left.index(min(self._left))
            self._left[card] += work
        future = self.engines[card].submit(batch, chosen, watch)
        future.add_done_callback(lambda _: self._done(card, work))
        return future

    def _done(self, card: int, work: int) -> None:
        with self._lock:
            self._left[card] -= work

    def scores_forward(self, batch: Batch, members: list[int]) -> np.ndarray:
        return self.engines[0].scores_forward(batch, members)

    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        return self.engines[0]._score(batch, members, both, tell)

    def set_beside(self, n: int) -> None:
        super().set_beside(n)
        for engine in self.engines:
            engine.set_beside(n)

    def describe(self) -> dict[str, Any]:
        return self.engines[0].describe()

    def interrupt(self) -> None:
        super().interrupt()
        for engine in self.engines:
            engine.interrupt()

    def close(self) -> None:
        super().close()
        for engine in self.engines:
            engine.close()

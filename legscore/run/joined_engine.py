"""Engines of several ensembles as one: every batch goes through them in turn, so that they share cores."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import Engine, Watch
from legscore.engine.fidelity import Fidelity
from legscore.system.threads import running_pool


class JoinedEngine:
    """Engines one after the other; members are theirs in this order. It closes them."""

    n_beside = 0

    def __init__(self, engines: Sequence[Engine], names: Sequence[str]) -> None:
        """`names`: of the ensembles."""
        self._engines, self._names = list(engines), list(names)
        self.name = " and ".join(dict.fromkeys(engine.name for engine in engines))
        self.precision = " and ".join(dict.fromkeys(engine.precision for engine in engines))
        self.contract, self.depth = engines[0].contract, min(engine.depth for engine in engines)
        self.n_members = sum(engine.n_members for engine in engines)
        known = [engine.fidelity for engine in engines if engine.fidelity]
        self.fidelity: Fidelity | None = max(known, key=lambda one: one.score_max_error, default=None)
        """That of the least exact engine."""
        self._thread = running_pool(1, "legscore-ensembles")

    @property
    def fidelities(self) -> list[Fidelity | None]:
        """Of each member's engine."""
        return [engine.fidelity for engine in self._engines for _ in range(engine.n_members)]

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        chosen = list(range(self.n_members)) if members is None else list(members)
        if any(not 0 <= member < self.n_members for member in chosen):
            raise IndexError(f"members {chosen} of ensembles of {self.n_members}")
        return self._thread.submit(self._in_turn, batch, chosen, watch)

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        return self.submit(batch, members).result()

    def _in_turn(self, batch: Batch, chosen: list[int], watch: Watch) -> np.ndarray:
        scores_MN = np.empty((len(chosen), batch.n_windows), dtype=np.float32)
        start = 0
        for engine in self._engines:
            rows = [row for row, member in enumerate(chosen) if start <= member < start + engine.n_members]
            if rows:
                own = [chosen[row] - start for row in rows]
                scores_MN[rows] = engine.submit(batch, own, _part_of(watch, len(rows) / len(chosen))).result()
            start += engine.n_members
        return scores_MN

    def describe(self) -> dict[str, Any]:
        each = {
            name: {**engine.describe(), "fidelity": asdict(engine.fidelity) if engine.fidelity else None}
            for name, engine in zip(self._names, self._engines, strict=True)
        }
        first = self._engines[0].describe()
        return {**first, "engine": self.name, "precision": self.precision, "ensembles": each}

    def interrupt(self) -> None:
        for engine in self._engines:
            engine.interrupt()

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        for engine in self._engines:
            engine.close()


def _part_of(watch: Watch, share: float) -> Watch:
    """What hears of `share` of the work, from one engine that tells of all of its own."""
    return lambda done: watch(done * share)

"""The driver's placeholder for its actors' engines: it describes them and scores nothing.

So the process that leads a run needs neither the memory nor the GPU of an engine, and its plan and record are
those of a run on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.engine.base import Watch
from legscore.engine.fidelity import Fidelity
from legscore.errors import ClusterError


@dataclass(frozen=True)
class EngineSummary:
    """What an actor reports of its engine."""

    name: str
    precision: str
    n_members: int
    n_beside: int
    depth: int
    described: dict[str, Any]
    fidelity: Fidelity | None


class PlaceholderEngine:
    """Stands in a plan for engines of other processes; it cannot score a batch itself."""

    def __init__(self, engine: EngineSummary, contract: Contract) -> None:
        self.name, self.precision, self.depth = engine.name, engine.precision, engine.depth
        self.n_members, self.n_beside = engine.n_members, engine.n_beside
        self.fidelity, self.contract = engine.fidelity, contract
        self._described = engine.described

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        raise ClusterError(
            "a part that the workers had kept is damaged or gone; run the same command again to score it"
        )

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        return self.submit(batch, members).result()

    def describe(self) -> dict[str, Any]:
        return dict(self._described)

    def interrupt(self) -> None:
        """Nothing runs here."""

    def close(self) -> None:
        """Nothing is held here."""

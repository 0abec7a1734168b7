"""Scores of inserts by an ensemble on its engine, with the predictor calls counted: one call is one insert
scored by all members (both strands where the models are scored on both)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.model.student import check_students
from legscore.rows.reduce import spread
from legscore.run.settings import resolve_rc

ROWS = 4096
"""Inserts sent to the engine at a time."""


class Judge:
    """Predictors that score designs; close it when done."""

    def __init__(self, members: Sequence[Checkpoint], engine: Engine, rc: str, length: int) -> None:
        self.members, self.engine, self.rc, self.length = list(members), engine, rc, length
        self.contract: Contract = members[0].contract
        self.calls = 0
        self._window = encode_text(self.contract.window("A" * length))
        end = self.contract.length - len(self.contract.flank3)
        self._insert = slice(end - length, end)

    def scores(self, codes_NL: np.ndarray) -> np.ndarray:
        """scores_MN, float32 [members, N], of inserts uint8 [N, L]. LegscoreError when one is not finite."""
        found = []
        for first in range(0, len(codes_NL), ROWS):
            codes = codes_NL[first : first + ROWS]
            windows = np.tile(self._window, (len(codes), 1))
            windows[:, self._insert] = codes
            found.append(self.engine.score(Batch(windows)))
        self.calls += len(codes_NL)
        scores = np.concatenate(found, axis=1) if found else np.empty((len(self.members), 0), np.float32)
        if not np.isfinite(scores).all():
            raise LegscoreError(
                "the predictor gave a score that is not finite; check its training, or use --precision fp32"
            )
        return scores

    def changes(
        self, codes_NL: np.ndarray, row_E: np.ndarray, place_E: np.ndarray, base_E: np.ndarray
    ) -> np.ndarray:
        """scores_ME, float32 [members, E], of single-base changes: insert `row_E` with `base_E` at `place_E`.
        Each insert goes to the engine once, and is scored along with its changes."""
        windows = np.tile(self._window, (len(codes_NL), 1))
        windows[:, self._insert] = codes_NL
        offset = (place_E + self._insert.start).astype(np.int16)
        batch = Batch(windows, row_E.astype(np.int32), offset, base_E.astype(np.uint8))
        self.calls += len(row_E) + len(codes_NL)
        return self.engine.score(batch)[:, len(codes_NL) :]

    def describe(self) -> dict[str, Any]:
        """What defines the scores, for the output's metadata."""
        return {
            "models": [{"name": m.name, "sha256": m.sha256} for m in self.members],
            "engine": self.engine.describe(),
            "rc": self.rc,
        }

    def close(self) -> None:
        self.engine.close()


def mean_and_sd(scores_MN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over members and sample SD (NaN with one member), float32 [N] each."""
    values = scores_MN.astype(np.float64)
    return values.mean(axis=0).astype(np.float32), spread(values).astype(np.float32)


def load_predictors(paths: Sequence[str], say: Any, what: str = "-m") -> list[Checkpoint]:
    """The ensemble (the bundled models when none is named); ModelError for what is no predictor, with the
    option."""
    try:
        return open_members(list(paths), False, say)
    except ModelError as error:
        raise ModelError(f"{what}: {error}") from None


def open_judge(
    members: Sequence[Checkpoint], rc: str | None, request: Request, length: int, say: Any
) -> Judge:
    """Build the engine. `request` says engine and precision; strands come from `rc` and the models."""
    contract = members[0].contract
    settled = resolve_rc(contract, rc, "insert")
    check_students(members, settled)
    if settled == "insert":
        raise LegscoreError(
            "--rc insert turns the insert in its flanks, another design; use construct or none"
        )
    both = settled == "construct"
    asked = Request(
        request.engine, request.precision, request.recipe, both, request.is_singleton, device=request.device
    )
    say(f"strands: {settled}")
    return Judge(members, open_engine(members, asked, say), settled, length)

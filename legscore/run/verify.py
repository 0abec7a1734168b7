"""A wrong number must never look like a right one: scores are guarded while a run goes on.

Every score is held against the contract's range. And a share of the windows (`--verify`, 0.001 by default, at
least one of a part) is scored again by the OpenVINO FP32 network on the host: one member at a time, its
network built when it is first needed, one held at once. Which windows and which member follows from the
windows themselves, so from no timing and no part number. Members change from part to part: networks are kept
in the user's cache, where one is opened several times faster than built. A difference beyond what the
engine's fidelity record allows ends the run and names the rows.

What is compared, by engine: a reduced precision or another device with FP32 (limit: LIMIT_FACTOR × the
largest error that was measured when the engine was built, + LEAST_LIMIT); FP32 on OpenVINO with a second
network of its own, which shows wrong bookkeeping and failing memory, and where the CPU is given another form
of the graph than the rewritten one, that too. Engine null computes nothing and is not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.codes import hash_rows
from legscore.dna.contract import Contract
from legscore.engine.base import Engine, ThreadedEngine, refusals
from legscore.engine.recipe import load_recipe
from legscore.errors import LegscoreError, WrongScoresError, shorten
from legscore.model.checkpoint import Checkpoint
from legscore.rows.groups import Group
from legscore.system.memory import is_process_limited
from legscore.system.resources import cache_folder

DEFAULT_SHARE = 0.001
LIMIT_FACTOR = 5.0
"""A record's largest error is over 4,096 windows; over millions the largest is larger (`bench/verify.py`
measures how much)."""
LEAST_LIMIT = 1e-3
"""Score units; FP32 on different devices differs by about 1e-5."""
RANGE_TOLERANCE = 0.01
"""Share of the range: probabilities of a reduced precision do not add up to exactly 1."""
SEED = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Verified:
    """What was compared so far."""

    share: float
    limit: float
    windows: int = 0
    max_error: float = 0.0
    square_sum: float = 0.0

    def record(self) -> dict[str, Any]:
        rms = (self.square_sum / self.windows) ** 0.5 if self.windows else 0.0
        return {
            "share": self.share,
            "windows": self.windows,
            "max_error": self.max_error,
            "rms_error": rms,
            "limit": self.limit,
            "reference": "openvino fp32",
        }


class Verifier:
    """Looks at the scores of each part before they become results."""

    def __init__(
        self,
        members: Sequence[Checkpoint],
        engine: Engine,
        share: float,
        name: str,
        *,
        rc: str,
        singleton: bool,
    ):
        """
        Args:
            share: of windows that are scored again, 0 to 1.
            name: of the input, for messages.
            rc: strand mode of the run; singleton: value of the is_singleton channel.

        Raises:
            LegscoreError: an impossible share.
        """
        if not 0 <= share <= 1:
            raise LegscoreError(
                f"--verify {share}: write a share of the windows from 0 to 1, such as {DEFAULT_SHARE}"
            )
        self.members, self.name, self.contract = members, name, members[0].contract
        self.engine, self.precision = engine.name, engine.precision
        self._both, self._singleton = rc == "construct", singleton
        self._reference: ThreadedEngine | None = None
        self._held = -1
        worst = engine.fidelity.score_max_error if engine.fidelity else 0.0
        self.verified = Verified(0.0 if engine.name == "null" else share, LEAST_LIMIT + LIMIT_FACTOR * worst)

    def __call__(self, first_row: int, groups: Sequence[Group], scores: Sequence[np.ndarray]) -> None:
        """WrongScoresError when a score of this part cannot be right.

        Args:
            first_row: row of the input that the part begins with, from 0.
            groups: the part, windowed; scores: float32 [members, windows] of each group.
        """
        if self.engine == "null":
            return
        for group, scores_MW in zip(groups, scores, strict=True):
            members = range(len(self.members)) if group.members is None else group.members
            self._in_range(first_row, group, list(members), scores_MW)
            if self.verified.share and group.windows.batch.n_windows:
                self._again(first_row, group, list(members), scores_MW)

    def _in_range(self, first_row: int, group: Group, members: list[int], scores_MW: np.ndarray) -> None:
        outside_MW = outside(scores_MW, self.contract)
        if outside_MW.any():
            place = int(np.flatnonzero(outside_MW.any(axis=1))[0])
            windows = np.flatnonzero(outside_MW[place])
            raise WrongScoresError(
                f"internal error: {self._rows(first_row, group, windows)}: {self._member(members[place])} "
                "scored "
                f"{scores_MW[place, windows[0]]:.6g} on engine {self.engine} ({self.precision}), outside "
                "the range of its "
                f"contract, {self.contract.output.min:g} to {self.contract.output.max:g}; these scores are "
                "wrong. Try another "
                "--engine, and report it"
            )

    def _again(self, first_row: int, group: Group, members: list[int], scores_MW: np.ndarray) -> None:
        windows, draw = choose_windows(group.windows.batch, self.verified.share)
        place = draw % len(members)
        windows = windows[np.isfinite(scores_MW[place, windows])]  # others get the status `nonfinite`
        if not len(windows):
            return
        codes = picked(group.windows.batch, windows)
        expected = self._network(members[place]).score(Batch(codes))[0].astype(np.float64)
        error = np.abs(scores_MW[place, windows] - expected)
        self.verified.windows += len(windows)
        self.verified.square_sum += float((error**2).sum())
        self.verified.max_error = max(self.verified.max_error, float(error.max()))
        if not (error <= self.verified.limit).all():
            worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
            raise WrongScoresError(
                f"verify: {self._rows(first_row, group, windows[worst : worst + 1])}: "
                f"{self._member(members[place])} scored "
                f"{scores_MW[place, windows[worst]]:.5f} on engine {self.engine} ({self.precision}) and "
                f"{expected[worst]:.5f} in "
                f"fp32 on openvino; the measured fidelity allows {self.verified.limit:.2g}. The scores of "
                "this run cannot be "
                "trusted: check the machine, or use --precision fp32 or another --engine"
            )

    def _network(self, member: int) -> ThreadedEngine:
        """The FP32 network of a member; the one before it is let go first."""
        if self._held != member or self._reference is None:
            from legscore.engine.openvino_engine import OpenVINOEngine

            self.close()
            recipe = load_recipe("fp32")
            recipe = replace(
                recipe,
                settings={**recipe.settings, "openvino": {**recipe.settings["openvino"], "streams": 1}},
            )
            # what reads a kept one does not survive being refused memory, what builds one does
            # (`limits.memory_limit_lifted`)
            cache = None if is_process_limited() else cache_folder("networks")
            with refusals("verify: OpenVINO cannot compile the fp32 network"):
                self._reference = OpenVINOEngine(
                    [self.members[member]],
                    recipe,
                    both_strands=self._both,
                    is_singleton=self._singleton,
                    form="rewritten",
                    cache=cache,
                )
            self.members[member].release()
            self._held = member
        return self._reference

    def _member(self, member: int) -> str:
        return f"member {self.members[member].name}" if len(self.members) > 1 else self.members[member].name

    def _rows(self, first_row: int, group: Group, windows: np.ndarray) -> str:
        """`row 18,231 of a.parquet`, counted from 1."""
        within = np.flatnonzero(np.isin(group.windows.index_NKS, windows).any(axis=(1, 2)))
        rows = first_row + 1 + (within if group.rows is None else group.rows[within])
        return f"row{'s' if len(rows) > 1 else ''} {shorten((f'{row:,}' for row in rows), 4)} of {self.name}"

    def said(self) -> str:
        """One line before the run."""
        reference = (
            "a second fp32 network"
            if (self.engine, self.precision) == ("openvino", "fp32")
            else "fp32 on openvino"
        )
        return (
            f"verify: {self.verified.share:.4g} of the windows against {reference}; "
            f"{self.verified.limit:.2g} is allowed"
        )

    def close(self) -> None:
        """Let go of the network that is held."""
        if self._reference is not None:
            self._reference.close()
        self._reference, self._held = None, -1


def outside(scores_MW: np.ndarray, contract: Contract) -> np.ndarray:
    """bool [members, windows]: finite scores outside the contract's range, where it states one."""
    low, high = contract.output.min, contract.output.max
    if low is None or high is None:
        return np.zeros(scores_MW.shape, dtype=bool)
    slack = RANGE_TOLERANCE * (high - low)
    found: np.ndarray = np.isfinite(scores_MW) & ((scores_MW < low - slack) | (scores_MW > high + slack))
    return found


def choose_windows(batch: Batch, share: float) -> tuple[np.ndarray, int]:
    """Windows to score again, int64, ascending, and a number drawn with them; both follow from the windows'
    bases alone.

    At least one where there is any; `share` of them on average.
    """
    hashed = _mixed(hash_rows(batch.codes_WL))
    if len(batch.window_E):
        edit = (batch.offset_E.astype(np.uint64) << np.uint64(8)) | batch.base_E.astype(np.uint64)
        hashed = np.concatenate([hashed, _mixed(hashed[batch.window_E] ^ (edit + np.uint64(1)))])
    least = int(hashed.argmin())
    chosen = hashed.astype(np.float64) < share * 2.0**64
    chosen[least] = True
    return np.flatnonzero(chosen), int(_mixed(hashed[least : least + 1])[0])


def _mixed(values: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser, uint64 [N]: every bit of the result depends on every bit of the value."""
    x = values + SEED
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def picked(batch: Batch, windows: np.ndarray) -> np.ndarray:
    """Codes of the scored windows listed (ascending), uint8 [len(windows), length]."""
    plain = len(batch.codes_WL)
    given, edits = windows[windows < plain], windows[windows >= plain] - plain
    changed = batch.codes_WL[batch.window_E[edits]]
    changed[np.arange(len(edits)), batch.offset_E[edits]] = batch.base_E[edits]
    return np.concatenate([batch.codes_WL[given], changed])

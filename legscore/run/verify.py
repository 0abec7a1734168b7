"""A wrong number must never look like a right one: scores are verified while a run goes on.

Every score is held against the contract's range. And a share of the windows (`--verify`, 0.001 by default, at
least one of a part) is scored again by the network as published, written in numpy straight from the
checkpoint's arrays (`legscore.model.forward`), which shares nothing with the engine: no graph, no rewrite, no
compiled network, no encoding. The windows are dealt to the members, and a member that was not verified yet
gets a window of the first part that it scores. Which windows and which members follows from the windows'
bases, so from no timing. A part is verified, and the networks for that are read, while the engine scores the
next part. A difference beyond what the engine's fidelity record allows ends the run and names the rows.

The limit is LEAST_LIMIT, and LIMIT_FACTOR × the largest error that was measured when the engine was built,
where one was. Engine null computes nothing and is not verified.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.codes import hash_rows
from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.fidelity import Fidelity
from legscore.errors import LegscoreError, WrongScoresError, shorten
from legscore.model.checkpoint import Checkpoint
from legscore.rows.groups import Group
from legscore.run.options import DEFAULT_SHARE
from legscore.system.cores import usable_cores
from legscore.system.memory import is_process_limited, memory_limit_lifted

if TYPE_CHECKING:
    from legscore.model.forward import Forward

REFERENCE = "numpy fp32"
"""What records call the network that scores windows again."""
LIMIT_FACTOR = 5.0
"""A record's largest error is over 4,096 windows; over millions the largest is larger (`bench/verify.py`
measures how much)."""
LEAST_LIMIT = 1e-3
"""Score units; FP32 computed in different ways differs by about 1e-5."""
LEAST_RELATIVE_LIMIT = 2e-5
"""The same for scores far from 0, as a share of them: float32 has seven digits."""
RANGE_TOLERANCE = 0.01
"""Share of the range: probabilities of a reduced precision do not add up to exactly 1."""
MOST_THREADS = 4
"""Threads that score windows again, each with some 10 MB; the engine wants the cores too."""
SEED = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Compared:
    """What was compared so far: windows by member, how far they were off (score units), and the time it took
    without opening networks, which `opening_s` counts."""

    windows_of: Counter[int] = field(default_factory=Counter)
    max_error: float = 0.0
    square_sum: float = 0.0
    seconds: float = 0.0
    opening_s: float = 0.0

    @property
    def windows(self) -> int:
        """Windows compared, each with one member."""
        return self.windows_of.total()

    def add(self, other: Compared) -> None:
        """Count what was compared elsewhere too."""
        self.windows_of.update(other.windows_of)
        self.max_error = max(self.max_error, other.max_error)
        self.square_sum += other.square_sum
        self.seconds += other.seconds
        self.opening_s += other.opening_s


class Verifier:
    """Verifies the scores of each part before they become results."""

    def __init__(
        self,
        members: Sequence[Checkpoint],
        engine: Engine,
        share: float,
        input_name: str,
        *,
        rc: str,
        is_singleton: bool,
        fidelities: Sequence[Fidelity | None] | None = None,
    ):
        """
        Args:
            share: of the windows that are scored again, 0 to 1.
            input_name: of the input, for messages.
            rc: strand mode of the run.
            is_singleton: value of the is_singleton channel, where the models have one.
            fidelities: of each member's engine, where they differ; the engine's when None.

        Raises:
            LegscoreError: an impossible share.
        """
        if not 0 <= share <= 1:
            raise LegscoreError(
                f"--verify {share}: write a share of the windows from 0 to 1, such as {DEFAULT_SHARE}"
            )
        self.members, self.input_name = members, input_name
        self.engine, self.precision = engine.name, engine.precision
        self.share = 0.0 if engine.name == "null" else share
        known = [engine.fidelity] * len(members) if fidelities is None else fidelities
        self.limits = [LEAST_LIMIT + LIMIT_FACTOR * (one.score_max_error if one else 0.0) for one in known]
        """What a difference may be, score units, of each member."""
        self.compared = Compared()
        self._both_strands, self._is_singleton = rc == "construct", is_singleton
        self._threads = min(MOST_THREADS, usable_cores())
        if self.share and is_process_limited():
            self._threads = 1
            from legscore.model.forward import take_matrix_buffer

            with memory_limit_lifted():  # `check_room` then says whether it fits
                take_matrix_buffer()
        self._seen: set[int] = set()
        self._network: tuple[int, Forward] | None = None

    @property
    def limit(self) -> float:
        """The largest of `limits`."""
        return max(self.limits)

    def check(self, first_row: int, groups: Sequence[Group], scores: Sequence[np.ndarray]) -> None:
        """Let the scores of one part pass, or end the run.

        Args:
            first_row: row of the input that the part begins with, from 0.
            groups: the part, windowed.
            scores: float32 [members, windows] of each group.

        Raises:
            WrongScoresError: a score that cannot be right, with its row and member.
        """
        if self.engine == "null":
            return
        for group, scores_MW in zip(groups, scores, strict=True):
            members = list(range(len(self.members)) if group.members is None else group.members)
            self._check_range(first_row, group, members, scores_MW)
            if self.share and group.windows.batch.n_windows:
                self._check_again(first_row, group, members, scores_MW)

    def _check_range(self, first_row: int, group: Group, members: list[int], scores_MW: np.ndarray) -> None:
        each = [outside(s[None], self.members[m].contract) for m, s in zip(members, scores_MW, strict=True)]
        outside_MW = np.concatenate(each)
        if not outside_MW.any():
            return
        place = int(np.flatnonzero(outside_MW.any(axis=1))[0])
        windows = np.flatnonzero(outside_MW[place])
        output = self.members[members[place]].contract.output
        low, high = output.min, output.max
        where = f"{self._rows(first_row, group, windows)}: {self._name(members[place])}"
        raise WrongScoresError(
            f"internal error: {where} scored {scores_MW[place, windows[0]]:.6g} on engine {self.engine} "
            f"({self.precision}), outside the range of its contract, {low:g} to {high:g}; these scores are "
            "wrong. Try another --engine, and report it"
        )

    def _check_again(self, first_row: int, group: Group, members: list[int], scores_MW: np.ndarray) -> None:
        began, opened_s = time.perf_counter(), self.compared.opening_s
        chosen, draws = choose_windows(group.windows.batch, self.share)
        place_of = draws % np.uint64(len(members))
        for place, member in enumerate(members):
            finite_W = np.isfinite(scores_MW[place])  # other windows get the status `nonfinite`
            windows = chosen[place_of == place]
            windows = windows[finite_W[windows]]
            if not len(windows) and member not in self._seen:
                windows = np.flatnonzero(finite_W)[:1]
            if len(windows):
                self._compare(first_row, group, windows, member, scores_MW[place, windows])
        self.compared.seconds += time.perf_counter() - began - (self.compared.opening_s - opened_s)

    def _compare(
        self, first_row: int, group: Group, windows: np.ndarray, member: int, scores_W: np.ndarray
    ) -> None:
        codes_WL = picked(group.windows.batch, windows)
        expected_W = self._forward(member).score(codes_WL, self._threads).astype(np.float64)
        error_W = np.abs(scores_W - expected_W)
        self._seen.add(member)
        self.compared.add(
            Compared(Counter({member: len(windows)}), float(error_W.max()), float((error_W**2).sum()))
        )
        allowed_W = np.maximum(self.limits[member], LEAST_RELATIVE_LIMIT * np.abs(expected_W))
        if (error_W <= allowed_W).all():
            return
        worst = int(np.argmax(np.where(np.isnan(error_W), np.inf, error_W - allowed_W)))
        where = f"{self._rows(first_row, group, windows[worst : worst + 1])}: {self._name(member)}"
        raise WrongScoresError(
            f"verify: {where} scored {scores_W[worst]:.5f} on engine {self.engine} ({self.precision}) and "
            f"{expected_W[worst]:.5f} in {REFERENCE}; the measured fidelity allows {allowed_W[worst]:.2g}. "
            "The scores of this run cannot be trusted: run `legscore cache clear`, check the machine, or use "
            "--precision fp32 or another --engine"
        )

    def _forward(self, member: int) -> Forward:
        """The network of a member, from its checkpoint; the one before it is let go."""
        began = time.perf_counter()
        from legscore.model.forward import Forward

        if self._network is None or self._network[0] != member:
            self._network = None
            checkpoint = self.members[member]
            forward = Forward(checkpoint, both_strands=self._both_strands, is_singleton=self._is_singleton)
            checkpoint.release()  # `forward` holds the arrays
            self._network = member, forward
            self.compared.opening_s += time.perf_counter() - began
        return self._network[1]

    def _name(self, member: int) -> str:
        return f"member {self.members[member].name}" if len(self.members) > 1 else self.members[member].name

    def _rows(self, first_row: int, group: Group, windows: np.ndarray) -> str:
        """`row 18,231 of a.parquet`, counted from 1."""
        within = np.flatnonzero(np.isin(group.windows.index_NKS, windows).any(axis=(1, 2)))
        rows = first_row + 1 + (within if group.rows is None else group.rows[within])
        plural = "s" if len(rows) > 1 else ""
        return f"row{plural} {shorten((f'{row:,}' for row in rows), 4)} of {self.input_name}"

    def announcement(self) -> str:
        """One line before the run."""
        return (
            f"verify: {self.share:.4g} of the windows, and every member, against {REFERENCE}; "
            f"{self.limit:.2g} is allowed"
        )

    def take(self) -> Compared:
        """What was compared since the last call, for a run that others count."""
        taken, self.compared = self.compared, Compared()
        return taken

    def unverified(self) -> list[str]:
        """Names of the members of which no score was verified."""
        return [member.name for m, member in enumerate(self.members) if not self.compared.windows_of[m]]

    def record(self) -> dict[str, Any]:
        """What was verified, for the run's record."""
        found = self.compared
        missing = self.unverified() if self.share else []
        return {
            "share": self.share,
            "windows": found.windows,
            "members": len(self.members),
            "members_verified": len(self.members) - len(missing) if self.share else 0,
            "members_not_verified": missing,
            "max_error": found.max_error,
            "rms_error": (found.square_sum / found.windows) ** 0.5 if found.windows else 0.0,
            "limit": self.limit,
            "seconds": round(found.seconds, 3),
            "opening_s": round(found.opening_s, 3),
            "reference": REFERENCE,
        }

    def close(self) -> None:
        """Let go of the network that is held."""
        self._network = None


def closing_line(record: dict[str, Any]) -> str:
    """One line after the run, from `Verifier.record`."""
    missing = record["members_not_verified"]
    members = (
        f"{record['members_verified']} of {record['members']} members"
        if missing
        else (f"all {record['members']} members" if record["members"] > 1 else "the model")
    )
    left_out = f"; not verified: {shorten(missing)}" if missing else ""
    return (
        f"verified: {record['windows']:,} windows of {members} in {record['reference']}, largest difference "
        f"{record['max_error']:.2g} ({record['limit']:.2g} is allowed){left_out}"
    )


def outside(scores_MW: np.ndarray, contract: Contract) -> np.ndarray:
    """bool [members, windows]: finite scores outside the contract's range, where it states one."""
    low, high = contract.output.min, contract.output.max
    if low is None or high is None:
        return np.zeros(scores_MW.shape, dtype=bool)
    slack = RANGE_TOLERANCE * (high - low)
    found: np.ndarray = np.isfinite(scores_MW) & ((scores_MW < low - slack) | (scores_MW > high + slack))
    return found


def choose_windows(batch: Batch, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Windows to score again, and a number drawn for each that says with which member; both follow from the
    windows' bases alone.

    At least one window where there is any; `share` of them on average.

    Returns:
        Windows, int64 ascending, and the numbers, uint64 of the same length.
    """
    hashed = _mixed(hash_rows(batch.codes_WL))
    if len(batch.window_E):
        edit = (batch.offset_E.astype(np.uint64) << np.uint64(8)) | batch.base_E.astype(np.uint64)
        hashed = np.concatenate([hashed, _mixed(hashed[batch.window_E] ^ (edit + np.uint64(1)))])
    chosen = hashed.astype(np.float64) < share * 2.0**64
    chosen[int(hashed.argmin())] = True
    windows = np.flatnonzero(chosen)
    return windows, _mixed(hashed[windows])


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

"""The ensemble's scores of all drawn windows, kept piece by piece, so that an interrupted labelling goes on.

A piece is a numpy file whose name ends in the checksum of its numbers: one that is damaged is computed again.
`plan.json` says what the pieces belong to; pieces of other models, windows or engines are refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.distill.drawn_groups import DrawnGroups
from legscore.distill.options import WINDOWS_A_GROUP, Follower
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.base import Engine, ThreadedEngine
from legscore.errors import EngineError, LegscoreError
from legscore.model.checkpoint import Checkpoint
from legscore.run.stream import in_flight
from legscore.system.json_records import difference, fingerprint_of, is_sealed, parse_record, sealed
from legscore.system.publish import publishing, writing

PIECE_GROUPS = 256
"""Groups labelled and kept together: a few seconds of three members on two cores."""
PLAN, STEPS, DRAFT = "plan.json", "steps.json", "student.safetensors"
PIECE = re.compile(r"labels-(\d{6})-([0-9a-f]{8})\.npy")
STATE = re.compile(r"state-[0-9a-f]{16}\.pt")


def windows_of(inserts_NL: np.ndarray, contract: Contract) -> np.ndarray:
    """Windows around inserts of one length, uint8 [N, contract.length]."""
    n, insert = inserts_NL.shape
    five, three = encode_text(contract.flank5), encode_text(contract.flank3)
    before = contract.length - insert - len(three)
    codes = np.empty((n, contract.length), dtype=np.uint8)
    codes[:, :before] = five[len(five) - before :]
    codes[:, before : before + insert] = inserts_NL
    codes[:, before + insert :] = three
    return codes


class Labels:
    """The folder where labels lie until the student is written. The caller holds its lock."""

    def __init__(self, folder: Path, drawn: DrawnGroups, n_members: int) -> None:
        self.folder, self.drawn, self.n_members = folder, drawn, n_members

    def state_path(self, about: Any) -> Path:
        """Where the state of a training lies; trainings that differ have states of their own."""
        return self.folder / f"state-{fingerprint_of(about).hex()[:16]}.pt"

    @property
    def draft(self) -> Path:
        """Where the student lies while it is measured."""
        return self.folder / DRAFT

    def steps_for(self, minutes: float, about: Any, measure: Callable[[], float]) -> int:
        """Steps of a training of so many minutes: measured once and kept, so that the same command goes on.

        Args:
            about: what the training is of.
            measure: gives seconds a step.
        """
        path, key = self.folder / STEPS, f"{minutes:g} {fingerprint_of(about).hex()[:16]}"
        kept: dict[str, Any] = {}
        if path.exists():
            try:
                kept = parse_record(path.read_bytes())
            except (OSError, ValueError):
                kept = {}
            kept = dict(kept["steps"]) if is_sealed(kept) and isinstance(kept.get("steps"), dict) else {}
        if type(kept.get(key)) is not int:
            kept[key] = max(1, round(60 * minutes / measure()))
            with publishing(path) as temporary, writing(path):
                temporary.write_text(sealed({"steps": kept}))
        return int(kept[key])

    def begin(self, plan: dict[str, Any], *, restart: bool) -> None:
        """Keep what the labels belong to, or compare it with what is there.

        Raises:
            LegscoreError: labels of something else are there.
        """
        if restart:
            self.clear()
        path = self.folder / PLAN
        if path.exists():
            try:
                before = parse_record(path.read_bytes())
            except (OSError, ValueError) as error:
                raise self._refused(f"its {PLAN} cannot be read ({error})") from None
            if not is_sealed(before):
                raise self._refused(f"its {PLAN} is damaged")
            if found := difference(before.get("plan"), plan):
                raise self._refused(found)
            return
        with publishing(path) as temporary, writing(path):
            temporary.write_text(sealed({"plan": plan}))

    def _refused(self, why: str) -> LegscoreError:
        return LegscoreError(
            f"{self.folder} holds labels of another distillation ({why}); begin anew with --restart, or use "
            "another -o"
        )

    def clear(self) -> None:
        """Remove labels, plan and states."""
        self.clear_training()
        for path in self.folder.iterdir():
            if PIECE.fullmatch(path.name) or path.name == PLAN:
                path.unlink()

    def clear_training(self) -> None:
        """Remove states and what goes with them; labels stay."""
        for path in self.folder.iterdir():
            if STATE.fullmatch(path.name) or path.name in (STEPS, DRAFT):
                path.unlink()

    def compute(self, engine: Engine, contract: Contract, follower: Follower) -> np.ndarray:
        """All labels, float32 [members, groups, 4]: those that are there, and the others from the engine.

        Raises:
            LegscoreError: the follower asked to stop (what is done is kept).
            EngineError: a score is not finite.
        """
        n, pieces = len(self.drawn), self._there()
        labels = np.empty((self.n_members, n, WINDOWS_A_GROUP), dtype=np.float32)
        missing, done = [], 0
        for number, start in enumerate(range(0, n, PIECE_GROUPS)):
            if number in pieces:
                labels[:, start : start + PIECE_GROUPS] = pieces[number]
                done += pieces[number][0].size
            else:
                missing.append(number)
        if done:
            follower.say(f"labels: {done:,} of {n * WINDOWS_A_GROUP:,} are there ({self.folder})")

        def batches() -> Iterator[tuple[int, Batch]]:
            for number in missing:
                some = self.drawn.inserts_GKL[number * PIECE_GROUPS : (number + 1) * PIECE_GROUPS]
                yield number, Batch(windows_of(some.reshape(-1, some.shape[-1]), contract))

        for (number, _), found in in_flight(batches(), lambda item: engine.submit(item[1]), engine.depth):
            if not np.isfinite(found).all():
                raise EngineError("the ensemble gives a score that is not finite; check its training")
            piece = found.reshape(self.n_members, -1, WINDOWS_A_GROUP)
            self._keep(number, piece)
            labels[:, number * PIECE_GROUPS : (number + 1) * PIECE_GROUPS] = piece
            done += found[0].size
            follower.labelled(done, n * WINDOWS_A_GROUP)
            if follower.stopped() and number != missing[-1]:
                raise LegscoreError(
                    f"stopped after {done:,} of {n * WINDOWS_A_GROUP:,} labels, which are kept; the same "
                    "command goes on"
                )
        return labels

    def _keep(self, number: int, piece: np.ndarray) -> None:
        path = self.folder / f"labels-{number:06}-{_checksum(piece)}.npy"
        with publishing(path) as temporary, writing(path), open(temporary, "wb") as stream:
            np.save(stream, piece)

    def _there(self) -> dict[int, np.ndarray]:
        """Labels by piece, of those that are whole."""
        found = {}
        for path in self.folder.iterdir():
            name = PIECE.fullmatch(path.name)
            if name is None:
                continue
            number = int(name[1])
            groups = min(PIECE_GROUPS, len(self.drawn) - number * PIECE_GROUPS)
            try:
                piece = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            fits = piece.dtype == np.float32 and piece.shape == (self.n_members, groups, WINDOWS_A_GROUP)
            if fits and _checksum(piece) == name[2]:
                found[number] = piece
        return found


def _checksum(piece: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(piece).tobytes()):08x}"


def forward_scores(engine: Engine, drawn: DrawnGroups, contract: Contract) -> np.ndarray:
    """Scores of the forward strands of the held-out windows, float32 [members, held out, 4]."""
    if not isinstance(engine, ThreadedEngine):
        raise EngineError(f"engine {engine.name} does not score forward strands alone")
    held = drawn.inserts_GKL[: drawn.held_out]
    codes = windows_of(held.reshape(-1, held.shape[-1]), contract)
    members = list(range(engine.n_members))
    return engine.scores_forward(Batch(codes), members).reshape(len(members), -1, WINDOWS_A_GROUP)


def teacher_plan(
    members: Sequence[Checkpoint], engine: Engine, drawn: DrawnGroups, seed: int
) -> dict[str, Any]:
    """What labels depend on."""
    return {
        "models": [{"name": m.name, "sha256": m.sha256} for m in members],
        "engine": engine.describe(),
        "windows": drawn.sha256,
        "labels": len(drawn) * WINDOWS_A_GROUP,
        "seed": seed,
    }

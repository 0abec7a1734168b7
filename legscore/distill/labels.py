"""The ensemble's scores of all drawn windows, kept piece by piece, so that an interrupted labelling goes on.

A piece is a numpy file whose name ends in the checksum of its numbers: one that is damaged is computed again.
`plan.json` says what the pieces belong to; pieces of other models, windows or engines are refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from legscore.distill.material import Material
from legscore.distill.options import Follower
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.base import Engine, ThreadedEngine
from legscore.errors import EngineError, LegscoreError
from legscore.model.checkpoint import Checkpoint
from legscore.run.stream import in_flight
from legscore.system.json_records import difference, fingerprint_of, is_sealed, parse_record, sealed
from legscore.system.publish import publishing, writing

PIECE_WINDOWS = 1_024
"""Windows labelled and kept together: a few seconds of three members on two cores."""
PLAN, STEPS, DRAFT = "plan.json", "steps.json", "student.safetensors"
KINDS = ("labels", "members", "forward")
"""Scores that are kept: those of the teacher; of its models, where the teacher is a table; of their forward
strands."""
PIECE = re.compile(rf"({'|'.join(KINDS)})-(\d{{6}})-([0-9a-f]{{8}})\.npy")
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

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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

    def compute(
        self,
        kind: str,
        inserts_NL: np.ndarray,
        contract: Contract,
        engine: ThreadedEngine,
        follower: Follower,
    ) -> np.ndarray:
        """Scores of windows by every member, float32 [members, N]: those that are there, and the others from
        the engine.

        Args:
            kind: one of KINDS; of `forward` the forward strands are read alone.

        Raises:
            LegscoreError: the follower asked to stop (what is done is kept).
            EngineError: a score is not finite.
        """
        n, members = len(inserts_NL), list(range(engine.n_members))
        scores = np.empty((len(members), n), dtype=np.float32)
        pieces = self._there(kind, len(members), n)
        missing, done = [], 0
        for number, start in enumerate(range(0, n, PIECE_WINDOWS)):
            if number in pieces:
                scores[:, start : start + PIECE_WINDOWS] = pieces[number]
                done += pieces[number].shape[1]
            else:
                missing.append(number)
        if done and kind == KINDS[0]:
            follower.say(f"labels: {done:,} of {n:,} are there ({self.folder})")

        def batches() -> Iterator[tuple[int, Batch]]:
            for number in missing:
                some = inserts_NL[number * PIECE_WINDOWS : (number + 1) * PIECE_WINDOWS]
                yield number, Batch(windows_of(some, contract))

        def submit(item: tuple[int, Batch]) -> Future[np.ndarray]:
            if kind != "forward":
                return engine.submit(item[1])
            found: Future[np.ndarray] = Future()
            found.set_result(engine.scores_forward(item[1], members))
            return found

        for (number, _), piece in in_flight(batches(), submit, engine.depth):
            if not np.isfinite(piece).all():
                raise EngineError("the ensemble gives a score that is not finite; check its training")
            self._keep(kind, number, piece)
            scores[:, number * PIECE_WINDOWS : (number + 1) * PIECE_WINDOWS] = piece
            done += piece.shape[1]
            follower.labelled(kind, done, n)
            if follower.stopped() and number != missing[-1]:
                raise LegscoreError(
                    f"stopped after {done:,} of {n:,} {kind if kind == KINDS[0] else 'scores of members'}, "
                    "which are kept; the same command goes on"
                )
        return scores

    def _keep(self, kind: str, number: int, piece: np.ndarray) -> None:
        path = self.folder / f"{kind}-{number:06}-{_checksum(piece)}.npy"
        with publishing(path) as temporary, writing(path), open(temporary, "wb") as stream:
            np.save(stream, piece)

    def _there(self, kind: str, members: int, n: int) -> dict[int, np.ndarray]:
        """Scores by piece, of those that are whole."""
        found = {}
        for path in self.folder.iterdir():
            name = PIECE.fullmatch(path.name)
            if name is None or name[1] != kind:
                continue
            number = int(name[2])
            try:
                piece = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            windows = min(PIECE_WINDOWS, n - number * PIECE_WINDOWS)
            fits = piece.dtype == np.float32 and piece.shape == (members, windows)
            if fits and _checksum(piece) == name[3]:
                found[number] = piece
        return found


def _checksum(piece: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(piece).tobytes()):08x}"


def teacher_plan(
    members: Sequence[Checkpoint], engine: Engine, material: Material, seed: int
) -> dict[str, Any]:
    """What labels depend on."""
    return {
        "models": [{"name": m.name, "sha256": m.sha256} for m in members],
        "engine": engine.describe(),
        "windows": material.sha256,
        "labels": len(material.windows),
        "seed": seed,
    }

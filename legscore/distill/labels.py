"""The ensemble's scores of all drawn windows, kept piece by piece, so that an interrupted labelling goes on.

A piece is a numpy file whose name ends in the checksum of its numbers: one that is damaged is computed again.
`plan.json` says what the pieces belong to; pieces of other models, windows or engines are refused. Windows
lie beside them, so that another distillation of the same models can use their scores (`kept_labels.py`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

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
WINDOWS = re.compile(rf"windows-({'|'.join(KINDS)})-([0-9a-f]{{8}})\.npy")
STATE = re.compile(r"state-[0-9a-f]{16}\.pt")


class Known(Protocol):
    """Scores that are known without an engine, as `kept_labels.KeptLabels` finds them."""

    def find(self, kind: str, inserts_NL: np.ndarray, members: int) -> tuple[np.ndarray, np.ndarray]:
        """Which windows are known, bool [N], and their scores, float32 [members, N]."""


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
        try:
            before = read_plan(self.folder)
        except LegscoreError as error:
            raise self._refused(str(error)) from None
        if before is not None:
            if found := difference(before, plan):
                raise self._refused(found)
            return
        self.clear()  # what is there without a plan is left of a clearing that was cut short
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
            if PIECE.fullmatch(path.name) or WINDOWS.fullmatch(path.name) or path.name == PLAN:
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
        known: Known,
    ) -> np.ndarray:
        """Scores of windows by every member, float32 [members, N]: those that are there or known, and the
        others from the engine.

        Args:
            kind: one of KINDS; of `forward` the forward strands are read alone.
            known: where other scores of the same models are found.

        Raises:
            LegscoreError: the follower asked to stop (what is done is kept).
            EngineError: a score is not finite.
        """
        n, members = len(inserts_NL), engine.n_members
        self._keep_windows(kind, inserts_NL)
        there_N, scores_MN = np.zeros(n, dtype=bool), np.empty((members, n), dtype=np.float32)
        for rows, piece in self.pieces(kind, members, n):
            there_N[rows], scores_MN[:, rows] = True, piece
        missing = [rows for rows in _pieces_of(n) if not there_N[rows.start]]
        done = int(np.count_nonzero(there_N))
        if done and kind == KINDS[0]:
            follower.say(f"labels: {done:,} of {n:,} are there ({self.folder})")
        if missing:
            known_N, found_MN = known.find(kind, inserts_NL, members)
            known_N &= ~there_N
            scores_MN[:, known_N] = found_MN[:, known_N]
            there_N |= known_N
            if known_N.any():
                follower.say(f"{kind}: {np.count_nonzero(known_N):,} of {n:,} were kept before")
        for rows in self._asked(kind, inserts_NL, scores_MN, there_N, missing, contract, engine):
            self._keep(kind, rows.start // PIECE_WINDOWS, scores_MN[:, rows])
            done += rows.stop - rows.start
            follower.labelled(kind, done, n)
            if follower.stopped() and rows is not missing[-1]:
                raise LegscoreError(
                    f"stopped after {done:,} of {n:,} {kind if kind == KINDS[0] else 'scores of members'}, "
                    "which are kept; the same command goes on"
                )
        return scores_MN

    def _asked(
        self,
        kind: str,
        inserts_NL: np.ndarray,
        scores_MN: np.ndarray,
        there_N: np.ndarray,
        missing: Sequence[slice],
        contract: Contract,
        engine: ThreadedEngine,
    ) -> Iterator[slice]:
        """Every missing piece once its scores are whole: what is not there comes from the engine."""
        members = list(range(engine.n_members))

        def batches() -> Iterator[tuple[slice, Batch | None]]:
            for rows in missing:
                some = inserts_NL[rows][~there_N[rows]]
                yield rows, Batch(windows_of(some, contract)) if len(some) else None

        def submit(item: tuple[slice, Batch | None]) -> Future[np.ndarray]:
            batch = item[1]
            if batch is not None and kind != "forward":
                return engine.submit(batch)
            found: Future[np.ndarray] = Future()
            nothing = np.empty((len(members), 0), dtype=np.float32)
            found.set_result(nothing if batch is None else engine.scores_forward(batch, members))
            return found

        for (rows, _), scored in in_flight(batches(), submit, engine.depth):
            if not np.isfinite(scored).all():
                raise EngineError("the ensemble gives a score that is not finite; check its training")
            scores_MN[:, rows][:, ~there_N[rows]] = scored
            yield rows

    def _keep(self, kind: str, number: int, piece: np.ndarray) -> None:
        path = self.folder / f"{kind}-{number:06}-{_checksum(piece)}.npy"
        with publishing(path) as temporary, writing(path), open(temporary, "wb") as stream:
            np.save(stream, np.ascontiguousarray(piece))

    def _keep_windows(self, kind: str, inserts_NL: np.ndarray) -> None:
        path = self.folder / f"windows-{kind}-{_checksum(inserts_NL)}.npy"
        if self.windows(kind) is None:
            with publishing(path) as temporary, writing(path), open(temporary, "wb") as stream:
                np.save(stream, inserts_NL)

    def windows(self, kind: str) -> np.ndarray | None:
        """Inserts that scores of a kind are of, uint8 codes [N, insert]; None where they are not whole."""
        for path in self.folder.iterdir():
            name = WINDOWS.fullmatch(path.name)
            if name is not None and name[1] == kind:
                codes = _loaded(path)
                if (
                    codes is not None
                    and codes.ndim == 2
                    and codes.dtype == np.uint8
                    and _checksum(codes) == name[2]
                ):
                    return codes
        return None

    def pieces(self, kind: str, members: int, n: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Scores of n windows that are there and whole, float32 [members, rows], with their rows."""
        rows = _pieces_of(n)
        for path in self.folder.iterdir():
            name = PIECE.fullmatch(path.name)
            if name is None or name[1] != kind or int(name[2]) >= len(rows):
                continue
            here, piece = rows[int(name[2])], _loaded(path)
            if piece is None or piece.dtype != np.float32 or piece.shape != (members, here.stop - here.start):
                continue
            if _checksum(piece) == name[3]:
                yield here, piece


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What the labels in a folder belong to; None where there are none. LegscoreError where it is damaged."""
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        record = parse_record(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LegscoreError(f"its {PLAN} cannot be read ({error})") from None
    if not is_sealed(record) or not isinstance(record.get("plan"), dict):
        raise LegscoreError(f"its {PLAN} is damaged")
    return dict(record["plan"])


def _pieces_of(n: int) -> list[slice]:
    """Rows of every piece."""
    return [slice(start, min(start + PIECE_WINDOWS, n)) for start in range(0, n, PIECE_WINDOWS)]


def _loaded(path: Path) -> np.ndarray | None:
    """The array of a file; None where it cannot be read: it is made again."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


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

"""Options of a training, and the listener that follows it; imports no torch, so that options are checked
first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from legscore.errors import LegscoreError, OutputError

if TYPE_CHECKING:
    from legscore.train.loop import Metrics, Trainer


@dataclass(frozen=True)
class TrainingOptions:
    """How members are trained.

    Attributes:
        device: cpu, cuda, cuda:1; None for the GPU where there is one. compiled: whether torch.compile is
            used; None for on GPUs only.
        floor: prediction floor to keep in the contract, in the unit of the score.
        resume: go on from saved states; without it a saved state is an error.
        force: train finished members again, discard saved states, and replace tables and pictures.
        save_every, log_every: steps between saved states, and between metrics.
        tensorboard: folder for TensorBoard's copy of the metrics.
    """

    device: str | None = None
    compiled: bool | None = None
    floor: float | None = None
    resume: bool = False
    force: bool = False
    save_every: int = 500
    log_every: int = 100
    tensorboard: str | None = None


@dataclass(frozen=True)
class MemberOptions:
    """Which members are trained.

    Attributes:
        seeds: of the members; n_seeds: seeds 1 to n_seeds instead.
        valid_fold, test_fold: the fold that validates (the last by default), and a second one kept out.
        folds: `all` for a member per fold, `pairs` for one per ordered pair of folds.
        full: train on every row; nothing validates.
    """

    seeds: tuple[int, ...] = ()
    n_seeds: int | None = None
    valid_fold: int | None = None
    test_fold: int | None = None
    folds: str | None = None
    full: bool = False

    def __post_init__(self) -> None:
        """LegscoreError for options that exclude each other."""
        one_fold = self.valid_fold is not None or self.test_fold is not None
        if self.seeds and self.n_seeds:
            raise LegscoreError("--seed and --seeds exclude each other")
        if self.full and (one_fold or self.folds):
            raise LegscoreError("--full excludes --valid-fold, --test-fold and --folds")
        if self.folds and one_fold:
            raise LegscoreError("--folds excludes --valid-fold and --test-fold")


@dataclass(frozen=True)
class Member:
    """One model to train: its seed and the folds kept from it (validation first, then test; none: all
    data)."""

    name: str
    seed: int
    held_out: tuple[int, ...]


class Listener:
    """Follows a training and does nothing; subclass it to show progress or to stop."""

    def say(self, line: str) -> None:
        """A line for the user."""

    def begin(self) -> None:
        """The data are read; from now on `stopped` is asked."""

    def report(self, member: Member, trainer: Trainer, metrics: Metrics) -> None:
        """Metrics, every `log_every` steps and after each epoch."""

    def tick(self, member: Member, trainer: Trainer) -> None:
        """After every step."""

    def test_step(self, step: int, steps: int) -> None:
        """After every step of a learning-rate range test."""

    def stopped(self) -> bool:
        """Asked after every step: whether to save the state and stop."""
        return False


class Follower(Listener):
    """The listener of a process other than the leading one under torchrun: silent, but it can stop."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def begin(self) -> None:
        self._listener.begin()

    def stopped(self) -> bool:
        return self._listener.stopped()


def make_folder(path: str | Path) -> Path:
    """The folder, made where it is missing. OutputError when it cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from None
    return folder

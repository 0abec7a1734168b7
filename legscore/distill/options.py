"""What a distillation is asked for, and who follows it; imports no torch: options are checked first."""

from __future__ import annotations

from dataclasses import dataclass

from legscore.errors import LegscoreError

WINDOWS_A_GROUP = 4
"""A reference, two single changes of it, one with several changes."""
LEAST_LABELS = 400


@dataclass(frozen=True)
class DistillOptions:
    """How a student is made.

    Attributes:
        cost: the ensemble's multiply-adds for a window, on all its strands, over the student's.
        labels: windows that the ensemble labels, those held out among them.
        minutes: of training; steps are measured at the beginning and counted from then on. steps: instead.
        seed: of windows, batches and new weights.
        insert: bases of the inserts that the student reads; None for 80, or the models' one length.
        tiles, measured: tables of sequences to draw windows from. fasta: genomes to draw them from.
        engine, precision, device: what labels are computed with.
        save_every, log_every: steps between saved states, and between lines that say how it goes.
        restart: discard labels and state of an interrupted distillation.
        keep_labels: leave the labels where they are, for the next student of these models.
        force_student: write a student even though something that costs no more agrees better.
    """

    cost: float = 20.0
    labels: int = 50_000
    minutes: float | None = None
    steps: int | None = None
    seed: int = 1
    insert: int | None = None
    tiles: tuple[str, ...] = ()
    fasta: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    engine: str = "auto"
    precision: str = "auto"
    device: str | None = None
    save_every: int = 100
    log_every: int = 50
    restart: bool = False
    keep_labels: bool = False
    force_student: bool = False

    def __post_init__(self) -> None:
        """LegscoreError for options that exclude each other or make no student."""
        if self.minutes is not None and self.steps is not None:
            raise LegscoreError("--minutes and --steps exclude each other; give one")
        if self.labels < LEAST_LABELS:
            raise LegscoreError(f"--labels {self.labels:,}: a student needs at least {LEAST_LABELS}")
        if self.engine == "null":
            raise LegscoreError("--engine null computes no scores, so there is nothing to distill")

    @property
    def groups(self) -> int:
        """Groups of windows that are labelled."""
        return self.labels // WINDOWS_A_GROUP

    @property
    def held_out(self) -> int:
        """Groups of these that training never sees."""
        return max(self.groups // 10, 25) if self.groups < 20_000 else 2_000


class Follower:
    """Follows a distillation and does nothing; subclass it to show progress or to stop."""

    def say(self, line: str) -> None:
        """A line for the user."""

    def begin(self) -> None:
        """Everything is checked; from now on `stopped` is asked."""

    def labelled(self, done: int, total: int) -> None:
        """Windows that have labels, after each piece of them."""

    def trained(self, step: int, steps: int) -> None:
        """After every step."""

    def report(self, step: int, steps: int, loss: float, windows_per_s: float, left_s: float) -> None:
        """Every `log_every` steps: the mean loss since the last report, and the seconds left."""

    def stopped(self) -> bool:
        """Asked between pieces of work: whether to keep what is done and stop."""
        return False

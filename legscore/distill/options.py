"""What a distillation is asked for, and who follows it; imports no torch: options are checked first."""

from __future__ import annotations

from dataclasses import dataclass

from legscore.errors import LegscoreError

WINDOWS_A_GROUP = 4
"""A reference, two single changes of it, one with several changes."""
LEAST_LABELS = 400
LABELS = 50_000


@dataclass(frozen=True)
class DistillOptions:
    """How a student is made.

    Attributes:
        cost: the ensemble's multiply-adds for a window, on all its strands, over the student's; None for 20.
        labels: windows that the ensemble labels, those held out among them; None for 50,000. Of a
            `teacher_table` the rows that are read; None for all.
        minutes: of training; steps are measured at the beginning and counted from then on. steps: instead.
        seed: of windows, batches and new weights.
        insert: bases of the inserts that the student reads; None for 80, or the models' one length.
        tiles, measured: tables of sequences to draw windows from. fasta: genomes to draw them from.
        own: table of the user's rows. own_share: percent of them to label.
        check_tiles: tiles to draw beside, whose single changes check the student; None for what `labels`
            makes fit. check: tables whose rows check it too. truth: what was measured, a column of these or
            of `measured` tables.
        apart: tables with rows that drawn windows share nothing with, without labels.
        teacher_table: table that holds the labels. teacher_columns: a column a member, or REF:ALT.
        architecture: widths of the student instead of `cost`, as `pruning.parse_shape` reads it.
        engine, precision, device: what labels are computed with.
        save_every, log_every: steps between saved states, and between lines that say how it goes.
        restart: discard labels and state of an interrupted distillation.
        keep_labels: leave the labels where they are, for the next student of these models.
        labels_from: folders of labels that others have left; what was labelled there is not labelled again.
        half: store weights as FP16, half the size; figures are of these.
        force_student: write a student even though something that costs no more agrees better.
    """

    cost: float | None = None
    labels: int | None = None
    minutes: float | None = None
    steps: int | None = None
    seed: int = 1
    insert: int | None = None
    tiles: tuple[str, ...] = ()
    fasta: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    own: str | None = None
    own_share: float = 10.0
    check_tiles: int | None = None
    check: tuple[str, ...] = ()
    truth: str | None = None
    apart: tuple[str, ...] = ()
    teacher_table: str | None = None
    teacher_columns: tuple[str, ...] = ()
    architecture: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    device: str | None = None
    save_every: int = 100
    log_every: int = 50
    restart: bool = False
    keep_labels: bool = False
    labels_from: tuple[str, ...] = ()
    force_student: bool = False
    half: bool = False

    def __post_init__(self) -> None:
        """LegscoreError for options that exclude each other or make no student."""
        if self.minutes is not None and self.steps is not None:
            raise LegscoreError("--minutes and --steps exclude each other; give one")
        if self.labels is not None and self.labels < LEAST_LABELS:
            raise LegscoreError(f"--labels {self.labels:,}: a student needs at least {LEAST_LABELS}")
        if self.cost is not None and self.architecture is not None:
            raise LegscoreError("--cost and --architecture exclude each other; give one")
        if self.truth is not None and not (self.check or self.measured):
            raise LegscoreError("--truth names a column of --check or --measured tables; give one")
        if self.own is None and self.own_share != DistillOptions.own_share:
            raise LegscoreError("--own-share is a share of --own rows; give --own")
        if self.teacher_columns and self.teacher_table is None:
            raise LegscoreError("--teacher-columns names columns of a --teacher-table; give one")
        names = self.teacher_columns
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise LegscoreError(
                f"--teacher-columns: {twice} stands twice and would weigh twice; leave one out"
            )
        if self.teacher_table is not None:
            self._check_table()
        if self.engine == "null":
            raise LegscoreError("--engine null computes no scores, so there is nothing to distill")

    def _check_table(self) -> None:
        """LegscoreError where something would have to be labelled that a table holds no labels of."""
        asked = {
            "--tiles": self.tiles, "--fasta": self.fasta, "--measured": self.measured, "--own": self.own,
            "--check": self.check, "--check-tiles": self.check_tiles is not None, "--apart": self.apart,
        }  # fmt: skip
        if given := next((name for name, value in asked.items() if value), None):
            raise LegscoreError(
                f"{given} gives windows that an ensemble labels; a --teacher-table labels its own rows only"
            )

    @property
    def cost_ratio(self) -> float:
        """What `cost` says, or 20."""
        return 20.0 if self.cost is None else self.cost

    @property
    def n_labels(self) -> int:
        """What `labels` says, or 50,000."""
        return LABELS if self.labels is None else self.labels

    @property
    def n_tiles(self) -> int:
        """Tiles that are drawn to check the student: a tenth of the labels, some changes each."""
        fitting = min(max(self.n_labels // 250, 40), 1_000)
        return fitting if self.check_tiles is None else self.check_tiles

    @property
    def groups(self) -> int:
        """Groups of windows that are labelled."""
        return self.n_labels // WINDOWS_A_GROUP

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

    def labelled(self, kind: str, done: int, total: int) -> None:
        """Windows that are scored, after each piece of them; `kind`: labels, or scores of the models beside
        the student."""

    def trained(self, step: int, steps: int) -> None:
        """After every step."""

    def report(self, step: int, steps: int, loss: float, windows_per_s: float, left_s: float) -> None:
        """Every `log_every` steps: the mean loss since the last report, and the seconds left."""

    def stopped(self) -> bool:
        """Asked between pieces of work: whether to keep what is done and stop."""
        return False

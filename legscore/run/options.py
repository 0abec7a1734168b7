"""What a user can ask of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.errors import LegscoreError
from legscore.rows.schema import KINDS, RC_MODES, SEQUENCE_IS
from legscore.run.rescore import Rescore
from legscore.system.publish import is_dataset, is_stream
from legscore.system.resources import folder

if TYPE_CHECKING:
    from legscore.run.cascade import Cascade

DEFAULT_SHARE = 0.001
"""Of the windows, that is scored again in FP32 while a run goes on (`legscore.run.verify`)."""

MOST_SHIFTS = 64
"""Each is as much work as scoring without."""
FARTHEST = 1_000
"""Bases that a window may move."""


@dataclass(frozen=True)
class Options:
    """What a user can say of a run: the command line's options, with the same names and defaults.

    Attributes:
        inputs: files, directories, patterns or addresses in an object store.
        output: file to write; a name that ends in a slash is a folder of files, `-` standard output.
        models: checkpoints and directories of them; the bundled demonstration ensemble when empty.
        ensembles: names of several ensembles, one for each of `models`; none where these are one ensemble.
        kind: what a row is (a key of `legscore.rows.schema.KINDS`), where columns fit two kinds.
        sequence_is: `insert`, `oligo`, `window`, or `auto`: decided once, from the first rows.
        rc: strands to score: `construct`, `insert` or `none`; by the contract when None.
        engine, precision, recipe, device: what scores (`legscore.engine.choose.Request`).
        singleton: value of the is_singleton channel, 0 or 1.
        keep: input columns to carry over: names with commas, `all`, `none` or `auto`.
        per_model: also write every member's values.
        max_n: rows with more N's than this are `invalid_base`; when None, rows of which more than half of a
            sequence's own bases are no A, C, G or T are `mostly_n`.
        columns: input column of a role, {role: column}.
        format: `arrow` or `tsv`, on standard output; `vcf` or `bcf` where a VCF goes in.
        allow_duplicates: accept the same model twice; it then weighs twice.
        null_rate: windows × members a second that engine null pretends.
        out_of_fold: score each row only with members that did not train on its fold: the column of folds, or
            `mmh3`.
        shifts: score windows moved along the DNA by these numbers of bases, and average them: `0,7,14`, or
            `FROM:TO:STEP`; None for windows as they are.
        until_se: stop adding members to a row once the standard error is below this, in score units.
        force: replace an output that is there already, finished or foreign.
        restart: discard the parts that an interrupted run left, instead of resuming it.
        shard: `3/64`: only the third of 64 slices of the input.
        memory: most memory of the run, such as `8G`, or bytes.
        verify: share of the windows that is scored again in FP32 while running, 0 to 1.
        background: file of effects to rank against, made by `legscore atlas background`.
        calibration: intervals of effects: file of `legscore evaluate --calibrate`, or the student.
        student: a student of the models, which scores every row first; None for the models alone.
        rescore: which rows the models then score again: a share such as `5%`, `top:1000`, or a threshold
            such as `abs_effect>2`.
        rescore_sample: rows drawn at random that the models score too, to check what was chosen; when None
            one in a hundred, but 1,000 at least (a tenth of few rows) and 10,000 at most.
        force_student: accept a student that was distilled from other models.
        part_rows: rows of a part, the unit of resuming; by members and engine when None.
        file_rows: most rows of a file where the output is a folder; a million when None.

    Raises:
        LegscoreError: a value is not known, or two do not go together.
    """

    inputs: Sequence[str]
    output: str
    models: Sequence[str] = ()
    kind: str | None = None
    sequence_is: str = "auto"
    rc: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    recipe: str | None = None
    singleton: int = 0
    keep: str = "auto"
    per_model: bool = False
    max_n: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    allow_duplicates: bool = False
    null_rate: float = 0.0
    out_of_fold: str | None = None
    device: str | None = None
    until_se: float | None = None
    shifts: str | None = None
    force: bool = False
    restart: bool = False
    shard: str | None = None
    memory: str | int | None = None
    verify: float = DEFAULT_SHARE
    calibration: str | None = None
    background: str | None = None
    student: str | None = None
    rescore: str | None = None
    rescore_sample: int | None = None
    force_student: bool = False
    part_rows: int | None = None
    file_rows: int | None = None
    ensembles: Sequence[str] = ()

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[object, ...]] = {
            "kind": (None, *KINDS),
            "sequence_is": (*SEQUENCE_IS, "auto"),
            "rc": (None, *RC_MODES),
            "singleton": (0, 1),
            "format": (None, "arrow", "tsv", "vcf", "bcf"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                known = ", ".join(str(v) for v in values if v is not None)
                raise LegscoreError(f"{name} is {getattr(self, name)!r}; known are {known}")
        if not isinstance(self.keep, str):
            raise LegscoreError(
                f"keep is {self.keep!r}; it must be a text such as 'id,gene', 'all' or 'none'"
            )
        if not (self.max_n is None or type(self.max_n) is int):
            raise LegscoreError(f"max_n is {self.max_n!r}; it must be a whole number")
        if self.max_n is not None and self.max_n < 0:
            raise LegscoreError(f"max_n is {self.max_n}; it must be 0 or more")
        if self.part_rows is not None and self.part_rows < 1:
            raise LegscoreError(f"part_rows is {self.part_rows}; it must be 1 or more")
        if self.file_rows is not None and self.file_rows < 1:
            raise LegscoreError(f"file_rows is {self.file_rows}; it must be 1 or more")
        self._check_together()
        self._check_cascade()

    def _check_together(self) -> None:
        """LegscoreError where options do not go together."""
        if self.file_rows is not None and not is_dataset(self.output):
            raise LegscoreError(
                f"--file-rows is about a folder of files; write {self.output or 'OUT'}/ for one"
            )
        if self.shard is not None and is_dataset(self.output):
            raise LegscoreError(
                f"--shard with {self.output}: give each shard a file of its own; together they are a "
                "dataset too"
            )
        if self.until_se is not None and not 0 < self.until_se < float("inf"):
            raise LegscoreError(
                f"until_se is {self.until_se!r}; it must be a standard error above 0, in score units"
            )
        if self.shifts is not None:
            if not isinstance(self.shifts, str):
                raise LegscoreError(f"shifts is {self.shifts!r}; it must be a text such as '0,7,14'")
            parse_shifts(self.shifts)
            if self.calibration is not None:
                raise LegscoreError(
                    "--calibration was fitted to effects of windows as they are; --shifts moves them: leave "
                    "one out"
                )
        if self.ensembles:
            from legscore.run.named_ensembles import check_names

            check_names(self.ensembles, self.models)
            for name in ("until_se", "out_of_fold", "calibration", "background", "student"):
                if getattr(self, name) is not None:
                    raise LegscoreError(
                        f"--{name.replace('_', '-')} is about one ensemble; score the ensembles "
                        f"{', '.join(self.ensembles)} without it, or one of them alone"
                    )
        if self.until_se is not None and self.out_of_fold is not None:
            raise LegscoreError("--until-se and --out-of-fold both choose the members of a row; drop one")
        self._check_background()

    @property
    def named_models(self) -> list[str | Path]:
        """Every model that is read, as it was named: the bundled one where none was, and the student."""
        named: list[str | Path] = [*self.models] or [folder("bundled")]
        return [*named, self.student] if self.student else named

    def _check_background(self) -> None:
        """LegscoreError where --background and other options do not go together."""
        if self.background is not None:
            others: dict[str, Any] = {"--shifts": self.shifts, "--student": self.student}
            others |= {"--until-se": self.until_se, "--out-of-fold": self.out_of_fold}
            if other := next((name for name, value in others.items() if value is not None), None):
                raise LegscoreError(
                    f"--background ranks effects by all models of windows as they are; {other} gives others: "
                    "leave one out"
                )

    def _check_cascade(self) -> None:
        """LegscoreError where --student, --rescore and other options do not go together."""
        if self.student is None:
            idle = {"--rescore": self.rescore, "--rescore-sample": self.rescore_sample}
            idle["--force-student"] = self.force_student or None
            if name := next((name for name, value in idle.items() if value is not None), None):
                raise LegscoreError(f"{name} is about what a student scored first; give --student too")
            return
        if self.rescore is None:
            raise LegscoreError(
                "--student needs --rescore, such as '5%', which says what the models score again; to score "
                "with the student alone, pass it as -m"
            )
        rescore = Rescore.parse(self.rescore)
        if self.rescore_sample is not None and (
            type(self.rescore_sample) is not int or self.rescore_sample < 0
        ):
            raise LegscoreError(
                f"rescore_sample is {self.rescore_sample!r}; it must be a whole number from 0"
            )
        partly = (
            "--shard" if self.shard is not None else "standard output" if is_stream(self.output) else None
        )
        if partly and rescore.is_rank:
            raise LegscoreError(
                f"--rescore {rescore.text!r} is a rank over the whole input and does not go with {partly}: "
                "give a threshold such as 'abs_effect>2'. A run with the student alone (-m) prints those of "
                "common shares, and its record holds them (thresholds)"
            )
        others = {"--out-of-fold": self.out_of_fold, "--shifts": self.shifts}
        if name := next((name for name, value in others.items() if value is not None), None):
            raise LegscoreError(
                f"{name} does not go with --student, which stands for all models and one window"
            )
        if self.singleton:
            raise LegscoreError("--singleton 1: a student stands for scores with 0; leave one of them out")


@dataclass(frozen=True)
class Staging:
    """What the code around a run arranges, and no user says: where a table was made of something else first.

    Attributes:
        shown_inputs: what the record calls the inputs (the VCF that became a table); Options.inputs when
            empty.
        derived_input: the input is made again for every run; it is the same when its content is.
        parts: folder for the kept parts, instead of OUTPUT.parts; it then stays when the run has ended.
        command: what the record says started the run: a command line, or a Python function and its arguments.
        asked: what the record says was asked for (`legscore.run.finished`); what the options say when None.
        cascade: what a student's pass over the input left, where one came first.
    """

    shown_inputs: Sequence[str] = ()
    derived_input: bool = False
    parts: str | None = None
    command: str | Mapping[str, Any] | None = None
    asked: Mapping[str, Any] | None = None
    cascade: Cascade | None = None


DIRECT = Staging()
"""Nothing is arranged: the run reads what the user named, and writes what the user wants."""


def parse_shifts(text: str) -> tuple[int, ...]:
    """`-7,0,7`, or FROM:TO:STEP, as whole numbers in the order given. LegscoreError for anything else."""
    try:
        if ":" in text:
            first, last, step = (int(part) for part in text.split(":"))
            # one more than may be: a range of a thousand million takes as much memory
            places = tuple(range(first, last + 1, step)[: MOST_SHIFTS + 1]) if step > 0 else ()
        else:
            places = tuple(int(part) for part in text.split(","))
    except ValueError:
        places = ()
    if not places:
        raise LegscoreError(f"--shifts {text}: write whole numbers such as 0,7,14, or FROM:TO:STEP")
    if len(places) > MOST_SHIFTS or max(map(abs, places)) > FARTHEST:
        raise LegscoreError(
            f"--shifts {text[:40]}: at most {MOST_SHIFTS} shifts, of at most {FARTHEST:,} bases each"
        )
    if len(set(places)) < len(places):
        raise LegscoreError(f"--shifts {text}: a shift stands there twice")
    return places


def margin_of(places: tuple[int, ...]) -> int:
    """Bases of genome that windows need on either side."""
    return max(map(abs, places))

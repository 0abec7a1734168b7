"""What a user can ask of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from legscore.errors import LegscoreError
from legscore.rows.schema import KINDS, RC_MODES, SEQUENCE_IS
from legscore.run.verify import DEFAULT_SHARE
from legscore.system.publish import is_dataset


@dataclass(frozen=True)
class Options:
    """Options of a run; the command line's, with the same names and defaults. `shown_inputs` replace the
    inputs in the record (a VCF that was turned into a table).

    Attributes:
        restart: throw away what an interrupted run left, instead of going on with it.
        shard: `3/64`: only the third of 64 slices of the input.
        made: the input is made anew for each run; it is the same when its content is.
        parts: folder for what has been scored, instead of OUTPUT.parts; it is then kept at the end too.
        part_rows: rows of a part, instead of what the ensemble and the engine make it; the output's record
            says it.
        file_rows: most rows of a file where the output is a folder of files (its name ends in a slash); a
            million where None.
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
    shown_inputs: Sequence[str] = ()
    restart: bool = False
    shard: str | None = None
    derived_input: bool = False
    parts: str | None = None
    memory: str | int | None = None
    verify: float = DEFAULT_SHARE
    calibration: str | None = None
    part_rows: int | None = None
    file_rows: int | None = None

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[object, ...]] = {
            "kind": (None, *KINDS),
            "sequence_is": (*SEQUENCE_IS, "auto"),
            "rc": (None, *RC_MODES),
            "singleton": (0, 1),
            "format": (None, "arrow", "tsv"),
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
        if self.until_se is not None and self.out_of_fold is not None:
            raise LegscoreError("--until-se and --out-of-fold both choose the members of a row; drop one")

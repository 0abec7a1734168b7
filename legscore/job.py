"""A scoring job: options → checked plan → run → record. What `legscore run` and `legscore.score_file` share.

Everything that can be wrong with input, models, options or output is found here, before the first row is scored.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from legscore import __version__
from legscore.contract import Contract
from legscore.engine.choose import Request, open_engine
from legscore.errors import InputError, LegscoreError, OutputError
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.pipeline import Plan, Summary, output_schema, part_rows, run
from legscore.publish import check_writable, publishing, writing
from legscore.read import Input, check_types, choose_kept, open_input
from legscore.resources import folder
from legscore.schema import KINDS, RC_MODES, SEQUENCE_IS, Roles, find_roles
from legscore.window import SNIFF_ROWS, Windower, decide_sequence_is
from legscore.write import check_writes, output_format

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Options of a run; the command line's, with the same names and defaults."""

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
            raise LegscoreError(f"keep is {self.keep!r}; it must be a text such as 'id,gene', 'all' or 'none'")
        if not (self.max_n is None or type(self.max_n) is int):
            raise LegscoreError(f"max_n is {self.max_n!r}; it must be a whole number")
        if self.max_n is not None and self.max_n < 0:
            raise LegscoreError(f"max_n is {self.max_n}; it must be 0 or more")


def score(
    options: Options, *, say: Say = lambda line: None, progress: Callable[[int, int], Callable[[float], object]] | None = None
) -> dict[str, Any]:
    """Run a job.

    Args:
        options: what to do.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows scored since its last call.

    Returns:
        The run's record: metadata of the output plus paths, times, rates and counts; also written to OUTPUT.run.json.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    if options.output != "-":
        if not options.output:
            raise OutputError("an empty name was given for the output; is a shell variable unset?")
        check_writable(Path(options.output))
        check_writable(Path(f"{options.output}.run.json"))
    format_name = output_format(options.output, options.format)
    opened = open_input(options.inputs)
    _check_not_input(opened, options.output)
    roles = find_roles(opened.schema.names, opened.name, options.kind, options.columns)
    check_types(opened, roles)
    kept = choose_kept(opened, roles, options.keep)
    members = open_members(options.models, options.allow_duplicates, say)
    contract = members[0].contract
    sequence_is = settle_sequence_is(opened, roles, contract, options.sequence_is, say)
    rc = settle_rc(contract, options.rc, sequence_is)
    check_singleton(contract, options.singleton)
    say(f"strands: {rc}; rows: {roles.kind.name} ({', '.join(roles.column_of.values())})")
    schema = output_schema(opened, kept, roles, len(members), options.per_model)
    check_writes(format_name, schema)
    engine = open_engine(
        members,
        Request(options.engine, options.precision, options.recipe, rc == "construct", bool(options.singleton), options.null_rate),
        say,
    )
    try:
        settings = {
            "kind": roles.kind.name,
            "sequence_is": sequence_is,
            "rc": rc,
            "singleton": options.singleton,
            "max_n": options.max_n,
            "columns": dict(roles.column_of),
        }
        metadata = {
            "legscore": __version__,
            "models": [{"name": m.name, "sha256": m.sha256} for m in members],
            "contract": contract.to_json(),
            "engine": engine.describe(),
            "fidelity": asdict(engine.fidelity) if engine.fidelity else None,
            "options": {**settings, "part_rows": part_rows(len(members))},
        }
        plan = Plan(
            opened, roles, tuple(kept), Windower(contract, roles.kind, sequence_is, rc, options.max_n), engine,
            options.output, format_name, part_rows(len(members)), schema, options.per_model, metadata,
        )  # fmt: skip
        tick = progress(opened.n_rows, len(members)) if progress else lambda rows: None
        summary = run(plan, tick)
    finally:
        engine.close()
    record = {**metadata, **_circumstances(options, summary, started, len(members))}
    if options.output != "-":
        target = Path(f"{options.output}.run.json")
        with publishing(target) as temporary, writing(target):
            temporary.write_text(json.dumps(record, indent=1) + "\n")
    return record


def open_members(models: Sequence[str | Path], allow_duplicates: bool, say: Say) -> list[Checkpoint]:
    """Load the ensemble, or the bundled model when none is named."""
    bundled = not models
    members = load_members(models or [folder("bundled")], allow_duplicates=allow_duplicates)
    what = f"{len(members)} bundled for demonstration" if bundled else str(len(members))
    say(f"models: {what} ({members[0].contract.describe()})")
    if note := members[0].training.get("note"):
        say(f"        {note}")
    return members


def settle_sequence_is(opened: Input, roles: Roles, contract: Contract, asked: str, say: Say) -> str:
    """What the sequences are, decided once for the input and said."""
    if asked != "auto":
        return asked
    column = roles.sequence_columns[0]
    head = opened.head([column], SNIFF_ROWS).column(column)
    texts = head.combine_chunks()
    decided = decide_sequence_is(texts.dictionary_decode() if hasattr(texts, "dictionary_decode") else texts, contract)
    say(f"sequences: read as {decided} (from the first {len(head):,} rows; --sequence-is overrides)")
    return decided


def settle_rc(contract: Contract, asked: str | None, sequence_is: str) -> str:
    """Strand mode: as asked, else `construct` for models trained on both strands and `none` for others."""
    if asked is None:
        return "construct" if contract.rc_trained else "none"
    if asked not in RC_MODES:
        raise LegscoreError(f"rc is {asked!r}; known are {', '.join(RC_MODES)}")
    if asked == "insert" and sequence_is == "window":
        raise LegscoreError(
            "--rc insert needs to know where the insert lies, which a window does not say; pass inserts or oligos"
        )
    return asked


def check_singleton(contract: Contract, singleton: int) -> None:
    if singleton and "is_singleton" not in contract.channels:
        raise LegscoreError("--singleton 1: these models have no is_singleton channel")


def _check_not_input(opened: Input, output: str) -> None:
    """Neither the output nor its record may replace a file that is read, however it was named."""
    for target in (output, f"{output}.run.json") if output != "-" else ():
        for source in opened.sources:
            if os.path.exists(target) and os.path.samefile(source.path, target):
                raise InputError(f"{target} is both input and output; choose another -o")


def _circumstances(options: Options, summary: Summary, started: datetime.datetime, n_members: int) -> dict[str, Any]:
    """What a record holds beyond what defines the scores."""
    seconds = max(summary.seconds, 1e-9)
    return {
        "inputs": [str(path) for path in options.inputs],
        "output": options.output,
        "model_paths": [str(path) for path in options.models],
        "started": started.isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
        "seconds": round(summary.seconds, 3),
        "rows": summary.rows,
        "status": summary.status_counts,
        "windows_asked": summary.windows_asked,
        "windows_scored": summary.windows_scored,
        "rows_per_s": round(summary.rows / seconds, 1),
        "windows_per_s": round(summary.windows_scored / seconds, 1),
        "window_members_per_s": round(summary.windows_scored * n_members / seconds, 1),
    }

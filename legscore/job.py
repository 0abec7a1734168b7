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
from legscore.errors import InputError, LegscoreError
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.pipeline import Plan, Summary, part_rows, run
from legscore.publish import check_writable, publishing
from legscore.read import Input, check_types, choose_kept, open_input
from legscore.resources import folder
from legscore.schema import RC_MODES, Roles, find_roles
from legscore.window import SNIFF_ROWS, Windower, decide_sequence_is
from legscore.write import output_format

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


def score(
    options: Options, *, say: Say = lambda line: None, progress: Callable[[int, int], Callable[[int], object]] | None = None
) -> dict[str, Any]:
    """Run a job.

    Args:
        options: what to do.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows of each part written.

    Returns:
        The run's record: metadata of the output plus paths, times, rates and counts; also written to OUTPUT.run.json.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    format_name = output_format(options.output, options.format)
    if options.output != "-":
        check_writable(Path(options.output))
        _check_not_input(options)
    opened = open_input(options.inputs)
    roles = find_roles(opened.schema.names, opened.name, options.kind, options.columns)
    check_types(opened, roles)
    kept = choose_kept(opened, roles, options.keep)
    members = open_members(options.models, options.allow_duplicates, say)
    contract = members[0].contract
    sequence_is = settle_sequence_is(opened, roles, contract, options.sequence_is, say)
    rc = settle_rc(contract, options.rc, sequence_is)
    check_singleton(contract, options.singleton)
    say(f"strands: {rc}; rows: {roles.kind.name} ({', '.join(roles.column_of.values())})")
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
            options.output, format_name, part_rows(len(members)), options.per_model, metadata,
        )  # fmt: skip
        tick = progress(opened.n_rows, len(members)) if progress else lambda rows: None
        summary = run(plan, tick)
    finally:
        engine.close()
    record = {**metadata, **_circumstances(options, summary, started, len(members))}
    if options.output != "-":
        with publishing(Path(f"{options.output}.run.json")) as temporary:
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


def _check_not_input(options: Options) -> None:
    for path in options.inputs:
        if Path(path).exists() and Path(options.output).exists() and os.path.samefile(path, options.output):
            raise InputError(f"{options.output} is both input and output; choose another -o")


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

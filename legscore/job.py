"""A scoring job: options → checked plan → run → record. What `legscore run` and `legscore.score_file` share.

Everything that can be wrong with input, models, options or output is found here, before the first row is scored.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from legscore import __version__
from legscore.calibration import COLUMNS, Calibration, load_calibration
from legscore.dataset import check_free, forget, is_dataset, parts_a_file, run_files
from legscore.engine.base import Engine
from legscore.engine.choose import Request, open_engine
from legscore.errors import InputError, LegscoreError, OutputError, nearest
from legscore.heldout import held_out
from legscore.identity import content_of
from legscore.limits import Limits, check_room, not_held
from legscore.members import in_context, open_members, training_records, training_summary
from legscore.model.checkpoint import Checkpoint
from legscore.parts import PartFolder, parts_folder
from legscore.pipeline import Plan, Summary, output_schema, part_rows, run
from legscore.publish import base_of, check_output, record_of, remove_stale, write_record
from legscore.read import Input, check_types, choose_kept, open_input
from legscore.remote_parts import held_store
from legscore.resume import beginning, going_on
from legscore.runlog import RunLog
from legscore.schema import KINDS, RC_MODES, SEQUENCE_IS, Roles, find_roles
from legscore.settle import check_singleton, settle_rc, settle_sequence_is, settle_until
from legscore.shards import KEY as SHARD
from legscore.shards import Shard, described
from legscore.storage import Remote, is_remote, stamp
from legscore.verify import DEFAULT_SHARE, Guard
from legscore.window import Windower
from legscore.write import check_writes, output_format

Say = Callable[[str], None]
Progress = Callable[[int, int], Callable[[float], object]]


class Elsewhere(Protocol):
    """Other processes that score the parts of a run (`legscore.cluster`); this one then joins them."""

    def open_engine(self, members: Sequence[Checkpoint], request: Request, say: Say) -> Engine:
        """What stands for the engines that score."""

    def score(self, plan: Plan, store: PartFolder, options: Options, tick: Callable[[float], object], log: RunLog) -> set[int]:
        """Have every part scored that the store lacks; the parts that were."""

    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""


@dataclass(frozen=True)
class Options:
    """Options of a run; the command line's, with the same names and defaults. `shown_inputs` replace the inputs in the record
    (a VCF that was turned into a table).

    Attributes:
        restart: throw away what an interrupted run left, instead of going on with it.
        shard: `3/64`: only the third of 64 slices of the input.
        made: the input is made anew for each run; it is the same when its content is.
        parts: folder for what has been scored, instead of OUTPUT.parts; it is then kept at the end too.
        part_rows: rows of a part, instead of what the ensemble and the engine make it; the output's record says it.
        file_rows: most rows of a file where the output is a folder of files (its name ends in a slash); a million where None.
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
    made: bool = False
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
            raise LegscoreError(f"keep is {self.keep!r}; it must be a text such as 'id,gene', 'all' or 'none'")
        if not (self.max_n is None or type(self.max_n) is int):
            raise LegscoreError(f"max_n is {self.max_n!r}; it must be a whole number")
        if self.max_n is not None and self.max_n < 0:
            raise LegscoreError(f"max_n is {self.max_n}; it must be 0 or more")
        if self.part_rows is not None and self.part_rows < 1:
            raise LegscoreError(f"part_rows is {self.part_rows}; it must be 1 or more")
        if self.file_rows is not None and self.file_rows < 1:
            raise LegscoreError(f"file_rows is {self.file_rows}; it must be 1 or more")
        if self.file_rows is not None and not is_dataset(self.output):
            raise LegscoreError(f"--file-rows is about a folder of files; write {self.output or 'OUT'}/ for one")
        if self.shard is not None and is_dataset(self.output):
            raise LegscoreError(f"--shard with {self.output}: give each shard a file of its own; together they are a dataset too")
        if self.until_se is not None and not 0 < self.until_se < float("inf"):
            raise LegscoreError(f"until_se is {self.until_se!r}; it must be a standard error above 0, in score units")
        if self.until_se is not None and self.out_of_fold is not None:
            raise LegscoreError("--until-se and --out-of-fold both choose the members of a row; drop one")


def score(
    options: Options,
    *,
    say: Say = lambda line: None,
    progress: Progress | None = None,
    log: RunLog | None = None,
    elsewhere: Elsewhere | None = None,
) -> dict[str, Any]:
    """Run a job, or go on with one that was interrupted.

    Args:
        options: what to do.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows done since its last call.
        log: receives events and warnings; by default warnings go to `say`.
        elsewhere: scores the parts; without it this process does.

    Returns:
        The run's record: metadata of the output plus paths, times, rates and counts; also written to OUTPUT.run.json.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    to_file = options.output != "-"
    if to_file:
        if not options.output:
            raise OutputError("an empty name was given for the output; is a shell variable unset?")
        check_output(options.output)
    output_format(options.output, options.format)
    with contextlib.ExitStack() as stack:
        store = None
        if to_file:
            store = stack.enter_context(held_store(options.output, options.parts, parts_folder(options.output)))
            if not is_remote(options.output):
                remove_stale(base_of(options.output), record_of(options.output))
            if is_dataset(options.output):
                check_free(options.output, store)
        plan = stack.enter_context(prepared(options, say, elsewhere.open_engine if elsewhere else None))
        log = log or RunLog(say=say)
        inputs = [str(path) for path in options.shown_inputs or options.inputs]
        log.event("start", inputs=inputs, **beginning(plan, options.shard))
        if store is not None:
            if options.restart and is_dataset(options.output):
                forget(options.output, store)
            stack.enter_context(going_on(plan, store, say, log, made=options.made, restart=options.restart))
        tick = progress(plan.n_rows, plan.engine.n_members) if progress else lambda rows: None
        if elsewhere is not None and store is not None:
            begun = time.perf_counter()
            fresh = elsewhere.score(plan, store, options, tick, log)
            scored_s = time.perf_counter() - begun
            summary = (run_files if plan.parts_a_file else run)(plan, store, fresh=fresh)  # told when they were scored
            summary.seconds += scored_s
        elif plan.parts_a_file and store is not None:
            summary = run_files(plan, store, tick, log.event)
        else:
            summary = run(plan, store, tick, log.event)
        record = {**plan.metadata, **_circumstances(options, summary, started, plan.engine.n_members)}
        if elsewhere is not None:
            record["cluster"] = elsewhere.record()
        record["verify"] = plan.guard.verified.record() if plan.guard else None
        if to_file:
            if SHARD in record:
                record["output_bytes"] = stamp(Remote(options.output) if is_remote(options.output) else Path(options.output)).size
            write_record(options.output, json.dumps(record, indent=1) + "\n")
        if store is not None and options.parts is None:
            store.clear()
    return record


@contextlib.contextmanager
def prepared(
    options: Options,
    say: Say = lambda line: None,
    opener: Callable[[Sequence[Checkpoint], Request, Say], Engine] | None = None,
) -> Iterator[Plan]:
    """Check everything and build the engine (with `opener`, where one is given); the plan of the run, whose engine is closed at
    the end.

    Raises:
        LegscoreError: input, models, options or output do not go together.
    """
    format_name = output_format(options.output, options.format)
    shard = Shard.parse(options.shard) if options.shard else None
    limits = Limits.of(options.memory)
    opened = open_input(options.inputs).within(limits)
    _check_not_input(opened, options.output)
    roles = find_roles(opened.schema.names, opened.name, options.kind, options.columns)
    check_types(opened, roles)
    kept = choose_kept(opened, roles, options.keep)
    members = open_members(options.models, options.allow_duplicates, say)
    members = in_context(opened, members, say)
    contract = members[0].contract
    sequence_is = settle_sequence_is(opened, roles, contract, options.sequence_is, say)
    rc = settle_rc(contract, options.rc, sequence_is)
    check_singleton(contract, options.singleton)
    for line in training_records(members):
        say(line)
    apart = None
    if options.out_of_fold is not None:
        apart = held_out(members, options.out_of_fold, roles.kind.name, contract, sequence_is, say)
        for column in apart.reads:
            if column not in opened.schema.names:
                raise InputError(f"--out-of-fold: {opened.name} has no column {column!r}{nearest(column, opened.schema.names)}")
    calibration, calibrated_by = _calibration(options, members, roles, kept, rc, say)
    say(f"strands: {rc}; rows: {roles.kind.name} ({', '.join(roles.column_of.values())})")
    until = settle_until(options.until_se, len(members), say)
    varying = apart is not None or until is not None
    schema = output_schema(opened, kept, roles, len(members), options.per_model, varying, calibration is not None)
    check_writes(format_name, schema)
    request = Request(
        engine=options.engine,
        precision=options.precision,
        recipe=options.recipe,
        both_strands=rc == "construct",
        is_singleton=bool(options.singleton),
        null_rate=options.null_rate,
        device=options.device,
        apart=varying,
    )
    with not_held():
        engine = (opener or open_engine)(members, request, say)
    guard = None
    try:
        guard = Guard(members, engine, options.verify, opened.name, rc=rc, singleton=bool(options.singleton))
        what = f"{len(members)} model{'s' if len(members) > 1 else ''} on engine {engine.name}"
        check_room(what, verifies=guard.verified.share > 0)
        if guard.verified.share:
            say(guard.said())
        settings = {
            "kind": roles.kind.name,
            "sequence_is": sequence_is,
            "rc": rc,
            "singleton": options.singleton,
            "max_n": options.max_n,
            "columns": dict(roles.column_of),
            "out_of_fold": options.out_of_fold,
            "until_se": options.until_se,
        }
        rows = options.part_rows or part_rows(len(members), engine.name)
        together = parts_a_file(rows, options.file_rows) if is_dataset(options.output) else 0
        if together:
            settings["parts_a_file"] = together
        metadata: dict[str, Any] = {
            "legscore": __version__,
            "models": [{"name": m.name, "sha256": m.sha256, "training": training_summary(m)} for m in members],
            "contract": contract.to_json(),
            "engine": engine.describe(),
            "fidelity": asdict(engine.fidelity) if engine.fidelity else None,
            "options": {**settings, "part_rows": rows},
        }
        if calibrated_by:
            metadata["calibration"] = calibrated_by
        if made_by := [source.made_by for source in opened.sources if source.made_by]:
            metadata["variants"] = made_by[0]
        numbers = range(opened.n_parts(rows))
        if shard:
            numbers = shard.parts(len(numbers))
            metadata[SHARD] = described(shard, numbers, rows, opened.n_rows, content_of(opened), schema)
            say(f"shard: {shard.index} of {shard.of}, {metadata[SHARD]['rows']:,} of {opened.n_rows:,} rows")
        yield Plan(
            opened, roles, tuple(kept), Windower(contract, roles.kind, sequence_is, rc, options.max_n), engine,
            options.output, format_name, rows, schema, options.per_model, metadata, apart, until, numbers, limits, guard,
            calibration, together,
        )  # fmt: skip
    finally:
        if guard:
            guard.close()
        engine.close()
        if until is not None:
            until.close()


def _calibration(
    options: Options, members: Sequence[Checkpoint], roles: Roles, kept: Sequence[str], rc: str, say: Say
) -> tuple[Calibration | None, dict[str, Any]]:
    """The calibration asked for, fit for these members, and what the output says of it."""
    if options.calibration is None:
        return None, {}
    if clash := set(kept) & set(COLUMNS):
        raise InputError(f"--calibration writes {' and '.join(COLUMNS)}; the input has {clash.pop()!r}: leave it out with --keep")
    if roles.kind.windows != 2:
        raise InputError("--calibration gives intervals of effects; these rows are single sequences")
    found, sha256 = load_calibration(options.calibration)
    settings = {"rc": rc, "singleton": options.singleton}
    found.check([member.sha256 for member in members], settings, options.calibration)
    say(f"calibration: {found.slope:.3f} × effect, intervals for {found.coverage:.0%} ({options.calibration})")
    return found, {"sha256": sha256, "coverage": found.coverage, "slope": found.slope}


def _check_not_input(opened: Input, output: str) -> None:
    """Neither the output nor its record may replace a file that is read, however it was named."""
    for target in (output, record_of(output)) if output != "-" else ():
        for source in opened.sources:
            if isinstance(source.path, Remote) or is_remote(target):
                same = str(source.path) == target
            else:
                same = os.path.exists(target) and os.path.samefile(source.path, target)
            if same:
                raise InputError(f"{target} is both input and output; choose another -o")


def _circumstances(options: Options, summary: Summary, started: datetime.datetime, n_members: int) -> dict[str, Any]:
    """What a record holds beyond what defines the scores."""
    seconds = max(summary.seconds, 1e-9)
    rows, windows = summary.rows - summary.rows_resumed, summary.windows_scored - summary.windows_resumed
    return {
        "inputs": [str(path) for path in options.shown_inputs or options.inputs],
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
        "windows_x_members_scored": summary.member_windows,
        "windows_x_members_of_all": round(summary.member_windows / max(summary.windows_scored * n_members, 1), 4),
        "rows_resumed": summary.rows_resumed,
        "parts_damaged": summary.parts_damaged,
        "rows_per_s": round(rows / seconds, 1),
        "windows_per_s": round(windows / seconds, 1),
        "window_members_per_s": round((summary.member_windows - summary.member_windows_resumed) / seconds, 1),
    }

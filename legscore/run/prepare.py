"""Everything that can be wrong is found before the first row: input, models, engine, metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import InputError, nearest
from legscore.input.read import Input, open_input
from legscore.input.roles import check_types, choose_carried_columns
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members, training_records, training_summary
from legscore.model.student import check_students, sd_networks, student_record
from legscore.output.shards import KEY as SHARD
from legscore.output.shards import Shard, described
from legscore.output.write import check_writes, output_format
from legscore.rows.schema import Roles, find_roles
from legscore.rows.window import Windower
from legscore.run.background import Background, chosen_background, settings_of
from legscore.run.dataset import parts_a_file
from legscore.run.finished import own_outputs
from legscore.run.joined_engine import JoinedEngine
from legscore.run.named_ensembles import NamedEnsemble, named_columns, open_named
from legscore.run.options import Options
from legscore.run.plan import Plan, output_schema, part_rows
from legscore.run.resume import content_of
from legscore.run.settings import check_singleton, in_context, resolve_rc, resolve_sequence_is, resolve_until
from legscore.run.verify import Verifier
from legscore.system.cores import threads_and_why
from legscore.system.log import Detail, Say
from legscore.system.memory import Limits, check_room, memory_limit_lifted
from legscore.system.publish import is_dataset
from legscore.version import __version__

if TYPE_CHECKING:
    from legscore.rows.shifts import Shifts
    from legscore.run.adaptive import AdaptiveScorer
    from legscore.run.calibration import Calibration
    from legscore.run.cascade import Cascade
    from legscore.run.out_of_fold import OutOfFold
    from legscore.run.student_intervals import StudentIntervals

COUNTED = {"pair": "pairs of sequences", "edit": "edits of sequences", "sequence": "sequences"}
"""What rows of each kind are called when they are counted."""
OpenEngine = Callable[[Sequence[Checkpoint], Request, Say], Engine]
"""Opens the engine of an ensemble: `legscore.engine.open.open_engine`, or what stands in for it."""


@dataclass(frozen=True)
class PreparedInput:
    """The input, opened and understood: its roles, the columns to carry over, and the format they go to."""

    opened: Input
    roles: Roles
    carried: tuple[str, ...]
    limits: Limits
    format_name: str


@dataclass(frozen=True)
class PreparedModels:
    """The ensemble, and how rows are read and scored by it."""

    members: list[Checkpoint]
    sequence_is: str
    rc: str
    out_of_fold: OutOfFold | None
    adaptive: AdaptiveScorer | None
    calibration: Calibration | StudentIntervals | None
    calibrated_by: dict[str, Any]
    background: Background | None
    ranked_by: dict[str, Any]
    shifts: Shifts | None
    ensembles: tuple[NamedEnsemble, ...] = ()

    @property
    def contract(self) -> Contract:
        return self.members[0].contract

    @property
    def rows_contract(self) -> Contract:
        """How rows are read: as windows are, or with the margin that they move in."""
        margin = self.shifts.margin if self.shifts else 0
        return self.contract.in_genome(self.contract.length + 2 * margin) if margin else self.contract

    @property
    def varying(self) -> bool:
        """Whether rows are scored by different members."""
        return self.out_of_fold is not None or self.adaptive is not None


@contextlib.contextmanager
def prepared(
    options: Options,
    say: Say = lambda line: None,
    opener: OpenEngine | None = None,
    *,
    data: Input | None = None,
    members: list[Checkpoint] | None = None,
    cascade: Cascade | None = None,
) -> Iterator[Plan]:
    """Check everything and build the engine; the plan of the run, whose engine is closed at the end.

    Args:
        options: what to do.
        say: receives one line for every decision.
        opener: opens the engine; `legscore.engine.open.open_engine` when None.
        data: the input, where it is no file of `options.inputs`.
        members: the ensemble, where it is loaded already.
        cascade: what a student's pass over the input left, where it came first.

    Raises:
        LegscoreError: input, models, options or output do not go together.
    """
    shard = Shard.parse(options.shard) if options.shard else None
    source = prepare_input(options, data)
    for line in source.opened.notes:
        say(line)
    models = prepare_models(options, source, say, members)
    schema = output_schema(
        source.opened,
        source.carried,
        source.roles,
        len(models.members),
        options.per_model,
        models.varying,
        models.calibration is not None,
        options.student is not None,
        models.background is not None,
        models.ensembles,
    )
    check_writes(source.format_name, schema)
    with prepare_engine(options, source, models, say, opener) as (engine, verifier):
        work = len(models.members) * (len(models.shifts.places) if models.shifts else 1)
        rows = options.part_rows or part_rows(work, engine.name)
        together = parts_a_file(rows, options.file_rows) if is_dataset(options.output) else 0
        metadata = prepare_metadata(options, source, models, engine, rows, together)
        if cascade is not None:
            metadata["cascade"] = dict(cascade.described)
        numbers = range(source.opened.n_parts(rows))
        if shard:
            numbers = shard.parts(len(numbers))
            n_rows, content = source.opened.n_rows, content_of(source.opened)
            metadata[SHARD] = described(shard, numbers, rows, n_rows, content, schema)
            say(f"shard: {shard.index} of {shard.of}, {metadata[SHARD]['rows']:,} of {n_rows:,} rows")
        yield Plan(
            opened=source.opened,
            roles=source.roles,
            carried_columns=source.carried,
            windower=Windower(
                models.rows_contract, source.roles.kind, models.sequence_is, models.rc, options.max_n
            ),
            engine=engine,
            output=options.output,
            format_name=source.format_name,
            part_rows=rows,
            schema=schema,
            per_model=options.per_model,
            metadata=metadata,
            out_of_fold=models.out_of_fold,
            adaptive=models.adaptive,
            parts=numbers,
            limits=source.limits,
            verifier=verifier,
            calibration=models.calibration,
            background=models.background,
            shifts=models.shifts,
            cascade=cascade,
            parts_a_file=together,
            ensembles=models.ensembles,
            tells_sd=tells_sd(source, models, engine),
        )


def tells_sd(source: PreparedInput, models: PreparedModels, engine: Engine) -> bool:
    """Whether a student tells the SD of the scores of single sequences."""
    return engine.n_beside > 0 and source.roles.kind.windows == 1 and not models.varying


def prepare_input(options: Options, data: Input | None = None) -> PreparedInput:
    """Open the input (`data`, where it is no file), find its roles, and choose what is carried over.

    Raises:
        LegscoreError: the input cannot be read, its columns fit no kind or several, or it is the output.
    """
    format_name, limits = output_format(options.output, options.format), Limits.of(options.memory)
    own = own_outputs(options.output)
    # a table without rows is one of many that a table was split into, by chromosome or sample
    opened = data or open_input(options.inputs, may_be_empty=True, own_outputs=own)
    opened = opened.within(limits)
    roles = find_roles(opened.schema.names, opened.name, options.kind, options.columns)
    check_types(opened, roles)
    written = named_columns(options.ensembles, roles.kind.windows) if options.ensembles else ()
    carried = choose_carried_columns(opened, roles, options.keep, written)
    return PreparedInput(opened, roles, tuple(carried), limits, format_name)


def prepare_models(
    options: Options, source: PreparedInput, say: Say, members: list[Checkpoint] | None = None
) -> PreparedModels:
    """Load the ensemble (or take `members`) and settle how it reads the rows; each decision is said.

    Raises:
        LegscoreError: the models, the input and the options do not go together.
    """
    opened, roles = source.opened, source.roles
    ensembles: tuple[NamedEnsemble, ...] = ()
    if options.ensembles:
        loaded, ensembles = open_named(options.models, options.ensembles, options.allow_duplicates, say)
    else:
        loaded = members or open_members(options.models, options.allow_duplicates, say)
    members, shifts = in_context(opened, loaded, options.shifts, say)
    contract = members[0].contract
    sequence_is = resolve_sequence_is(opened, roles, contract, options.sequence_is, say)
    rc = resolve_rc(contract, options.rc, sequence_is)
    check_students(members, rc)
    for member in members:
        check_singleton(member.contract, options.singleton)
    for line in training_records(members):
        say(Detail(line))
    out_of_fold = None
    if options.out_of_fold is not None:
        from legscore.run.out_of_fold import read_folds_held_out

        out_of_fold = read_folds_held_out(
            members, options.out_of_fold, roles.kind.name, contract, sequence_is, say
        )
        for column in out_of_fold.reads:
            if column not in opened.schema.names:
                raise InputError(
                    f"--out-of-fold: {opened.name} has no column "
                    f"{column!r}{nearest(column, opened.schema.names)}"
                )
    calibration, calibrated_by = _intervals(options, members, rc, source, say)
    hashes = [member.sha256 for member in members]
    settings = settings_of(contract, rc, options.singleton, options.engine)
    background, ranked_by = chosen_background(
        options.background, hashes, settings, source.carried, roles.kind.windows
    )
    if background is not None:
        say(f"background: {background.n_changes:,} changes in {len(background.effects)} classes of tiles")
    n_rows = "a stream of" if opened.known_rows is None else f"{opened.known_rows:,}"
    say(
        f"input: {n_rows} {COUNTED[roles.kind.name]} "
        f"(columns {', '.join(roles.column_of.values())}), read as {sequence_is}s"
    )
    say(Detail(f"strands: {rc}"))
    return PreparedModels(
        members=members,
        sequence_is=sequence_is,
        rc=rc,
        out_of_fold=out_of_fold,
        adaptive=resolve_until(options.until_se, len(members), say),
        calibration=calibration,
        calibrated_by=calibrated_by,
        background=background,
        ranked_by=ranked_by,
        shifts=shifts,
        ensembles=ensembles,
    )


@contextlib.contextmanager
def prepare_engine(
    options: Options, source: PreparedInput, models: PreparedModels, say: Say, opener: OpenEngine | None
) -> Iterator[tuple[Engine, Verifier]]:
    """Open the engine and what verifies its scores; both are closed at the end, and so is the scorer of
    `--until-se`.

    Raises:
        LegscoreError: what was asked for cannot be served here, or does not fit the memory.
    """
    members, singleton = models.members, bool(options.singleton)
    request = Request(
        engine=options.engine,
        precision=options.precision,
        recipe=options.recipe,
        both_strands=models.rc == "construct",
        is_singleton=singleton,
        null_rate=options.null_rate,
        device=options.device,
        separate_members=models.varying,
    )
    with contextlib.ExitStack() as stack:
        if models.adaptive is not None:
            stack.callback(models.adaptive.close)
        threads, why = threads_and_why()
        say(Detail(f"threads: {threads} ({why})"))
        with memory_limit_lifted():
            engine = open_engines(models, request, say, opener)
        stack.callback(engine.close)
        verifier = Verifier(
            [*members, *sd_networks(members)] if tells_sd(source, models, engine) else members,
            engine,
            options.verify,
            source.opened.name,
            rc=models.rc,
            is_singleton=singleton,
            fidelities=engine.fidelities if isinstance(engine, JoinedEngine) else None,
        )
        stack.callback(verifier.close)
        what = f"{len(members)} model{'s' if len(members) > 1 else ''} on engine {engine.name}"
        check_room(what, verifies=verifier.share > 0)
        if verifier.share:
            say(Detail(verifier.announcement()))
        yield engine, verifier


def open_engines(models: PreparedModels, request: Request, say: Say, opener: OpenEngine | None) -> Engine:
    """The engine of the ensemble; of several ensembles one of their engines, each of which is opened here
    unless an `opener` opens them elsewhere."""
    if opener is not None or not models.ensembles:
        return (opener or open_engine)(models.members, request, say)
    engines: list[Engine] = []
    with contextlib.ExitStack() as opened:
        for one in models.ensembles:
            say(Detail(f"engine: of the ensemble {one.name}"))
            engines.append(open_engine(models.members[one.start : one.stop], request, say))
            opened.callback(engines[-1].close)
        opened.pop_all()
    return JoinedEngine(engines, [one.name for one in models.ensembles])


def prepare_metadata(
    options: Options,
    source: PreparedInput,
    models: PreparedModels,
    engine: Engine,
    part_rows: int,
    parts_a_file: int,
) -> dict[str, Any]:
    """What defines the scores, for the output's metadata: no paths, times, hosts or rates."""
    settings = {
        "kind": source.roles.kind.name,
        "sequence_is": models.sequence_is,
        "rc": models.rc,
        "singleton": options.singleton,
        "max_n": options.max_n,
        "columns": dict(source.roles.column_of),
        "out_of_fold": options.out_of_fold,
        "until_se": options.until_se,
    }
    if models.shifts is not None:
        settings["shifts"] = list(models.shifts.places)
    if parts_a_file:
        settings["parts_a_file"] = parts_a_file
    metadata: dict[str, Any] = {
        "legscore": __version__,
        "models": [_described(member) for member in models.members],
        "contract": models.contract.to_json(),
        "engine": engine.describe(),
        "fidelity": asdict(engine.fidelity) if engine.fidelity else None,
        "options": {**settings, "part_rows": part_rows},
    }
    if models.ensembles:
        metadata["ensembles"] = {
            one.name: {
                "models": [member.sha256 for member in models.members[one.start : one.stop]],
                "contract": models.members[one.start].contract.to_json(),
            }
            for one in models.ensembles
        }
    if models.calibrated_by:
        metadata["calibration"] = models.calibrated_by
    if models.ranked_by:
        metadata["background"] = models.ranked_by
    if made_by := [one.made_by for one in source.opened.sources if one.made_by]:
        lengths = [one.made_by.get("tile_lengths") for one in source.opened.sources]
        differ = any(length != lengths[0] for length in lengths)
        left_out = ("tile_lengths",) if differ else ()
        metadata["variants"] = {name: said for name, said in made_by[0].items() if name not in left_out}
    return metadata


def _described(member: Checkpoint) -> dict[str, Any]:
    """What the output says of a model; of a student also which ensemble it stands for, and how well."""
    described = {"name": member.name, "sha256": member.sha256, "training": training_summary(member)}
    student = student_record(member)
    return described if student is None else {**described, "student": student}


def _intervals(
    options: Options, members: Sequence[Checkpoint], rc: str, source: PreparedInput, say: Say
) -> tuple[Calibration | StudentIntervals | None, dict[str, Any]]:
    """The intervals that --calibration asks for, and what the output says of them."""
    if options.calibration is None:
        return None, {}
    from legscore.run.chosen_intervals import chosen_intervals

    settings = {"rc": rc, "singleton": options.singleton, "context": members[0].contract.context}
    windows = source.roles.kind.windows
    return chosen_intervals(options.calibration, members, settings, source.carried, windows, say)

"""What a run reads and the ensemble that scores it, settled against each other; the columns that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from legscore.dna.contract import Contract
from legscore.errors import InputError, nearest
from legscore.input.read import Input, open_input
from legscore.input.roles import check_types, choose_carried_columns
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members, training_records
from legscore.model.student import check_students
from legscore.output.result_columns import result_schema
from legscore.output.write import check_writes, output_format
from legscore.rows.schema import RESULT_COLUMNS, Roles, find_roles
from legscore.run.background import COLUMNS as RANKS
from legscore.run.background import Background, chosen_background, settings_of
from legscore.run.finished import own_outputs
from legscore.run.named_ensembles import (
    NamedEnsemble,
    column_of,
    compared_with_first,
    named_columns,
    open_named,
)
from legscore.run.options import Options
from legscore.run.settings import check_singleton, in_context, resolve_rc, resolve_sequence_is, resolve_until
from legscore.system.log import Detail, Say
from legscore.system.memory import Limits

if TYPE_CHECKING:
    from legscore.rows.shifts import Shifts
    from legscore.run.adaptive import AdaptiveScorer
    from legscore.run.calibration import Calibration
    from legscore.run.out_of_fold import OutOfFold
    from legscore.run.student_intervals import StudentIntervals

COUNTED = {"pair": "pairs of sequences", "edit": "edits of sequences", "sequence": "sequences"}
"""What rows of each kind are called when they are counted."""


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


def checked_schema(options: Options, source: PreparedInput, models: PreparedModels) -> pa.Schema:
    """Columns of the output. LegscoreError where its format cannot hold them."""
    windows, members = source.roles.kind.windows, len(models.members)
    results = RESULT_COLUMNS[windows]
    per_model = options.per_model
    values = [f"{name}_per_model" for name in results if not name.endswith("_sd")] if per_model else []
    lists, named = dict.fromkeys(values, members), [*results]
    if ensembles := models.ensembles:
        compared = [one.name for one in compared_with_first(ensembles)]
        named = named_columns([one.name for one in ensembles], windows, compared)
        lists = {column_of(name, one.name): len(one) for one in ensembles for name in values}
    if models.calibration is not None:
        from legscore.run.calibration import COLUMNS

        named += COLUMNS
    if models.background is not None:
        named += RANKS
    kept = [source.opened.schema.field(name) for name in source.carried]
    schema = result_schema(kept, named, lists, models.varying, options.student is not None)
    check_writes(source.format_name, schema)
    return schema


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

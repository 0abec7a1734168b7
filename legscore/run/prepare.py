"""Check everything and build the engine before the first row is scored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open import open_engine
from legscore.errors import InputError, nearest
from legscore.input.read import Input, check_types, choose_carried_columns, open_input
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members, training_records, training_summary
from legscore.output.shards import KEY as SHARD
from legscore.output.shards import Shard, described
from legscore.output.write import check_writes, output_format
from legscore.rows.schema import Roles, find_roles
from legscore.rows.window import Windower
from legscore.run.calibration import COLUMNS, Calibration, load_calibration
from legscore.run.dataset import parts_a_file
from legscore.run.options import Options
from legscore.run.out_of_fold import read_folds_held_out
from legscore.run.plan import Plan, output_schema, part_rows
from legscore.run.resume import content_of
from legscore.run.settings import check_singleton, in_context, resolve_rc, resolve_sequence_is, resolve_until
from legscore.run.verify import Verifier
from legscore.system.log import Say
from legscore.system.memory import Limits, check_room, memory_limit_lifted
from legscore.system.publish import is_dataset, record_of
from legscore.system.storage import Remote, is_remote
from legscore.version import __version__


@contextlib.contextmanager
def prepared(
    options: Options,
    say: Say = lambda line: None,
    opener: Callable[[Sequence[Checkpoint], Request, Say], Engine] | None = None,
) -> Iterator[Plan]:
    """Check everything and build the engine (with `opener`, where one is given); the plan of the run, whose
    engine is closed at the end.

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
    kept = choose_carried_columns(opened, roles, options.keep)
    members = open_members(options.models, options.allow_duplicates, say)
    members = in_context(opened, members, say)
    contract = members[0].contract
    sequence_is = resolve_sequence_is(opened, roles, contract, options.sequence_is, say)
    rc = resolve_rc(contract, options.rc, sequence_is)
    check_singleton(contract, options.singleton)
    for line in training_records(members):
        say(line)
    out_of_fold = None
    if options.out_of_fold is not None:
        out_of_fold = read_folds_held_out(
            members, options.out_of_fold, roles.kind.name, contract, sequence_is, say
        )
        for column in out_of_fold.reads:
            if column not in opened.schema.names:
                raise InputError(
                    f"--out-of-fold: {opened.name} has no column "
                    f"{column!r}{nearest(column, opened.schema.names)}"
                )
    calibration, calibrated_by = _calibration(options, members, roles, kept, rc, say)
    say(f"strands: {rc}; rows: {roles.kind.name} ({', '.join(roles.column_of.values())})")
    adaptive = resolve_until(options.until_se, len(members), say)
    varying = out_of_fold is not None or adaptive is not None
    schema = output_schema(
        opened, kept, roles, len(members), options.per_model, varying, calibration is not None
    )
    check_writes(format_name, schema)
    request = Request(
        engine=options.engine,
        precision=options.precision,
        recipe=options.recipe,
        both_strands=rc == "construct",
        is_singleton=bool(options.singleton),
        null_rate=options.null_rate,
        device=options.device,
        separate_members=varying,
    )
    with memory_limit_lifted():
        engine = (opener or open_engine)(members, request, say)
    verifier = None
    try:
        verifier = Verifier(
            members, engine, options.verify, opened.name, rc=rc, singleton=bool(options.singleton)
        )
        what = f"{len(members)} model{'s' if len(members) > 1 else ''} on engine {engine.name}"
        check_room(what, verifies=verifier.verified.share > 0)
        if verifier.verified.share:
            say(verifier.said())
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
            "models": [
                {"name": m.name, "sha256": m.sha256, "training": training_summary(m)} for m in members
            ],
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
            opened=opened,
            roles=roles,
            carried_columns=tuple(kept),
            windower=Windower(contract, roles.kind, sequence_is, rc, options.max_n),
            engine=engine,
            output=options.output,
            format_name=format_name,
            part_rows=rows,
            schema=schema,
            per_model=options.per_model,
            metadata=metadata,
            out_of_fold=out_of_fold,
            adaptive=adaptive,
            parts=numbers,
            limits=limits,
            verifier=verifier,
            calibration=calibration,
            parts_a_file=together,
        )
    finally:
        if verifier:
            verifier.close()
        engine.close()
        if adaptive is not None:
            adaptive.close()


def _calibration(
    options: Options, members: Sequence[Checkpoint], roles: Roles, kept: Sequence[str], rc: str, say: Say
) -> tuple[Calibration | None, dict[str, Any]]:
    """The calibration asked for, fit for these members, and what the output says of it."""
    if options.calibration is None:
        return None, {}
    if clash := set(kept) & set(COLUMNS):
        raise InputError(
            f"--calibration writes {' and '.join(COLUMNS)}; the input has {clash.pop()!r}: leave it out "
            "with --keep"
        )
    if roles.kind.windows != 2:
        raise InputError("--calibration gives intervals of effects; these rows are single sequences")
    found, sha256 = load_calibration(options.calibration)
    settings = {"rc": rc, "singleton": options.singleton}
    found.check([member.sha256 for member in members], settings, options.calibration)
    say(
        f"calibration: {found.slope:.3f} × effect, intervals for {found.coverage:.0%} ({options.calibration})"
    )
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

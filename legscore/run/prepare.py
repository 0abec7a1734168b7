"""Everything that can be wrong is found before the first row: input, models, columns, engine, metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from legscore.input.read import Input
from legscore.model.checkpoint import Checkpoint
from legscore.output.shards import KEY as SHARD
from legscore.output.shards import Shard, described
from legscore.rows.window import Windower
from legscore.run.dataset import parts_a_file
from legscore.run.input_and_models import checked_schema, prepare_input, prepare_models
from legscore.run.metadata import prepare_metadata
from legscore.run.open_engines import OpenEngine, prepare_engine, tells_sd
from legscore.run.options import Options
from legscore.run.plan import Plan, part_rows
from legscore.run.resume import content_of
from legscore.system.log import Say
from legscore.system.publish import is_dataset

if TYPE_CHECKING:
    from legscore.run.cascade import Cascade


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
        opener: opens the engine; `legscore.engine.open_engine.open_engine` when None.
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
    schema = checked_schema(options, source, models)
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

"""A table or a stream of Arrow in, a stream of scores out: the run on files, without the files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.engine.base import Engine, Watch
from legscore.engine.choose import Request
from legscore.engine.fidelity import Fidelity
from legscore.errors import EngineError, LegscoreError
from legscore.input.arrow_stream import table_input
from legscore.input.source import UNKNOWN_ROWS
from legscore.model.checkpoint import Checkpoint
from legscore.output.write import METADATA_KEY
from legscore.run.options import Options
from legscore.run.pipeline import scored_parts
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.python_words import raise_in_python, speaks_python
from legscore.run.record import Summary, mostly_unscored
from legscore.system.log import Notice, Say
from legscore.system.notebook import Bar, progress_bar


@dataclass(frozen=True)
class Loaded:
    """An ensemble that is loaded already, and whose owner closes it."""

    members: Sequence[Checkpoint]
    engine: Engine


class BorrowedEngine:
    """An engine of somebody else: what is scored with it may end, the engine does not."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision, self.depth = engine.name, engine.precision, engine.depth
        self.n_members, self.n_beside = engine.n_members, engine.n_beside
        self.contract: Contract = engine.contract
        self.fidelity: Fidelity | None = engine.fidelity

    def submit(
        self, batch: Batch, members: Sequence[int] | None = None, watch: Watch = lambda share: None
    ) -> Future[np.ndarray]:
        return self._engine.submit(batch, members, watch)

    def score(self, batch: Batch, members: Sequence[int] | None = None) -> np.ndarray:
        return self._engine.score(batch, members)

    def describe(self) -> dict[str, Any]:
        return self._engine.describe()

    def interrupt(self) -> None:
        """Others may be scoring with it."""

    def close(self) -> None:
        """Its owner does."""


@speaks_python
def score_stream(
    data: Any,
    options: Options,
    *,
    bar: Bar = None,
    say: Say = lambda line: None,
    loaded: Loaded | None = None,
) -> pa.RecordBatchReader:
    """Score a table; everything that can be wrong before the first row is found before this returns.

    Args:
        data: what `legscore.input.arrow_stream.as_table` takes.
        options: how to score; its inputs and output say nothing here.
        bar: whether to show one.
        say: receives one line for every decision.
        loaded: the ensemble and its engine; without one they are opened as `options` say, and closed when the
            reader has been read or is let go.

    Returns:
        Reader of the results, a part at a time; its schema's metadata holds what defines the scores.

    Raises:
        LegscoreError: table, models and options do not go together.
    """
    with contextlib.ExitStack() as stack:
        members = None if loaded is None else list(loaded.members)

        def borrow(found: Sequence[Checkpoint], request: Request, tell: Say) -> Engine:
            assert loaded is not None
            if found[0].contract != loaded.members[0].contract:
                raise EngineError(
                    "the table holds windows of genome, which this ensemble was not opened for; use "
                    "legscore.score_table"
                )
            return BorrowedEngine(loaded.engine)

        plan = stack.enter_context(
            prepared(options, say, borrow if loaded else None, data=table_input(data), members=members)
        )
        advance = stack.enter_context(progress_bar(bar, "scoring", plan.opened.known_rows))
        metadata = {METADATA_KEY: json.dumps(plan.metadata, sort_keys=True).encode()}
        schema = plan.schema.with_metadata(metadata)
        closing = stack.pop_all()
    return pa.RecordBatchReader.from_batches(schema, _batches(plan, schema, closing, advance, say))


def _batches(
    plan: Plan, schema: pa.Schema, closing: contextlib.ExitStack, advance: Any, say: Say
) -> Generator[pa.RecordBatch, None, None]:
    """Results batch by batch; engine and bar are closed at the end, also when nobody reads on."""
    summary = Summary()
    plan = replace(plan, parts=range(UNKNOWN_ROWS))
    try:
        with (
            closing,
            contextlib.closing(scored_parts(plan, None, summary, advance, lambda *a, **k: None)) as tables,
        ):
            for table in tables:
                yield from table.replace_schema_metadata(schema.metadata).to_batches()
        if told := mostly_unscored(summary.status_counts):
            say(Notice(f"warning: {told}"))
    except LegscoreError as error:
        raise_in_python(error)
        raise

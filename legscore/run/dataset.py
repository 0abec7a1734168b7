"""An output in many files: `-o OUTPUT/` is a folder of Parquet files (`scores-00000000.parquet`, …) with the
rows in order.

Whatever reads datasets (pyarrow, polars, DuckDB, legscore itself) takes the folder for one table. A file
holds a fixed number of parts, about a million rows, so that its bytes do not depend on who wrote it: on a
cluster the workers write files side by side, where one file is joined by one process. On a disk they lie in
OUTPUT.parts/files until all are there, and the folder is then renamed. A store has no renames: there files
appear under OUTPUT/ one after the other, each whole, and OUTPUT.run.json at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from legscore.errors import LegscoreError, OutputError
from legscore.input.source import READ_ERRORS
from legscore.output.parts import FILES, DamagedPartError, PartFolder
from legscore.output.write import METADATA_KEY, Writer, open_writer
from legscore.run.pipeline import scored_parts
from legscore.run.plan import Plan
from legscore.run.record import Summary
from legscore.system.log import Progress, Tell
from legscore.system.publish import base_of, sync_folder, writing
from legscore.system.storage import Remote, is_remote, open_binary, reason

FILE_ROWS = 1 << 20
NAME = re.compile(r"scores-\d{8,}\.parquet")


def file_name(number: int) -> str:
    return f"scores-{number:08d}.parquet"


def parts_a_file(part_rows: int, file_rows: int | None) -> int:
    """Parts of a file of at most `file_rows` rows; of a million and at least one part where None.

    Raises:
        LegscoreError: a part has more rows than that.
    """
    if file_rows is not None and file_rows < part_rows:
        raise LegscoreError(
            f"--file-rows {file_rows}: files hold whole parts, and a part has {part_rows:,} rows; add "
            f"--part-rows {file_rows}"
        )
    return max(1, (FILE_ROWS if file_rows is None else file_rows) // part_rows)


def n_files(plan: Plan) -> int:
    """Files of the output: one at least, which tells the columns of an output without rows."""
    return max(1, -(-len(plan.numbers) // plan.parts_a_file))


def parts_of(plan: Plan, number: int) -> range:
    """Numbers of the parts in a file."""
    return plan.numbers[number * plan.parts_a_file : (number + 1) * plan.parts_a_file]


def check_free(output: str, store: PartFolder) -> None:
    """OutputError where the folder holds what an interrupted run of this output did not write."""
    try:
        if is_remote(output):
            there = Remote(output).names()
        elif os.path.lexists(base_of(output)) and not os.path.isdir(base_of(output)):
            raise OutputError(
                f"{base_of(output)} is a file; {output} asks for a folder of files: choose another -o"
            )
        else:
            there = os.listdir(output) if os.path.isdir(output) else []
    except OSError as error:
        raise OutputError(f"{output} cannot be read: {reason(error)}") from error
    ours = store.is_begun() and all(NAME.fullmatch(name) for name in there)
    if there and not ours:
        raise OutputError(
            f"{output} holds another run or other files already ({min(there)}); remove it, or choose "
            "another -o"
        )


def place_of(output: str, store: PartFolder) -> Path | Remote:
    """Where files are written."""
    return Remote(output) if is_remote(output) else store.folder / FILES


def remove_previous_files(output: str, store: PartFolder) -> None:
    """Before a run begins anew: take away what an interrupted one left in a store. (On a disk files lie with
    the parts.)"""
    if is_remote(output) and store.is_begun():
        with writing(output):
            for name in filter(NAME.fullmatch, Remote(output).names()):
                Remote(output).child(name).delete()


def run_files(
    plan: Plan,
    store: PartFolder,
    progress: Progress = lambda rows: None,
    tell: Tell = lambda *a, **k: None,
    fresh: Collection[int] = (),
) -> Summary:
    """As `legscore.run.pipeline.run`, into files; those that are there already and whole stay."""
    summary, started = Summary(), time.perf_counter()
    missing = []
    for number in range(n_files(plan)):
        found = _kept(plan, store, number, fresh)
        if found is None:
            missing.append(number)
            continue
        summary.take(found)
        progress(found.rows)
        tell(
            "file", file=number, rows=found.rows, rows_done=summary.rows, rows_total=plan.n_rows, resumed=True
        )
    while missing:  # neighbours in one go: the stages of the pipeline then overlap from file to file
        first = missing[0]
        n = next((i for i, number in enumerate(missing) if number != first + i), len(missing))
        _write(plan, store, range(first, first + n), summary, progress, tell, fresh)
        missing = missing[n:]
    if not is_remote(plan.output):
        _publish(plan.output, store)
    summary.seconds = time.perf_counter() - started
    return summary


def write_file(plan: Plan, store: PartFolder, number: int) -> int:
    """Write one file from parts that are kept, unless it is there; its rows. What a worker does."""
    if (found := _kept(plan, store, number, ())) is None:
        found = Summary()
        _write(plan, store, range(number, number + 1), found, lambda rows: None, lambda *a, **k: None, ())
    return found.rows


def _write(
    plan: Plan,
    store: PartFolder,
    files: range,
    summary: Summary,
    progress: Progress,
    tell: Tell,
    fresh: Collection[int],
) -> None:
    place = place_of(plan.output, store)
    if isinstance(place, Path):
        with writing(place):
            place.mkdir(exist_ok=True)
    parts = range(parts_of(plan, files[0]).start, parts_of(plan, files[-1]).stop)
    with (
        _rolling(place, files[0], plan) as writer,
        contextlib.closing(
            scored_parts(replace(plan, parts=parts), store, summary, progress, tell, fresh)
        ) as tables,
    ):
        for table in tables:
            writer.write(table)


class _Rolling:
    """Writes tables into files of `plan.parts_a_file` parts each."""

    def __init__(self, place: Path | Remote, first: int, plan: Plan) -> None:
        self._place, self._number, self._plan, self._written = place, first, plan, 0
        self._stack = contextlib.ExitStack()
        self._writer = self._open()

    def _open(self) -> Writer:
        plan, name = self._plan, file_name(self._number)
        target = str(self._place.child(name) if isinstance(self._place, Remote) else self._place / name)
        return self._stack.enter_context(open_writer(target, plan.format_name, plan.schema, plan.metadata))

    def write(self, table: pa.Table) -> None:
        if self._written == self._plan.parts_a_file:
            self._stack.close()  # publishes the file
            self._number, self._written = self._number + 1, 0
            self._writer = self._open()
        self._writer.write(table)
        self._written += 1

    def close(self) -> None:
        self._stack.close()

    def abandon(self) -> None:
        """Within an except clause: the file under way goes, those before it stay."""
        self._stack.__exit__(*sys.exc_info())


@contextlib.contextmanager
def _rolling(place: Path | Remote, first: int, plan: Plan) -> Iterator[_Rolling]:
    writer = _Rolling(place, first, plan)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def _kept(plan: Plan, store: PartFolder, number: int, fresh: Collection[int]) -> Summary | None:
    """What is in a file that is there and whole, with its parts; else None."""
    place = place_of(plan.output, store)
    path = place.child(file_name(number)) if isinstance(place, Remote) else place / file_name(number)
    expected = json.dumps(plan.metadata, sort_keys=True).encode()
    parts, summary = parts_of(plan, number), Summary()
    try:
        with open_binary(path) as stream:
            found = pq.read_metadata(stream)
    except READ_ERRORS:  # not there, or nothing that was written here: it is written now
        return None
    for part in parts:
        rows = min(plan.part_rows, plan.opened.n_rows - part * plan.part_rows)
        try:
            scored = store.load(part, rows)
        except DamagedPartError:
            return None
        if scored is None:
            return None
        summary.add(scored, resumed=part not in fresh)
    whole = found.num_rows == summary.rows and (found.metadata or {}).get(METADATA_KEY) == expected
    return summary if whole else None


def _publish(output: str, store: PartFolder) -> None:
    """Give the folder of files its name. An earlier one with nothing but such files, left by a run that was
    killed between this and the end, makes room."""
    made, target = store.folder / FILES, Path(os.path.realpath(base_of(output)))
    with writing(output):
        for stale in made.glob(".*"):  # half-written when their run was killed
            stale.unlink()
        sync_folder(made)
        if target.is_dir() and any(target.iterdir()):
            check_free(output, store)
            os.rename(target, store.folder / "replaced")
        os.rename(made, target)
        sync_folder(target.parent)

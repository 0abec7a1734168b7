"""An output in many files: `-o OUTPUT/` is a folder of Parquet files (`scores-00000000.parquet`, …) with the
rows in order.

Whatever reads datasets (pyarrow, polars, DuckDB, legscore itself) takes the folder for one table. A file
holds a fixed number of parts, about a million rows, so that its bytes do not depend on who wrote it: on a
cluster the workers write files side by side, where one file is joined by one process. On a disk they lie in
OUTPUT.parts/files until all are there, and the folder is then renamed. A store has no renames: there files
appear under OUTPUT/ one after the other, each whole, and OUTPUT.run.json at the end. The checksum of each
file is noted among the kept parts before it gets its name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from legscore.errors import LegscoreError, OutputError
from legscore.output.part_file import DamagedPartError
from legscore.output.parts import FILES, REPLACED, PartFolder
from legscore.output.write import METADATA_KEY, Writer, open_writer
from legscore.run.finished import was_cut_short
from legscore.run.own_files import check_own, names_in_record
from legscore.run.pipeline import scored_parts
from legscore.run.plan import Plan
from legscore.run.record import Summary
from legscore.system.checksum import checksum_of
from legscore.system.log import Progress, Tell
from legscore.system.publish import base_of, sync_folder, writing
from legscore.system.storage import Remote, is_remote, stamp

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


def check_folder(output: str) -> None:
    """OutputError where the name of the folder is that of a file."""
    name = base_of(output)
    if not is_remote(output) and os.path.lexists(name) and not os.path.isdir(name):
        raise OutputError(f"{name} is a file; {output} asks for a folder of files: choose another -o")


def place_of(output: str, store: PartFolder) -> Path | Remote:
    """Where files are written."""
    return Remote(output) if is_remote(output) else store.folder / FILES


def remove_previous_files(output: str) -> None:
    """Before a run begins anew: take away the files of an earlier one in a store. (On a disk files lie with
    the parts, and an earlier folder makes room when the new one is complete.)"""
    if is_remote(output):
        with writing(output):
            for name in Remote(output).names():
                if NAME.fullmatch(name):
                    Remote(output).child(name).delete()


def check_replaced(output: str) -> None:
    """OutputError where the folder that --force would replace holds something that no run wrote there."""
    known, remote = names_in_record(output), is_remote(output)

    def is_own(name: str) -> bool:
        if not NAME.fullmatch(name):
            return False
        return name in known or remote or _is_scores(Path(base_of(output)) / name)

    check_own(output, is_own)


def _is_scores(path: Path) -> bool:
    """Whether a Parquet file says that legscore wrote it."""
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def run_files(
    plan: Plan,
    store: PartFolder,
    progress: Progress = lambda rows: None,
    tell: Tell = lambda *a, **k: None,
    fresh: Collection[int] = (),
) -> Summary:
    """As `legscore.run.pipeline.run`, into files; those that an interrupted run finished stay."""
    summary, started = Summary(), time.perf_counter()
    missing = []
    _take_back(plan, store)
    for number in range(n_files(plan)):
        found = _kept(plan, store, number, fresh, tell)
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
        _publish(plan, store)
    summary.seconds = time.perf_counter() - started
    return summary


def write_file(plan: Plan, store: PartFolder, number: int) -> int:
    """Write one file from parts that are kept, unless it is there; its rows. What a worker does."""
    if (found := _kept(plan, store, number, (), _tell_nothing)) is None:
        found = Summary()
        _write(plan, store, range(number, number + 1), found, lambda rows: None, _tell_nothing, ())
    return found.rows


def _tell_nothing(event: str, **fields: object) -> None:
    """Where nobody listens."""


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
        _rolling(place, files[0], plan, store) as writer,
        contextlib.closing(
            scored_parts(replace(plan, parts=parts), store, summary, progress, tell, fresh)
        ) as tables,
    ):
        for table in tables:
            writer.write(table)


class _Rolling:
    """Writes tables into files of `plan.parts_a_file` parts each."""

    def __init__(self, place: Path | Remote, first: int, plan: Plan, store: PartFolder) -> None:
        self._place, self._number, self._plan, self._written = place, first, plan, 0
        self._store = store
        self._stack = contextlib.ExitStack()
        self._writer = self._open()

    def _open(self) -> Writer:
        plan, name = self._plan, file_name(self._number)
        target = str(self._place.child(name) if isinstance(self._place, Remote) else self._place / name)

        def note(path: Path) -> None:
            self._store.note(f"output-{name}", checksum_of(path))

        opened = open_writer(target, plan.format_name, plan.schema, plan.metadata, complete=note)
        return self._stack.enter_context(opened)

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
def _rolling(place: Path | Remote, first: int, plan: Plan, store: PartFolder) -> Iterator[_Rolling]:
    writer = _Rolling(place, first, plan, store)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def _kept(plan: Plan, store: PartFolder, number: int, fresh: Collection[int], tell: Tell) -> Summary | None:
    """What is in a file that this run finished, with its parts; else None, and what does not fit is told.

    A file counts when it has the checksum that this run noted for it. Files whose parts are all `fresh` were
    written a moment ago and are not read again; their size is looked at.
    """
    place, name = place_of(plan.output, store), file_name(number)
    path = place.child(name) if isinstance(place, Remote) else place / name
    try:
        size = stamp(path).size
    except OSError:  # not there: it is written now
        return None
    parts, summary = parts_of(plan, number), Summary()
    noted = store.noted(f"output-{name}")
    try:
        whole = noted is not None and size == noted.size
        if whole and not all(part in fresh for part in parts):
            whole = checksum_of(path) == noted
    except OSError:
        whole = False
    if not whole:
        tell("rewrite", file=number, reason=f"{path} is not what this run wrote")
        return None
    for part in parts:
        rows = min(plan.part_rows, plan.opened.n_rows - part * plan.part_rows)
        try:
            scored = store.load(part, rows)
        except DamagedPartError:  # told when the part is scored again
            return None
        if scored is None:
            return None
        summary.add(scored, resumed=part not in fresh)
    return summary


def _take_back(plan: Plan, store: PartFolder) -> None:
    """Where an interrupted run gave the folder its name already: go on from its files, which are looked at as
    those of any interrupted run. (What is there is this run's: `legscore.run.finished`.)"""
    if is_remote(plan.output):
        return
    made, target = store.folder / FILES, Path(os.path.realpath(base_of(plan.output)))
    if (
        not made.exists()
        and target.is_dir()
        and was_cut_short([f"{target}/"], store)
        and any(target.iterdir())
    ):
        check_replaced(plan.output)
        with writing(plan.output):
            os.rename(target, made)


def _publish(plan: Plan, store: PartFolder) -> None:
    """Give the folder of files its name. An earlier one, which --force replaces, makes room first."""
    made, target = store.folder / FILES, Path(os.path.realpath(base_of(plan.output)))
    replaced, wanted = store.folder / REPLACED, {file_name(number) for number in range(n_files(plan))}
    check_replaced(plan.output)
    with writing(plan.output):
        for entry in list(os.scandir(made)):
            if entry.name not in wanted:  # half-written when their run was killed
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        sync_folder(made)
        if replaced.exists():  # by a run that was killed before its end
            shutil.rmtree(replaced)
        if target.is_dir() and any(target.iterdir()):
            os.rename(target, replaced)
        os.rename(made, target)
        sync_folder(target.parent)

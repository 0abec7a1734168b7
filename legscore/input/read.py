"""Files → parts: a fixed number of consecutive input rows, only the needed columns, in bounded memory.

Parquet is read row group by row group, Arrow IPC batch by batch, CSV/TSV and FASTA as streams. Parts are
cut by row number alone (never by file, row group or timing), so that the same input always gives the same
parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError, shorten
from legscore.input.column_types import Utf8Check, common_type, convert, is_text
from legscore.input.files import FoundFiles, find_files
from legscore.input.formats import open_source
from legscore.input.source import READ_ERRORS, UNKNOWN_ROWS, Source, first_line
from legscore.system.memory import Limits
from legscore.system.storage import Remote, reason

READ_ROWS = 8192
"""Rows read at a time; parts are put together from these."""


class ByteCount:
    """Bytes of batches, dictionaries counted as what they stand for: that is how such columns are written."""

    def __init__(self, batches: Sequence[pa.RecordBatch] = ()) -> None:
        self.nbytes = 0
        self._last: tuple[pa.Array, pa.Array] | None = None
        for batch in batches:
            self.add(batch)

    def add(self, batch: pa.RecordBatch) -> int:
        """The sum, with this batch."""
        for column in batch.columns:
            self.nbytes += self._spelt_out(column) if pa.types.is_dictionary(column.type) else column.nbytes
        return self.nbytes

    def _spelt_out(self, column: pa.DictionaryArray) -> int:
        values = column.dictionary
        if not is_text(values.type) or pa.types.is_null(values.type):
            return int(column.nbytes)
        if self._last is None or self._last[0] is not values:
            self._last = (values, pc.binary_length(values))
        return int(pc.sum(self._last[1].take(column.indices)).as_py() or 0) + 8 * len(column)


@dataclass(frozen=True)
class Part:
    """Consecutive rows: `number` counts parts from 0, `first_row` rows of the whole input from 0."""

    number: int
    first_row: int
    table: pa.Table

    @property
    def nbytes(self) -> int:
        """Bytes of its rows as read."""
        return ByteCount(self.table.to_batches()).nbytes

    def column(self, name: str) -> pa.Array:
        """One column as a single Arrow array."""
        column = self.table.column(name)
        if column.nbytes > 1 << 30 and pa.types.is_string(column.type):
            column = column.cast(pa.large_string())
        combined = column.combine_chunks()
        return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


@dataclass(frozen=True)
class Input:
    """One or several files of one format and one set of columns, read as one table.

    Attributes:
        schema: its columns, in types that all files can be read as.
        notes: lines for people about what was left out.
        part_bytes: most that a part may take.
    """

    sources: tuple[Source, ...]
    schema: pa.Schema
    notes: tuple[str, ...] = ()
    part_bytes: int = field(default_factory=lambda: Limits.of(None).part)

    def within(self, limits: Limits) -> Input:
        """The same input, read in the memory given."""
        for source in self.sources:
            source.slice_bytes = limits.slice
        return replace(self, part_bytes=limits.part)

    @property
    def name(self) -> str:
        """For messages: the file, or the first of them."""
        more = len(self.sources) - 1
        return str(self.sources[0].path) + (f" (and {more} more)" if more else "")

    @property
    def n_rows(self) -> int:
        return sum(source.n_rows for source in self.sources)

    @property
    def known_rows(self) -> int | None:
        """Rows; None of a stream that has not ended."""
        return self.n_rows if self.n_rows < UNKNOWN_ROWS else None

    def check_unchanged(self, first_row: int = 0, stop: int | None = None) -> None:
        """InputError when a file that has some of these rows is not the one that was opened, or has been
        written to since."""
        at = 0
        for source in self.sources:
            begin, at = at, at + source.n_rows
            if at > first_row and (stop is None or begin < stop) and source.has_changed():
                self._refuse_changed(source)

    @staticmethod
    def _refuse_changed(source: Source) -> NoReturn:
        raise InputError(
            f"{source.path} changed while it was being read; let it be whole and still, then run again"
        )

    def batches(self, columns: Sequence[str], first_row: int = 0) -> Iterator[pa.RecordBatch]:
        """Record batches of at most READ_ROWS rows from `first_row` on, columns in the order given.
        InputError names the file."""
        for source in self.sources:
            if first_row < source.n_rows:
                yield from self._batches_of(source, columns, first_row)
            first_row = max(first_row - source.n_rows, 0)

    def _batches_of(self, source: Source, columns: Sequence[str], n_read: int) -> Iterator[pa.RecordBatch]:
        """Record batches of a source from row `n_read` on."""
        schema = pa.schema([self.schema.field(name).with_nullable(True) for name in columns])
        texts = Utf8Check()

        def ordered(batch: pa.RecordBatch) -> pa.RecordBatch:
            nonlocal n_read
            if not source.checks_text and (bad := texts.first_bad(batch, columns)):
                raise InputError(
                    f"{source.path}: column {bad[0]!r} is not UTF-8 text in row {n_read + bad[1] + 1}; write "
                    "such values as binary, or leave the column out with --keep"
                )
            n_read += batch.num_rows
            arrays = [convert(batch.column(field.name), field.type) for field in schema]
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        if source.has_changed():
            self._refuse_changed(source)
        try:
            yield from map(ordered, source.read(columns, READ_ROWS, n_read))
            if source.has_changed():
                self.check_unchanged()
            if n_read != source.n_rows:
                raise InputError(
                    f"{source.path}: {source.n_rows:,} rows were there, {n_read:,} were read; it changed or "
                    "is damaged"
                )
        except UnicodeDecodeError as error:
            self.check_unchanged()
            raise InputError(f"{source.path} is not UTF-8 text ({error.reason}); convert it") from error
        except READ_ERRORS as error:
            self.check_unchanged()
            if isinstance(source.path, Remote) and isinstance(error, OSError):
                raise InputError(f"{source.path}: reading stopped: {reason(error)}") from error
            if isinstance(error, MemoryError):
                raise InputError(
                    f"{source.path}: reading stopped: {first_line(error)}; leave long columns out with "
                    "--keep, or give more with "
                    "--memory, unless the file is damaged"
                ) from error
            raise InputError(
                f"{source.path}: reading stopped: {first_line(error)}; the file is damaged or cut short"
            ) from error

    def n_parts(self, part_rows: int) -> int:
        return -(-self.n_rows // part_rows)

    def parts(
        self, columns: Sequence[str], part_rows: int, first: int = 0, stop: int | None = None
    ) -> Iterator[Part]:
        """Cut the rows into parts of `part_rows` (the last one shorter); parts `first` up to `stop` of
        them."""
        stop = self.n_parts(part_rows) if stop is None else stop
        schema = pa.schema([self.schema.field(name).with_nullable(True) for name in columns])
        waiting: list[pa.RecordBatch] = []
        number, n_waiting, held = first, 0, ByteCount()

        def cut() -> Part:
            nonlocal waiting, number, n_waiting, held
            part = Part(number, number * part_rows, pa.Table.from_batches(waiting, schema))
            waiting, number, n_waiting, held = [], number + 1, 0, ByteCount()
            return part

        batch: pa.RecordBatch | None
        for batch in self.batches(columns, first * part_rows) if first < stop else ():
            while batch is not None:
                piece = batch.slice(0, part_rows - n_waiting)
                batch = batch.slice(len(piece)) if len(piece) < len(batch) else None
                waiting.append(piece)
                n_waiting += len(piece)
                if held.add(piece) > self.part_bytes:
                    self._refuse(number * part_rows, n_waiting, part_rows, columns)
                del piece  # what was handed on is not held here
                if n_waiting == part_rows:
                    yield cut()
                    # at the end of the input its last check is wanted
                    if number == stop and stop < self.n_parts(part_rows):
                        return
        if n_waiting:
            yield cut()

    def _refuse(self, first_row: int, n_rows: int, part_rows: int, columns: Sequence[str]) -> None:
        raise InputError(
            f"{self.name}: rows {first_row + 1:,} to {first_row + n_rows:,} of columns "
            f"{shorten(columns, 4)} take more than "
            f"{self.part_bytes / 2**20:,.0f} MiB, the most that a part of {part_rows:,} rows may take here; "
            "leave long columns "
            "out with --keep, or give more with --memory"
        )

    def head(self, columns: Sequence[str], rows: int) -> pa.Table:
        """The first rows, for decisions made once per input; none where it has none."""
        first = next(self.parts(columns, rows), None)
        if first is not None:
            return first.table
        return pa.schema([self.schema.field(name) for name in columns]).empty_table()


def open_input(
    paths: Sequence[str | Path],
    *,
    names: Sequence[str] | None = None,
    may_be_empty: bool = False,
    own_outputs: Sequence[str | Path] = (),
) -> Input:
    """Open files, folders of Parquet files and patterns as one input (`legscore.input.files` says which
    files).

    Args:
        paths: in the order to read.
        names: column names of CSV or TSV files that have no header line.
        may_be_empty: take files without rows.
        own_outputs: files and folders that this very run writes, which are no input even where they lie in
            a folder of inputs.

    Raises:
        InputError: missing, empty (but for an empty table that `legscore variants` wrote) or unreadable
            files, formats mixed, columns that differ between files.
    """
    found = find_files(paths, own_outputs)
    if not found.files:
        raise InputError("no input given; name a Parquet, Arrow, CSV, TSV or FASTA file")
    sources = tuple(open_source(file.path, names) for file in found.files)
    notes = [*found.notes, *_add_keys(sources, found)]
    opened = Input(sources, _common_schema(sources), tuple(notes))
    if opened.n_rows == 0 and not may_be_empty and not any(source.made_by for source in sources):
        raise InputError(f"{opened.name} has no rows: nothing to score")
    return opened


def _add_keys(sources: Sequence[Source], found: FoundFiles) -> list[str]:
    """Give each source the columns that its folders' names say; lines about those that it has itself.

    They are text, or int32 where all values of a key are whole numbers, as Arrow reads such folders.
    """
    texts: dict[str, list[str | None]] = {}
    for file in found.files:
        for name, value in file.keys:
            texts.setdefault(name, []).append(value)
    kinds = {name: _kind_of_key(values) for name, values in texts.items()}
    notes = {}
    for source, file in zip(sources, found.files, strict=True):
        own = set(source.schema.names)
        keys = {name: pa.scalar(value, pa.string()).cast(kinds[name]) for name, value in file.keys}
        source.add_keys({name: value for name, value in keys.items() if name not in own})
        for name in own & set(keys):
            notes[name] = f"{source.path}: column {name!r} is taken from the file, not from its folder's name"
    return list(notes.values())


def _kind_of_key(values: Sequence[str | None]) -> pa.DataType:
    texts = pa.array(values, pa.string())
    if texts.null_count == len(texts):
        return pa.string()
    try:
        texts.cast(pa.int32())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.int32()


def _common_schema(sources: Sequence[Source]) -> pa.Schema:
    """The columns of all files. InputError where formats, names or types do not go together."""
    first = sources[0]
    kinds = {column.name: column.type for column in first.schema}
    for source in sources:
        if source.format != first.format:
            raise InputError(
                f"{source.path} is {source.format}, {first.path} is {first.format}; score them in "
                "separate runs"
            )
        for one, other in ((first, source), (source, first)):
            present = set(other.schema.names)
            if lacking := [name for name in one.schema.names if name not in present]:
                raise InputError(
                    f"{other.path} has no column {lacking[0]!r}, which {one.path} has; files must agree"
                )
        for column in source.schema:
            if (kind := common_type(kinds[column.name], column.type)) is None:
                raise InputError(
                    f"{source.path}: column {column.name!r} is {column.type}, in {first.path} it is "
                    f"{first.schema.field(column.name).type}; make them agree"
                )
            kinds[column.name] = kind
    return pa.schema([column.with_type(kinds[column.name]) for column in first.schema])

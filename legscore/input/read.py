"""Files → parts: a fixed number of consecutive input rows, only the needed columns, in bounded memory.

Parquet is read row group by row group, Arrow IPC batch by batch, CSV/TSV and FASTA as streams. Parts are cut
by row number alone (never by file, row group or timing), so that the same input always gives the same parts.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError, nearest, shorten
from legscore.input.columnar import ArrowSource, ParquetSource
from legscore.input.fasta import FastaSource
from legscore.input.source import READ_ERRORS, Source, first_line, refuse_twice
from legscore.input.text import TextSource
from legscore.rows.schema import RESULT_COLUMNS, TAIL_COLUMNS, Roles
from legscore.system.memory import Limits
from legscore.system.storage import Remote, expand, is_remote, open_binary, reason

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
    """One or several files of one format and one set of columns, read as one table. A part holds at most
    `part_bytes`."""

    sources: tuple[Source, ...]
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
    def schema(self) -> pa.Schema:
        return self.sources[0].schema

    @property
    def n_rows(self) -> int:
        return sum(source.n_rows for source in self.sources)

    def check_unchanged(self, first_row: int = 0, stop: int | None = None) -> None:
        """InputError when a file that has some of these rows is not the one that was opened, or has been
        written to since."""
        at = 0
        for source in self.sources:
            begin, at = at, at + source.n_rows
            if at > first_row and (stop is None or begin < stop) and source.has_changed():
                raise InputError(
                    f"{source.path} changed while it was being read; let it be whole and still, then "
                    "run again"
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

        def ordered(batch: pa.RecordBatch) -> pa.RecordBatch:
            nonlocal n_read
            n_read += batch.num_rows
            return pa.RecordBatch.from_arrays([batch.column(name) for name in columns], schema=schema)

        try:
            yield from map(ordered, source.batches(columns, READ_ROWS, n_read))
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
        """The first rows, for decisions made once per input."""
        return next(self.parts(columns, rows)).table


def open_input(paths: Sequence[str | Path], *, names: Sequence[str] | None = None) -> Input:
    """Open files, directories of Parquet and glob patterns as one input.

    Args:
        names: column names of CSV or TSV files that have no header line.
        paths: in the order to read; a directory stands for its *.parquet sorted by name, a pattern for its
            matches.

    Raises:
        InputError: missing, empty (but for an empty table that `legscore variants` wrote) or unreadable
            files, formats mixed, columns that differ between files.
    """
    files = [file for path in paths for file in _expand(path)]
    if not files:
        raise InputError("no input given; name a Parquet, Arrow, CSV, TSV or FASTA file")
    sources = tuple(open_source(file, names) for file in files)
    first = sources[0]
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
        for name in first.schema.names:
            theirs, ours = source.schema.field(name).type, first.schema.field(name).type
            if theirs != ours:
                raise InputError(
                    f"{source.path}: column {name!r} is {theirs}, in {first.path} it is {ours}; make "
                    "them agree"
                )
    opened = Input(sources)
    if opened.n_rows == 0 and not any(source.made_by for source in sources):
        raise InputError(f"{opened.name} has no rows: nothing to score")
    return opened


def _expand(path: str | Path) -> list[Path | Remote]:
    if is_remote(path):
        try:
            return list(expand(str(path)))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {reason(error)}") from error
    text, path = str(path), Path(path)
    if not text or text == "-":
        raise InputError(f"{text!r} is no input; name a file (streams are not read: an input is read twice)")
    if path.is_dir():
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.suffix in (".parquet", ".pq") and not p.name.startswith((".", "_"))
        )
        if not inside:
            raise InputError(f"{path}: no *.parquet file in this directory")
        return list(inside)
    if path.exists():
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; streams are not read: write it to a file first")
        return [path]
    if any(mark in text for mark in "*?["):
        matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        if not matches:
            raise InputError(f"{text}: no file matches this pattern")
        return [file for match in matches for file in _expand(match)]
    raise InputError(f"{path}: no such file or directory")


def is_text(kind: pa.DataType) -> bool:
    types = pa.types
    # string_view: pyarrow 16 on
    names = ("string", "large_string", "string_view", "binary", "large_binary", "null")
    return any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in names)


def check_types(opened: Input, roles: Roles) -> None:
    """InputError unless every role's column has a type that can play it."""
    for role, column in roles.column_of.items():
        kind = opened.schema.field(column).type
        values = kind.value_type if pa.types.is_dictionary(kind) else kind
        if role == "offset" and isinstance(opened.sources[0], TextSource):
            for source in opened.sources:
                if isinstance(source, TextSource) and column in source.not_whole:
                    row, text = source.not_whole[column]
                    raise InputError(
                        f"{source.path}: column {column!r} reads {text!r} in row {row}; offsets are whole "
                        "numbers (0-based)"
                    )
        elif role == "offset":
            if not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
                raise InputError(
                    f"{opened.name}: column {column!r} is {kind}; offsets must be whole numbers (0-based)"
                )
        elif not is_text(values):
            raise InputError(
                f"{opened.name}: column {column!r} is {kind}; {role} must be text. Choose with --column "
                f"{role}=NAME"
            )


def role_array(part: Part, role: str, column: str) -> pa.Array:
    """A role's column in the type that `legscore.rows.window` takes: text (dictionary kept for sequences) or
    int64.

    Bytes are taken as text without a check of their encoding: what is no base shows as `invalid_base`. An
    unsigned offset too large for int64 wraps below zero and shows as `edge`.
    """
    array = part.column(column)
    if role == "offset":
        return (
            array.cast(pa.int64(), safe=False) if pa.types.is_uint64(array.type) else array.cast(pa.int64())
        )
    if pa.types.is_dictionary(array.type):
        if role == "sequence" and not pa.types.is_null(array.type.value_type):
            return pa.DictionaryArray.from_arrays(array.indices, as_text(array.dictionary))
        array = array.dictionary_decode()
    return as_text(array)


def as_text(array: pa.Array) -> pa.Array:
    """Text or bytes as large_string, without a check of the encoding."""
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        array = array.cast(pa.large_binary())
        return pa.Array.from_buffers(pa.large_string(), len(array), array.buffers(), offset=array.offset)
    return array.cast(pa.large_string())


def choose_carried_columns(opened: Input, roles: Roles, keep: str) -> list[str]:
    """Input columns to carry into the output.

    Args:
        keep: `auto` (all but the scored sequences; those too when nothing else would identify a row), `all`,
            `none`, or names separated by commas.

    Raises:
        InputError: an unknown name, or one that a result column has.
    """
    names = opened.schema.names
    if keep == "auto":
        kept = [name for name in names if name not in roles.sequence_columns] or list(names)
    elif keep in ("all", "none"):
        kept = list(names) if keep == "all" else []
    else:
        kept = list(dict.fromkeys(name.strip() for name in keep.split(",") if name.strip()))
        for name in kept:
            if name not in names:
                raise InputError(
                    f"--keep: {opened.name} has no column {name!r}{nearest(name, names)}; it has "
                    f"{shorten(names)}"
                )
    if keep in ("auto", "all"):  # a status that was given goes into the one that is written
        kept = [name for name in kept if name != roles.column_of.get("status")]
    results = (*RESULT_COLUMNS[roles.kind.windows], *TAIL_COLUMNS)
    if clash := [name for name in kept if name in results or name.endswith("_per_model")]:
        raise InputError(
            f"{opened.name} already has the column {clash[0]!r}, which legscore writes; leave it out with "
            "--keep "
            f"{','.join(name for name in kept if name not in clash) or 'none'} or rename it"
        )
    return kept


EXTENSIONS = {
    ".parquet": "Parquet", ".pq": "Parquet",
    ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow", ".arrows": "Arrow",
    ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".txt": "TSV",
    ".fa": "FASTA", ".fasta": "FASTA", ".fna": "FASTA", ".fas": "FASTA",
}  # fmt: skip


def open_source(path: Path | Remote, names: Sequence[str] | None = None) -> Source:
    """Open a file by its extension, or by its first bytes where that says nothing. InputError when it cannot
    be read."""
    try:
        with open_binary(path) as stream:
            magic = bytes(stream.read(8))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    if not magic:
        raise InputError(f"{path} is empty (0 bytes)")
    format_name = _format_of(path, magic)
    try:
        source: Source
        if format_name == "Parquet":
            source = ParquetSource(path)
        elif format_name == "Arrow":
            source = ArrowSource(path)
        elif format_name == "FASTA":
            if isinstance(path, Remote):
                raise InputError(
                    f"{path}: FASTA is read from a disk only; copy it here, or write it as Parquet"
                )
            source = FastaSource(path)
        else:
            source = TextSource(path, format_name, names)
        there = source.schema.names
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as {format_name}: {first_line(error)}") from error
    refuse_twice(path, there)
    return source


def _format_of(path: Path | Remote, magic: bytes) -> str:
    name = path.name.lower()
    extension = Path(name[:-3] if name.endswith(".gz") else name).suffix
    if extension in EXTENSIONS:
        return EXTENSIONS[extension]
    if magic[:4] == b"PAR1":
        return "Parquet"
    if magic[:6] == b"ARROW1":
        return "Arrow"
    if magic[:1] == b">":
        return "FASTA"
    raise InputError(
        f"{path}: unknown format; known extensions are {', '.join(EXTENSIONS)} (text also with .gz)"
    )

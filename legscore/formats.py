"""One file of each format as a source of record batches: Parquet, Arrow IPC, CSV/TSV (also .gz), FASTA (also .gz).

Opening reads what is needed to check a file before any work starts: the footer of Parquet and Arrow, one whole pass of
CSV and FASTA (which also finds damaged ends, counts rows for the progress bar and says which
CSV columns are whole numbers).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError
from legscore.limits import SLICE_BYTES
from legscore.ranges import RangeReader
from legscore.row_groups import slices
from legscore.storage import Remote, open_binary, reason, stamp

EXTENSIONS = {
    ".parquet": "Parquet", ".pq": "Parquet",
    ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow", ".arrows": "Arrow",
    ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".txt": "TSV",
    ".fa": "FASTA", ".fasta": "FASTA", ".fna": "FASTA", ".fas": "FASTA",
}  # fmt: skip
DELIMITER = {"CSV": ",", "TSV": "\t"}
BLOCK_BYTES = 4 << 20
MOST_RECORD_BYTES = 256 << 20
"""Of FASTA, header and sequence; the longest human chromosome has 249 million bases."""
LOOKS = 3
RANGE_BYTES = 64 << 20
"""Of an object in a store that are kept while it is read."""
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, zlib.error)
"""What pyarrow, pysam and gzip raise for damaged files (UnicodeDecodeError is a ValueError)."""


class Source(ABC):
    """One input file. `schema` and `n_rows` are known once it is open; `made_by` is what `legscore variants` left in it,
    `run_record` the record of the run that wrote it."""

    format = ""
    slice_bytes = SLICE_BYTES
    """Bytes that a batch and the buffers behind it may take, where the format lets us choose."""

    def __init__(self, path: Path | Remote) -> None:
        self.path = path
        self.schema: pa.Schema
        self.n_rows: int
        self.made_by: dict[str, Any] = {}
        self.run_record: bytes | None = None
        self._found = stamp(path)

    @property
    def size(self) -> int:
        """Bytes of the file when it was opened."""
        return self._found.size

    @property
    def modified_ns(self) -> int:
        return self._found.modified_ns

    def has_changed(self) -> bool:
        """Whether the file at the path is no longer the one that was opened, or has been written to. OSError when a store
        does not answer."""
        looks = LOOKS if isinstance(self.path, Remote) else 1  # an answer that was cut short may look like another object
        try:
            return all(stamp(self.path) != self._found for _ in range(looks))
        except OSError as error:
            if isinstance(self.path, Remote) and not isinstance(error, FileNotFoundError):
                raise
            return True

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """Record batches of at most `rows` rows holding at least `columns`, without the first `skip` rows of the file."""


def _without_first(batches: Iterable[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


def open_source(path: Path | Remote, names: Sequence[str] | None = None) -> Source:
    """Open a file by its extension, or by its first bytes where that says nothing. InputError when it cannot be read."""
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
                raise InputError(f"{path}: FASTA is read from a disk only; copy it here, or write it as Parquet")
            source = FastaSource(path)
        else:
            source = TextSource(path, format_name, names)
        there = source.schema.names
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as {format_name}: {first_line(error)}") from error
    _refuse_twice(path, there)
    return source


def _refuse_twice(path: Path | Remote, names: Sequence[str]) -> None:
    counts = Counter(names)
    if twice := [name for name in names if counts[name] > 1]:
        raise InputError(f"{path} has the column {twice[0]!r} twice; rename one of them")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


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
    raise InputError(f"{path}: unknown format; known extensions are {', '.join(EXTENSIONS)} (text also with .gz)")


def _of_run(schema: pa.Schema) -> bytes | None:
    return (schema.metadata or {}).get(b"legscore")


def _made_by(schema: pa.Schema) -> dict[str, Any]:
    """The `variants` entry of legscore's metadata, where the file has one; nothing where it is not as legscore writes it."""
    try:
        record = json.loads(_of_run(schema) or b"{}")
    except (ValueError, RecursionError):
        return {}
    made = record.get("variants") if isinstance(record, dict) else None
    known = {"context": str, "sequence_is": str, "length": int}
    if not isinstance(made, dict) or any(type(made[name]) is not kind for name, kind in known.items() if name in made):
        return {}
    return made


class ParquetSource(Source):
    format = "Parquet"

    def __init__(self, path: Path | Remote) -> None:
        import pyarrow.parquet as pq

        super().__init__(path)
        self._ranges = RangeReader(path, RANGE_BYTES) if isinstance(path, Remote) else None
        self._on_disk = Path(str(path))
        with pq.ParquetFile(self._file()) as file:
            if self._ranges:
                self._ranges.keep_footer(file.metadata.serialized_size + 8)
            self.schema, self.n_rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
            self.made_by, self.run_record = _made_by(file.schema_arrow), _of_run(file.schema_arrow)

    def _file(self) -> Any:
        """What pyarrow opens."""
        return self._ranges.file() if self._ranges else self.path

    def row_groups(self) -> tuple[int, str]:
        """How many row groups the file has, and a hash of its footer: where they lie, their rows, sizes and statistics."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._file()) as file:
            count = file.metadata.num_row_groups
        with self._ranges.file() if self._ranges else open(self._on_disk, "rb") as stream:
            stream.seek(-8, 2)
            size = int.from_bytes(stream.read(4), "little")
            stream.seek(-8 - size, 2)
            return count, hashlib.sha256(stream.read(size)).hexdigest()

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._file()) as file:
            groups = list(range(file.metadata.num_row_groups))
            while groups and skip >= (passed := file.metadata.row_group(groups[0]).num_rows):
                skip -= passed
                del groups[0]
        if self._ranges:
            self._ranges.cache_bytes = max(self.slice_bytes, RANGE_BYTES)
        for batch in _without_first(slices(self._ranges or self._on_disk, columns, rows, self.slice_bytes, groups), skip):
            yield _in_bounds(batch)


class ArrowSource(Source):
    format = "Arrow"

    def __init__(self, path: Path | Remote) -> None:
        super().__init__(path)
        with self._open() as reader:
            self.schema = reader.schema.remove_metadata()
            self.made_by, self.run_record = _made_by(reader.schema), _of_run(reader.schema)
        with self._open(self.schema.names[:1]) as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                self.n_rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            else:
                self.n_rows = sum(batch.num_rows for batch in reader)

    def _open(self, columns: Sequence[str] | None = None) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        """A reader; from a store it fetches these columns alone, where the format lets it."""
        if isinstance(self.path, Remote):
            file, options = self.path.open_file(), None
            if columns and file.read(6) == b"ARROW1":
                options = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name) for name in columns])
            file.seek(0)
            is_file = file.read(6) == b"ARROW1"
            return pa.ipc.open_file(file, options=options) if is_file else pa.ipc.open_stream(self.path.open_stream())
        mapped = pa.memory_map(str(self.path))
        return pa.ipc.open_file(mapped) if mapped.read(6) == b"ARROW1" else pa.ipc.open_stream(str(self.path))

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        with self._open(columns) as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                found: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                found = iter(reader)
            for batch in _without_first(found, skip):
                batch = batch.select(list(columns))
                for column in batch.columns:
                    if pa.types.is_dictionary(column.type):
                        column.validate(full=True)
                for start in range(0, batch.num_rows, rows):
                    yield _valid(batch.slice(start, rows))


def _in_bounds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, if its indices lie inside their dictionaries: the reader takes them from the file as they are."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type) and len(column) > column.null_count:
            least, most = pc.min_max(column.indices).values()
            if not 0 <= least.as_py() <= most.as_py() < len(column.dictionary):
                raise ValueError(f"column {name!r} has indices beyond its dictionary of {len(column.dictionary):,}")
    return batch


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, if its offsets lie inside its buffers: Arrow files are used as they lie, and would be read beyond their end.
    Slice by slice, so that not all of a mapped file is in memory; dictionaries once, before."""
    for column in batch.columns:
        if not pa.types.is_dictionary(column.type):
            column.validate(full=True)
    return batch


class TextSource(Source):
    """CSV or TSV with a header line; every column is text, carried exactly as written (007 stays 007, 1.10 stays 1.10).

    Unquoted empty fields are null, `""` is an empty text; no other text is null here.
    `not_whole` holds, for each column that is not whole numbers throughout, the first row (from 1) and text that is none.
    """

    def __init__(self, path: Path | Remote, format_name: str, names: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.format, self._given = format_name, list(names) if names else None
        self._one_column = False
        with self._opened(None) as reader:
            _refuse_twice(path, reader.schema.names)
            self.schema = pa.schema([(name, pa.string()) for name in reader.schema.names])
        # a null in a one-column file is a blank line; in any other file a blank line is nothing
        self._one_column = len(self.schema) == 1
        self.n_rows = 0
        self.not_whole: dict[str, tuple[int, str]] = {}
        for batch in self._stream(None):
            for name in self.schema.names:
                if name not in self.not_whole and (found := _first_not_whole(batch.column(name))):
                    self.not_whole[name] = (self.n_rows + found[0] + 1, found[1])
            self.n_rows += batch.num_rows

    def _opened(self, columns: Sequence[str] | None) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        from pyarrow import csv

        types = {name: pa.string() for name in getattr(self, "schema", pa.schema([])).names}
        return csv.open_csv(
            self.path.open_stream() if isinstance(self.path, Remote) else self.path,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, column_names=self._given),
            parse_options=csv.ParseOptions(
                delimiter=DELIMITER[self.format], newlines_in_values=True, ignore_empty_lines=not self._one_column
            ),
            convert_options=csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
                include_columns=list(columns) if columns else None,
            ),
        )  # fmt: skip

    def _stream(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        with self._opened(columns) as reader:
            yield from reader

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        for batch in _without_first(self._stream(columns), skip):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _first_not_whole(column: pa.Array) -> tuple[int, str] | None:
    """Row in the column and text of the first value that is no whole number; None when all are (or null)."""
    try:
        column.cast(pa.int64())
    except pa.ArrowInvalid:
        for row, text in enumerate(column.to_pylist()):
            try:
                pa.array([text], pa.string()).cast(pa.int64())
            except pa.ArrowInvalid:
                return row, str(text)
    return None


class FastaSource(Source):
    """FASTA: columns `id` (the header up to white space), `description` (the rest, null if none) and `sequence`."""

    format = "FASTA"
    schema = pa.schema([("id", pa.string()), ("description", pa.string()), ("sequence", pa.large_string())])

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        import gzip

        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as stream:
            first = stream.read(1)
            while first in (b"\n", b"\r", b" "):
                first = stream.read(1)
            if first != b">":
                raise InputError(f"{path} is no FASTA file: it does not begin with '>'")
            self.n_rows, before, since = 1, b"", 0
            while chunk := stream.read(1 << 20):
                since = since + len(chunk) if b">" not in chunk else len(chunk) - chunk.rfind(b">")
                if since > MOST_RECORD_BYTES:
                    raise InputError(f"{path}: a record of more than {MOST_RECORD_BYTES >> 20} MiB; sequences to score are short")
                chunk = before + chunk
                self.n_rows += chunk.count(b"\n>")
                for mark in (b"\n+", b"\n@"):
                    if mark in chunk:
                        raise InputError(
                            f"{path} has a line that begins with {mark.decode()[1]!r}: FASTQ is not read, write FASTA"
                        )
                before = chunk[-1:]

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        yield from _without_first(self._records(rows), skip)

    def _records(self, rows: int) -> Iterator[pa.RecordBatch]:
        import pysam

        records: list[tuple[str, str | None, str]] = []
        n_bases = 0
        with pysam.FastxFile(str(self.path), persist=False) as file:
            for record in file:
                sequence = record.sequence or ""
                records.append((record.name or "", record.comment, sequence))
                n_bases += len(sequence)
                if len(records) >= rows or n_bases >= BLOCK_BYTES:
                    yield self._batch(records)
                    records, n_bases = [], 0
        if records:
            yield self._batch(records)

    def _batch(self, records: list[tuple[str, str | None, str]]) -> pa.RecordBatch:
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*records, strict=True), self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

"""One file of each format as a source of record batches: Parquet, Arrow IPC, CSV/TSV (also .gz), FASTA (also .gz).

Opening reads what is needed to check a file before any work starts: the footer of Parquet and Arrow, one whole pass of
CSV and FASTA (which also finds damaged ends, counts rows for the progress bar and, for CSV, settles column types on all
rows instead of on the first block).
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError

EXTENSIONS = {
    ".parquet": "Parquet", ".pq": "Parquet",
    ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow", ".arrows": "Arrow",
    ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".txt": "TSV",
    ".fa": "FASTA", ".fasta": "FASTA", ".fna": "FASTA", ".fas": "FASTA",
}  # fmt: skip
DELIMITER = {"CSV": ",", "TSV": "\t"}
BLOCK_BYTES = 4 << 20


class Source(ABC):
    """One input file. `schema` and `n_rows` are known once it is open."""

    format = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema: pa.Schema
        self.n_rows: int

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Record batches of at most `rows` rows holding at least `columns`."""


def open_source(path: Path) -> Source:
    """Open a file by its extension, or by its first bytes where that says nothing. InputError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
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
            source = FastaSource(path)
        else:
            source = TextSource(path, format_name)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise InputError(f"{path} cannot be read as {format_name}: {reason}") from error
    names = source.schema.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} has the column {twice[0]!r} twice; rename one of them")
    return source


def _format_of(path: Path, magic: bytes) -> str:
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


class ParquetSource(Source):
    format = "Parquet"

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        super().__init__(path)
        with pq.ParquetFile(path) as file:
            self.schema, self.n_rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            if not columns:
                for start in range(0, self.n_rows, rows):
                    size = min(rows, self.n_rows - start)
                    yield pa.RecordBatch.from_struct_array(pa.array([{}] * size, pa.struct([])))
                return
            yield from file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)


class ArrowSource(Source):
    format = "Arrow"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._open() as reader:
            self.schema = reader.schema.remove_metadata()
            if isinstance(reader, pa.RecordBatchFileReader):
                self.n_rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            else:
                self.n_rows = sum(batch.num_rows for batch in reader)

    def _open(self) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        mapped = pa.memory_map(str(self.path))
        return pa.ipc.open_file(mapped) if mapped.read(6) == b"ARROW1" else pa.ipc.open_stream(str(self.path))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        with self._open() as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                found: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                found = iter(reader)
            for batch in found:
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)


class TextSource(Source):
    """CSV or TSV with a header line. Unquoted empty fields are null, `""` is an empty text; no other text is null (a
    sequence may well read NA). A column is whole numbers or numbers only if every row of it is."""

    def __init__(self, path: Path, format_name: str) -> None:
        super().__init__(path)
        self.format = format_name
        self._names = self._read_names()
        self.n_rows = 0
        candidates: dict[str, list[pa.DataType]] = {name: [pa.int64(), pa.float64()] for name in self._names}
        filled = set()
        for batch in self._stream(dict.fromkeys(self._names, pa.string())):
            self.n_rows += batch.num_rows
            for name in self._names:
                column = batch.column(batch.schema.get_field_index(name))
                if column.null_count < len(column):
                    filled.add(name)
                while candidates[name] and not _casts(column, candidates[name][0]):
                    candidates[name].pop(0)
        text = pa.string()
        self.schema = pa.schema([(n, candidates[n][0] if candidates[n] and n in filled else text) for n in self._names])

    def _read_names(self) -> list[str]:
        with self._opened({}, None) as reader:
            return list(reader.schema.names)

    def _opened(
        self, types: dict[str, pa.DataType], columns: Sequence[str] | None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        from pyarrow import csv

        return csv.open_csv(
            self.path,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=DELIMITER[self.format]),
            convert_options=csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
                include_columns=list(columns) if columns else None,
            ),
        )  # fmt: skip

    def _stream(self, types: dict[str, pa.DataType], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        with self._opened(types, columns) as reader:
            yield from reader

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        types = {field.name: field.type for field in self.schema}
        for batch in self._stream(types, columns or self._names[:1]):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _casts(column: pa.Array, kind: pa.DataType) -> bool:
    """Whether every text of a column is a value of `kind`; whole numbers only as they would be written back (not 007)."""
    try:
        cast = column.cast(kind)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_integer(kind):
        return bool(pc.all(pc.equal(cast.cast(pa.string()), column)).as_py() in (True, None))
    return True


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
            self.n_rows, before = 1, b""
            while chunk := stream.read(1 << 20):
                self.n_rows += (before + chunk).count(b"\n>")
                before = chunk[-1:]

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
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

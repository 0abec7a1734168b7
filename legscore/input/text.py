"""Text files as record batches: CSV and TSV (also .gz), FASTA (also .gz). Opening makes one whole pass, which
finds damaged ends, counts rows for the progress bar and says which CSV columns are whole numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from legscore.errors import InputError
from legscore.input.source import Source, refuse_twice, without_first
from legscore.system.storage import Remote

DELIMITER = {"CSV": ",", "TSV": "\t"}
BLOCK_BYTES = 4 << 20
MOST_RECORD_BYTES = 256 << 20
"""Of FASTA, header and sequence; the longest human chromosome has 249 million bases."""


class TextSource(Source):
    """CSV or TSV with a header line; every column is text, carried exactly as written (007 stays 007, 1.10
    stays 1.10).

    Unquoted empty fields are null, `""` is an empty text; no other text is null here. `not_whole` holds, for
    each column that is not whole numbers throughout, the first row (from 1) and text that is none.
    """

    def __init__(self, path: Path | Remote, format_name: str, names: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.format, self._given = format_name, list(names) if names else None
        self._one_column = False
        with self._opened(None) as reader:
            refuse_twice(path, reader.schema.names)
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

    def _opened(
        self, columns: Sequence[str] | None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        from pyarrow import csv

        types = {name: pa.string() for name in getattr(self, "schema", pa.schema([])).names}
        return csv.open_csv(
            self.path.open_stream() if isinstance(self.path, Remote) else self.path,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, column_names=self._given),
            parse_options=csv.ParseOptions(
                delimiter=DELIMITER[self.format],
                newlines_in_values=True,
                ignore_empty_lines=not self._one_column,
            ),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                include_columns=list(columns) if columns else None,
            ),
        )

    def _stream(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        with self._opened(columns) as reader:
            yield from reader

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        for batch in without_first(self._stream(columns), skip):
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
    """FASTA: columns `id` (the header up to white space), `description` (the rest, null if none) and
    `sequence`."""

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
                    raise InputError(
                        f"{path}: a record of more than {MOST_RECORD_BYTES >> 20} MiB; sequences to score "
                        "are short"
                    )
                chunk = before + chunk
                self.n_rows += chunk.count(b"\n>")
                for mark in (b"\n+", b"\n@"):
                    if mark in chunk:
                        raise InputError(
                            f"{path} has a line that begins with {mark.decode()[1]!r}: FASTQ is not read, "
                            "write FASTA"
                        )
                before = chunk[-1:]

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        yield from without_first(self._records(rows), skip)

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
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(zip(*records, strict=True), self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

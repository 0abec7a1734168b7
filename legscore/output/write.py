"""Parts → one output file: Parquet, Arrow IPC, CSV or TSV (also .gz), or standard output.

A file appears under its name only when it is complete (`legscore.system.publish`). Parquet row groups hold a
fixed number of rows, so that bytes do not depend on how parts were cut or timed.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import OutputError
from legscore.system.publish import Complete, is_stream, open_stream, publishing_to, writing

ROW_GROUP_ROWS = 65_536
DICTIONARY_BYTES = 1 << 16
"""Most that a column's dictionary may take before its values are written plain. Statuses and gene names fit;
keys and scores differ from row to row, and would fill a dictionary of a megabyte in vain."""
DELIMITER = {"csv": ",", "tsv": "\t"}
EXTENSIONS = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".csv": "csv", ".tsv": "tsv", ".csv.gz": "csv", ".tsv.gz": "tsv",
}  # fmt: skip
METADATA_KEY = b"legscore"


def output_format(output: str, asked: str | None = None) -> str:
    """`parquet`, `arrow`, `csv` or `tsv`, from the extension; for standard output, devices, pipes and sockets
    from --format (TSV by default)."""
    if is_stream(output):
        if asked not in (None, "arrow", "tsv"):
            raise OutputError(f"--format {asked}: standard output takes arrow or tsv")
        if output == "-" and asked == "arrow" and sys.stdout is not None and sys.stdout.isatty():
            raise OutputError(
                "--format arrow writes binary data; send it into a pipe or a file, not to a terminal"
            )
        return asked or "tsv"
    if output.endswith("/"):
        if asked is not None:
            raise OutputError(f"--format {asked}: {output} is a folder of Parquet files; drop one of them")
        return "parquet"
    name = Path(output).name.lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension):
            if asked not in (None, EXTENSIONS[extension]):
                raise OutputError(f"--format {asked} contradicts the extension of {output}; drop one of them")
            return EXTENSIONS[extension]
    raise OutputError(f"{output}: unknown extension; use {', '.join(EXTENSIONS)}, or - for standard output")


class Writer(Protocol):
    """Takes the parts of the output in order; `abandon` lets go of a file that will not be published."""

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class ParquetWriter:
    """Buffers parts into row groups of ROW_GROUP_ROWS."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        given = {
            "compression": "zstd",
            "dictionary_pagesize_limit": DICTIONARY_BYTES,
            "write_page_checksum": True,
        }
        self._writer = pq.ParquetWriter(sink, schema, **given)
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        while sum(t.num_rows for t in self._waiting) >= ROW_GROUP_ROWS:
            self._write_group(ROW_GROUP_ROWS)

    def _write_group(self, n: int) -> None:
        """Write the first `n` of the rows that wait, each column in one chunk: pages end where chunks do, and
        bytes must not show how parts were cut. What a column was copied from is let go before the next is
        copied."""
        rows = pa.concat_tables(self._waiting)
        self._waiting = [rows.slice(n)] if rows.num_rows > n else []
        schema, chunked, columns = rows.schema, rows.slice(0, n).columns[::-1], []
        del rows
        while chunked:
            columns.append(chunked.pop().combine_chunks())
        self._writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP_ROWS)

    def close(self) -> None:
        if n := sum(t.num_rows for t in self._waiting):
            self._write_group(n)
        self._writer.close()

    def abandon(self) -> None:
        self._writer.is_open = False  # else its destructor would write a footer into a closed file


class ArrowWriter:
    """Arrow IPC: the file format under a name, the stream format on standard output."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, *, stream: bool) -> None:
        self._writer = pa.ipc.new_stream(sink, schema) if stream else pa.ipc.new_file(sink, schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        """Nothing to let go of."""


class TextWriter:
    """CSV or TSV with a header; null is an empty field; text is quoted only in parts where some needs it."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema, delimiter: str) -> None:
        self.delimiter, self._stream = delimiter, stream
        for field in schema:
            if (
                pa.types.is_nested(field.type)
                or pa.types.is_binary(field.type)
                or pa.types.is_large_binary(field.type)
            ):
                of_models = pa.types.is_fixed_size_list(field.type) and field.name.endswith("_per_model")
                raise OutputError(
                    f"column {field.name!r} is {field.type}, which text cannot hold; write Parquet or "
                    f"Arrow, or {'leave out --per-model' if of_models else 'use --keep'}"
                )
        stream.write(header_line(schema, delimiter))

    def write(self, table: pa.Table) -> None:
        from pyarrow import csv

        columns = [pc.cast(c, pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
        table = pa.table(columns, names=table.column_names)
        special = f'[{self.delimiter}"\n\r]'
        text = [c for c in columns if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)]
        quote = any(pc.any(pc.match_substring_regex(c, special)).as_py() for c in text)
        quote = quote or any(pc.any(pc.equal(pc.binary_length(c), 0)).as_py() for c in text)  # "" is not null
        options = csv.WriteOptions(
            include_header=False, delimiter=self.delimiter, quoting_style="needed" if quote else "none"
        )
        csv.write_csv(table, self._stream, options)

    def close(self) -> None:
        self._stream.flush()

    def abandon(self) -> None:
        """Nothing to let go of."""


def header_line(schema: pa.Schema, delimiter: str) -> bytes:
    """First line of CSV or TSV, quoted where names need it."""
    header = []
    for name in schema.names:
        special = any(c in name for c in f'{delimiter}"\n\r')
        header.append('"' + name.replace('"', '""') + '"' if special else name)
    return (delimiter.join(header) + "\n").encode()


@contextlib.contextmanager
def open_sink(
    output: str, aside: Path | None = None, complete: Complete = lambda path: None
) -> Iterator[BinaryIO]:
    """Yield a stream of bytes that becomes the file `output` (packed where it ends in .gz) on a clean exit
    only.

    Args:
        aside: where it is written until then, if not beside it.
        complete: takes what was written before it is put in place.

    Raises:
        OutputError: the disk refuses; wrap writes in `writing(output)`.
    """
    with publishing_to(output, aside, complete) as temporary:
        with writing(output):
            raw = open(temporary, "wb")  # noqa: SIM115 (closed below, where a full disk may show)
        try:
            if output.lower().endswith(".gz"):
                packed = Blocks(gzip.GzipFile("", "wb", 6, raw, mtime=0))
                yield packed  # type: ignore[misc]
                with writing(output):
                    packed.close()
            else:
                yield raw
            with writing(output):
                raw.close()
        finally:
            with contextlib.suppress(OSError):  # after a failure; the first error is the one to report
                raw.close()


class Blocks(io.RawIOBase):
    """Hands bytes on in blocks of one size, so that packed bytes do not show in which pieces they came."""

    SIZE = 1 << 20

    def __init__(self, sink: gzip.GzipFile) -> None:
        self._sink, self._waiting = sink, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        given = memoryview(data).cast("B")
        self._waiting += given
        while len(self._waiting) >= self.SIZE:
            self._sink.write(self._waiting[: self.SIZE])
            del self._waiting[: self.SIZE]
        return len(given)

    def flush(self) -> None:
        """Nothing: a flush in between would show in the packed bytes."""

    def close(self) -> None:
        if not self.closed:
            self._sink.write(self._waiting)
            self._sink.close()
            super().close()


@contextlib.contextmanager
def open_writer(
    output: str,
    format_name: str,
    schema: pa.Schema,
    metadata: Mapping[str, Any],
    aside: Path | None = None,
    complete: Complete = lambda path: None,
) -> Iterator[Writer]:
    """Yield a writer; on a clean exit the output is complete and in place, otherwise nothing of it is left.

    Args:
        metadata: what defines the scores; stored as JSON under `legscore` in Parquet and Arrow.
        aside: where the output is written until it is complete, if not beside it.
        complete: takes what was written before it is put in place.

    Raises:
        OutputError: the disk or the format refuses. A broken pipe on standard output passes as
            BrokenPipeError.
    """
    schema = schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})
    if is_stream(output):
        name = "standard output" if output == "-" else output
        with open_stream(output) as stream:
            yield from _guarded(stream, name, format_name, schema, stream=True)
        return
    with open_sink(output, aside, complete) as sink:
        yield from _guarded(sink, output, format_name, schema)


def check_writes(format_name: str, schema: pa.Schema) -> None:
    """OutputError when the format cannot hold the schema: tried on no rows and one null row, before any work
    starts."""
    row = pa.Table.from_arrays([pa.nulls(1, field.type) for field in schema], schema=schema)
    for field in schema:
        try:
            one = pa.schema([field])
            sink = io.BytesIO()
            writer = _writer(sink, format_name, one, stream=False)
            writer.write(row.select([field.name]).cast(one))
            writer.close()
        except (pa.ArrowException, NotImplementedError) as error:
            raise OutputError(
                f"column {field.name!r} is {field.type}, which {format_name} cannot hold ({error}); leave "
                "it out with --keep"
            ) from error


def _guarded(
    sink: BinaryIO, name: str, format_name: str, schema: pa.Schema, *, stream: bool = False
) -> Iterator[Writer]:
    """Yield a writer onto `sink` once; its refusals become OutputErrors that name the output."""
    with writing(name):
        inner = _writer(sink, format_name, schema, stream=stream)
    try:
        yield _Guarded(inner, name)
        with writing(name):
            inner.close()
            sink.flush()
    except BaseException:
        inner.abandon()
        raise


class _Guarded:
    def __init__(self, inner: Writer, name: str) -> None:
        self._inner, self._name = inner, name

    def write(self, table: pa.Table) -> None:
        with writing(self._name):
            self._inner.write(table)

    def close(self) -> None:
        """Closing is the opener's."""

    def abandon(self) -> None:
        """Abandoning is the opener's."""


def _writer(sink: BinaryIO, format_name: str, schema: pa.Schema, *, stream: bool) -> Writer:
    if format_name == "parquet":
        return ParquetWriter(sink, schema)
    if format_name == "arrow":
        return ArrowWriter(sink, schema, stream=stream)
    return TextWriter(sink, schema, DELIMITER[format_name])

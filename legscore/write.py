"""Parts → one output file: Parquet, Arrow IPC, CSV or TSV (also .gz), or standard output.

A file appears under its name only when it is complete (`legscore.publish`). Parquet row groups hold a fixed number of
rows, so that bytes do not depend on how parts were cut or timed.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import OutputError
from legscore.publish import publishing
from legscore.reduce import Results
from legscore.schema import STATUSES

ROW_GROUP_ROWS = 65_536
EXTENSIONS = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".csv": "csv", ".tsv": "tsv", ".csv.gz": "csv", ".tsv.gz": "tsv",
}  # fmt: skip
METADATA_KEY = b"legscore"


def output_format(output: str, asked: str | None = None) -> str:
    """`parquet`, `arrow`, `csv` or `tsv`, from the extension, or for `-` from --format (TSV by default)."""
    if output == "-":
        if asked not in (None, "arrow", "tsv"):
            raise OutputError(f"--format {asked}: standard output takes arrow or tsv")
        if asked == "arrow" and sys.stdout.isatty():
            raise OutputError("--format arrow writes binary data; send it into a pipe or a file, not to a terminal")
        return asked or "tsv"
    name = Path(output).name.lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension):
            if asked not in (None, EXTENSIONS[extension]):
                raise OutputError(f"--format {asked} contradicts the extension of {output}; drop one of them")
            return EXTENSIONS[extension]
    raise OutputError(f"{output}: unknown extension; use {', '.join(EXTENSIONS)}, or - for standard output")


def result_schema(kept: Sequence[pa.Field], results: Sequence[str], lists: Sequence[str], members: int) -> pa.Schema:
    """Columns of the output: those kept, the results (float32), members' values, status, n_count."""
    return pa.schema(
        [
            *kept,
            *(pa.field(name, pa.float32()) for name in results),
            *(pa.field(name, pa.list_(pa.float32(), members)) for name in lists),
            pa.field("status", pa.dictionary(pa.int8(), pa.string())),
            pa.field("n_count", pa.int32()),
        ]
    )


def result_table(kept: pa.Table, results: Results, schema: pa.Schema) -> pa.Table:
    """One part of the output; NaN in a result becomes null."""
    arrays = [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in kept.columns]
    for values in results.columns.values():
        arrays.append(pa.array(values, mask=np.isnan(values)))
    for values in results.per_model.values():
        # null elements in lists that are there: Arrow 25 cannot read null fixed-size lists back from Parquet
        flat = values.ravel()
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat, mask=np.isnan(flat)), values.shape[1]))
    codes = pa.array(results.status_N.astype(np.int8))
    arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(STATUSES)))
    arrays.append(pa.array(results.n_count_N, mask=results.n_count_N < 0))
    return pa.Table.from_arrays(arrays, schema=schema)


class Writer(Protocol):
    """Takes the parts of the output in order."""

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class ParquetWriter:
    """Buffers parts into row groups of ROW_GROUP_ROWS."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        if sum(t.num_rows for t in self._waiting) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(self._waiting)
            whole = rows.num_rows - rows.num_rows % ROW_GROUP_ROWS
            self._writer.write_table(rows.slice(0, whole), row_group_size=ROW_GROUP_ROWS)
            self._waiting = [pa.Table.from_batches(rows.slice(whole).to_batches(), rows.schema)]

    def close(self) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        if rows is not None and rows.num_rows:
            self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self._writer.close()


class ArrowWriter:
    """Arrow IPC: the file format under a name, the stream format on standard output."""

    def __init__(self, sink: str | BinaryIO, schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_file(sink, schema) if isinstance(sink, str) else pa.ipc.new_stream(sink, schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class TextWriter:
    """CSV or TSV with a header; null is an empty field; text is quoted only in parts where some needs it."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema, delimiter: str) -> None:
        self.delimiter, self._stream = delimiter, stream
        for field in schema:
            if pa.types.is_nested(field.type):
                raise OutputError(
                    f"column {field.name!r} is {field.type}, which text cannot hold; write Parquet or Arrow, or use --keep"
                )
        header = [f'"{name}"' if any(c in name for c in f'{delimiter}"\n\r') else name for name in schema.names]
        stream.write((delimiter.join(header) + "\n").encode())

    def write(self, table: pa.Table) -> None:
        from pyarrow import csv

        columns = [pc.cast(c, pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
        table = pa.table(columns, names=table.column_names)
        special = f'[{self.delimiter}"\n\r]'
        text = [c for c in columns if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)]
        quote = any(pc.any(pc.match_substring_regex(c, special)).as_py() for c in text)
        options = csv.WriteOptions(include_header=False, delimiter=self.delimiter, quoting_style="needed" if quote else "none")
        csv.write_csv(table, self._stream, options)

    def close(self) -> None:
        self._stream.flush()


@contextlib.contextmanager
def open_writer(output: str, format_name: str, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[Writer]:
    """Yield a writer; on a clean exit the output is complete and in place, otherwise nothing of it is left.

    Args:
        metadata: what defines the scores; stored as JSON under `legscore` in Parquet and Arrow.
    """
    schema = schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})
    if output == "-":
        writer = _writer(sys.stdout.buffer, format_name, schema)
        yield writer
        writer.close()
        sys.stdout.buffer.flush()
        return
    with publishing(Path(output)) as temporary:
        if format_name in ("csv", "tsv"):
            with _text_file(temporary, packed=output.endswith(".gz")) as stream:
                writer = _writer(stream, format_name, schema)
                yield writer
                writer.close()
        else:
            writer = _writer(str(temporary), format_name, schema)
            try:
                yield writer
            finally:
                writer.close()


@contextlib.contextmanager
def _text_file(path: Path, *, packed: bool) -> Iterator[BinaryIO]:
    with open(path, "wb") as raw:
        if not packed:
            yield raw
            return
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
            yield stream  # type: ignore[misc]


def _writer(sink: str | BinaryIO, format_name: str, schema: pa.Schema) -> Writer:
    if format_name == "parquet":
        return ParquetWriter(Path(str(sink)), schema)
    if format_name == "arrow":
        return ArrowWriter(sink, schema)
    assert not isinstance(sink, str)
    return TextWriter(sink, schema, "," if format_name == "csv" else "\t")

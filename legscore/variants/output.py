"""Tables of variants → Parquet (one row group per batch, so that its dictionaries stay small), Arrow, CSV or
TSV."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.errors import OutputError
from legscore.output.result_columns import plain_type
from legscore.output.write import METADATA_KEY, open_writer, output_format
from legscore.rows.schema import STATUSES
from legscore.system.publish import check_writable, publishing, writing

Write = Callable[[pa.Table], None]
PLAIN_TEXT = ("variant_id", "ref", "alt", "alt_sequence")
"""Columns whose values hardly repeat: no dictionary in Parquet."""


def check_output(output: str) -> None:
    """OutputError unless `output` is a file that can be written, of a known format."""
    if output == "-":
        raise OutputError(
            "variants are written to a file (Parquet, Arrow, CSV or TSV), not to standard output"
        )
    output_format(output)
    check_writable(Path(output))


@contextlib.contextmanager
def open_table(output: str, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[Write]:
    """Yield a function that takes tables of `schema`; the file is in place after a clean exit only.

    Args:
        metadata: what defines the rows; stored as JSON under `legscore` in Parquet and Arrow.
    """
    format_name = output_format(output)
    if format_name != "parquet":
        plain = pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])
        with open_writer(output, format_name, plain, metadata) as writer:
            yield lambda table: writer.write(table.cast(plain))
        return
    schema = schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})
    encoded = [
        field.name for field in schema if field.name not in PLAIN_TEXT and not pa.types.is_integer(field.type)
    ]
    with publishing(Path(output)) as temporary:
        with writing(output):
            writer = pq.ParquetWriter(
                temporary,
                schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=encoded,
                write_statistics=False,
                write_page_checksum=True,
            )

        def write(table: pa.Table) -> None:
            if table.num_rows:
                with writing(output):
                    once = _each_value_once(table).replace_schema_metadata(schema.metadata)
                    writer.write_table(once, row_group_size=table.num_rows)

        try:
            yield write
            with writing(output):
                writer.close()
        finally:
            writer.is_open = False


def _each_value_once(table: pa.Table) -> pa.Table:
    """The table with dictionaries that hold no value twice.

    Arrow makes room in a Parquet page for every value of a dictionary and leaves that of repeated values
    unset: what was in memory would be in the file, and equal tables would differ in bytes.
    """
    for place, (field, column) in enumerate(zip(table.schema, table.columns, strict=True)):
        if not pa.types.is_dictionary(field.type):
            continue
        chunks, again = column.chunks, False
        for number, chunk in enumerate(chunks):
            values = chunk.dictionary.dictionary_encode()
            if len(values.dictionary) < len(values):
                chunks[number] = pa.DictionaryArray.from_arrays(
                    values.indices.take(chunk.indices), values.dictionary
                )
                again = True
        if again:
            table = table.set_column(place, field, pa.chunked_array(chunks, field.type))
    return table


def dictionary(kind: pa.DataType | None = None) -> pa.DataType:
    """Type of a column that repeats few values: text behind int32 numbers."""
    return pa.dictionary(pa.int32(), kind or pa.string())


def coded(rows: np.ndarray, values: pa.Array) -> pa.DictionaryArray:
    """Dictionary column that holds values[rows] (null where rows is -1), with only the values that occur."""
    present = np.zeros(len(values) + 1, dtype=bool)  # the last place is that of -1
    present[rows] = True
    used, number = np.flatnonzero(present[:-1]), np.full(len(values) + 1, -1, dtype=np.int64)
    number[used] = np.arange(len(used))
    index = number[rows]
    missing = index < 0
    numbers = pa.array(index.astype(np.int32), mask=missing if missing.any() else None)
    taken = values.take(pa.array(used))
    if taken.null_count:  # a null among the values becomes a null of the column
        place = np.cumsum(np.asarray(taken.is_valid())) - 1
        gone = np.asarray(taken.is_null())[index] | missing
        numbers = pa.array(place[index].astype(np.int32), mask=gone)
        taken = taken.drop_null()
    return pa.DictionaryArray.from_arrays(numbers, taken)


def status_column(status_R: np.ndarray) -> pa.DictionaryArray:
    """Status codes as text behind a dictionary."""
    return coded(status_R.astype(np.int64), pa.array(STATUSES, pa.string()))


def fixed_texts(letters_RL: np.ndarray) -> pa.Array:
    """uint8 letters [rows, length] → Arrow texts; the letters are not copied."""
    n, length = letters_RL.shape
    offsets = np.arange(n + 1, dtype=np.int64) * length
    return pa.Array.from_buffers(
        pa.large_string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters_RL))]
    )


def ragged_texts(flat: np.ndarray, length_R: np.ndarray) -> pa.Array:
    """Letters of texts laid end to end → Arrow texts."""
    offsets = np.concatenate([[0], np.cumsum(length_R)]).astype(np.int64)
    return pa.Array.from_buffers(
        pa.large_string(),
        len(length_R),
        [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(flat))],
    )

"""A Parquet file in slices of bounded size, whatever its row groups are like: one of a gigabyte, a million of
one row, a dictionary of megabyte values that a kilobyte of file repeats a million times.

Row groups are streamed page by page, never decoded whole; slices are made so small that their values fit
`slice_bytes`. What the footer says of a column decides that, except for text behind a dictionary, whose
longest value is looked up, since such a value may stand in every row. Not bounded here: a single page (at
most 2 GB by the format) and lists of lists. With `--memory` the system refuses those
(`legscore.system.memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from legscore.input.ranges import RangeReader

BUFFER_LEAST, BUFFER_MOST = 1 << 12, 1 << 18
"""Bytes of the buffer through which each column is read."""
DELTA, DELTA_ROWS = "DELTA_BYTE_ARRAY", 64
"""Rows of a slice where values are stored as differences, whose length the footer does not tell."""
RUN_ROWS = 1 << 18
"""Rows after which the dictionaries of the next row groups are looked at."""
FIXED = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 16, "FLOAT": 4, "DOUBLE": 8}
TEXT = "BYTE_ARRAY"


def slices(
    source: Path | RangeReader,
    columns: Sequence[str],
    rows: int,
    slice_bytes: int,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Record batches of at most `rows` rows, fewer where rows are long.

    Args:
        source: the file, or an object that is read in ranges: of the chunks of these columns, each byte once.
        slice_bytes: bytes that the values of a batch may take, and the read buffers of all columns together.
        groups: row groups to read, in order; all by default.
    """
    import pyarrow.parquet as pq

    def opened() -> Any:
        return source.file() if isinstance(source, RangeReader) else source

    with pq.ParquetFile(opened()) as file:
        metadata, leaves = file.metadata, _leaves(file, columns)
        text = [file.schema.column(leaf).path for leaf in leaves if _repeats_text(file, leaf)]
    buffer = min(BUFFER_MOST, max(BUFFER_LEAST, slice_bytes // max(len(leaves), 1)))
    if isinstance(source, RangeReader):
        source.expect(_chunks(metadata, leaves, range(metadata.num_row_groups) if groups is None else groups))
    # checksums are verified where pages have one; the footer is shared
    given = {
        "pre_buffer": False,
        "buffer_size": buffer,
        "page_checksum_verification": True,
        "metadata": metadata,
    }
    with (
        pq.ParquetFile(opened(), **given) as file,
        pq.ParquetFile(opened(), read_dictionary=text, **given) as coded,
    ):

        def fitting(group: int) -> int:
            if not metadata.row_group(group).num_rows:
                return rows
            # the first row, before the footer is asked about columns: pyarrow ends the process over some
            # damaged footers when it is asked, and raises when it reads
            first = file.iter_batches(
                batch_size=1, row_groups=[group], columns=list(columns), use_threads=False
            )
            if next(first, None) is None:  # it claims rows and has none
                return 1
            each = _row_bytes(file, coded, group, leaves, rows, slice_bytes)
            most = DELTA_ROWS if _has_deltas(metadata, group, leaves) else rows
            return max(1, min(most, slice_bytes // each))

        chosen = range(metadata.num_row_groups) if groups is None else groups
        for size, together in _runs(chosen, fitting, lambda group: metadata.row_group(group).num_rows):
            yield from file.iter_batches(
                batch_size=size, row_groups=together, columns=list(columns), use_threads=False
            )


def _runs(
    groups: Sequence[int], fitting: Callable[[int], int], rows_of: Callable[[int], int]
) -> Iterator[tuple[int, list[int]]]:
    """Neighbours with slices of one size, to be read in one go, up to RUN_ROWS rows."""
    together: list[int] = []
    size = rows = 0
    for group in groups:
        this = fitting(group)
        if together and (this != size or rows >= RUN_ROWS):
            yield size, together
            together, rows = [], 0
        together.append(group)
        size, rows = this, rows + rows_of(group)
    if together:
        yield size, together


def _leaves(file: Any, columns: Sequence[str]) -> list[int]:
    """Numbers of the Parquet columns that the Arrow columns are made of."""
    wanted = set(columns)
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    return [
        i
        for i, path in enumerate(paths)
        if path in wanted or any(path.startswith(f"{name}.") for name in wanted)
    ]


def _chunks(metadata: Any, leaves: Sequence[int], groups: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where the columns lie in the file, as (start, stop)."""
    for group in groups:
        for leaf in leaves:
            chunk = metadata.row_group(group).column(leaf)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            yield start, start + chunk.total_compressed_size


def _repeats_text(file: Any, leaf: int) -> bool:
    column = file.schema.column(leaf)
    return column.physical_type == TEXT and column.max_repetition_level == 0


def _has_deltas(metadata: Any, group: int, leaves: Sequence[int]) -> bool:
    return any(DELTA in metadata.row_group(group).column(leaf).encodings for leaf in leaves)


def _row_bytes(file: Any, coded: Any, group: int, leaves: Sequence[int], rows: int, slice_bytes: int) -> int:
    """Bytes that a row of this group may take."""
    found, total = file.metadata.row_group(group), 0
    for leaf in leaves:
        chunk, column = found.column(leaf), file.schema.column(leaf)
        each = -(-max(chunk.total_uncompressed_size, 0) // max(found.num_rows, 1))
        if column.max_repetition_level:
            each = max(each, 8 * -(-max(chunk.num_values, 0) // max(found.num_rows, 1)))
        elif column.physical_type != TEXT:
            each = FIXED.get(column.physical_type, max(column.length, 1))
        elif (
            chunk.has_dictionary_page
            and DELTA not in chunk.encodings
            and chunk.total_uncompressed_size * min(rows, found.num_rows) > slice_bytes
        ):
            each = max(each, _longest(coded, group, column.path))
        total += each
    return max(total, 1)


def _longest(coded: Any, group: int, path: str) -> int:
    """Bytes of the longest value in the dictionary of a Parquet column."""
    for batch in coded.iter_batches(batch_size=1, row_groups=[group], columns=[path], use_threads=False):
        dictionaries = [found for column in batch.columns for found in _dictionaries(column) if len(found)]
        return max([int(pc.max(pc.binary_length(found)).as_py() or 1) for found in dictionaries], default=1)
    return 1


def _dictionaries(column: pa.Array) -> Iterator[pa.Array]:
    """Values of every dictionary in a column or in the fields of a struct."""
    if pa.types.is_dictionary(column.type):
        yield column.dictionary
    elif pa.types.is_struct(column.type):
        for i in range(column.type.num_fields):
            yield from _dictionaries(column.field(i))

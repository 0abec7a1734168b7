"""Shards → what the whole run would have written, byte for byte: `legscore merge`."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from legscore.errors import InputError, OutputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.output.pieces import Piece, check_pieces, open_piece
from legscore.output.shards import KEY
from legscore.output.write import DELIMITER, header_line, open_sink, open_writer, output_format
from legscore.rows.schema import CODED
from legscore.system.publish import writing

READ_ROWS = 8192
BLOCK_BYTES = 1 << 20


def merge_shards(
    paths: Sequence[Path], output: str, note: Callable[[Path, dict[str, Any], int], object]
) -> None:
    """Join shards into what the whole run would have written, byte for byte.

    Args:
        note: takes the joined file before it is put in place, its metadata, and its rows.

    Raises:
        InputError: not shards, not of one run, a gap or an overlap, or damaged. OutputError: the output
            cannot be written.
    """
    format_name = output_format(output)
    pieces = check_pieces([open_piece(path) for path in paths])
    first, schema = pieces[0], _joined_schema(pieces)
    metadata = {name: value for name, value in first.metadata.items() if name != KEY}

    def complete(joined: Path) -> None:
        note(joined, metadata, int(first.shard["rows_of_input"]))

    if first.format_name in DELIMITER:
        if first.format_name != format_name:
            raise OutputError(f"{output}: shards in {first.format_name} join to {first.format_name} only")
        with open_sink(output, complete=complete) as sink:
            header = header_line(schema, DELIMITER[format_name])
            with writing(output):
                sink.write(header)
            for piece in pieces:
                for block in _lines(piece, header):
                    with writing(output):
                        sink.write(block)
    else:
        with open_writer(output, format_name, schema, metadata, complete=complete) as writer:
            for piece in pieces:
                for table in _tables(piece, schema):
                    writer.write(table)


def _joined_schema(pieces: Sequence[Piece]) -> pa.Schema:
    """The columns of the output: each as the first shard has it that has values there."""
    fields = []
    for several in zip(*(piece.schema for piece in pieces), strict=True):
        fields.append(next((field for field in several if not pa.types.is_null(field.type)), several[0]))
    return pa.schema(fields)


def _lines(piece: Piece, header: bytes) -> Iterator[bytes]:
    """The lines of a text shard after its header, as blocks of bytes."""
    try:
        with (
            gzip.open(piece.path)
            if piece.path.name.lower().endswith(".gz")
            else open(piece.path, "rb") as stream
        ):
            if stream.read(len(header)) != header:
                raise InputError(f"{piece.path} does not begin with its header line; score this shard again")
            while block := stream.read(BLOCK_BYTES):
                yield block
    except READ_ERRORS as error:
        raise InputError(
            f"{piece.path}: reading stopped: {first_line(error)}; score this shard again"
        ) from error


def _tables(piece: Piece, schema: pa.Schema) -> Iterator[pa.Table]:
    """The parts of a shard, as they were written."""
    rows = int(piece.metadata["options"]["part_rows"])
    waiting: list[pa.RecordBatch] = []
    n_waiting = n_rows = 0

    def cut(n: int) -> pa.Table:
        nonlocal waiting, n_waiting
        table = pa.Table.from_batches(waiting)
        waiting, n_waiting = table.slice(n).to_batches(), n_waiting - n
        return _as_written(table.slice(0, n), schema)

    try:
        for batch in _batches(piece, min(rows, READ_ROWS)):
            waiting.append(batch)
            n_waiting += batch.num_rows
            n_rows += batch.num_rows
            while n_waiting >= rows:
                yield cut(rows)
        if n_waiting:
            yield cut(n_waiting)
    except READ_ERRORS as error:
        raise InputError(
            f"{piece.path}: reading stopped: {first_line(error)}; score this shard again"
        ) from error
    if n_rows != piece.shard["rows"]:
        raise InputError(
            f"{piece.path} holds {n_rows:,} rows instead of {piece.shard['rows']:,}; score this shard again"
        )


def _batches(piece: Piece, rows: int) -> Iterator[pa.RecordBatch]:
    if piece.format_name == "parquet":
        with pq.ParquetFile(
            piece.path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True
        ) as file:
            yield from file.iter_batches(batch_size=rows, use_threads=False)
    else:
        with pa.ipc.open_file(str(piece.path)) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _as_written(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table read back, in the types and the dictionary that it was written from."""
    arrays = []
    if table.column_names != schema.names:
        raise ValueError("its columns are not those that its metadata says")
    for field, column in zip(schema, table.columns, strict=True):
        if pa.types.is_dictionary(field.type):  # a file keeps only the words that occur
            if field.name not in CODED:
                raise ValueError(f"its column {field.name!r} is not as a run writes it")
            texts, words = column.cast(pa.string()).combine_chunks(), pa.array(CODED[field.name])
            codes = pc.index_in(texts, value_set=words).cast(pa.int8())
            codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
            arrays.append(pa.DictionaryArray.from_arrays(codes, words))
        else:
            arrays.append(column.cast(field.type).combine_chunks())
    return pa.Table.from_arrays(arrays, schema=schema)

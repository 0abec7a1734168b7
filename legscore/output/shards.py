"""Slices of an input, scored apart and joined again: `legscore run --shard 3/64` and `legscore merge`.

A shard is a run of consecutive parts, so that everything that depends on parts (equal windows scored once,
quoting of text, record batches) is what it is in a whole run; joined, shards give the same bytes. Each output
says in its metadata which rows it has of what; text has no metadata, its OUT.run.json says it. Text and Arrow
have no checksums of their own: that of the record is compared.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from legscore.errors import InputError, LegscoreError, OutputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.output.write import (
    DELIMITER,
    METADATA_KEY,
    header_line,
    open_sink,
    open_writer,
    output_format,
    plain_type,
)
from legscore.rows.schema import STATUSES
from legscore.system.checksum import Checksum, checksum_of
from legscore.system.json_records import difference, is_sealed, parse_record
from legscore.system.publish import writing

KEY = "shard"
READ_ROWS = 8192
SHOWN = 8
"""Missing shards that are named."""
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `of`."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/64`. LegscoreError for anything else."""
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise LegscoreError(f"--shard {text}: write INDEX/OF with INDEX from 1 to OF, such as 3/64")
        return cls(int(found[1]), int(found[2]))

    def parts(self, n_parts: int) -> range:
        """Its parts of `n_parts`; shards differ by one part at most, and are empty where there are more
        shards than parts."""
        return range((self.index - 1) * n_parts // self.of, self.index * n_parts // self.of)


def described(
    shard: Shard, parts: range, part_rows: int, n_rows: int, content: str, schema: pa.Schema
) -> dict[str, Any]:
    """What a shard's metadata says of it under `shard`: enough to join it and to refuse a wrong join."""
    first, stop = (min(number * part_rows, n_rows) for number in (parts.start, parts.stop))
    return {
        "index": shard.index,
        "of": shard.of,
        "first_row": first,
        "rows": stop - first,
        "rows_of_input": n_rows,
        "input_sha256": content,
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
    }


@dataclass(frozen=True)
class Piece:
    """An output of `run --shard`: where, its format, and what it says of itself."""

    path: Path
    format_name: str
    metadata: dict[str, Any]

    @property
    def shard(self) -> dict[str, Any]:
        found: dict[str, Any] = self.metadata[KEY]
        return found

    @property
    def schema(self) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.shard["schema"], validate=True)))


RECORD_KEYS = (
    *("legscore", "models", "contract", "engine", "fidelity", "options", "calibration", "variants"),
    KEY,
)
"""What an output's metadata may hold, of all that its OUT.run.json holds."""


def open_piece(path: Path) -> Piece:
    """Read what a shard says of itself. InputError when it is none or cannot be read."""
    try:
        format_name = output_format(str(path))
    except OutputError as error:
        raise InputError(str(error)) from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if format_name == "parquet":
            metadata = parse_record((pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}"))
        elif format_name == "arrow":
            with pa.ipc.open_file(str(path)) as reader:
                metadata = parse_record((reader.schema.metadata or {}).get(METADATA_KEY, b"{}"))
            _check_written(path)
        else:
            known = _check_written(path)
            metadata = {name: known[name] for name in RECORD_KEYS if name in known}
        piece = Piece(path, format_name, metadata)
        _check_described(piece)
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as a shard: {first_line(error)}") from error
    return piece


MOST_ROWS = 1 << 62
NEEDED = {"index": int, "of": int, "first_row": int, "rows": int, "rows_of_input": int}


def _check_described(piece: Piece) -> None:
    """InputError or ValueError unless a shard's metadata is what `described` makes: all of it is used as it
    stands."""
    shard, options = piece.metadata.get(KEY), piece.metadata.get("options")
    known = isinstance(shard, dict) and isinstance(options, dict)
    if not known or any(type(piece.shard.get(name)) is not kind for name, kind in NEEDED.items()):
        raise InputError(f"{piece.path} is no shard: it was not written by legscore run --shard")
    if not all(isinstance(piece.shard.get(name), str) for name in ("input_sha256", "schema")):
        raise InputError(f"{piece.path} is no shard: it was not written by legscore run --shard")
    said, part_rows = piece.shard, piece.metadata["options"].get("part_rows")
    n_rows = said["rows_of_input"]
    if type(part_rows) is not int or not 0 < part_rows <= MOST_ROWS or not 0 <= n_rows <= MOST_ROWS:
        raise ValueError("the rows that it says make no sense")
    if not 1 <= said["index"] <= said["of"] < 10**9:
        raise ValueError(f"shard {said['index']} of {said['of']} makes no sense")
    parts = Shard(said["index"], said["of"]).parts(-(-n_rows // part_rows))
    first, stop = (min(number * part_rows, n_rows) for number in (parts.start, parts.stop))
    if (said["first_row"], said["rows"]) != (first, stop - first):
        raise ValueError(
            f"shard {said['index']}/{said['of']} of {n_rows:,} rows in parts of {part_rows:,} has other rows "
            "than it says"
        )
    if not len(piece.schema):
        raise ValueError("its schema has no columns")


def _check_written(path: Path) -> dict[str, Any]:
    """The record of a text or Arrow shard, which have no checksums of their own; InputError where it is not
    beside the shard, or one of both is not as it was written."""
    place = Path(f"{path}.run.json")
    if not place.is_file():
        raise InputError(f"{path} lacks {place.name} beside it, which says what shard it is")
    record = parse_record(place.read_bytes())
    if not is_sealed(record):
        raise InputError(f"{place} is not as a run wrote it; score this shard again")
    files = record.get("output_files")
    said = next(iter(files.values()), None) if isinstance(files, dict) and len(files) == 1 else None
    if (noted := Checksum.from_json(said)) is None or checksum_of(path) != noted:
        raise InputError(f"{path} is not what {path.name}.run.json says was written; score this shard again")
    return record


def check_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces in order. InputError unless they are one run's and have every row once."""
    if not pieces:
        raise InputError("no shard given; name the outputs of legscore run --shard")
    pieces = sorted(
        pieces, key=lambda piece: (piece.shard["first_row"], piece.shard["rows"], piece.shard["index"])
    )
    first = pieces[0]
    place = ("index", "first_row", "rows", "schema")

    def common(piece: Piece) -> dict[str, Any]:
        shard = {name: value for name, value in piece.shard.items() if name not in place}
        columns = {field.name: _kind(field.type) for field in piece.schema}
        return {**piece.metadata, KEY: shard, "columns": columns}

    for piece in pieces[1:]:
        if piece.format_name != first.format_name:
            raise InputError(
                f"{piece.path} is {piece.format_name}, {first.path} is {first.format_name}; join one format"
            )
        if list(first.schema.names) != list(piece.schema.names):
            raise InputError(f"{piece.path} has other columns than {first.path}")
        if found := difference(*_without_nulls(common(first), common(piece))):
            raise InputError(f"{piece.path} is of another run than {first.path}: {found}")
    seen: dict[int, Path] = {}
    for piece in pieces:
        if other := seen.get(piece.shard["index"]):
            raise InputError(
                f"{piece.path} and {other} are both shard {piece.shard['index']}/{piece.shard['of']}"
            )
        seen[piece.shard["index"]] = piece.path
    if lacking := first.shard["of"] - len(seen):
        missing = (number for number in range(1, first.shard["of"] + 1) if number not in seen)
        listed = ", ".join(map(str, itertools.islice(missing, SHOWN)))
        more = f" and {lacking - SHOWN:,} more" if lacking > SHOWN else ""
        raise InputError(f"shards {listed}{more} of {first.shard['of']:,} are missing")
    at = 0
    for piece in pieces:
        if piece.shard["first_row"] != at:
            raise InputError(
                f"{piece.path} begins at row {piece.shard['first_row'] + 1:,}, not at {at + 1:,}: a gap or "
                "an overlap"
            )
        at += piece.shard["rows"]
    if at != first.shard["rows_of_input"]:
        raise InputError(f"the shards end at row {at:,} of {first.shard['rows_of_input']:,}")
    return pieces


def _kind(kind: pa.DataType) -> str:
    """A type, by what it holds: text is text however it is stored."""
    kind = plain_type(kind)
    if pa.types.is_large_string(kind):
        return "string"
    return "binary" if pa.types.is_large_binary(kind) else str(kind)


def _without_nulls(one: dict[str, Any], other: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both without the types of columns that are null throughout in one of them."""
    null = {name for each in (one, other) for name, kind in each["columns"].items() if kind == "null"}
    plain = [
        {**each, "columns": {name: kind for name, kind in each["columns"].items() if name not in null}}
        for each in (one, other)
    ]
    return plain[0], plain[1]


def _joined_schema(pieces: Sequence[Piece]) -> pa.Schema:
    """The columns of the output: each as the first shard has it that has values there."""
    fields = []
    for several in zip(*(piece.schema for piece in pieces), strict=True):
        fields.append(next((field for field in several if not pa.types.is_null(field.type)), several[0]))
    return pa.schema(fields)


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
        if pa.types.is_dictionary(field.type):  # status; a file keeps only the words that occur
            texts = column.cast(pa.string()).combine_chunks()
            codes = pc.index_in(texts, value_set=pa.array(STATUSES)).cast(pa.int8())
            codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(STATUSES)))
        else:
            arrays.append(column.cast(field.type).combine_chunks())
    return pa.Table.from_arrays(arrays, schema=schema)

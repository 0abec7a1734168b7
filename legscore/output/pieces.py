"""Outputs of `legscore run --shard`: what each says of itself, and whether they are those of one run.

Text has no metadata: its OUT.run.json says which rows it has. Text and Arrow have no checksums of their own:
that of the record is compared.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from legscore.errors import InputError, OutputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.output.result_columns import plain_type
from legscore.output.shards import KEY, Shard
from legscore.output.write import METADATA_KEY, output_format
from legscore.system.checksum import Checksum, checksum_of
from legscore.system.json_records import difference, is_sealed, parse_record

SHOWN = 8
"""Missing shards that are named."""
MOST_ROWS = 1 << 62
NEEDED = {"index": int, "of": int, "first_row": int, "rows": int, "rows_of_input": int}
RECORD_KEYS = (
    *(
        "legscore",
        "models",
        "contract",
        "engine",
        "fidelity",
        "options",
        "ensembles",
        "calibration",
        "background",
        "variants",
    ),
    KEY,
)
"""What an output's metadata may hold, of all that its OUT.run.json holds."""


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

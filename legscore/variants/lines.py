"""Tab-separated text files (BED, GTF, GFF3, tables of starts; also .gz) as polars frames that know their line
numbers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError

CHUNK_BYTES = 32 << 20
MOST_BASES = 1 << 40
MOST_LINE_BYTES = 64 << 20
"""A packed file of a few kilobytes can hold a line without end."""


def read_fields(path: Path, columns: list[str], keep: str | None = None) -> Iterator[pl.DataFrame]:
    """Frames of `columns` (text; null where a line is shorter; what follows the last one is dropped) and
    `line` (from 1).

    Empty lines and lines that begin with #, `track` or `browser` are left out. Read in chunks, so that a
    large file takes little memory.

    Args:
        keep: regular expression; only lines that match are split.

    Raises:
        InputError: no such file, or a damaged one.
    """
    before = 0
    for chunk in _chunks(path):
        lines = _split(chunk).with_row_index("line", before + 1).with_columns(pl.col("line").cast(pl.Int64))
        n = len(lines)
        before += n
        text = pl.col("text")
        used = (text.str.len_bytes() > 0) & ~text.str.contains(r"^(#|track[ \t]|browser[ \t]|\s*$)")
        lines = lines.filter(used & text.str.contains(keep) if keep else used)
        fields = text.str.splitn("\t", len(columns) + 1).struct.rename_fields([*columns, "_rest"])
        yield lines.select("line", fields.alias("fields")).unnest("fields").drop("_rest")


def _split(chunk: bytes) -> pl.DataFrame:
    """Column `text`: the lines of a chunk; bytes that are no UTF-8 are replaced."""
    try:
        chunk.decode()
    except UnicodeDecodeError:
        chunk = chunk.decode(errors="replace").encode()
    ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    texts = pl.from_arrow(pa.Array.from_buffers(pa.large_string(), len(ends), buffers))
    assert isinstance(texts, pl.Series)
    return texts.alias("text").to_frame().with_columns(pl.col("text").str.strip_chars_end("\r\n"))


def _chunks(path: Path) -> Iterator[bytes]:
    """Whole lines, each chunk ending in a line feed."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as stream:
            rest = b""
            while chunk := stream.read(CHUNK_BYTES):
                chunk = rest + chunk
                cut = chunk.rfind(b"\n") + 1
                rest = chunk[cut:]
                if len(rest) > MOST_LINE_BYTES:
                    raise InputError(
                        f"{path} has a line of more than {MOST_LINE_BYTES >> 20} MiB; is it packed twice, "
                        "or no text?"
                    )
                if cut:
                    yield chunk[:cut]
            if rest:
                yield rest + b"\n"
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}; is it cut short or damaged?") from error


def whole_numbers(frame: pl.DataFrame, names: list[str], path: Path) -> pl.DataFrame:
    """The columns as Int64. InputError names the line and text of the first that is no whole number that a
    genome has."""
    cast = frame.with_columns(pl.col(name).cast(pl.Int64, strict=False).alias(f"{name}_n") for name in names)
    for name in names:
        bad = cast.filter(pl.col(f"{name}_n").is_null() | (pl.col(f"{name}_n").abs() > MOST_BASES))
        if len(bad):
            row = bad.row(0, named=True)
            raise InputError(
                f"{path}, line {row['line']}: {name} is {row[name]!r}, no whole number or too large"
            )
    return cast.with_columns(pl.col(f"{name}_n").alias(name) for name in names).drop(
        [f"{name}_n" for name in names]
    )

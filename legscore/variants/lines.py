"""Tab-separated text files (BED, GTF, GFF3, tables of starts; also .gz) as polars frames that know their line
numbers.

Lines end in LF, CR LF, or (in files of old Macs) CR throughout; a byte order mark is passed over. What a
reader would take for something else is refused with its line: a NUL, a CR inside a line, a gzip or bgzip file
that was cut short.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError
from legscore.variants.bgzip import check_end, is_bgzip, is_gzip

CHUNK_BYTES = 8 << 20
"""Freed memory of this size is used again by the next chunk, not fetched from the system."""
MOST_BASES = 1 << 40
MOST_LINE_BYTES = 64 << 20
"""A packed file of a few kilobytes can hold a line without end."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("legscore-latin-1", _as_latin_1)


def text_of(data: bytes) -> str:
    """Bytes as UTF-8; each that is none as its Latin-1 letter, so that different names stay different."""
    return data.decode("utf-8", "legscore-latin-1")


def read_lines(path: Path) -> Iterator[pl.DataFrame]:
    """Frames of `line` (its number, from 1) and `text`, without empty lines.

    Read in chunks, so that a large file takes little memory.

    Raises:
        InputError: no such file, or a damaged one.
    """
    before = 0
    for chunk in _chunks(path):
        texts = _split(chunk)
        numbered = texts.with_row_index("line", before + 1).with_columns(pl.col("line").cast(pl.Int64))
        yield numbered.filter(~pl.col("text").str.contains(r"^\s*$"))
        before += len(texts)


def read_fields(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Frames of `line` and `columns` (`split_fields`), without comments: lines that begin with #, `track` or
    `browser`.

    Raises:
        InputError: no such file, or a damaged one.
    """
    for lines in read_lines(path):
        used = ~pl.col("text").str.contains(r"^(#|track[ \t]|browser[ \t])")
        yield split_fields(lines.filter(used), columns)


def split_fields(lines: pl.DataFrame, columns: list[str], *, whole: bool = False) -> pl.DataFrame:
    """`line`, and `text` split at tabs into `columns`: null where a line is shorter. What follows the last
    column is dropped, or with `whole` belongs to it."""
    names = columns if whole else [*columns, "_rest"]
    fields = pl.col("text").str.splitn("\t", len(names)).struct.rename_fields(names)
    return lines.select("line", fields.alias("fields")).unnest("fields").select("line", *columns)


def _split(chunk: bytes) -> pl.DataFrame:
    """Column `text`: the lines of a chunk that ends in a line feed."""
    if not chunk.isascii():
        try:
            chunk.decode()
        except UnicodeDecodeError:
            chunk = text_of(chunk).encode()
    ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    texts = pl.from_arrow(pa.Array.from_buffers(pa.large_string(), len(ends), buffers))
    assert isinstance(texts, pl.Series)
    return texts.alias("text").to_frame().with_columns(pl.col("text").str.strip_chars_end("\n"))


def _chunks(path: Path) -> Iterator[bytes]:
    """Whole lines that end in line feeds, without a byte order mark."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        packed = is_gzip(path)
        if packed and is_bgzip(path):
            check_end(path, str(path))
        with gzip.open(path) if packed else open(path, "rb") as stream:
            chunk = stream.read(CHUNK_BYTES)
            if chunk[:2] in UTF_16:
                raise InputError(f"{path} is UTF-16 text; write it as UTF-8: iconv -f UTF-16 -t UTF-8 {path}")
            chunk, rest, end, n_lines = chunk.removeprefix(codecs.BOM_UTF8), b"", b"", 0
            while chunk:
                end = end or _line_end(rest + chunk)
                cut = chunk.rfind(end) + 1 if end else 0
                if cut:
                    whole = b"".join((rest, memoryview(chunk)[:cut]))
                    lines = _with_line_feeds(whole, end, path, n_lines)
                    yield lines
                    n_lines += lines.count(b"\n")
                    rest = chunk[cut:]
                else:
                    rest += chunk
                if len(rest) > MOST_LINE_BYTES:
                    raise InputError(
                        f"{path} has a line of more than {MOST_LINE_BYTES >> 20} MiB; is it packed twice, "
                        "or no text?"
                    )
                chunk = stream.read(CHUNK_BYTES)
            if rest:
                end = end or b"\n"
                yield _with_line_feeds(rest.rstrip(b"\r") + end, end, path, n_lines)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}; is it cut short or damaged?") from error


def _line_end(data: bytes) -> bytes:
    """What ends the first line: a line feed (also behind carriage returns) or a carriage return; empty where
    the data does not tell."""
    found = re.search(rb"\r*\n|\r+(?=[^\r\n])", data)
    return b"" if found is None else found[0][-1:]


def _with_line_feeds(data: bytes, end: bytes, path: Path, n_before: int) -> bytes:
    """Whole lines with line feeds; InputError for a NUL, or a line end of another kind inside a line."""
    if end == b"\n" and b"\r" in data:
        data = re.sub(rb"\r+\n", b"\n", data)
    strange = {b"\0": "a NUL byte", b"\r" if end == b"\n" else b"\n": "line ends of two kinds"}
    for byte, what in strange.items():
        place = data.find(byte)
        if place >= 0:
            number = n_before + 1 + data.count(end, 0, place)
            raise InputError(f"{path}, line {number}: {what}; is the file damaged?")
    return data if end == b"\n" else data.replace(b"\r", b"\n")


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

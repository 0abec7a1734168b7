"""Opening one input file by its format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from legscore.errors import InputError
from legscore.input.columnar import ArrowSource, ParquetSource
from legscore.input.files import PARQUET_ENDINGS, PARQUET_MAGIC
from legscore.input.source import READ_ERRORS, Source, first_line, refuse_twice
from legscore.system.storage import Remote, open_binary, reason

EXTENSIONS = {
    **dict.fromkeys(PARQUET_ENDINGS, "Parquet"),
    ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow", ".arrows": "Arrow",
    ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".txt": "TSV",
    ".fa": "FASTA", ".fasta": "FASTA", ".fna": "FASTA", ".fas": "FASTA",
}  # fmt: skip
ARROW_MAGIC = b"ARROW1"
"""Begins Arrow files; streams have none."""


def open_source(path: Path | Remote, names: Sequence[str] | None = None) -> Source:
    """Open a file by its extension, or by its first bytes where that says nothing or they are Parquet's.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open_binary(path) as stream:
            magic = bytes(stream.read(8))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    if not magic:
        raise InputError(f"{path} is empty (0 bytes)")
    format_name = format_of(path, magic)
    try:
        source: Source
        if format_name == "Parquet":
            source = ParquetSource(path)
        elif format_name == "Arrow":
            source = ArrowSource(path)
        elif format_name == "FASTA":
            if isinstance(path, Remote):
                raise InputError(
                    f"{path}: FASTA is read from a disk only; copy it here, or write it as Parquet"
                )
            from legscore.input.fasta import FastaSource

            source = FastaSource(path)
        else:
            from legscore.input.text import TextSource

            source = TextSource(path, format_name, names)
        there = source.schema.names
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as {format_name}: {first_line(error)}") from error
    refuse_twice(path, there)
    return source


def format_of(path: Path | Remote, magic: bytes) -> str:
    """A file's format by its name and its first eight bytes. InputError where neither says it."""
    name = path.name.lower()
    extension = Path(name[:-3] if name.endswith(".gz") else name).suffix
    if magic[:4] in PARQUET_MAGIC:
        return "Parquet"
    if extension in EXTENSIONS:
        return EXTENSIONS[extension]
    if magic.startswith(ARROW_MAGIC):
        return "Arrow"
    if magic[:1] == b">":
        return "FASTA"
    raise InputError(
        f"{path}: unknown format; known extensions are {', '.join(EXTENSIONS)} (text also with .gz)"
    )

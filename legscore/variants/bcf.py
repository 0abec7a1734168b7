"""BCF ↔ the text of a VCF, with htslib: what text holds and BCF cannot is refused, never lost."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysam
import pysam.bcftools

from legscore.errors import InputError, OutputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.variants.vcf_file import open_vcf, unreadable

LEAST, MOST = -(2**31) + 8, 2**31 - 1
"""Integers of BCF; htslib makes others a missing value and warns once in a process, if at all."""
_LARGE = re.compile(rb"[=,:\t]-?[0-9]{10,}")
_INTEGER = re.compile(rb"##(INFO|FORMAT)=<(?:.*,)?ID=([^,>]+),(?:.*,)?Type=Integer")


def as_text(source: Path, target: Path) -> Path:
    """The VCF itself; of a BCF its text, in `target`. pysam would read text that is no UTF-8 as an error."""
    with open_vcf(source) as file:
        if file.format == "VCF":
            return source
    try:
        pysam.bcftools.view("--no-version", "-Oz1", "-o", str(target), str(source), catch_stdout=False)
    except (pysam.SamtoolsError, *READ_ERRORS) as error:
        raise InputError(f"{source} cannot be read as BCF: {first_line(error)}; is it damaged?") from error
    return target


def to_bcf(text: Path, target: Path, output: str) -> None:
    """The same records as BCF, as `bcftools view -Ob` makes it. OutputError when it refuses."""
    try:
        pysam.bcftools.view("--no-version", "-Ob", "-o", str(target), str(text), catch_stdout=False)
    except (pysam.SamtoolsError, *READ_ERRORS) as error:
        raise OutputError(
            f"{output}: BCF cannot hold this VCF ({first_line(error)}); write .vcf.gz, which leaves records "
            "as they are"
        ) from error


def fitting(lines: Iterator[bytes], source: str) -> Iterator[bytes]:
    """The lines of a VCF as they come.

    Raises:
        OutputError: a number of a field whose type is Integer does not fit BCF.
    """
    integers: set[tuple[bytes, bytes]] = set()
    n_records = 0
    for line in lines:
        if line.startswith(b"#"):
            if found := _INTEGER.match(line):
                integers.add((found[1], found[2]))
        else:
            n_records += 1
            if _LARGE.search(line) and (field := _too_large(line, integers)):
                raise OutputError(
                    f"{source}, record {n_records}: BCF cannot hold the value of {field}; write .vcf.gz, "
                    "which leaves records as they are"
                )
        yield line


def _too_large(line: bytes, integers: set[tuple[bytes, bytes]]) -> str | None:
    """The field of a record that has a number beyond those of BCF."""
    fields = line.split(b"\t")
    given = (
        [(b"INFO", *item.partition(b"=")[::2]) for item in fields[7].split(b";")] if len(fields) > 7 else []
    )
    if len(fields) > 9:
        keys = fields[8].split(b":")
        given += [
            (b"FORMAT", *pair)
            for sample in fields[9:]
            for pair in zip(keys, sample.split(b":"), strict=False)
        ]
    for kind, key, value in given:
        numbers = (text for text in value.split(b",") if text.lstrip(b"-").isdigit())
        if (kind, key) in integers and any(not LEAST <= int(number) <= MOST for number in numbers):
            return f"{kind.decode()}/{key.decode('utf-8', 'replace')}"
    return None


def whole_header(source: Path, file: Any) -> list[bytes]:
    """Lines of the header of an open text VCF once every record is read: what records use and it does not
    list is added, as htslib understands it. Written by htslib, since pysam would decode it."""
    n_read = 0
    try:
        for _ in file:
            n_read += 1
    except READ_ERRORS as error:
        raise unreadable(source, n_read, error) from error
    with tempfile.TemporaryDirectory(prefix="legscore-") as folder:
        written = Path(folder) / "header.vcf"
        with pysam.VariantFile(str(written), "w", header=file.header):
            pass
        return written.read_bytes().rstrip(b"\n").split(b"\n")

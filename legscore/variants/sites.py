"""What a VCF record says something about: more bases than POS and REF where it is a block, a structural
variant or one end of a breakend."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.variants.alleles import FARTHEST
from legscore.variants.vcf_file import open_vcf, opened, unreadable

SYMBOL = re.compile(r"<|.*[\[\]]|\.|.*\.$")
"""Alleles that name no bases: symbolic ones, breakends and single breakends. `*` is none of them."""
UNSPECIFIED = ("<NON_REF>", "<*>")
"""Any allele that was not seen: what the blocks of a gVCF hold."""
_END = re.compile(r"(?:^|;)END=([^;]*)")
_LENGTHS = re.compile(r"(?:^|;)SVLEN=([^;]*)")
_OTHER_CONTIG = re.compile(r"(?:^|;)CHR2=([^;]*)")
_MATE = re.compile(r"[\[\]](.+):(\d+)[\[\]]")


@dataclass(frozen=True)
class Site:
    """A record without its samples.

    Attributes:
        number: record of the file, from 0.
        where: the record in words, for messages.
        chrom, pos, ref, alts: as written; pos is 1-based, alts is empty where ALT is a dot.
        start, end: the bases that the record is about, 0-based half-open.
    """

    number: int
    where: str
    chrom: str
    pos: int
    ref: str
    alts: tuple[str, ...]
    start: int
    end: int


def is_symbol(alt: str) -> bool:
    """Whether an ALT names no bases, so that it cannot be applied to the genome."""
    return SYMBOL.match(alt) is not None


def _covers(alt: str) -> bool:
    """Whether an ALT is a structural variant of bases that are there: an insertion is of none."""
    return alt.startswith("<") and alt not in UNSPECIFIED and not alt.upper().startswith("<INS")


def covered(
    where: str, chrom: str, pos: int, ref: str, alts: Sequence[str], info: str, block_lengths: Sequence[int]
) -> tuple[int, int]:
    """The bases that a record is about, 0-based half-open: REF, and what END, SVLEN, the FORMAT field LEN
    (`block_lengths`) and the other end of a breakend on the same contig add to it.

    Raises:
        InputError: END is no number.
    """
    start, end = pos - 1, pos - 1 + len(ref)
    other = _OTHER_CONTIG.search(info)
    if (found := _END.search(info)) and (other is None or other[1] == chrom) and found[1] != ".":
        if not found[1].isdecimal():
            raise InputError(f"{where}: END is {found[1][:40]!r}; correct or remove it")
        end = max(end, int(found[1]))
    if found := _LENGTHS.search(info):
        lengths = [int(text) if text.lstrip("-").isdecimal() else 0 for text in found[1].split(",")]
        for alt, length in zip(alts, lengths * len(alts) if len(lengths) == 1 else lengths, strict=False):
            if _covers(alt):
                end = max(end, pos + abs(length))
    if any(map(_covers, alts)):  # POS is the base before; of what has no length, one base at least is known
        end = max(end, pos + 1)
    for alt in alts:
        if (mate := _MATE.search(alt)) and mate[1] == chrom:
            start, end = min(start, int(mate[2]) - 1), max(end, int(mate[2]))
    end = max([end, *(pos - 1 + length for length in block_lengths)])
    return start, min(end, FARTHEST)


Values = Callable[[], tuple[list[str], list[str]]]
"""Returns the FORMAT of a record, as keys, and the values of the chosen samples, as written."""


def read_sites(path: Path, samples: Sequence[str]) -> Iterator[tuple[Site, Values]]:
    """Every record of a VCF or BCF in the order of the file, with a function that returns the values of the
    samples.

    Text is read as it is written: htslib would set values to missing that do not fit their header's type.

    Raises:
        InputError: a record cannot be read; its line is named.
    """
    with open_vcf(path) as file:
        names, is_text = list(file.header.samples), file.format == "VCF"
        columns = [names.index(name) for name in samples]
        if not is_text:
            yield from _binary_sites(path, file, columns)
            return
    number = -1
    try:
        with opened(path) as stream:
            for line_number, line in enumerate(stream, 1):
                if line.startswith(b"#"):
                    continue
                number += 1
                where = f"{path}, line {line_number}"
                yield _site(line.rstrip(b"\r\n"), number, where, columns, len(names))
    except READ_ERRORS as error:
        raise InputError(
            f"{path} cannot be read after {number + 1:,} records: {first_line(error)}; is it cut short or "
            "damaged?"
        ) from error


def _binary_sites(path: Path, file: Any, columns: Sequence[int]) -> Iterator[tuple[Site, Values]]:
    """The records of a BCF. Only those that may cover more than htslib says are turned into text at once."""
    number, n_samples = -1, len(file.header.samples)
    try:
        for number, record in enumerate(file):
            alts, where = record.alts or (), f"{path}, record {number + 1}"
            if any(map(is_symbol, alts)):
                yield _site(str(record).rstrip("\n").encode(), number, where, columns, n_samples)
                continue
            site = Site(number, where, record.chrom, record.pos, record.ref, alts, record.start, record.stop)

            def values(record: Any = record, where: str = where) -> tuple[list[str], list[str]]:
                fields = str(record).rstrip("\n").encode().split(b"\t", 8)
                return _samples(fields[8] if len(fields) > 8 else b"", where, columns, n_samples)

            yield site, values
    except READ_ERRORS as error:
        raise unreadable(path, number + 1, error) from error


def _site(
    line: bytes, number: int, where: str, columns: Sequence[int], n_samples: int
) -> tuple[Site, Values]:
    """A line of text without its line end."""
    fields = line.split(b"\t", 8)
    if len(fields) < 8:
        raise InputError(f"{where}: {len(fields)} columns, not 8 or more; correct or remove it")
    chrom, pos, _, ref, alt, _, _, info = (field.decode("utf-8", "replace") for field in fields[:8])
    if not pos.isdecimal():
        raise InputError(f"{where}: POS is {pos[:40]!r}; correct or remove it")
    alts = () if alt == "." else tuple(alt.split(","))
    rest = fields[8] if len(fields) > 8 else b""

    def values() -> tuple[list[str], list[str]]:
        return _samples(rest, where, columns, n_samples)

    lengths: list[int] = []
    if "<*>" in alts and "LEN" in rest.partition(b"\t")[0].decode("utf-8", "replace").split(":"):
        lengths = [int(text) for text in field_of("LEN", *values(), absent=".") if text.isdecimal()]
    start, end = covered(where, chrom, int(pos), ref, alts, info, lengths)
    return Site(number, where, chrom, int(pos), ref, alts, start, end), values


def _samples(text: bytes, where: str, columns: Sequence[int], n_samples: int) -> tuple[list[str], list[str]]:
    """FORMAT as keys, and the values of the samples in `columns`."""
    form, *values = text.decode("utf-8", "replace").split("\t")
    if len(values) != n_samples:
        raise InputError(
            f"{where}: {len(values):,} samples, the header names {n_samples:,}; is it cut short or damaged?"
        )
    return form.split(":"), [values[column] for column in columns]


def field_of(key: str, keys: Sequence[str], values: Sequence[str], absent: str = ".") -> list[str]:
    """One field of every sample; `absent` where the record or the sample leaves it out."""
    if key not in keys:
        return [absent] * len(values)
    at = keys.index(key)
    if at == 0:
        return [value.partition(":")[0] for value in values]
    parts = [value.split(":", at + 1) for value in values]
    return [part[at] if at < len(part) else absent for part in parts]

"""The index of a FASTA (`.fai`), proved before it is used.

An index made for another version of the file would give the bases of another place, without any error. So
every contig's offset must follow a header line with its name, its last base must be followed by the next
header or the end, and no contig may be left out. That its lines have the length that the index says is
checked when its bases are read (`legscore.variants.genome`).
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from legscore.errors import InputError
from legscore.input.source import first_line
from legscore.variants.bgzip import Content, is_gzip
from legscore.variants.lines import text_of

PIECE_BYTES = 16 << 20
MOST_HEADER_BYTES = 1 << 20
"""Of the header lines between two contigs."""


@dataclass(frozen=True)
class Entry:
    """One contig: bases, where they begin in the (unpacked) file, and how its lines are made: bases, and
    bytes with what ends the line."""

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    def place(self, base: int) -> int:
        """Where a base (from 0) lies in the file."""
        return self.offset + base // self.line_bases * self.line_bytes + base % self.line_bases

    @property
    def end(self) -> int:
        """Behind the last base."""
        return self.place(self.length - 1) + 1 if self.length else self.offset


def open_index(path: Path, content: Content) -> list[Entry]:
    """The contigs of a FASTA by its index, proved against the file; an index is made where there is none.

    Args:
        path: the FASTA; content: its bytes, unpacked.

    Raises:
        InputError: no index can be made, it does not fit the file, or a name stands twice.
    """
    index = Path(f"{path}.fai")
    try:
        if not index.exists():
            _make(path, index)
        entries = list(_read(path, index))
        _prove(entries, path, content)
    except InputError as error:
        # no index helps a file that is damaged
        raise _damage(path, content) or error from None
    if not entries:
        raise InputError(f"--fasta {path} holds no sequence")
    return entries


def does_not_fit(path: Path, why: str) -> InputError:
    """The error for an index that is not that of its file."""
    return InputError(
        f"--fasta {path}: its index {path}.fai belongs to another version of it ({why}); make it again with: "
        f"samtools faidx {path}"
    )


def _damage(path: Path, content: Content) -> InputError | None:
    """The first character among the bases that no text has, with its line."""
    n_lines = 0
    for start in range(0, content.size, PIECE_BYTES):
        piece = content.read(start, start + PIECE_BYTES)
        for found in re.finditer(rb"[\0-\x08\x0e-\x1f]|\r(?=[^\r\n])", piece):
            line = piece.rfind(b"\n", 0, found.start()) + 1
            if piece[line : line + 1] != b">" or found[0] in b"\0\r":
                number = n_lines + 1 + piece.count(b"\n", 0, line)
                what = {b"\0": "a NUL byte", b"\r": "a carriage return within"}.get(
                    found[0], repr(found[0])[1:]
                )
                return InputError(f"--fasta {path}, line {number}: {what}; is the file damaged?")
        n_lines += piece.count(b"\n")
    return None


def _uneven_line(path: Path) -> int | None:
    """The first line, from 1, that is longer than the first of its record or follows a shorter one; None
    where all are as an index needs them."""
    first, is_last = 0, False
    with gzip.open(path) if is_gzip(path) else open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            n = len(line.rstrip(b"\r\n"))
            if line.startswith(b">"):
                first, is_last = 0, False
            elif n and (is_last or (first and n > first)):
                return number
            else:
                first = first or n
                is_last = n < first
    return None


def _make(path: Path, index: Path) -> None:
    """Write the index aside and put it in place."""
    import pysam

    aside = index.with_name(f".{index.name}.{os.getpid()}.{secrets.token_hex(4)}")
    packed = aside.with_name(f"{aside.name}.gzi")
    # htslib only warns of a name that stands twice; _prove refuses it
    before = pysam.set_verbosity(0)
    try:
        pysam.faidx("--fai-idx", str(aside), "--gzi-idx", str(packed), str(path))
        os.replace(aside, index)
    except (pysam.SamtoolsError, OSError) as error:
        if line := _uneven_line(path):
            raise InputError(
                f"--fasta {path}, line {line}: not as many letters as in the lines before, which an index "
                "does not allow for; write lines of one length, for example with: seqkit seq -w 60"
            ) from error
        raise InputError(
            f"--fasta {path} has no index and none can be made ({first_line(error)}); make one with: "
            f"samtools faidx {path}"
        ) from error
    finally:
        pysam.set_verbosity(before)
        aside.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)


def _read(path: Path, index: Path) -> Iterator[Entry]:
    try:
        lines = index.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"--fasta {path}: its index {index} cannot be read: {first_line(error)}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = line.rstrip(b"\r").split(b"\t")
        numbers = [int(text) for text in rest if text.isdigit() and len(text) < 19]
        if len(rest) != 4 or len(numbers) != 4:
            raise does_not_fit(path, f"line {number} is not a name and four whole numbers")
        entry = Entry(text_of(name), *numbers)
        if entry.length and not 0 < entry.line_bases <= entry.line_bytes:
            raise does_not_fit(path, f"line {number} says {entry.line_bases} bases a line")
        yield entry


def _prove(entries: list[Entry], path: Path, content: Content) -> None:
    """InputError unless the contigs of the index, one after another, are those of the file."""
    before, at, seen = "", 0, set[str]()
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.name in seen:
            raise _twice(path, entry.name)
        between = content.read(at, min(entry.offset, at + MOST_HEADER_BYTES))
        names = _headers(between, first=not seen)
        if entry.offset < at or not names or names[-1] != entry.name or not between.endswith(b"\n"):
            raise _misfit(path, content, at, before, f"begins {entry.name}", seen)
        ends = content.read(entry.offset + entry.line_bases, entry.offset + entry.line_bytes)
        if entry.length > entry.line_bases and (ends.strip() or not ends.endswith(b"\n")):
            raise does_not_fit(
                path, f"the lines of contig {entry.name} do not hold {entry.line_bases:,} bases"
            )
        if entry.end > content.size:
            raise does_not_fit(path, f"contig {entry.name} would end after the file")
        seen.add(entry.name)
        before, at = entry.name, entry.end
    rest = content.read(at, min(content.size, at + MOST_HEADER_BYTES))
    if _headers(rest, first=False) is None or at + len(rest) < content.size:
        raise _misfit(path, content, at, before, "has nothing more", seen)


def _headers(text: bytes, *, first: bool) -> list[str] | None:
    """Names in the header lines between the last base of a contig (or, with `first`, the beginning of the
    file) and the first base of the next; None where anything else stands there. All but the last are records
    without a base, which no index lists."""
    rest_of_line, *lines = text.split(b"\n") if not first else [b"", *text.split(b"\n")]
    if rest_of_line.strip() or any(line.strip() and not line.startswith(b">") for line in lines):
        return None
    return [_name(line) for line in lines if line.strip()]


def _misfit(
    path: Path, content: Content, at: int, before: str, expected: str, seen: Collection[str]
) -> InputError:
    """What stands behind contig `before` where the index expects something else."""
    text = content.read(at, at + MOST_HEADER_BYTES)
    lines = text.split(b"\n")
    headers = [_name(line) for line in lines[1 if before else 0 :] if line.startswith(b">")]
    if headers and headers[0] in seen:
        return _twice(path, headers[0])
    after = f"after {before}" if before else "at its beginning"
    if headers and headers[0] != expected.removeprefix("begins "):
        return does_not_fit(path, f"{after} the file begins {headers[0]}, the index {expected}")
    return does_not_fit(path, f"contig {before} has another length" if before else "it begins otherwise")


def _twice(path: Path, name: str) -> InputError:
    return InputError(f"--fasta {path} holds two contigs named {name}; rename or remove one of them")


def _name(header: bytes) -> str:
    """What a header line names: all up to the first white space."""
    return text_of((header[1:].split(maxsplit=1) or [b""])[0])

"""Whether a .tbi or .csi belongs to its VCF or BCF. htslib reads with any index and only warns of an old one:
records are then missing without a word.

An index holds, for each contig, places of the file where the records of a stretch begin, and where the last
one ends. Compared here: the end with that of the file, so that none was added or taken away, and the records
at those places (all, or LOOKS of them spread evenly) with the contig and the stretch. Sizes of compressed
blocks shift every later place when anything before them changes.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line

LOOKS = 2_000
"""Places that are looked at, at most; each costs a block, 0.3 ms. Of an index older than its file, all."""
DAMAGE = (*READ_ERRORS, struct.error, IndexError, OverflowError, UnicodeDecodeError)


@dataclass(frozen=True)
class _Place:
    """A virtual offset at which a record of a contig begins that lies in the stretch (0-based half-open)."""

    at: int
    contig: str
    start: int
    stop: int


def index_of(path: Path) -> Path | None:
    """The index beside a file, as htslib chooses it; None where there is none."""
    return next((p for p in (Path(f"{path}.csi"), Path(f"{path}.tbi")) if p.is_file()), None)


def remake(path: Path, index: Path | None = None) -> str:
    """The command that makes the index of a file, in the form of `index`: of two, the .csi is used."""
    if path.suffix.lower() == ".bcf":
        return f"bcftools index -f {path}"
    return f"tabix -f {'-C ' if index and index.suffix == '.csi' else ''}-p vcf {path}"


def prove_index(path: Path, index: Path, contigs: list[str]) -> list[str]:
    """Compare an index with its file.

    Args:
        contigs: names in the header of a BCF, by whose numbers its records and its index go.

    Returns:
        Contigs that the index knows: of a VCF those that have records, of a BCF those of its header.

    Raises:
        InputError: the index is another file's, or damaged; the command that makes it anew is named.
    """
    try:
        with gzip.open(index) as stream:
            data = stream.read()
        places, end, names = _read(data, contigs)
        older = index.stat().st_mtime_ns < path.stat().st_mtime_ns
        why = _difference(path, places, end, contigs, None if older else LOOKS)
    except DAMAGE as error:
        closing = "BGZFile" in str(error)  # what pysam says where no block begins at an offset
        why = "names places where no block begins" if closing else f"cannot be read ({first_line(error)})"
    if why:
        advice = f"Make it with: {remake(path, index)}"
        raise InputError(f"{index} {why}; it is not the index of this file. {advice}")
    return names


def _read(data: bytes, contigs: list[str]) -> tuple[list[_Place], int, list[str]]:
    """Places that an index names, the offset at which the last record ends (0 where it holds none), and its
    contigs."""
    if data[:4] == b"TBI\1":
        n_refs, names_at = struct.unpack_from("<i", data, 4)[0], 36
        names, at = _names(data, names_at), names_at + struct.unpack_from("<i", data, 32)[0]
        min_shift, depth, loffset = 14, 5, 0
    elif data[:4] == b"CSI\1":
        min_shift, depth, n_aux = struct.unpack_from("<iii", data, 4)
        at = 16 + n_aux
        # of text the aux field is what a .tbi begins with; that of a BCF is empty
        names = _names(data, 16 + 28) if n_aux >= 28 else contigs
        n_refs, loffset = struct.unpack_from("<i", data, at)[0], 8
        at += 4
    else:
        raise ValueError("neither a .tbi nor a .csi")
    places: list[_Place] = []
    end = 0
    for reference in range(n_refs):
        n_bins = struct.unpack_from("<i", data, at)[0]
        at += 4
        for _ in range(n_bins):
            number = struct.unpack_from("<I", data, at)[0]
            n_chunks = struct.unpack_from("<i", data, at + 4 + loffset)[0]
            at += 8 + loffset
            chunks = np.frombuffer(data, dtype="<u8", count=2 * n_chunks, offset=at).reshape(-1, 2)
            at += 16 * n_chunks
            if (span := _span(number, min_shift, depth)) is not None and n_chunks:
                places += [_Place(int(begin), names[reference], *span) for begin in chunks[:, 0]]
                end = max(end, int(chunks[:, 1].max()))
        if not loffset:
            at += 4 + 8 * struct.unpack_from("<i", data, at)[0]
    return places, end, names


def _names(data: bytes, at: int) -> list[str]:
    """Names of contigs, each closed by a zero byte; their length lies in the four bytes before."""
    (length,) = struct.unpack_from("<i", data, at - 4)
    return [name.decode() for name in data[at : at + length].split(b"\0")[:-1]]


def _span(number: int, min_shift: int, depth: int) -> tuple[int, int] | None:
    """The stretch of a bin, None for the one that holds statistics. Level l has 8^l bins of one size."""
    before = 0
    for level in range(depth + 1):
        if number < before + (1 << 3 * level):
            shift = min_shift + 3 * (depth - level)
            return (number - before) << shift, (number - before + 1) << shift
        before += 1 << 3 * level
    return None


def _difference(
    path: Path, places: list[_Place], end: int, contigs: list[str], looks: int | None
) -> str | None:
    """What in the file is not as the index says; None where all is."""
    size = path.stat().st_size
    chosen = sorted(places, key=lambda place: place.at)
    if looks is not None and len(chosen) > looks:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, looks).astype(int)]
    with pysam.BGZFile(str(path), "rb") as file:
        read = _read_binary if path.suffix.lower() == ".bcf" else _read_text
        for place in chosen:
            found = read(file, place.at, contigs) if place.at >> 16 < size else None
            if found is None or found[0] != place.contig or not place.start <= max(found[1], 0) < place.stop:
                return f"says that a record of {place.contig} begins where none does"
        if places and end >> 16 > size:
            return "reaches beyond the end of the file"
        if places:
            file.seek(end)
            if file.read(1):
                return "does not reach the last record of the file"
        elif next(_records_of(path), None) is not None:
            return "holds no record, which the file does"
    return None


Read = Callable[[Any, int, list[str]], "tuple[str, int] | None"]


def _read_text(file: Any, at: int, contigs: list[str]) -> tuple[str, int] | None:
    """Contig and position (from 0) of the line at an offset; None where no record begins there."""
    file.seek(at)
    fields = file.readline().split(b"\t", 2)
    if len(fields) < 3 or not fields[1].isdigit():
        return None
    return fields[0].decode("utf-8", "replace"), int(fields[1]) - 1


def _read_binary(file: Any, at: int, contigs: list[str]) -> tuple[str, int] | None:
    file.seek(at)
    head = file.read(16)
    if len(head) < 16:
        return None
    _, _, contig, position = struct.unpack("<IIii", head)
    return (contigs[contig], position) if 0 <= contig < len(contigs) else None


def _records_of(path: Path) -> Iterator[Any]:
    with pysam.VariantFile(str(path)) as file:
        yield from file

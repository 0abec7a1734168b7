"""A reference genome: indexed FASTA (plain or bgzip), contigs as upper-case ASCII in uint8 arrays.

Contigs are read whole when first asked for; the least recently used are let go beyond HELD_BYTES, so that a
human genome fits. Soft-masked letters are upper-cased and U is T; IUPAC ambiguity stays as it is (a model
reads it as N).
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pysam

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line

HELD_BYTES = 1 << 30
MOST_PACKED = 1100
"""Bytes that one packed byte can stand for (deflate reaches 1,032)."""
PIECE_BASES = 1 << 24
"""Bases read at a time: text and letters of a whole human chromosome would take a gigabyte for a moment."""


def _letters(pairs: str) -> np.ndarray:
    table = np.full(256, ord("?"), dtype=np.uint8)
    for pair in pairs.split():
        for letter in (pair[0], pair[0].lower()):
            table[ord(letter)] = ord(pair[1])
    table.setflags(write=False)
    return table


UPPER = _letters("AA CC GG TT UT NN RR YY SS WW KK MM BB DD HH VV")
"""uint8 [256]: letter → upper case, U → T, anything that is no base → '?'."""
COMPLEMENT = _letters("AT CG GC TA UA NN RY YR SS WW KM MK BV VB DH HD")
"""uint8 [256]: upper-case letter → letter of the other strand."""
NO_BASE = ord("?")


def reverse_complement(letters_NL: np.ndarray) -> np.ndarray:
    """uint8 [N, L] letters → the other strand."""
    return COMPLEMENT[letters_NL[:, ::-1]]


class Genome:
    """An indexed FASTA. `lengths` maps contig name → bases, in the order of the index."""

    def __init__(self, path: str | Path) -> None:
        """InputError when the file or its index is missing, damaged or only gzipped."""
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"--fasta {path}: no such file")
        with open(self.path, "rb") as stream:
            head = stream.read(18)
        if not head:
            raise InputError(f"--fasta {path} is empty (0 bytes)")
        packed = head[:2] == b"\x1f\x8b"
        if packed and head[12:14] != b"BC":
            raise InputError(
                f"--fasta {path} is gzipped, which cannot be read at random; pack it with bgzip instead"
            )
        if not packed and head.lstrip()[:1] != b">":
            raise InputError(f"--fasta {path} is no FASTA file: it does not begin with '>'")
        pysam.set_verbosity(0)  # its messages would stand beside ours
        try:
            self._file = pysam.FastaFile(str(self.path))
        except READ_ERRORS as error:
            raise InputError(
                f"--fasta {path} cannot be opened with its index ({first_line(error)}); make one with: "
                f"samtools faidx {path}"
            ) from error
        self.lengths = dict(zip(self._file.references, self._file.lengths, strict=True))
        if not self.lengths:
            raise InputError(f"--fasta {path} holds no sequence")
        most = self.path.stat().st_size * (MOST_PACKED if packed else 1)
        if impossible := [name for name, length in self.lengths.items() if not 0 <= length <= most]:
            raise InputError(
                f"--fasta {path}: its index says that contig {impossible[0]} has "
                f"{self.lengths[impossible[0]]:,} bases, more "
                f"than the file can hold; make the index again with: samtools faidx {path}"
            )
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.lengths)

    def contig(self, name: str) -> np.ndarray:
        """Letters of a contig, uint8 [length], read-only. InputError when the file does not hold what its
        index says."""
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        letters = np.empty(self.lengths[name], dtype=np.uint8)
        for start in range(0, len(letters), PIECE_BASES):
            piece = letters[start : start + PIECE_BASES]
            try:
                text = self._file.fetch(name, start, start + len(piece))
            except READ_ERRORS as error:
                raise InputError(
                    f"--fasta {self.path}: contig {name} cannot be read: {first_line(error)}"
                ) from error
            found = np.frombuffer(
                text.encode("utf-8", "surrogateescape").translate(UPPER.tobytes()), dtype=np.uint8
            )
            if len(found) != len(piece) or (found == NO_BASE).any():
                raise InputError(
                    f"--fasta {self.path}: contig {name} does not fit the index or holds letters that are "
                    "no bases; "
                    f"make the index again with: samtools faidx {self.path}"
                )
            piece[:] = found
        letters.setflags(write=False)
        self._held[name] = letters
        while len(self._held) > 1 and sum(map(len, self._held.values())) > HELD_BYTES:
            self._held.popitem(last=False)
        return letters

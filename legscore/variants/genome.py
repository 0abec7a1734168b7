"""A reference genome: indexed FASTA (plain or bgzip), contigs as upper-case ASCII in uint8 arrays.

Contigs are read whole when first asked for; the least recently used are let go beyond HELD_BYTES, so that a
human genome fits. Soft-masked letters are upper-cased and U is T; IUPAC ambiguity stays as it is (a model
reads it as N). Every line is checked against the index (`legscore.variants.fasta_index`).
"""

from __future__ import annotations

import codecs
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from legscore.errors import InputError
from legscore.variants.bgzip import Bgzip, Content, Plain, is_bgzip, is_gzip
from legscore.variants.fasta_index import Entry, does_not_fit, open_index

HELD_BYTES = 1 << 30
PIECE_BASES = 1 << 24
"""Bases read at a time: text and letters of a whole human chromosome would take a gigabyte for a moment."""
LOOK_BYTES = 1 << 16


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
_UPPER_BYTES = UPPER.tobytes()


class Genome:
    """An indexed FASTA. `lengths` maps contig name → bases, in the order of the index."""

    def __init__(self, path: str | Path) -> None:
        """Open a FASTA and prove its index, which is made where there is none.

        Raises:
            InputError: the file is missing, damaged or gzipped without blocks, a name stands twice in it, or
                the index is that of another version of the file.
        """
        self.path = Path(path)
        self._content = self._open()
        self._entries = {entry.name: entry for entry in open_index(self.path, self._content)}
        self.lengths = {name: entry.length for name, entry in self._entries.items()}
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()

    def _open(self) -> Content:
        path = self.path
        if not path.is_file():
            raise InputError(f"--fasta {path}: no such file")
        if not path.stat().st_size:
            raise InputError(f"--fasta {path} is empty (0 bytes)")
        packed = is_gzip(path)
        if packed and not is_bgzip(path):
            raise InputError(
                f"--fasta {path} is gzipped, which cannot be read at random; pack it with bgzip instead"
            )
        content: Content = Bgzip(path, f"--fasta {path}") if packed else Plain(path)
        head = content.read(0, LOOK_BYTES)
        if head.startswith(codecs.BOM_UTF8):
            raise InputError(
                f"--fasta {path}, line 1 begins with a byte order mark, which an index does not allow for; "
                f"remove it: sed -i '1s/^\\xef\\xbb\\xbf//' {path}"
            )
        if head.lstrip()[:1] != b">":
            raise InputError(f"--fasta {path} is no FASTA file: it does not begin with '>'")
        if b"\n" not in head and b"\r" in head:
            raise InputError(
                f"--fasta {path}, line 1 ends in a carriage return alone, which an index does not allow for; "
                r"write line feeds instead: tr '\r' '\n'"
            )
        return content

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.lengths)

    def contig(self, name: str) -> np.ndarray:
        """Letters of a contig, uint8 [length], read-only.

        Raises:
            InputError: the file does not hold what its index says, or letters that are no bases.
        """
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        letters = self._read(self._entries[name])
        letters.setflags(write=False)
        self._held[name] = letters
        while len(self._held) > 1 and sum(map(len, self._held.values())) > HELD_BYTES:
            self._held.popitem(last=False)
        return letters

    def _read(self, entry: Entry) -> np.ndarray:
        """Letters of a contig. Its lines must be as the index says and hold bases only."""
        letters = np.empty(entry.length, dtype=np.uint8)
        content, bases = self._content, entry.line_bases
        line_end = content.read(entry.offset + bases, entry.offset + entry.line_bytes)
        for start, stop in _pieces(entry):
            found = _bases_of(content.read(entry.place(start), entry.place(stop - 1) + 1), entry, line_end)
            if found is None or len(found) != stop - start or (found == NO_BASE).any():
                raise self._trouble(entry)
            behind = content.read(entry.place(stop - 1) + 1, entry.place(stop))
            if stop < entry.length and stop % bases == 0 and behind != line_end:
                raise self._trouble(entry)
            letters[start:stop] = found
        if content.has_changed():
            raise InputError(f"--fasta {self.path} was changed while it was read; run again")
        return letters

    def _trouble(self, entry: Entry) -> InputError:
        """Where a contig holds what is no base, with its line; else its lines are not those of the index."""
        allowed = UPPER != NO_BASE
        allowed[list(b"\r\n")] = True
        for start in range(entry.offset, entry.end, PIECE_BASES):
            piece = self._content.read(start, min(start + PIECE_BASES, entry.end))
            bad = np.flatnonzero(~allowed[np.frombuffer(piece, dtype=np.uint8)])
            if len(bad) and piece[bad[0]] != ord(">"):
                number = 1 + piece.count(b"\n", 0, int(bad[0]))
                for before in range(0, start, PIECE_BASES):
                    number += self._content.read(before, min(before + PIECE_BASES, start)).count(b"\n")
                letter = chr(piece[bad[0]])
                return InputError(
                    f"--fasta {self.path}, line {number}: contig {entry.name} holds {letter!r}, which is no "
                    "base"
                )
        return does_not_fit(
            self.path, f"not every line of contig {entry.name} holds {entry.line_bases:,} bases"
        )


def _pieces(entry: Entry) -> Iterator[tuple[int, int]]:
    """Stretches of a contig: whole lines, or pieces of a line where it is longer than a piece."""
    bases, start = entry.line_bases, 0
    while start < entry.length:
        if bases <= PIECE_BASES:
            stop = start + PIECE_BASES // bases * bases
        else:
            stop = min(start + PIECE_BASES, (start // bases + 1) * bases)
        stop = min(stop, entry.length)
        yield start, stop
        start = stop


def _bases_of(text: bytes, entry: Entry, line_end: bytes) -> np.ndarray | None:
    """Letters of lines (the last one without its end), or of a piece of one; None where a line does not end
    where it should."""
    letters = np.frombuffer(text.translate(_UPPER_BYTES), dtype=np.uint8)
    if len(text) <= entry.line_bases:
        return letters
    whole = len(text) // entry.line_bytes
    cut, lines = whole * entry.line_bytes, (whole, entry.line_bytes)
    found = np.frombuffer(text, dtype=np.uint8)[:cut].reshape(lines)[:, entry.line_bases :]
    if (found != np.frombuffer(line_end, dtype=np.uint8)).any():
        return None
    return np.concatenate([letters[:cut].reshape(lines)[:, : entry.line_bases].ravel(), letters[cut:]])

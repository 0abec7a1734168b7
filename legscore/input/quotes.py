"""Whether the quotes of a CSV or TSV stand where a well-formed file has them.

A reader of CSV takes a quote that opens a field and is never closed for the beginning of a very long
value, and silently puts the rest of the file into it; text behind a closing quote it appends. Here every
block is looked at in passing, vectorised, under the assumption that quotes open and close in turn. Where
that does not hold, the file is read once more with Python's csv module, which knows whether it is well
formed and, if not, in which line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

import numpy as np

QUOTE, LINE_FEED = ord('"'), ord("\n")


class QuoteScan:
    """Looks at a text block by block.

    Attributes:
        regular: no quote so far stands where the assumption does not hold.
        line_ends: LF characters so far.
    """

    def __init__(self, delimiter: str) -> None:
        self._is_edge = np.zeros(256, dtype=bool)
        """Of a byte: whether it may stand before an opening and behind a closing quote."""
        self._is_edge[list(f'{delimiter}\r\n"'.encode())] = True
        self._is_open = self._closed_last = False
        self._last = ord("\n")
        self.regular, self.line_ends = True, 0

    def add(self, block: bytes) -> None:
        """The next bytes of the file."""
        if not block:
            return
        letters = np.frombuffer(block, dtype=np.uint8)
        self.line_ends += int(np.count_nonzero(letters == LINE_FEED))
        if self._closed_last and not self._is_edge[block[0]]:
            self.regular = False
        self._closed_last = False
        if self.regular and QUOTE in block:
            self._look(letters)
        self._last = block[-1]

    def _look(self, letters: np.ndarray) -> None:
        at = np.flatnonzero(letters == QUOTE)
        opening, closing = at[int(self._is_open) :: 2], at[1 - int(self._is_open) :: 2]
        before = letters[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self._last
        if len(closing) and closing[-1] == len(letters) - 1:
            self._closed_last, closing = True, closing[:-1]
        self.regular = bool(self._is_edge[before].all() and self._is_edge[letters[closing + 1]].all())
        self._is_open ^= bool(len(at) % 2)

    @property
    def is_sound(self) -> bool:
        """Whether all of a file that ends here is well formed. False means that it may not be."""
        return self.regular and not self._is_open


def first_damage(lines: Iterable[str], delimiter: str, most: int) -> str | None:
    """Where the quoting of a text is first broken, as words with the number of the line; None when it is
    sound.

    Args:
        lines: with their ends.
        most: letters that a field may have.
    """
    reader = csv.reader(_without_nul(lines), delimiter=delimiter, strict=True)
    begin, before = 1, csv.field_size_limit(most)
    try:
        for _ in reader:
            begin = reader.line_num + 1
    except csv.Error as error:
        if "expected after" in str(error):
            where = f"line {reader.line_num}"
            if begin != reader.line_num:
                where = f"the row that begins in line {begin}: line {reader.line_num}"
            return f"{where} has text after a closing quote"
        return f"the row that begins in line {begin} has a quote that is never closed"
    finally:
        csv.field_size_limit(before)
    return None


def _without_nul(lines: Iterable[str]) -> Iterator[str]:
    # Python 3.10 refuses them; to the quoting they are like any other letter
    return (line.replace("\0", " ") for line in lines)

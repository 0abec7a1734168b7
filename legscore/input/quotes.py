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

QUOTE, ENDS = ord('"'), (ord("\n"), ord("\r"))


class QuoteScan:
    """Looks at a text block by block; after the last one `is_sound` tells whether all quotes are in place.

    In place is a quote before or behind a delimiter, a line end or another quote, as they take turns. One
    that opens a value and has a delimiter or a line end behind it may be a value of its own (inches, "as
    above").
    """

    def __init__(self, delimiter: str) -> None:
        self._edges = (ord(delimiter), *ENDS)
        """Bytes between which a value stands."""
        self._in_place, self._is_open, self._is_alone = True, False, False
        self._opened_last = self._closed_last = False
        self._last = ENDS[0]

    def add(self, letters: np.ndarray) -> None:
        """The next bytes of the file, uint8."""
        if not len(letters):
            return
        begins = letters[0]
        if self._opened_last and begins in self._edges:
            self._is_alone = True
        if self._closed_last and begins != QUOTE and begins not in self._edges:
            self._in_place = False
        self._opened_last = self._closed_last = False
        if self._in_place and len(at := np.flatnonzero(letters == QUOTE)):
            self._look(letters, at)
        self._last = letters[-1]

    def _look(self, letters: np.ndarray, at: np.ndarray) -> None:
        """`at`: where the quotes are."""
        opening, closing = at[int(self._is_open) :: 2], at[1 - int(self._is_open) :: 2]
        before = letters[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self._last
        if at[-1] == len(letters) - 1:
            self._opened_last = len(opening) > 0 and opening[-1] == at[-1]
            self._closed_last = not self._opened_last
            opening, closing = opening[opening < at[-1]], closing[closing < at[-1]]
        self._in_place = self._all_may_be(before) and self._all_may_be(letters[closing + 1])
        inside = letters[opening + 1]
        self._is_alone |= any(bool((inside == edge).any()) for edge in self._edges)
        self._is_open ^= bool(len(at) % 2)

    def _all_may_be(self, neighbours: np.ndarray) -> bool:
        """Whether these bytes may stand before an opening or behind a closing quote."""
        found = neighbours == QUOTE
        for edge in self._edges:
            found |= neighbours == edge
        return bool(found.all())

    @property
    def is_sound(self) -> bool:
        """Whether all of a file that ends here is well formed. False means that it may not be."""
        return self._in_place and not self._is_open and not self._is_alone


def first_damage(lines: Iterable[str], delimiter: str, most: int) -> str | None:
    """Where the quoting of a text is first broken, as words with the number of the line.

    Args:
        lines: with their ends.
        most: letters that a field may have.

    Returns:
        None when it is sound.
    """
    pieces: list[str] = []
    reader = csv.reader(_noted(lines, pieces), delimiter=delimiter, strict=True)
    begin, before = 1, csv.field_size_limit(most)
    try:
        n_columns = len(next(reader, ()))
        begin = reader.line_num + 1
        pieces.clear()
        for row in reader:
            if len(pieces) > 1 and _has_lone_quotes(row, pieces, delimiter, n_columns):
                return f"a value in line {begin} is a quote alone, which reaches to line {reader.line_num}"
            begin = reader.line_num + 1
            pieces.clear()
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


def _has_lone_quotes(row: list[str], lines: list[str], delimiter: str, n_columns: int) -> bool:
    """Whether a row of several lines is rather several rows, of which two have a quote alone as a value.

    It is one row where every value stands between quotes: of two rows the second would have none before its
    quote.
    """
    quoted = delimiter.join('"' + value.replace('"', '""') + '"' for value in row)
    if quoted == "".join(lines).replace("\0", " ").rstrip("\r\n"):
        return False
    edges = (delimiter, "\n", "\r")
    return n_columns > 1 and (
        any(len(value) > 1 and value.startswith(edges) and value.endswith(edges) for value in row)
        and all(line.count(delimiter) == n_columns - 1 for line in lines)
    )


def _noted(lines: Iterable[str], pieces: list[str]) -> Iterator[str]:
    """The lines, which are also put into `pieces`."""
    for line in lines:
        pieces.append(line)
        # Python 3.10 refuses a NUL; to the quoting it is like any other letter
        yield line.replace("\0", " ")

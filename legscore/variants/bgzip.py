"""Files as the bytes they hold, read at random: plain ones, and those packed with bgzip.

bgzip packs a file in blocks of at most 64 KiB that unpack alone. Where each block lies is read from the
blocks themselves (26 bytes a block), so that no `.gzi` has to be trusted.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Protocol

from legscore.errors import InputError
from legscore.input.packed import BGZF_END, GZIP_MAGIC

HEADER_BYTES = 18
GZIP, BLOCK_MARK = GZIP_MAGIC + b"\x08\x04", b"\x06\x00BC\x02\x00"
"""How a block begins, and what follows from byte 10 on; then come two bytes: its size minus 1."""


def is_gzip(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def is_bgzip(path: Path) -> bool:
    """Whether a file begins with a block of bgzip."""
    with open(path, "rb") as stream:
        head = stream.read(HEADER_BYTES)
    return head[:4] == GZIP and head[10:16] == BLOCK_MARK


def check_end(path: Path, what: str) -> None:
    """InputError when a file packed with bgzip lacks its closing block: it was cut between two blocks."""
    with open(path, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - len(BGZF_END)))
        if stream.read() != BGZF_END:
            raise InputError(f"{what} ends without the closing block of bgzip; is it cut short?")


class Content(Protocol):
    """The bytes of a file, after unpacking."""

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Bytes start to stop (0-based half-open; fewer at the end)."""

    def has_changed(self) -> bool:
        """Whether the file has been written to since it was opened."""


class Plain:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - stays open, closed with the object
        self._found = os.fstat(self._file.fileno())
        self.size = self._found.st_size

    def read(self, start: int, stop: int) -> bytes:
        pieces, at = [], start
        while at < stop and (piece := os.pread(self._file.fileno(), stop - at, at)):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def has_changed(self) -> bool:
        now, then = os.fstat(self._file.fileno()), self._found
        return (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns)


class Bgzip:
    """What a file packed with bgzip holds."""

    def __init__(self, path: Path, what: str) -> None:
        """InputError when the blocks do not follow each other up to the end of the file; `what` names it."""
        check_end(path, what)
        self._packed, self._what = Plain(path), what
        self._at: list[int] = []
        """Where blocks begin in the file."""
        self._start: list[int] = []
        """Where what they hold begins in the whole."""
        at, total = 0, 0
        head = self._packed.read(0, HEADER_BYTES)
        while at < self._packed.size:
            if head[:4] != GZIP or head[10:16] != BLOCK_MARK:
                raise InputError(f"{what} is damaged: no block of bgzip begins at byte {at:,}")
            after = at + int.from_bytes(head[16:18], "little") + 1
            # the last four bytes of a block say how many it holds; the next one follows
            tail = self._packed.read(after - 4, after + HEADER_BYTES)
            if len(tail) < 4:
                raise InputError(f"{what} is cut short: its last block ends after the file")
            if held := int.from_bytes(tail[:4], "little"):
                self._at.append(at)
                self._start.append(total)
            at, total, head = after, total + held, tail[4:]
        self._at.append(at)
        self.size = total
        self._last = (-1, b"")

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = bisect_right(self._start, start) - 1, bisect_right(self._start, stop - 1) - 1
        if first == last:
            begin = start - self._start[first]
            return self._block(first)[begin : begin + stop - start]
        blocks = [self._block(first)[start - self._start[first] :]]
        blocks += [self._block(number) for number in range(first + 1, last)]
        blocks.append(self._block(last)[: stop - self._start[last]])
        return b"".join(blocks)

    def _block(self, number: int) -> bytes:
        if self._last[0] != number:
            packed = self._packed.read(self._at[number], self._at[number + 1])
            try:
                self._last = (number, zlib.decompress(packed, wbits=31))
            except zlib.error as error:
                raise InputError(
                    f"{self._what} is damaged: the block at byte {self._at[number]:,} cannot be unpacked "
                    f"({error})"
                ) from error
        return self._last[1]

    def has_changed(self) -> bool:
        return self._packed.has_changed()

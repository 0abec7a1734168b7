"""A Parquet object read in ranges: the bytes of the needed columns and no others, each once.

A reader of Parquet looks at a file several times: at the footer, at the first row of a row group, at its
dictionaries, at its pages. On a disk that costs nothing; from a store every look is a request and its bytes
travel. Here the footer is kept, and column chunks come in blocks that are kept while they are likely to be
asked for again.
"""

from __future__ import annotations

import bisect
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from legscore.system.storage import Remote

ATTEMPTS, PAUSE_S = 4, 0.2
TAIL_BYTES = 1 << 16
LEAST_BLOCK, MOST_BLOCK = 1 << 16, 4 << 20


class RangeReader:
    """Blocks of one object, at most `cache_bytes` of them at a time. Threads take turns."""

    def __init__(self, remote: Remote, cache_bytes: int) -> None:
        """OSError when the store refuses."""
        self._file = remote.open_file()
        self.size = int(self._file.size())
        self.cache_bytes = cache_bytes
        self._block = MOST_BLOCK
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._held = 0
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._lock = threading.Lock()
        begin = max(0, self.size - TAIL_BYTES)
        self._tail_start, self._tail = begin, self._fetch(begin, self.size)

    def _fetch(self, start: int, stop: int) -> bytes:
        """OSError when they do not come whole in ATTEMPTS tries: answers may be cut short behind their first
        line."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = bytes(self._file.read_at(stop - start, start))
                if len(found) == stop - start:
                    return found
                short = OSError(f"{len(found)} of {stop - start} bytes came")
            except OSError as error:
                short = error
            if attempt < ATTEMPTS:
                time.sleep(PAUSE_S * attempt)
        raise short

    def expect(self, chunks: Iterable[tuple[int, int]]) -> None:
        """Column chunks that will be read, as (start, stop) in bytes; blocks never reach beyond one."""
        ordered = sorted(set(chunks))
        with self._lock:
            self._starts, self._stops = [start for start, _ in ordered], [stop for _, stop in ordered]
            self._block = max(LEAST_BLOCK, min(MOST_BLOCK, self.cache_bytes // max(2 * len(ordered), 1)))

    def keep_footer(self, n_bytes: int) -> None:
        """Keep the last bytes of the object: its footer."""
        with self._lock:
            begin = max(0, self.size - n_bytes)
            if begin < self._tail_start:
                self._tail = self._fetch(begin, self._tail_start) + self._tail
                self._tail_start = begin

    def read_at(self, start: int, n_bytes: int) -> bytes:
        """Bytes from `start` on, fewer at the end of the object."""
        stop, pieces = min(start + n_bytes, self.size), []
        with self._lock:
            while start < stop:
                piece = self._some(start, stop)
                pieces.append(piece)
                start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _some(self, start: int, stop: int) -> bytes:
        """Some of these bytes, from the first on."""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : stop - self._tail_start]
        at = bisect.bisect_right(self._starts, start) - 1
        if at >= 0 and start < self._stops[at]:
            begin = self._starts[at] + (start - self._starts[at]) // self._block * self._block
            end = min(begin + self._block, self._stops[at], max(self._tail_start, begin + 1))
            block = self._kept(begin, end)
            return block[start - begin : stop - begin]
        after = self._starts[at + 1] if at + 1 < len(self._starts) else self._tail_start
        return self._kept(start, min(stop, max(after, start + 1), self._tail_start))

    def _kept(self, begin: int, end: int) -> bytes:
        found = self._blocks.pop((begin, end), None)
        if found is None:
            found = self._fetch(begin, end)
            self._held += len(found)
        self._blocks[begin, end] = found
        while self._held > self.cache_bytes and len(self._blocks) > 1:
            _, oldest = self._blocks.popitem(last=False)
            self._held -= len(oldest)
        return found

    def file(self) -> RangeFile:
        """A file over the same blocks, with a position of its own."""
        return RangeFile(self)


class RangeFile(io.RawIOBase):
    """What pyarrow reads from."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._reader.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        found = self._reader.read_at(
            self._at, self._reader.size - self._at if size is None or size < 0 else size
        )
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

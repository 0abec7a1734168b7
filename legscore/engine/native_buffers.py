"""Buffers of the native library's threads: made for networks of one shape, lent to one call at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np

from legscore.engine.native_library import load_library
from legscore.errors import EngineError

STAGES = ("encode", "stem", "expand", "group", "squeeze", "gate", "project", "mix", "head")


class NativeBuffers:
    """As many sets of buffers as threads score at once."""

    def __init__(self, network: Any, count: int) -> None:
        """Make them for a packed network's handle. EngineError without memory."""
        self._library, self._free = load_library(), SimpleQueue[Any]()
        self._made: list[Any] = []
        for _ in range(count):
            buffers = self._library.legnet_work(network)
            if not buffers:
                self.close()
                raise EngineError("engine native: there is no memory for the buffers of a thread")
            self._made.append(buffers)
            self._free.put(buffers)

    @contextlib.contextmanager
    def lent(self) -> Iterator[Any]:
        """One set, waiting for it where all are lent."""
        buffers = self._free.get()
        try:
            yield buffers
        finally:
            self._free.put(buffers)

    def stage_ticks(self) -> dict[str, int]:
        """Ticks of the CPU's counter that each stage took in all threads since the last call."""
        total = np.zeros(len(STAGES), dtype=np.uint64)
        for buffers in self._made:
            ticks = np.zeros(len(STAGES), dtype=np.uint64)
            self._library.legnet_stages(buffers, ticks.ctypes.data)
            total += ticks
        return dict(zip(STAGES, map(int, total), strict=True))

    def close(self) -> None:
        """Free them; no call may be under way."""
        made, self._made = self._made, []
        for buffers in made:
            self._library.legnet_work_free(buffers)

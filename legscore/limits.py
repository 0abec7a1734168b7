"""How much memory a run may use for its input: how many parts are under way at once, how large the reader's slices are.

Never what a part is: the bytes of the output do not depend on memory. A part that cannot fit is an error, raised while its rows
are read. Without `--memory` half of the machine's memory counts (that of the container, where there is one). With it, the
system also holds the process to it (RLIMIT_DATA), so that a file which claims more than it holds ends in one line.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from legscore.errors import LegscoreError

LEAST_BYTES = 256 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
COPIES = 4
"""A part is held as it was read, as windows and as output, at worst all at once."""
SLICE_BYTES = 64 << 20
POLL_S = 0.1
CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_bytes(text: str | int) -> int:
    """`8G`, `512M`, `1.5GiB` or a number of bytes (units of 1,024). LegscoreError for anything else, or less than 256M."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?\s*", str(text), re.IGNORECASE | re.ASCII)
    if found is None:
        raise LegscoreError(f"--memory {text}: write a size such as 8G or 512M")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST_BYTES:
        raise LegscoreError(f"--memory {text} is too little; give at least {LEAST_BYTES >> 20}M")
    return size


def machine_bytes() -> int:
    """Memory of this machine, or of the container it is."""
    import os

    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 << 30]
    for name in CGROUP:
        try:
            sizes.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return max(min(sizes), LEAST_BYTES)


@dataclass(frozen=True)
class Limits:
    """Bytes: of the whole run, of all parts under way, of one part's rows as read, of a slice that is read at a time."""

    total: int

    @classmethod
    def of(cls, memory: str | int | None) -> Limits:
        return cls(machine_bytes() // 2 if memory is None else parse_bytes(memory))

    @property
    def parts(self) -> int:
        """Half of it; the rest is for libraries, models and the engine."""
        return self.total // 2

    @property
    def part(self) -> int:
        return self.parts // COPIES

    @property
    def slice(self) -> int:
        return min(SLICE_BYTES, self.total // 16)


def hold_process(limits: Limits) -> None:
    """Let the system refuse this process more data than `limits.total` (Linux; elsewhere only our own bounds hold)."""
    import sys

    if sys.platform.startswith("linux"):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = limits.total if hard == resource.RLIM_INFINITY else min(limits.total, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class Sized(Protocol):
    """Something whose cost is known: a part."""

    @property
    def nbytes(self) -> int: ...


P = TypeVar("P", bound=Sized)


class Budget:
    """Parts under way cost at most `limit` bytes together, or are alone. Parts end in the order in which they began."""

    def __init__(self, limit: int) -> None:
        self._limit, self._costs, self._ended = limit, deque[int](), False
        self._changed = threading.Condition()

    def admit(self, parts: Iterable[P], cost: Callable[[P], int] = lambda part: COPIES * part.nbytes) -> Iterator[P]:
        """Hand parts on; each waits until there is room for it."""
        for part in parts:
            wanted = cost(part)
            with self._changed:
                while not self._ended and self._costs and sum(self._costs) + wanted > self._limit:
                    self._changed.wait(POLL_S)
                if self._ended:
                    return
                self._costs.append(wanted)
            yield part

    def done(self) -> None:
        """The oldest part has been written."""
        with self._changed:
            self._costs.popleft()
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody waits any longer; to be called when the parts are no longer wanted."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

"""How much memory a run may use for its input: how many parts are under way at once, how large the reader's
slices are.

Never what a part is: the bytes of the output do not depend on memory. A part that cannot fit is an error,
raised while its rows are read. Without `--memory` half of the machine's memory counts (that of the container,
where there is one). With it, the system also holds the process to it (RLIMIT_DATA), so that a file which
claims more than it holds ends in one line; only engines are opened without, and what they took is looked at
right after.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from legscore.errors import LegscoreError

LEAST_BYTES = 256 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
ROOM_BYTES, VERIFY_BYTES = 96 << 20, 128 << 20
"""What a run takes beside its engine, generously: stacks of threads and parts under way; building the network
that scores windows again. `test_a_bound_below_what_the_models_take_is_one_line` runs in what is then said to
be enough."""
SLACK_BYTES = 32 << 20
"""Added to what is said to be enough: the same run takes a stack of a thread (8 MiB) or two more at times."""
COPIES = 4
"""A part is held as it was read, as windows and as output, at worst all at once."""
SLICE_BYTES = 64 << 20
POLL_S = 0.1
CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_bytes(text: str | int) -> int:
    """`8G`, `512M`, `1.5GiB` or a number of bytes (units of 1,024). LegscoreError for anything else, or less
    than 256M."""
    found = re.fullmatch(
        r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?\s*", str(text), re.IGNORECASE | re.ASCII
    )
    if found is None:
        raise LegscoreError(f"--memory {text}: write a size such as 8G or 512M")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST_BYTES:
        raise LegscoreError(f"--memory {text} is too little; give at least {LEAST_BYTES >> 20}M")
    return size


def machine_bytes() -> int:
    """Memory of this machine, or of the container it is."""
    import os

    sizes = (
        [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 << 30]
    )
    for name in CGROUP:
        try:
            sizes.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return max(min(sizes), LEAST_BYTES)


@dataclass(frozen=True)
class Limits:
    """Bytes: of the whole run, of all parts under way, of one part's rows as read, of a slice that is read at
    a time."""

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


_held: int | None = None
"""Bytes this process is held to: like the system's limit, one a process."""


def limit_process_memory(limits: Limits) -> None:
    """Let the system refuse this process more data than `limits.total` (Linux; elsewhere only our own bounds
    hold)."""
    global _held
    if sys.platform.startswith("linux"):
        _held = _set_limit(limits.total)


def is_process_limited() -> bool:
    """Whether the system holds this process to a bound (`limit_process_memory`)."""
    return _held is not None


@contextlib.contextmanager
def memory_limit_lifted() -> Iterator[None]:
    """Within, the system refuses nothing. For opening an engine: OpenVINO may end the process or wait forever
    when it finds no memory while it loads a network. `check_room` then says whether what it took fits."""
    if _held is None:
        yield
        return
    _set_limit(None)
    try:
        yield
    finally:
        _set_limit(_held)


def check_room(what: str, *, verifies: bool) -> None:
    """LegscoreError when a process that is held has taken so much for `what` that the run does not fit any
    more, which may build networks to verify scores."""
    if _held is None:
        return
    taken, room = data_bytes(), ROOM_BYTES + (VERIFY_BYTES if verifies else 0)
    if taken + room > _held:
        raise LegscoreError(
            f"--memory: {what} and libraries take {taken >> 20:,} MiB of {_held >> 20:,}, which leaves too "
            "little for rows; "
            f"give at least {-(-(taken + room + SLACK_BYTES) // UNITS['M'])}M"
        )


def data_bytes() -> int:
    """What counts against the limit: writable memory of this process that it has asked for, used or not
    (Linux)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData:")) << 10


def _set_limit(size: int | None) -> int:
    """Limit the data of this process to `size` bytes, or as little as may be; what it then is."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if size is None else size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    return soft


class Sized(Protocol):
    """Something whose cost is known: a part."""

    @property
    def nbytes(self) -> int: ...


P = TypeVar("P", bound=Sized)


class Budget:
    """Parts under way cost at most `limit` bytes together, or are alone. Parts end in the order in which they
    began."""

    def __init__(self, limit: int) -> None:
        self._limit, self._costs, self._ended = limit, deque[int](), False
        self._changed = threading.Condition()

    def admit(
        self, parts: Iterable[P], cost: Callable[[P], int] = lambda part: COPIES * part.nbytes
    ) -> Iterator[P | None]:
        """Hand parts on. None comes, again whenever one of those handed on has ended, while the next one
        finds no room: who gets it must not wait for more of them before some have ended."""
        for part in parts:
            wanted = cost(part)
            while under_way := self._without_room(wanted):
                yield None
                self._until_fewer(under_way)
            if self._ended:
                return
            handed = [part]  # no name stands for a part that was handed on (`legscore.run.stream`)
            del part
            yield handed.pop()

    def _without_room(self, wanted: int) -> int:
        """Parts under way when there is no room beside them; else 0, and the new one counts."""
        with self._changed:
            if not self._ended and self._costs and sum(self._costs) + wanted > self._limit:
                return len(self._costs)
            self._costs.append(wanted)
            return 0

    def _until_fewer(self, parts: int) -> None:
        with self._changed:
            while not self._ended and len(self._costs) >= parts:
                self._changed.wait(POLL_S)

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

"""Which parts an actor gets next, and what happens to those that failed. Does not need Ray.

Actors get runs of neighbouring parts, so that reading, windowing and scoring overlap and a row group is
decoded once: long runs at first, single parts at the end. After a fault the part that was under way is blamed
and scored alone later; a part that fails more often than it may is set aside as poison, and the others go on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_PARTS = 8
"""Parts of one task."""


@dataclass
class Schedule:
    """Parts to score, shared out. `poison` holds parts given up and why."""

    missing: Iterable[int]
    retries: int
    poison: dict[int, str] = field(default_factory=dict)
    retried: int = 0
    """Times that a part was scored again after a fault."""

    def __post_init__(self) -> None:
        self._runs = deque(consecutive_runs(self.missing))
        self._alone: deque[int] = deque()
        self._faults: Counter[int] = Counter()

    @property
    def waiting(self) -> int:
        """Parts that nobody has."""
        return sum(map(len, self._runs)) + len(self._alone)

    def take(self, workers: int) -> range | None:
        """Parts for an actor of `workers`; None when nothing waits."""
        if not self._runs:
            if not self._alone:
                return None
            number = self._alone.popleft()
            return range(number, number + 1)
        size = max(1, min(MOST_PARTS, self.waiting // (4 * max(workers, 1))))
        first = self._runs.popleft()
        if len(first) > size:
            self._runs.appendleft(first[size:])
        return first[:size]

    def give_back(self, parts: range) -> None:
        """Parts that were handed out and not begun."""
        if parts:
            self._runs.appendleft(parts)

    def failed(self, unfinished: range, reason: str) -> int | None:
        """Note that a fault left these parts unfinished; the first is blamed. Return it if it is given up
        now."""
        if not unfinished:
            return None
        blamed = unfinished[0]
        self.give_back(unfinished[1:])
        self._faults[blamed] += 1
        if self._faults[blamed] > self.retries:
            self.poison[blamed] = reason
            return blamed
        self.retried += 1
        self._alone.append(blamed)
        return None


def consecutive_runs(numbers: Iterable[int]) -> list[range]:
    """Ascending numbers as runs without gaps."""
    runs: list[range] = []
    for number in sorted(numbers):
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs

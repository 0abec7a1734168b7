"""`legscore run --dry-run`: count parts and distinct windows, and predict the time from a short
measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass

from legscore.dna.batch import Batch
from legscore.rows.groups import Group
from legscore.run.plan import Plan

SAMPLED_PARTS = 4
MEASURED_S = 30.0
AT_ONCE = 256


@dataclass(frozen=True)
class Expected:
    """What a run would do. `windows` is exact when every part was sampled; `windows_per_s` is of one worker,
    by all members."""

    parts: int
    rows: int
    sampled_rows: int
    windows: int
    members: int
    windows_per_s: float
    measured_s: float


def expect(plan: Plan, seconds: float = MEASURED_S) -> Expected:
    """Window up to four parts, spread over the input, and score their windows for so many seconds (or once,
    if that is less)."""
    numbers, timed = plan.numbers, _Timed(plan, seconds)
    picked = sorted({round(i * (len(numbers) - 1) / max(SAMPLED_PARTS - 1, 1)) for i in range(SAMPLED_PARTS)})
    rows = windows = 0
    for place in picked if numbers else ():
        for part in plan.opened.parts(plan.columns, plan.part_rows, numbers[place], numbers[place] + 1):
            rows += part.table.num_rows
            for group in plan.groups(part):
                windows += group.windows.batch.n_windows
                timed.score(group)
    total = windows if rows == plan.n_rows else round(windows * plan.n_rows / max(rows, 1))
    rate = timed.windows / timed.spent_s if timed.spent_s else 0.0
    return Expected(len(numbers), plan.n_rows, rows, total, plan.engine.n_members, rate, timed.spent_s)


class _Timed:
    """Windows scored for so many seconds in all, AT_ONCE at a time, as full ones as a run has: edits are
    windows too, and of a saturation nearly all."""

    def __init__(self, plan: Plan, seconds: float) -> None:
        self._plan, self._seconds, self._is_warm = plan, seconds, False
        self.windows, self.spent_s = 0, 0.0

    def score(self, group: Group) -> None:
        batch = group.windows.batch
        for start in range(0, batch.n_windows, AT_ONCE):
            if self.spent_s >= self._seconds:
                return
            some = Batch(batch.expand(start, start + AT_ONCE))
            if not self._is_warm:
                self._plan.engine.score(some, group.members)
                self._is_warm = True
            began = time.perf_counter()
            self._plan.engine.score(some, group.members)
            self.spent_s += time.perf_counter() - began
            self.windows += some.n_windows


def seconds_of(found: Expected, workers: int = 1) -> float:
    """Seconds of a run whose rate could be measured. Workers are taken to add up."""
    return found.windows / found.windows_per_s / min(workers, max(found.parts, 1))


def said(found: Expected, workers: int = 1) -> list[str]:
    """Lines for people. Workers are taken to add up; reading, joining and starting them come on top."""
    exact = "" if found.sampled_rows == found.rows else f" (from {found.sampled_rows:,} of them)"
    lines = [
        f"parts: {found.parts:,}, of {found.rows:,} rows",
        f"windows: {found.windows:,} after deduplication{exact}, × {found.members} members",
    ]
    if not found.windows_per_s:
        return [*lines, "time: nothing to score in the parts that were looked at"]
    seconds = seconds_of(found, workers)
    each = f"{found.windows_per_s:,.1f} windows/s" + (f" × {workers} workers" if workers > 1 else "")
    return [*lines, f"time: about {spoken(seconds)} ({each}, measured for {found.measured_s:,.0f} s)"]


def said_of_both(
    student: Expected, ensemble: Expected, chosen: float | None, sample: float, workers: int = 1
) -> list[str]:
    """Lines for people about a cascade.

    Args:
        student, ensemble: each as if it scored every row.
        chosen: share of the rows that the ensemble scores again; None where a threshold decides.
        sample: share of the rows that check the choice.
    """
    lines = ["pass 1, the student:", *said(student, workers), "pass 2, the ensemble:"]
    if not (student.windows_per_s and ensemble.windows_per_s):
        return [*lines, "time: nothing to score in the parts that were looked at"]
    whole, first = seconds_of(ensemble, workers), seconds_of(student, workers)
    members = f"× {ensemble.members} members"
    share = sample if chosen is None else chosen + sample - chosen * sample
    sampled = f"a random {100 * sample:.3g}%"
    if chosen is None:
        lines += [
            f"windows: {round(sample * ensemble.windows):,} of {sampled} and those beyond the threshold, "
            f"{members}",
            f"time: about {spoken(share * whole)}, and {spoken(whole / 100)} for each 1% beyond the "
            "threshold",
            f"in all: about {spoken(first + share * whole)} and that; {spoken(whole)} without --student",
        ]
        return lines
    return [
        *lines,
        f"windows: {round(share * ensemble.windows):,} of {100 * chosen:.3g}% of the rows and {sampled}, "
        f"{members}",
        f"time: about {spoken(share * whole)}",
        f"in all: about {spoken(first + share * whole)}; {spoken(whole)} without --student",
    ]


def spoken(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"

"""Measure rates that can be compared: jobs take turns, medians count.

Two rates from different runs are never comparable.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Tick = Callable[[], object]


@dataclass(frozen=True)
class Job:
    """Something to time, and how much work (FLOP, bytes, windows) one call does."""

    run: Callable[[], object]
    work: float


def alternate(jobs: Mapping[str, Job], rounds: int, tick: Tick = lambda: None) -> dict[str, float]:
    """Run the jobs in turn, once to warm up and then `rounds` times; median rate (work a second) of each.
    `tick` is called after every call. Turns cancel a machine's moods."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            started = time.perf_counter()
            job.run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
            tick()
    return {name: jobs[name].work / statistics.median(taken) for name, taken in seconds.items()}

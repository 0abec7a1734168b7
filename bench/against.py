"""This checkout and another one in turn, each job in a process of its own: is it as fast as before? Imported
by `end_to_end.py` and `annotation.py`, for their option --against."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Job:
    """`words(out)`: what follows `python`, writing to `out`; `same(before, now)` compares what two runs wrote
    before their times are."""

    words: Callable[[Path], Sequence[object]]
    same: Callable[[Path, Path], None]


def compare(jobs: Mapping[str, Job], other: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of each round on the clock and of all cores, there and here, and what medians of here are of
    those of there. The first round warms caches and is not counted; who is first alternates."""
    checkouts = {"there": Path(other).resolve(), "here": HERE}
    found: dict[str, Any] = {}
    for name, job in jobs.items():
        seconds: dict[str, list[list[float]]] = {which: [] for which in checkouts}
        for turn in range(rounds + 1):
            written = {}
            for which in sorted(checkouts, reverse=turn % 2 == 0):
                written[which] = folder / f"{which}-{turn}.parquet"
                took = timed(job.words(written[which]), checkouts[which], folder / f"cache-{which}")
                seconds[which] += [took] if turn else []
            job.same(written["there"], written["here"])
            for path in folder.glob(f"*-{turn}.parquet*"):
                path.unlink()
        medians = {
            (which, what): statistics.median(took[i] for took in seconds[which])
            for which in checkouts
            for i, what in enumerate(("clock", "cores"))
        }
        found[name] = {
            **{f"{which}_s": seconds[which] for which in checkouts},
            "of_clock": medians["here", "clock"] / medians["there", "clock"],
            "of_cores": medians["here", "cores"] / medians["there", "cores"],
        }
        print(
            f"{name:14s} {medians['there', 'clock']:7.3f} s → {medians['here', 'clock']:7.3f} s "
            f"({found[name]['of_clock']:.3f}), core seconds {medians['there', 'cores']:7.3f} → "
            f"{medians['here', 'cores']:7.3f} ({found[name]['of_cores']:.3f})",
            flush=True,
        )
    git = ("git", "-C", str(checkouts["there"]), "rev-parse", "--short", "HEAD")
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return {"against": commit, "jobs": found}


def timed(words: Sequence[object], checkout: Path, cache: Path) -> list[float]:
    """Seconds on the clock and of all cores that a process takes. SystemExit when it fails."""
    env = {**os.environ, "PYTHONPATH": str(checkout), "LEGSCORE_CACHE": str(cache)}
    # compiled once, as what is installed
    env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{cache}-compiled"}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], env=env, cwd=cache.parent)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{checkout}: {' '.join(map(str, words))} ended with {process.returncode}")
    return [time.perf_counter() - started, used.ru_utime + used.ru_stime]

"""What does a run cost, by rows, members and cores? Times of whole runs, a fit, and a plot.

The time of `legscore run` (a process of its own, from start to exit) is fitted as start + windows × members ÷
rate + members × opening, over grids of windows and members; then the same work on 1 to all cores (affinity).
Scores on one core must equal those on all. Expected: the fit within 5 % of every time, and cores that add up
(≥ 0.9 each).

    python bench/scaling.py [--rounds 3] [--save]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import ORIGINAL, RESULTS, arguments, family, finish

from legscore.measure.whole_run import random_table
from legscore.system.cores import usable_cores

WINDOWS = (500, 2000, 4000)
MEMBERS = (1, 2, 5)


def main() -> None:
    options = arguments(__doc__ or "", rounds=3)
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contract = family(ORIGINAL, max(MEMBERS), folder / "all")[0].contract
        for n in MEMBERS:
            (folder / f"m{n}").mkdir()
            for i in range(n):
                os.link(folder / f"all/member{i:02d}.safetensors", folder / f"m{n}/member{i:02d}.safetensors")
        for windows in WINDOWS:
            pq.write_table(random_table(contract, windows), folder / f"{windows}.parquet")

        def run(windows: int, members: int, cores: int = cores) -> float:
            command = [
                sys.executable,
                "-m",
                "legscore",
                "run",
                str(folder / f"{windows}.parquet"),
                "-q",
                "--force",
                "-m",
                str(folder / f"m{members}"),
                "-o",
                str(folder / f"{windows}.{members}.{cores}.parquet"),
            ]
            started = time.perf_counter()
            subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, set(range(cores))))
            return time.perf_counter() - started

        grid = [(windows, members) for windows in WINDOWS for members in MEMBERS]
        for members in MEMBERS:
            for used in range(1, cores + 1):
                run(WINDOWS[0], members, used)  # the first run measures its fidelity and fills the cache
        taken: dict[Any, list[float]] = {
            key: [] for key in [*grid, *((WINDOWS[1], 1, used) for used in range(1, cores + 1))]
        }
        for _ in range(options.rounds):
            for key in taken:
                taken[key].append(run(*key))
        scores = [pq.read_table(folder / f"{WINDOWS[1]}.1.{used}.parquet")["score"] for used in (1, cores)]
        if not scores[0].equals(scores[1]):
            raise SystemExit("one core and all cores give different scores; no timing of wrong numbers")
    times = {key: median(values) for key, values in taken.items()}
    work = np.array([[1.0, windows * members, members] for windows, members in grid])
    seconds = np.array([times[key] for key in grid])
    (start, each, opening), *_ = np.linalg.lstsq(work / seconds[:, None], np.ones(len(grid)), rcond=None)
    fitted = work @ np.array([start, each, opening])
    worst = float(np.abs(fitted / seconds - 1).max())
    print(
        f"seconds = {start:.2f} + {opening:.3f} × members + windows × members / {1 / each:,.0f}; worst "
        f"error {100 * worst:.1f} %"
    )
    by_cores = {used: times[WINDOWS[1], 1, used] - start for used in range(1, cores + 1)}
    for used, left in by_cores.items():
        print(f"{used} cores: {by_cores[1] / left:.2f} × one core")
    points = [[*key, times[key], float(fit)] for key, fit in zip(grid, fitted, strict=True)]
    if options.save:
        plot(points)
    result = {
        "points": points,
        "start_s": start,
        "opening_s": opening,
        "windows_x_members_per_s": 1 / each,
        "worst_error": worst,
    }
    finish(
        "scaling",
        {**result, "cores": {used: by_cores[1] / left for used, left in by_cores.items()}},
        options.save,
    )


def plot(points: list[list[float]]) -> None:
    """Measured times and the fit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), constrained_layout=True)
    for members in MEMBERS:
        rows = [(windows, seconds, fit) for windows, m, seconds, fit in points if m == members]
        (line,) = axes.plot(
            [r[0] for r in rows],
            [r[2] for r in rows],
            label=f"{members} members" if members > 1 else "1 member",
        )
        axes.plot([r[0] for r in rows], [r[1] for r in rows], "o", color=line.get_color())
    axes.set(
        xlabel="windows (both strands)",
        ylabel="seconds, start to exit",
        title="Cost of a run: measured (points) and fitted (lines)",
    )
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(RESULTS / "scaling.png", dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()

"""Do two workers on Ray do twice the work of one? The same table by one process, one worker and two, each on
one core.

Outputs must be equal byte for byte before anything is said of time. A ratio is of the time in which parts
were scored: Ray and engines are started before it, which is told apart. Parts are made small (--part-rows),
since parts are what workers share. Expected: ≥ 1.8 × with two workers, ≥ 0.97 of the single process with one.

    python bench/ray_workers.py [--rows 20000] [--part-rows 1000] [--rounds 1] [--save]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
from machine import OPTIMISED, arguments, finish

from legscore.measure.whole_run import random_table
from legscore.model.checkpoint import load_checkpoint
from legscore.system.cores import usable_cores


def main() -> None:
    options = arguments(__doc__ or "", rows=20_000, part_rows=1000, rounds=1, workers=2)
    if usable_cores() < options.workers:
        raise SystemExit(
            f"{options.workers} workers of one core each need as many cores; there are {usable_cores()}"
        )
    ways = {"process": 0, "1 worker": 1, f"{options.workers} workers": options.workers}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(random_table(load_checkpoint(OPTIMISED).contract, options.rows), folder / "in.parquet")
        pq.write_table(random_table(load_checkpoint(OPTIMISED).contract, 64), folder / "few.parquet")

        def run(workers: int, source: str = "in.parquet") -> dict[str, Any]:
            out = folder / f"{workers}.{source}"
            command = [
                sys.executable,
                "-m",
                "legscore",
                "run",
                str(folder / source),
                "-q",
                "--force",
                "-m",
                str(OPTIMISED),
                "-o",
                str(out),
                "--part-rows",
                str(options.part_rows),
            ]
            command += ["--ray", "local", "--workers", str(workers), "--num-cpus", "1"] if workers else []
            started = time.perf_counter()
            one_core = None if workers else (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
            subprocess.run(command, check=True, preexec_fn=one_core)
            record = json.loads(Path(f"{out}.run.json").read_text())
            whole = time.perf_counter() - started
            scoring = record["cluster"]["seconds"] if workers else record["seconds"]
            return {
                "scoring_s": scoring,
                "whole_s": whole,
                "windows": record["windows_scored"],
                "cluster": record.get("cluster"),
            }

        run(0, "few.parquet")  # measures the fidelity once and fills the cache
        taken: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, workers in ways.items():
                taken[way].append(run(workers))
        contents = {(folder / f"{workers}.in.parquet").read_bytes() for workers in ways.values()}
        if len(contents) != 1:
            raise SystemExit("the outputs differ; no timing of wrong numbers")
    seconds = {way: median(run["scoring_s"] for run in runs) for way, runs in taken.items()}
    whole = {way: median(run["whole_s"] for run in runs) for way, runs in taken.items()}
    many = f"{options.workers} workers"
    ratio, of_process = seconds["1 worker"] / seconds[many], seconds["process"] / seconds["1 worker"]
    for way in ways:
        print(f"{way:>10}: {seconds[way]:8.1f} s of scoring, {whole[way] - seconds[way]:6.1f} s besides")
    print(f"{many} do {ratio:.2f} × the work of one; one worker {of_process:.2f} × that of one process")
    result = {
        "rows": options.rows, "windows": taken["process"][-1]["windows"], "part_rows": options.part_rows,
        "scoring_s": seconds, "whole_s": whole, "ratio": ratio, "of_process": of_process,
        "workers": taken[many][-1]["cluster"]["workers"], "equal_bytes": True,
    }  # fmt: skip
    finish("ray_workers", result, options.save)


if __name__ == "__main__":
    main()

"""What does a run on a cluster cost, and what limits it? A model fitted to one and two workers, checked on a
third setting.

    seconds = start + largest of ( windows × members × FLOP ÷ (rate × workers × share), rows × bytes ÷ store
    bandwidth )
              + rows ÷ rows a second that are written ÷ writers + rows ÷ rows a second that the driver counts

`start` is Ray, engines and the opening of the input; `share` is what the last parts leave idle: parts ÷
workers, rounded up. One file is written by one process, a folder of files by all workers; then the driver
reads the parts' results once, for the record's counts. The rate is measured here on one core and taken for as
many as there are; so is the rate of counting. The check is a run of another number of rows with the other
part size, which the fit has not seen: expected within 10 %. GPU rates cannot be measured without a GPU:
--gpu-tflops is an ASSUMPTION, and everything that rests on it says so.

    python bench/cluster_cost.py [--rows 4000] [--gpu-tflops 100] [--save]
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import OPTIMISED, arguments, finish

from legscore.measure.whole_run import random_table
from legscore.model.checkpoint import load_checkpoint
from legscore.output.part_file import Scored
from legscore.output.parts import PartFolder
from legscore.rows.reduce import Results

FLOP = 2 * 284e6 * 2
"""Of a window and member of the optimised network: multiply-adds, both strands."""
STORE_BYTES_PER_S = 1e9
"""ASSUMPTION: what one object store gives all machines of a run together."""
ROW_BYTES = 40.0
"""Of input read and output written for a row of a saturation table, compressed."""
GPU_PART_ROWS = 32_768
WRITTEN_ROWS_PER_S = 1e6
"""Of one process, Parquet; `read_write.py` measures it."""
GPU_START_S = 120.0
"""ASSUMPTION: plans from the cache, 50 members."""
TARGETS = {"9 M promoter SNVs × 50 members": (9e6, 50, 1.0), "10^10 variants × 50 members": (1e10, 50, 1.0)}
"""Rows, members, and windows a row once equal ones are counted once (saturation: one and a little)."""


@dataclass(frozen=True)
class Cost:
    """Seconds. Scoring and the store's traffic overlap; the others add up."""

    start: float
    scoring: float
    storage: float
    writing: float
    counting: float

    @property
    def total(self) -> float:
        return self.start + max(self.scoring, self.storage) + self.writing + self.counting

    @property
    def bottleneck(self) -> str:
        found = {
            "scoring": self.scoring,
            "the store": self.storage,
            "writing": self.writing,
            "counting": self.counting,
            "start-up": self.start,
        }
        return max(found, key=lambda name: found[name])


def cost(
    rows: float,
    members: int,
    windows_a_row: float,
    workers: int,
    part_rows: int,
    *,
    start_s: float,
    flop_per_s: float,
    counted_rows_per_s: float,
    one_file: bool,
) -> Cost:
    """What a run costs. `flop_per_s` is of one worker."""
    parts = max(1, math.ceil(rows / part_rows))
    share = parts / (workers * math.ceil(parts / workers))
    scoring = rows * windows_a_row * members * FLOP / (flop_per_s * workers * share)
    writing = rows / WRITTEN_ROWS_PER_S / (1 if one_file else workers)
    return Cost(start_s, scoring, rows * ROW_BYTES / STORE_BYTES_PER_S, writing, rows / counted_rows_per_s)


def counted_rows_per_s(folder: Path, rows: int = GPU_PART_ROWS, n: int = 32) -> float:
    """Rows a second whose results are read back from parts, from the page cache; what was kept must come
    back."""
    rng, store = np.random.default_rng(0), PartFolder(folder)
    values = {name: rng.normal(size=rows).astype(np.float32) for name in ("effect", "effect_sd")}
    kept = Scored(
        Results(values, {}, np.zeros(rows, np.int8), np.zeros(rows, np.int32), None), 2 * rows, rows, rows
    )
    for number in range(n):
        store.save(number, kept)
    began = time.perf_counter()
    for number in range(n):
        found = store.load(number, rows)
        if found is None or not np.array_equal(found.results.columns["effect"], values["effect"]):
            raise SystemExit("a part came back otherwise than it was kept; no timing of wrong numbers")
    return n * rows / (time.perf_counter() - began)


def main() -> None:
    options = arguments(__doc__ or "", rows=4000, gpu_tflops=100.0)
    contract = load_checkpoint(OPTIMISED).contract
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(rows: int, workers: int, part_rows: int) -> dict[str, Any]:
            source, out = folder / f"{rows}.parquet", folder / f"o.{rows}.{workers}.{part_rows}.parquet"
            if not source.exists():
                pq.write_table(random_table(contract, rows), source)
            command = [
                sys.executable,
                "-m",
                "legscore",
                "run",
                str(source),
                "-q",
                "-m",
                str(OPTIMISED),
                "-o",
                str(out),
                "--part-rows",
                str(part_rows),
                "--ray",
                "local",
                "--workers",
                str(workers),
            ]
            started = time.perf_counter()
            subprocess.run(command, check=True)
            record = json.loads(Path(f"{out}.run.json").read_text())
            whole = time.perf_counter() - started
            scoring = record["cluster"]["seconds"]
            return {
                "rows": rows,
                "workers": workers,
                "part_rows": part_rows,
                "whole_s": whole,
                "scoring_s": scoring,
                "joining_s": record["seconds"] - scoring,
            }

        run(64, 1, 64)
        fitted = [run(options.rows, workers, options.rows // 16) for workers in (1, 2)]
        third = run(options.rows * 3 // 2, 2, options.rows // 10)
        (folder / "parts").mkdir()
        counted = counted_rows_per_s(folder / "parts")
    flop_per_s = options.rows * FLOP / fitted[0]["scoring_s"]
    shared = options.rows * FLOP / fitted[1]["scoring_s"] / 2
    rate = (flop_per_s + shared) / 2
    start = sum(found["whole_s"] - found["scoring_s"] - found["joining_s"] for found in fitted) / 2
    expected = cost(
        third["rows"],
        1,
        1.0,
        2,
        third["part_rows"],
        start_s=start,
        flop_per_s=rate,
        counted_rows_per_s=counted,
        one_file=True,
    )
    error = expected.total / third["whole_s"] - 1
    print(
        f"a worker of one core: {rate / 1e9:,.1f} GFLOP/s (alone {flop_per_s / 1e9:,.1f}, beside another "
        f"{shared / 1e9:,.1f})"
    )
    print(
        f"start {start:.1f} s; third setting: {third['whole_s']:.1f} s measured, {expected.total:.1f} "
        f"expected ({error:+.1%})"
    )
    table = []
    for target, (rows, members, each) in TARGETS.items():
        for gpus in (1, 8, 64):
            for one_file in (True, False):
                found = cost(
                    rows,
                    members,
                    each,
                    gpus,
                    GPU_PART_ROWS,
                    start_s=GPU_START_S,
                    flop_per_s=options.gpu_tflops * 1e12,
                    counted_rows_per_s=counted,
                    one_file=one_file,
                )
                table.append(
                    {
                        "target": target,
                        "gpus": gpus,
                        "one_file": one_file,
                        "seconds": found.total,
                        **asdict(found),
                        "bottleneck": found.bottleneck,
                    }
                )
                print(
                    f"{target}, {gpus:2d} GPUs at {options.gpu_tflops:g} TFLOP/s (assumed), "
                    f"{'one file' if one_file else 'a folder'}: {found.total / 3600:,.2f} h, limited by "
                    f"{found.bottleneck}; "
                    f"writing {found.writing / 3600:.2f} h"
                )
    result = {
        "fitted": fitted, "third": third, "flop_per_s_of_a_core": rate, "start_s": start,
        "third_error": error,
        "assumed": {"gpu_tflops": options.gpu_tflops, "store_bytes_per_s": STORE_BYTES_PER_S,
                    "written_rows_per_s": WRITTEN_ROWS_PER_S,
                    "gpu_start_s": GPU_START_S, "row_bytes": ROW_BYTES},
        "counted_rows_per_s": counted,
        "extrapolated": table,
    }  # fmt: skip
    finish("cluster_cost", result, options.save)


if __name__ == "__main__":
    main()

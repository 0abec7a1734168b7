"""Where does the host spend its time? Samples of a run without a network (py-spy), by module of legscore.

`legscore run --engine null` scores rows of distinct 80-bp inserts: everything but the network is real. py-spy
samples all threads that are running, native frames included; each sample counts for the innermost module of
legscore on its stack. Expected: windowing and reading take most; no module waits for the interpreter's lock
more than it works.

    python bench/host.py [--rows 2000000] [--save]     (needs py-spy: pip install 'legscore[bench]')
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from machine import ORIGINAL, arguments, finish

from legscore.measure.whole_run import random_table
from legscore.model.checkpoint import load_checkpoint

RATE_HZ = 200
FRAME = re.compile(r"\(.*?legscore/([\w/]+)\.py:\d+\)")


def shares(folded: str) -> dict[str, float]:
    """Folded stacks (`frame;frame;… count` a line) → share of the samples by innermost module."""
    counts: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        modules = FRAME.findall(stack)
        counts[modules[-1].replace("/", ".") if modules else "interpreter and libraries"] += int(count)
    total = sum(counts.values())
    return {module: count / total for module, count in counts.most_common()}


def main() -> None:
    options = arguments(__doc__ or "", rows=2_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(random_table(load_checkpoint(ORIGINAL).contract, options.rows), folder / "in.parquet")
        run = [
            sys.executable,
            "-m",
            "legscore",
            "run",
            str(folder / "in.parquet"),
            "-m",
            str(ORIGINAL),
            "--engine",
            "null",
            "-q",
            "--sequence-is",
            "insert",
            "-o",
            str(folder / "out.parquet"),
        ]
        spy = [
            "py-spy",
            "record",
            "--rate",
            str(RATE_HZ),
            "--format",
            "raw",
            "--output",
            str(folder / "stacks"),
            "--",
        ]
        subprocess.run([*spy, *run], check=True, capture_output=True)
        if (rows := pq.read_metadata(folder / "out.parquet").num_rows) != options.rows:
            raise SystemExit(
                f"{rows:,} rows came out of {options.rows:,}; no profile of a run that lost rows"
            )
        folded = (folder / "stacks").read_text()
    found = shares(folded)
    for module, share in found.items():
        if share >= 0.005:
            print(f"{module:32s} {share:6.1%}")
    finish("host", {"rows": options.rows, "shares": found}, options.save)


if __name__ == "__main__":
    main()

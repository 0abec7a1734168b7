"""Which learning rate does the range test suggest on measured sequences? The published 0.005 came from one.

`legscore train --lr-find` on the 48,772 complex-medium training sequences: the original network, one random
strand, a few hundred steps from 1e-6 to 1. Small batches give a lower rate than the published 1,024 would.
Expected: the loss still falls at the published 0.005. Needs gpra_yeast.parquet (see accuracy.py).

    python bench/lr_range.py --data FOLDER [--batch 32] [--steps 300] [--output range/] [--threads 1] [--save]
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import arguments, finish

ROWS = 48_772
PUBLISHED = 0.005
SHOWN = 40
"""Points of the smoothed curve that the result keeps."""


def main() -> None:
    options = arguments(__doc__ or "", data="", batch=32, steps=300, output="range", threads=1)
    folder = Path(options.output)
    command = [
        sys.executable, "-m", "legscore", "train", str(Path(options.data) / "gpra_yeast.parquet"),
        "-o", str(folder), "--where", "medium=complex",
        "--split", "split", "--expression", "expression_calibrated",
        "--set", "rc=random", "--set", f"batch={options.batch}", "--lr-find",
        "--fraction", str((options.steps + 0.5) * options.batch / ROWS), "--threads", str(options.threads),
        "--device", "cpu", "--force",
    ]  # fmt: skip
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    with open(folder / "lr_find.csv") as stream:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
    rate = np.array([row["lr"] for row in rows])
    smoothed = np.array([row["smoothed_loss"] for row in rows])
    least = int(np.argmin(smoothed))
    slope = np.polyfit(
        *(column[np.abs(np.log10(rate / PUBLISHED)) < 0.25] for column in (np.log10(rate), smoothed)), 1
    )[0]
    shown = np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))
    result = {
        "preset": "noginet", "batch": options.batch, "steps": len(rows), "suggested": float(said),
        "lr_of_least_loss": float(rate[least]), "least_loss": float(smoothed[least]),
        "slope_at_published": float(slope), "published": PUBLISHED,
        "curve": [[float(f"{rate[i]:.4g}"), float(f"{smoothed[i]:.4g}")] for i in shown],
    }  # fmt: skip
    print(
        f"{len(rows)} steps of {options.batch}: loss is least ({smoothed[least]:.3f}) at {rate[least]:.2g}; "
        f"at {PUBLISHED:g} it {'falls' if slope < 0 else 'grows'}"
    )
    finish("lr_range", result, options.save)
    if slope >= 0:
        raise SystemExit(f"the loss does not fall at the published {PUBLISHED:g}")


if __name__ == "__main__":
    main()

"""Does training learn what it should? Four passes of the original network, then Pearson on native promoters
it never saw.

One random strand for each of 48,772 sequences and pass (complex medium, split train), batch 128, the
published AdamW and one-cycle. Expected: Pearson at least 0.80 with measured expression on the 3,929 native
promoters of the published test; about 19 minutes on 2 cores with AVX512-BF16. Interrupted, the same command
goes on. Needs gpra_yeast.parquet and predictions_native.parquet (see accuracy.py).

    python bench/learning.py --data FOLDER [--output learned/] [--passes 4] [--save]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

import legscore

ASKED = 0.80


def main() -> None:
    options = arguments(__doc__ or "", data="", output="learned", passes=4)
    folder = Path(options.data)
    command = [
        sys.executable,
        "-m",
        "legscore",
        "train",
        str(folder / "gpra_yeast.parquet"),
        "-o",
        options.output,
    ]
    command += [
        "--where",
        "medium=complex",
        "--split",
        "split",
        "--expression",
        "expression_calibrated",
        "--resume",
    ]
    for setting in ("batch=128", "rc=random", f"epochs={options.passes}", "steps_per_epoch=0"):
        command += ["--set", setting]
    subprocess.run(command, check=True)
    lines = [
        json.loads(line) for line in (Path(options.output) / "seed1.metrics.jsonl").read_text().splitlines()
    ]
    native = pq.read_table(folder / "predictions_native.parquet")
    native = native.filter(pc.equal(native["medium"], "complex"))
    with legscore.load_ensemble(Path(options.output) / "seed1.safetensors") as ensemble:
        scores = ensemble.score(native["sequence"], sequence_is="oligo").astype(np.float64)
        training = ensemble.members[0].training
    measured = native["measured"].to_numpy()
    pearson, spearman = float(pearsonr(scores, measured)[0]), float(spearmanr(scores, measured)[0])
    rate = float(np.median([line["samples_per_s"] for line in lines]))
    print(
        f"native promoters ({len(measured):,}): Pearson {pearson:.4f}, Spearman {spearman:.4f} (asked: "
        f"{ASKED:.2f})"
    )
    result = {
        "passes": options.passes, "pearson": pearson, "spearman": spearman, "rows": len(measured),
        "samples_per_s": rate, "data_wait": max(line["data_wait"] for line in lines),
        "steps": training["steps"], "validation": training["metrics"],
    }  # fmt: skip
    finish("learning", result, options.save)
    if pearson < ASKED:
        raise SystemExit(f"Pearson {pearson:.4f} is below {ASKED}")


if __name__ == "__main__":
    main()

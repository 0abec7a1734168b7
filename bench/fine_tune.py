"""Does fine-tuning beat training from scratch on few measurements? Defined medium from members of complex.

5,000 training rows of defined medium, drawn once; as many steps for each: from scratch, from the bundled
members, and from them with parts frozen or slower; beside them the members as they are. Judged on the
measured native promoters of defined medium, of which no row or relative was trained on. Expected: from the
members at least 0.1 Pearson above scratch. Interrupted, the same command goes on. Needs gpra_yeast.parquet,
predictions_native.parquet (see accuracy.py).

    python bench/fine_tune.py --data FOLDER [--rows 5000] [--members 2] [--output tuned/] [--save]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

import legscore

GAIN = 0.1
"""Of Pearson, over training from scratch."""
COMMON = {"batch": 128, "rc": "random", "epochs": 4, "steps_per_epoch": 0}
WAYS: dict[str, list[str]] = {
    "scratch": ["--preset", "optimized", "--set", "max_lr=0.0007"],
    "from the members": ["--from", "examples/models", "--set", "max_lr=0.0002"],
    "from the members, 3 blocks frozen": [
        "--from", "examples/models", "--freeze", "3", "--set", "max_lr=0.0002",
    ],
    "from the members, rates halved towards the stem": [
        "--from", "examples/models", "--block-rate", "0.5", "--set", "max_lr=0.0004",
    ],
}  # fmt: skip


def draw(source: Path, target: Path, rows: int) -> None:
    """Rows of defined medium: all that validate, and `rows` of those that train."""
    table = pq.read_table(source)
    table = table.filter(pc.equal(table["medium"], "defined"))
    train = np.flatnonzero(np.asarray(pc.equal(table["split"], "train")))
    valid = np.flatnonzero(np.asarray(pc.equal(table["split"], "valid")))
    chosen = np.sort(np.random.default_rng(1).choice(train, rows, replace=False))
    pq.write_table(table.take(pa.array(np.concatenate([chosen, valid]))), target)


def judge(models: list[Path], native: pa.Table) -> dict[str, float]:
    """Agreement of the members' mean with measured native promoters."""
    with legscore.load_ensemble(models) as ensemble:
        scores = ensemble.score(native["sequence"], sequence_is="oligo").astype(np.float64)
    measured = native["measured"].to_numpy()
    return {
        "pearson": float(pearsonr(scores, measured)[0]),
        "spearman": float(spearmanr(scores, measured)[0]),
        "rmse": float(np.sqrt(np.mean((scores - measured) ** 2))),
    }


def main() -> None:
    options = arguments(__doc__ or "", data="", rows=5000, members=2, output="tuned")
    folder, output = Path(options.data), Path(options.output)
    output.mkdir(exist_ok=True)
    few = output / "few.parquet"
    if not few.exists():
        draw(folder / "gpra_yeast.parquet", few, options.rows)
    native = pq.read_table(folder / "predictions_native.parquet")
    native = native.filter(pc.equal(native["medium"], "defined"))
    result: dict[str, Any] = {
        "rows": options.rows,
        "members": options.members,
        "native_rows": native.num_rows,
    }
    for way, how in WAYS.items():
        models = output / way.replace(", ", "-").replace(" ", "-")
        command = [sys.executable, "-m", "legscore", "train", str(few), "-o", str(models), "--split", "split"]
        command += ["--expression", "expression_calibrated", "--seeds", str(options.members)]
        command += ["--resume", *how]
        for key, value in COMMON.items():
            command += ["--set", f"{key}={value}"]
        subprocess.run(command, check=True)
        result[way] = judge(sorted(models.glob("seed*.safetensors")), native)
        print(f"{way}: " + ", ".join(f"{name} {value:.4f}" for name, value in result[way].items()))
        finish("fine_tune", result, options.save)
    members = sorted(Path("examples/models").glob("*.safetensors"))[: options.members]
    result["the members as they are"] = judge(members, native)
    finish("fine_tune", result, options.save)
    gained = result["from the members"]["pearson"] - result["scratch"]["pearson"]
    if gained < GAIN:
        raise SystemExit(f"fine-tuning gains {gained:.3f} Pearson over training from scratch, not {GAIN}")


if __name__ == "__main__":
    main()

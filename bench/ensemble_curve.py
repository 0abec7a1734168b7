"""How much do more members gain? The paper's Figure S7 on short trainings: the mean of k members.

Members are those of ablation.py's `original` (trained here where they are missing), scored on the 3,929
native promoters by `legscore run --per-model`, compared by `legscore evaluate --ensemble-curve`. Expected:
all members together are better than one of them. Needs gpra_yeast.parquet, predictions_native.parquet (see
accuracy.py).

    python bench/ensemble_curve.py --data FOLDER [--members 10] [--output ablation/] [--plot FILE] [--save]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from ablation import train
from machine import arguments, finish

SHOWN = ("k", "first", "mean", "spread", "low", "high", "subsets")


def legscore(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "legscore", *words], check=True)


def main() -> None:
    options = arguments(
        __doc__ or "", data="", output="ablation", members=10, steps=300, batch=64, threads=1, plot=""
    )
    folder = Path(options.output)
    models = [str(train("original", seed, options)) for seed in range(1, options.members + 1)]
    native = pq.read_table(Path(options.data) / "predictions_native.parquet")
    native = native.filter(pc.equal(native["medium"], "complex")).select(["sequence", "measured"])
    pq.write_table(native, folder / "native.parquet")
    scores, found = folder / "native_scores.parquet", folder / "curve.json"
    named = [word for model in models for word in ("-m", model)]
    legscore(
        "run", str(folder / "native.parquet"), *named, "--per-model", "--sequence-is", "oligo",
        "--threads", str(options.threads), "-o", str(scores), "--force",
    )  # fmt: skip
    legscore(
        "evaluate", str(scores), "--truth", "measured", "--prediction", "score", "--ensemble-curve",
        "--bootstrap", "0", "--json", str(found), "--force", "--quiet",
        *(("--plot", options.plot) if options.plot else ()),
    )  # fmt: skip
    curve: dict[str, list[dict[str, Any]]] = {}
    for point in json.loads(found.read_text())["ensemble_curve"]:
        if point["metric"] in ("pearson", "spearman"):
            curve.setdefault(point["metric"], []).append({name: point[name] for name in SHOWN})
    one, every = curve["pearson"][0]["mean"], curve["pearson"][-1]["mean"]
    print(f"Pearson: one member {one:.4f} (mean of {len(models)}), all {every:.4f}")
    result = {
        "members": len(models), "steps": options.steps, "batch": options.batch, "rows": native.num_rows,
        "gain": every - one, "curve": curve,
    }  # fmt: skip
    finish("ensemble_curve", result, options.save)
    if every <= one:
        raise SystemExit("the ensemble is no better than one of its members")


if __name__ == "__main__":
    main()

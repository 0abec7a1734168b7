"""Do the paper's orderings show in short trainings? Variants of the original network, equal steps, three
seeds.

Each run trains one variant with one seed on the 48,772 complex-medium sequences (`legscore train`), and is
judged on the 3,929 measured native promoters. With --save a run's row goes into bench/results/ablation.json
as it ends, and the same command goes on from the rows that are there; checkpoints stay in --output, for
ensemble_curve.py. The published trainings see 80 million sequences, these a few thousand: an ordering that
shows is worth noting, one that does not says nothing against the paper. Needs gpra_yeast.parquet,
predictions_native.parquet (see accuracy.py).

    python bench/ablation.py --data FOLDER [--steps 300] [--batch 64] [--seeds 3] [--runs 21] [--save]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, arguments, finish
from scipy.stats import ttest_rel

from legscore.train.ablation import score_member
from legscore.train.columns import DataOptions
from legscore.train.data import TrainingData, read_training_data
from legscore.train.presets import resolve

PLATEAU_EPOCHS = 10
"""Validations that the plateau schedule follows; the other variants validate once."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "original": (),
    "no SE": ("se=none",),
    "no singleton channel": ("singleton_channel=false",),
    "one strand": ("reverse_channel=false", "rc=none"),
    "regression": ("loss=mse",),
    "Lion": ("optimizer=lion", "max_lr=0.0005", "weight_decay=0.1", "cycle_momentum=false"),
    "plateau schedule": ("schedule=plateau",),
}
ORDERINGS = {
    "SE gains more than 0.005": ("no SE", 0.005),
    "one-cycle above plateau": ("plateau schedule", 0.0),
    "soft classification above regression": ("regression", 0.0),
}
"""What the paper says of Pearson: the original above a variant, by more than so much."""


def train(variant: str, seed: int, options: Any) -> Path:
    """The checkpoint of a run; a finished one is taken as it is."""
    folder = Path(options.output) / variant.replace(" ", "-")
    epochs = PLATEAU_EPOCHS if variant == "plateau schedule" else 1
    command = [
        sys.executable, "-m", "legscore", "train", str(Path(options.data) / "gpra_yeast.parquet"),
        "-o", str(folder), "--where", "medium=complex", "--split", "split",
        "--expression", "expression_calibrated", "--seed", str(seed),
        "--threads", str(options.threads), "--device", "cpu", "--resume", "--quiet",
    ]  # fmt: skip
    for setting in (
        "rc=random", f"batch={options.batch}", f"epochs={epochs}",
        f"steps_per_epoch={options.steps // epochs}",
        *VARIANTS[variant],
    ):  # fmt: skip
        command += ["--set", setting]
    subprocess.run(command, check=True)
    return folder / f"seed{seed}.safetensors"


def read_native(folder: Path) -> TrainingData:
    """The measured native promoters of complex medium, as windows."""
    reading = DataOptions(
        expression_column="measured",
        fold_column="hash",
        where=(("medium", "complex"),),
        sequence_is="oligo",
        out_of_range="clip",
    )
    return read_training_data(folder / "predictions_native.parquet", resolve("noginet").contract(), reading)


def judge(model: Path, native: TrainingData) -> dict[str, float]:
    """Pearson and Spearman on measured native promoters, by the network as it was trained."""
    pearson, spearman = score_member(model, native, "cpu")
    return {"pearson": pearson, "spearman": spearman}


def compare(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and SD of each variant, its paired difference from the original, and the paper's orderings."""
    by = {name: {row["seed"]: row for row in rows if row["variant"] == name} for name in VARIANTS}
    found: dict[str, Any] = {}
    for name, mine in by.items():
        if not mine:
            continue
        both = sorted(mine.keys() & by["original"].keys())
        found[name] = {"models": len(mine)}
        for metric in ("pearson", "spearman"):
            values = np.array([mine[seed][metric] for seed in sorted(mine)])
            gain = np.array([by["original"][seed][metric] - mine[seed][metric] for seed in both])
            found[name][metric] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "original_minus_this": float(gain.mean()) if name != "original" and both else None,
                "paired_t_p": float(ttest_rel(gain, np.zeros(len(gain))).pvalue)
                if name != "original" and len(both) > 1
                else None,
            }
    orderings = {}
    for says, (name, least) in ORDERINGS.items():
        tested = found.get(name, {}).get("pearson", {})
        gain, p = tested.get("original_minus_this"), tested.get("paired_t_p")
        if gain is not None:
            way = "in direction only" if gain > least else "does not show"
            shows = gain > least and p is not None and p < 0.05
            orderings[says] = "one seed, not tested" if p is None else "shows" if shows else way
    return {"variants": found, "orderings": orderings}


def main() -> None:
    options = arguments(
        __doc__ or "", data="", output="ablation", steps=300, batch=64, seeds=3, runs=21, threads=1
    )
    kept, settings = RESULTS / "ablation.json", {"steps": options.steps, "batch": options.batch}
    rows: list[dict[str, Any]] = []
    if options.save and kept.exists():
        old = json.loads(kept.read_text())
        if old["settings"] != settings:
            raise SystemExit(f"{kept} holds runs of {old['settings']}; remove it to begin others")
        rows = old["rows"]
    torch.set_num_threads(options.threads)
    native = read_native(Path(options.data))
    done = {(row["variant"], row["seed"]) for row in rows}
    wanted = [(name, seed) for seed in range(1, options.seeds + 1) for name in VARIANTS]
    for name, seed in [run for run in wanted if run not in done][: options.runs]:
        model = train(name, seed, options)
        row = {"variant": name, "seed": seed, **judge(model, native)}
        rows.append(row)
        print(f"{name}, seed {seed}: Pearson {row['pearson']:.4f}", flush=True)
        result = {"settings": settings, "native_rows": len(native), "rows": rows, **compare(rows)}
        finish("ablation", result, options.save)


if __name__ == "__main__":
    main()

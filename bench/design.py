"""How well do designs hit their targets, at equal numbers of predictor calls, by models that took no part?

For each budget of predictor calls a design: the generator with best-of, the evolutionary search, greedy single-base steps, all
choosing with --models and judged by --check. First: the generator's engine gives the same designs as PyTorch (FP32).

    python bench/design.py --generator examples/generator/yeast_complex_generator.safetensors --models a.safetensors \
        --check b.safetensors [--n 60] [--budgets 1,16,256] [--options "--feed sample"] [--save]
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import arguments, finish

LEAST_CALLS = {"generator": 1, "evolve": 2, "greedy": 242}
"""Greedy needs 241 calls for its first step."""
KEPT = ("spearman", "mae", "check_spearman", "check_pearson", "check_mae", "random_mae")


def design(folder: Path, name: str, *more: str) -> dict[str, Any]:
    """One run of legscore design; its record."""
    output = folder / f"{name}.parquet"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "legscore", "design", "-q", "-o", str(output), *more], check=True)
    record: dict[str, Any] = json.loads(Path(f"{output}.run.json").read_text())
    return record | {"wall_s": time.perf_counter() - began, "inserts": pq.read_table(output)["insert"].to_pylist()}


def main() -> None:
    options = arguments(
        __doc__ or "", generator="", models="", check="", target="6:15", n=60, budgets="1,16,256", options="--feed sample",
        save_as="design",
    )  # fmt: skip
    models = ["-m", options.models, "--target", options.target]
    generator = ["-g", options.generator, *shlex.split(options.options)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        few = [*generator, *models, "--n", "16", "--precision", "fp32", "--min-distance", "0"]
        alike = [design(folder, engine, *few, "--engine", engine)["inserts"] for engine in ("openvino", "torch")]
        same = float(np.mean([a == b for one, other in zip(*alike, strict=True) for a, b in zip(one, other, strict=True)]))
        print(f"openvino and torch, FP32: {same:.2%} of bases alike")
        assert same > 0.98, "the engines disagree"
        for budget in map(int, options.budgets.split(",")):
            for method in ("generator", "evolve", "greedy"):
                if budget < LEAST_CALLS[method]:
                    continue
                how = ["--method", method, "--calls", str(budget), "--check", options.check, "--n", str(options.n)]
                record = design(folder, f"{method}{budget}", *models, *how, *(generator if method == "generator" else ()))
                a = record["agreement"]
                row = {key: a[key] for key in KEPT}
                row |= {key: record[key] for key in ("predictor_calls_per_design", "seconds", "engine_share")}
                found[f"{method} {budget}"] = row
                print(f"{method:9} {budget:5} calls: own error {a['mae']:.2f}; by --check Spearman {a['check_spearman']:.3f}, "
                      f"error {a['check_mae']:.2f} (random {a['random_mae']:.2f}); {record['seconds']:.0f} s")  # fmt: skip
    result = {"same_bases_as_torch": same, "n": options.n, "target": options.target, "options": options.options, "found": found}
    finish(options.save_as, result, options.save)


if __name__ == "__main__":
    main()

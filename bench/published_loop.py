"""How much faster is a run than the published way of scoring? From a Parquet file to a Parquet file, one
member.

The published structure, written anew (`published.py`): rows are strings encoded in Python by a Dataset, a
DataLoader makes batches of 1,024, the network runs eager in FP32, each strand in a pass of its own, averaged
at the end. Both start from the same file, and scores are compared first (bf16 against FP32: within 5 % of
their SD). Expected: ≥ 4 ×, on a CPU without bf16 too (kept as `published_loop_fp32`), although both multiply
in FP32 then.

    python bench/published_loop.py [--windows 3000] [--rounds 3] [--save]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from machine import ORIGINAL, arguments, finish
from published import PublishedLegNet, PublishedRows
from torch.utils.data import DataLoader, Subset

import legscore
from legscore.measure.whole_run import random_table
from legscore.model.checkpoint import load_checkpoint
from legscore.system.cores import usable_cores

BATCH = 1024


def published(source: str, out: str) -> np.ndarray:
    """Score a file the published way; from loading the network to the file written."""
    checkpoint = load_checkpoint(ORIGINAL)
    network = PublishedLegNet(checkpoint.architecture).eval()
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in checkpoint.arrays.items()}, strict=False
    )
    table = pq.read_table(source)
    inserts = table["sequence"].to_pylist()
    # an expression of 0.5 keeps the is_singleton channel at 0, as predictions want it
    rows = PublishedRows(inserts, np.full(len(inserts), 0.5), checkpoint.contract)
    strands = []
    with torch.inference_mode():
        for strand in (0, 1):
            loader = DataLoader(Subset(rows, range(strand, len(rows), 2)), batch_size=BATCH)
            strands.append(torch.cat([network.score(x) for x, _ in loader]).numpy())
    scores = (strands[0] + strands[1]) / 2
    pq.write_table(table.append_column("score", pa.array(scores)), out)
    return scores


def main() -> None:
    options = arguments(__doc__ or "", windows=3000, rounds=3)
    torch.set_num_threads(usable_cores())
    precision = ""
    with tempfile.TemporaryDirectory() as folder:
        source, ours, theirs = (
            str(Path(folder) / name) for name in ("in.parquet", "ours.parquet", "theirs.parquet")
        )
        pq.write_table(random_table(load_checkpoint(ORIGINAL).contract, options.windows), source)

        def run() -> np.ndarray:
            nonlocal precision
            precision = legscore.score_file(
                source, ours, models=[ORIGINAL], sequence_is="insert", force=True
            )["engine"]["precision"]
            return np.asarray(pq.read_table(ours)["score"].to_numpy())

        run()  # the first run measures its fidelity once for a machine
        seconds: dict[str, list[float]] = {"published loop": [], "legscore": []}
        for _ in range(options.rounds):
            started = time.perf_counter()
            expected = published(source, theirs)
            seconds["published loop"].append(time.perf_counter() - started)
            started = time.perf_counter()
            found = run()
            seconds["legscore"].append(time.perf_counter() - started)
            error = float(np.abs(found - expected).max())
            if not error <= 0.05 * float(expected.std()):
                raise SystemExit(f"scores differ by {error}; no timing of wrong numbers")
    ratio = median(seconds["published loop"]) / median(seconds["legscore"])
    for name, taken in seconds.items():
        print(f"{name:16s} {options.windows / median(taken):8.1f} windows/s (both strands)")
    print(f"{ratio:.2f} × (largest difference of scores {error:.4f})")
    found = {
        "windows": options.windows,
        "precision": precision,
        "seconds": seconds,
        "ratio": ratio,
        "max_error": error,
    }
    finish("published_loop" if precision == "bf16" else f"published_loop_{precision}", found, options.save)


if __name__ == "__main__":
    main()

"""How well does the human preset learn from few sequences? Log2(RNA/DNA) of WTC11, one test fold.

The 4,620 measured sequences of the published tutorial's test table are the test fold; the other rows train
and validate, where a sequence and its reverse complement share a fold and relatives of test sequences stay
out. The published models see 50,000 to 240,000 sequences and reach Pearson 0.727 in WTC11; fewer than 7,200
are left here. `legscore train --preset human` trains, and the model scores the FASTA with `legscore run`.
The FASTA holds every oligo and its reverse complement, which no adapter begins: they are read as windows.
Expected: Pearson at least 0.3 on the test fold, and a score for every sequence of the FASTA. Needs
human_mpra.parquet, human_example.fasta.

    python bench/human.py --data FOLDER [--epochs 20] [--batch 64] [--output human/] [--save]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

import legscore
from legscore.dna.folds import SEED

ASKED = 0.3
FLANK = 15
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def either(text: str) -> str:
    """An oligo's insert or its reverse complement, whichever comes first: the same for both strands."""
    insert = text[FLANK:-FLANK]
    return min(insert, insert.translate(COMPLEMENT)[::-1])


def divide(source: Path, target: Path) -> dict[str, int]:
    """Write sequences with folds: 0 tests, 1 validates, 2 to 9 train. Returns counts."""
    import mmh3

    table = pq.read_table(source, columns=["sequence", "mean_value", "split"])
    keys = np.array([either(text) for text in table["sequence"].to_pylist()])
    test = np.asarray(table["split"]) == "test"
    related = ~test & np.isin(keys, keys[test])
    fold = np.array([1 + mmh3.hash(key, SEED, signed=False) % 9 for key in keys.tolist()], dtype=np.int64)
    fold[test] = 0
    kept = table.select(["sequence", "mean_value"]).append_column("fold", pa.array(fold))
    pq.write_table(kept.filter(pa.array(~related)), target)
    return {
        "test": int(test.sum()),
        "train_and_validate": int((~test & ~related).sum()),
        "relatives": int(related.sum()),
    }


def main() -> None:
    options = arguments(__doc__ or "", data="", output="human", epochs=20, batch=64, threads=1)
    folder, scored = Path(options.output), Path(options.output) / "fasta.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    rows = divide(Path(options.data) / "human_mpra.parquet", folder / "folds.parquet")
    call = [sys.executable, "-m", "legscore"]
    started = time.perf_counter()
    subprocess.run(
        [
            *call, "train", str(folder / "folds.parquet"), "-o", str(folder / "models"), "--preset", "human",
            "--expression", "mean_value", "--valid-fold", "1", "--test-fold", "0", "--resume",
            "--device", "cpu", "--threads", str(options.threads), "--set", f"epochs={options.epochs}",
            "--set", f"batch={options.batch}",
        ],
        check=True,
    )  # fmt: skip
    trained = time.perf_counter() - started
    subprocess.run(
        [
            *call, "run", str(Path(options.data) / "human_example.fasta"), "-m", str(folder / "models"),
            "--sequence-is", "window", "-o", str(scored), "--force", "--quiet",
        ],
        check=True,
    )  # fmt: skip
    scores = pq.read_table(scored)
    usable = scores["score"].drop_null().to_numpy()
    with legscore.load_ensemble(folder / "models") as ensemble:
        training = ensemble.members[0].training
    tested = training["test_metrics"]
    print(f"test fold ({rows['test']:,}): Pearson {tested['pearson']:.4f}, Spearman {tested['spearman']:.4f}")
    result = {
        "rows": rows, "epochs": options.epochs, "batch": options.batch, "steps": training["steps"],
        "test_fold": tested, "validation": training["metrics"], "train_s": trained,
        "fasta": {"rows": scores.num_rows, "scored": len(usable), "sd": float(usable.std())},
    }  # fmt: skip
    finish("human", result, options.save)
    if tested["pearson"] < ASKED or len(usable) < scores.num_rows:
        raise SystemExit(f"Pearson {tested['pearson']:.3f} (asked: {ASKED}), {len(usable):,} scored")


if __name__ == "__main__":
    main()

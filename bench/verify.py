"""What does --verify cost, and would it stop a run that is right?

1. Windows unlike those that fidelity is measured on (native promoters, all their changes, repeats, stretches
   of N, one base only) are scored by the engine and in FP32: the largest difference over that of the fidelity
   record must stay below the factor that `--verify` allows.
2. The same windows scored by three members with `--verify 0` and with the default, in turn, on both strands:
   outputs must be equal. The cost is what verifying its windows adds to scoring, by the clock and in core
   seconds (at most 2 %, of the medians of pairs), and by what the run's record says it took. Opening the
   networks that verify is told apart; it goes on while the engine scores.

    python bench/verify.py [--windows 4000] [--rounds 3] [--members 3] [--models examples/models] [--save]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, family, finish

from legscore import score_file
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.run.options import DEFAULT_SHARE
from legscore.run.verify import LIMIT_FACTOR

PART_ROWS = 1000
"""So that parts are verified while others are scored, as in a long run; one window of each at least."""
EXAMPLE = Path(__file__).resolve().parent.parent / "examples/promoter_variants.parquet"


def windows(contract: Contract, n: int) -> np.ndarray:
    """Native promoters with changes, then inserts of one base, of two in turn, with runs of N, and all N;
    uint8 [n, length]."""
    rng = np.random.default_rng(5)
    table = pq.read_table(EXAMPLE, columns=["sequence", "offset", "alt_base"]).slice(0, None)
    texts = []
    for row in table.take(pa.array(rng.permutation(table.num_rows)[: n * 3 // 4])).to_pylist():
        text, at = row["sequence"], row["offset"]
        texts.append(text[:at] + row["alt_base"] + text[at + 1 :])
    width = len(texts[0])
    texts += ["N" * width] + [base * width for base in "ACGT"]
    texts += [(a + b) * (width // 2) for a in "ACGT" for b in "ACGT" if a != b]
    while len(texts) < n:
        text = texts[int(rng.integers(0, n // 2))]
        start, end = sorted(rng.integers(0, width, 2))
        texts.append(text[:start] + "N" * (end - start) + text[end:])
    return np.stack([encode_text(contract.window(text)) for text in texts[:n]])


def natural_error(members: list[Checkpoint], n: int) -> dict[str, Any]:
    """Part 1, with the first member."""
    engine = open_engine(members[:1], Request(), print)
    reference = OpenVINOEngine(members[:1], load_recipe("fp32"), both_strands=True)
    try:
        batch = Batch(windows(members[0].contract, n))
        error = np.abs(engine.score(batch) - reference.score(batch)).ravel()
        recorded = engine.fidelity.score_max_error if engine.fidelity else 0.0
        described = engine.describe()
    finally:
        engine.close()
        reference.close()
    factor = float(error.max() / recorded) if recorded else 0.0
    print(
        f"largest difference {error.max():.4g}, recorded {recorded:.4g}: {factor:.2f} × (allowed: "
        f"{LIMIT_FACTOR:g} ×)",
        flush=True,
    )
    return {
        "engine": described["engine"],
        "precision": described["precision"],
        "recorded_max_error": recorded,
        "natural_max_error": float(error.max()),
        "factor": factor,
        "natural_rms_error": float(np.sqrt((error.astype(np.float64) ** 2).mean())),
    }


def timed_pairs(models: str, n: int, rounds: int) -> dict[str, Any]:
    """Part 2: seconds of scoring (without opening the engine) and core seconds of whole runs, by share."""
    shares = (0.0, DEFAULT_SHARE)
    clock: dict[float, list[float]] = {share: [] for share in shares}
    cores: dict[float, list[float]] = {share: [] for share in shares}
    verified: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(6)
        letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (n, 80))]
        table = pa.table({"sequence": [row.tobytes().decode() for row in letters]})
        few, source = Path(folder) / "few.parquet", Path(folder) / "all.parquet"
        pq.write_table(table.slice(0, 64), few)
        pq.write_table(table, source)

        def scored(rows: Path, share: float) -> tuple[bytes, dict[str, Any]]:
            out = Path(folder) / "out.parquet"
            record = score_file(rows, out, models=models, verify=share, part_rows=PART_ROWS, force=True)
            return out.read_bytes(), record

        def alike(rows: Path, order: Sequence[float]) -> None:
            outputs = set()
            for share in order:
                began = time.process_time()
                output, record = scored(rows, share)
                cores[share].append(time.process_time() - began)
                clock[share].append(record["seconds"])
                outputs.add(output)
                if share:
                    verified.append(record["verify"])
            if len(outputs) > 1:
                raise SystemExit("the output depends on --verify")

        alike(few, shares)  # also opens everything for the first time
        for kept in (*clock.values(), *cores.values(), verified):
            kept.clear()
        for i in range(rounds):
            alike(source, shares if i % 2 == 0 else shares[::-1])
    ratios = {
        name: statistics.median(w / o for o, w in zip(*taken.values(), strict=True)) - 1
        for name, taken in (("cost", clock), ("cost_cores", cores))
    }
    told = statistics.median(v["seconds"] for v in verified) / statistics.median(clock[0.0])
    opening_s = statistics.median(v["opening_s"] for v in verified)
    print(
        f"--verify {DEFAULT_SHARE} over {n:,} windows ({verified[0]['windows']} checked): "
        f"{ratios['cost']:+.2%} of the clock, {ratios['cost_cores']:+.2%} of core seconds; it took "
        f"{told:.2%} of scoring, and opening its networks {opening_s:.3f} s, beside the engine"
    )
    return {
        "seconds": {str(share): taken for share, taken in clock.items()},
        "core_seconds": {str(share): taken for share, taken in cores.items()},
        **ratios,
        "told": told,
        "opening_s": opening_s,
        "verified": verified[-1],
    }


def main() -> None:
    options = arguments(__doc__ or "", windows=4000, rounds=3, members=3, models="examples/models")
    found = natural_error(load_members([options.models]), options.windows)
    with tempfile.TemporaryDirectory() as folder:
        family(Path(load_members([options.models])[0].path), options.members, Path(folder))
        found |= timed_pairs(folder, options.windows, options.rounds)
    finish("verify", {"windows": options.windows, "members": options.members, **found}, options.save)


if __name__ == "__main__":
    main()

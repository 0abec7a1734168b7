"""What does --verify cost, and would it stop a run that is right?

1. Windows unlike those that fidelity is measured on (native promoters, all their changes, repeats, stretches
   of N, one base only) are scored by the engine and in FP32: the largest difference over that of the fidelity
   record must stay below the factor that `--verify` allows.
2. The same windows scored with `--verify 0` and with the default, in turn: the ratio of the times. Outputs
  must be equal.

    python bench/verify.py [--windows 4000] [--rounds 3] [--models examples/models] [--save]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

from legscore import score_file
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import load_members
from legscore.run.verify import LIMIT_FACTOR

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


def main() -> None:
    options = arguments(__doc__ or "", windows=4000, rounds=3, models="examples/models")
    members = load_members([options.models])[:1]
    engine = open_engine(members, Request(), print)
    reference = OpenVINOEngine(members, load_recipe("fp32"), both_strands=True)
    try:
        batch = Batch(windows(members[0].contract, options.windows))
        error = np.abs(engine.score(batch) - reference.score(batch)).ravel()
        recorded = engine.fidelity.score_max_error if engine.fidelity else 0.0
        described = engine.describe()
    finally:
        engine.close()
        reference.close()
    factor = float(error.max() / recorded) if recorded else 0.0
    print(
        f"largest difference {error.max():.4g}, recorded {recorded:.4g}: {factor:.2f} × (allowed: "
        f"{LIMIT_FACTOR:g} ×)"
    )

    times: dict[float, list[float]] = {0.0: [], 0.001: []}
    with tempfile.TemporaryDirectory() as folder:
        source, rng = Path(folder) / "s.parquet", np.random.default_rng(6)
        letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (options.windows, 80))]
        pq.write_table(pa.table({"sequence": [row.tobytes().decode() for row in letters]}), source)
        outputs = {}
        for _ in range(options.rounds):
            for share, taken in times.items():
                out = Path(folder) / f"{share}.parquet"
                started = time.perf_counter()
                record = score_file(source, out, models=members[0].path, verify=share, force=True)
                taken.append(time.perf_counter() - started)
                outputs[share] = out.read_bytes()
    if outputs[0.0] != outputs[0.001]:
        raise SystemExit("the output depends on --verify")
    cost = statistics.median(times[0.001]) / statistics.median(times[0.0]) - 1
    print(
        f"cost of --verify 0.001 over {options.windows:,} windows ({record['verify']['windows']} checked): "
        f"{100 * cost:+.2f} %"
    )
    finish(
        "verify",
        {
            "engine": described["engine"],
            "precision": described["precision"],
            "windows": options.windows,
            "recorded_max_error": recorded,
            "natural_max_error": float(error.max()),
            "factor": factor,
            "natural_rms_error": float(np.sqrt((error.astype(np.float64) ** 2).mean())),
            "seconds": {str(share): taken for share, taken in times.items()},
            "cost": cost,
            "verified": record["verify"],
        },
        options.save,
    )


if __name__ == "__main__":
    main()

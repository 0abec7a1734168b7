"""How many mutations make predicted expression look random? The paper's Supplementary Figure S3.

`legscore design --mutation-curve` from measured native promoters, by the bundled members, with the published
draws (`draw4`). The paper found about 300 for inserts of 80 bases. Expected: the correlation with the
start's own score falls below 0.1 by 300 mutations. Needs predictions_native.parquet (see accuracy.py).

    python bench/mutation_curve.py --data FOLDER [--sequences 300] [--output curve/] [--save]
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import arguments, finish

FLANKS = 17, 13
"""Bases of an oligo around its insert."""
SHOWN = ("n_mutations", "identity", "mean", "sd", "correlation_with_start", "ks_random", "ks_critical")


def main() -> None:
    options = arguments(
        __doc__ or "", data="", sequences=300, output="curve", kind="draw4", models="", plot=""
    )
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    native = pq.read_table(Path(options.data) / "predictions_native.parquet")
    native = native.filter(pc.equal(native["medium"], "complex"))
    inserts = [text[FLANKS[0] : -FLANKS[1]] for text in native["sequence"].to_pylist()]
    start, table = folder / "native.fa", folder / "curve.csv"
    start.write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(inserts)))
    command = [
        sys.executable, "-m", "legscore", "design", "--mutation-curve", "--from", str(start),
        "-o", str(table), "--n", str(options.sequences), "--mutation", options.kind, "--force",
    ]  # fmt: skip
    command += ["-m", options.models] if options.models else []
    command += ["--plot", options.plot] if options.plot else []
    subprocess.run(command, check=True)
    with open(table) as stream:
        rows: list[dict[str, Any]] = [
            {name: float(row[name]) for name in SHOWN} for row in csv.DictReader(stream)
        ]
    alike = [row["ks_random"] <= row["ks_critical"] for row in rows]
    first = next((i for i in range(len(rows)) if all(alike[i:])), None)
    last = rows[-1]
    print(
        "looks random from "
        + ("no count on" if first is None else f"{rows[first]['n_mutations']:.0f} mutations on")
        + f"; correlation with the start at the end: {last['correlation_with_start']:.3f}"
    )
    result = {
        "sequences": options.sequences, "kind": options.kind, "models": options.models or "bundled",
        "looks_random_from": None if first is None else int(rows[first]["n_mutations"]), "rows": rows,
    }  # fmt: skip
    finish("mutation_curve", result, options.save)
    if abs(last["correlation_with_start"]) >= 0.1:
        raise SystemExit("scores still remember where they started")


if __name__ == "__main__":
    main()

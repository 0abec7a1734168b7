"""How fast are windowing and encoding? Rows a second on one core, for each kind of row.

Checks windows against the readable twin (`Contract.window`), then times `Windower` on parts of 16,384 rows
and `encode.strands` on their windows. Expected: windowing ≥ 1 M rows/s a core for every kind.

    python bench/window.py [--rows 262144] [--rounds 5] [--save]
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
from machine import alternate, arguments, finish

from legscore.dna.codes import encode_text
from legscore.dna.constructs import YEAST_CONSTRUCT
from legscore.dna.contract import Contract, Output
from legscore.dna.one_hot import strands
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower

CHANNELS = ("A", "G", "C", "T", "is_reverse", "is_singleton")
OUTPUT = Output("bins", "bin", 0.0, 17.0)
CONTRACT = Contract("AGCT", CHANNELS, 0.25, rc_trained=True, output=OUTPUT, **YEAST_CONSTRUCT)
PART = 16_384


def make(rows: int) -> dict[str, tuple[str, dict[str, pa.Array]]]:
    """Random 80-bp inserts as each kind of row."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (rows, 80))]
    inserts = [row.tobytes().decode() for row in letters]
    lengths = rng.integers(60, 100, rows)
    mixed = [(s * 2)[:n] for s, n in zip(inserts, lengths, strict=True)]
    oligos = [CONTRACT.adapter5 + s + CONTRACT.adapter3 for s in inserts]
    changed = letters.copy()
    changed[:, 40] = np.where(changed[:, 40] == ord("A"), ord("C"), ord("A"))
    changed_oligos = [CONTRACT.adapter5 + row.tobytes().decode() + CONTRACT.adapter3 for row in changed]
    offset = np.arange(rows) % 80
    base = np.array(list("AGCT"))[np.arange(rows) // 80 % 4]
    tiles = pa.array([inserts[i // 240] for i in range(rows)])
    return {
        "inserts, 80 bp": ("insert", {"sequence": pa.array(inserts)}),
        "inserts, 60-99 bp": ("insert", {"sequence": pa.array(mixed)}),
        "oligos, 110 bp": ("oligo", {"sequence": pa.array(oligos)}),
        "pairs of oligos": (
            "oligo",
            {"ref_sequence": pa.array(oligos), "alt_sequence": pa.array(changed_oligos)},
        ),
        "edits (saturation)": (
            "insert",
            {"sequence": tiles, "offset": pa.array(offset), "alt_base": pa.array(base)},
        ),
    }


def main() -> None:
    options = arguments(__doc__ or "", rows=262_144, rounds=5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jobs, work = {}, {}
    for name, (sequence_is, columns) in make(options.rows).items():
        kind = KINDS["pair" if "ref_sequence" in columns else "edit" if "offset" in columns else "sequence"]
        windower = Windower(CONTRACT, kind, sequence_is)
        check(name, windower, columns)

        def job(windower: Windower = windower, columns: dict[str, pa.Array] = columns) -> None:
            for start in range(0, options.rows, PART):
                windower({role: column[start : start + PART] for role, column in columns.items()})

        jobs[name], work[name] = job, float(options.rows)
    codes = Windower(CONTRACT, KINDS["sequence"], "insert")(make(4096)["inserts, 80 bp"][1]).batch.codes_WL

    def encode() -> None:
        for start in range(0, len(codes), 256):
            strands(codes[start : start + 256], CONTRACT, both=True, is_singleton=False)

    jobs["encoding, both strands (windows)"], work["encoding, both strands (windows)"] = (
        encode,
        float(len(codes)),
    )
    rates = alternate(jobs, work, options.rounds)
    for name, rate in rates.items():
        print(f"{name:34s} {rate / 1e6:6.2f} M rows/s on one core")
    finish("window", {"rows_per_s": rates, "part_rows": PART}, options.save)


def check(name: str, windower: Windower, columns: dict[str, pa.Array]) -> None:
    """The first 200 rows against the readable twin."""
    head = {role: column[:200] for role, column in columns.items()}
    windows = windower(head)
    codes, first = windows.batch.expand(), next(iter(head.values())).to_pylist()
    for row in np.flatnonzero(windows.status_N == 0):
        insert = first[row][17:-13] if windower.sequence_is == "oligo" else first[row]
        expected = encode_text(CONTRACT.window(insert))
        if not (codes[windows.index_NKS[row, 0, 0]] == expected).all():
            raise SystemExit(f"{name}: row {row} has a wrong window; no timing of wrong windows")


if __name__ == "__main__":
    main()

"""How long does a report of a million rows take, how large is it, and how large is one of 60 rows?

Makes saturated promoters with random effects (--rows in all), writes the page, checks that it counts every
row and that its heat maps hold the effects, and times reading, counting and writing together. Expected: under
30 s, under 20 MB, and under 2.5 MB for 60 rows.

    python bench/report.py [--rows 1000000] [--rounds 3] [--save]
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import alternate, arguments, finish

from legscore.evaluate.report.page import write_report

LENGTH, CHANGES = 80, 3
CHROMOSOMES = (
    "I",
    "II",
    "III",
    "IV",
    "V",
    "VI",
    "VII",
    "VIII",
    "IX",
    "X",
    "XI",
    "XII",
    "XIII",
    "XIV",
    "XV",
    "XVI",
)
GENOME = 12_000_000
SMALL = 60
"""Rows of a small page: little more than the plotting library."""


def main() -> None:
    options = arguments(__doc__ or "", rows=1_000_000, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        scores, page = Path(folder) / "scores.parquet", Path(folder) / "report.html"
        made = make(options.rows)
        pq.write_table(made, scores)
        write_report(str(scores), str(page), "measured")
        check(page, made)
        jobs = {"report": lambda: write_report(str(scores), str(page), "measured")}
        rates = alternate(jobs, {"report": float(made.num_rows)}, options.rounds)
        size = page.stat().st_size
        pq.write_table(made.slice(0, SMALL), scores)
        write_report(str(scores), str(page), "measured")
        small = {"rows": SMALL, "bytes": page.stat().st_size}
    seconds = made.num_rows / rates["report"]
    print(f"{made.num_rows:,} rows: {seconds:.1f} s, {size / 1e6:.1f} MB")
    print(f"{SMALL} rows: {small['bytes'] / 1e6:.2f} MB")
    finish("report", {"rows": made.num_rows, "seconds": seconds, "bytes": size, "small": small}, options.save)


def make(rows: int) -> pa.Table:
    """Whole promoters of random bases and effects, at least `rows` rows, spread over the chromosomes."""
    rng = np.random.default_rng(0)
    tiles = -(-rows // (LENGTH * CHANGES))
    n = tiles * LENGTH * CHANGES
    tile, offset = (
        np.repeat(np.arange(tiles), LENGTH * CHANGES),
        np.tile(np.repeat(np.arange(LENGTH), CHANGES), tiles),
    )
    letters = np.array(list("ACGT"))
    base = rng.integers(0, 4, (tiles, LENGTH))
    others = np.array([[k for k in range(4) if k != b] for b in range(4)])
    alt = others[base].ravel()
    ref = np.repeat(base.ravel(), CHANGES)
    chrom = tile * len(CHROMOSOMES) // tiles
    pos = rng.integers(0, GENOME // len(CHROMOSOMES), tiles)[tile] + offset + 1
    effect = rng.normal(size=n) * rng.exponential(0.3, n)
    start = rng.normal(8, 3, tiles)[tile]
    names = np.array([f"Y{i:05d}" for i in range(tiles)])
    columns = {
        "variant_id": [
            f"{c}:{p}:{r}:{a}" for c, p, r, a in zip(chrom, pos, letters[ref], letters[alt], strict=True)
        ],
        "chrom": np.array(CHROMOSOMES)[chrom],
        "pos": pos,
        "ref": letters[ref],
        "alt": letters[alt],
        "tile_id": names[tile],
        "gene": names[tile],
        "strand": np.full(n, "+"),
        "offset": offset,
        "alt_base": letters[alt],
        "ref_score": start,
        "alt_score": start + effect,
        "effect": effect,
        "effect_sd": np.abs(rng.normal(0, 0.1, n)),
        "measured": effect + rng.normal(size=n),
        "status": np.full(n, "ok"),
    }
    table = pa.table(columns)
    for name in ("ref_score", "alt_score", "effect", "effect_sd"):
        table = table.set_column(table.column_names.index(name), name, table.column(name).cast(pa.float32()))
    return table


def check(page: Path, made: pa.Table) -> None:
    """SystemExit unless every row is counted and the first promoter's effects come back."""
    block = re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)
    data = json.loads(block[1]) if block else {}
    n = made.num_rows
    counted = (
        sum(data["histograms"]["effect"]["counts"]),
        sum(map(sum, data["truth"]["raster"]["counts"])),
        data["track"]["rows"],
    )
    heat = data["heat"]
    whole = np.frombuffer(base64.b64decode(heat["effect"]["data"]), "<i2")[: 4 * LENGTH].reshape(LENGTH, 4)
    effects = made.column("effect").slice(0, LENGTH * CHANGES).to_numpy()
    if set(counted) != {n} or len(heat["titles"]) != heat["of"] or heat["of"] != n // (LENGTH * CHANGES):
        raise SystemExit(
            f"the page counts {counted} rows and {len(heat['titles'])} promoters of {n} rows; no timing "
            "of that"
        )
    if not np.allclose(whole[whole != -32768] * heat["effect"]["step"], effects, atol=heat["effect"]["step"]):
        raise SystemExit("the page's first promoter has other effects; no timing of that")


if __name__ == "__main__":
    main()

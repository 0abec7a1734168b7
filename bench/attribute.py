"""Do contributions lead a motif tool to the factors that are known to drive yeast promoters?

From a table of native promoter tiles (columns chrom, start, end, strand, n_hits and a measured expression),
takes the most highly expressed ones that stand once in the genome and overlap no other. Scores every
single-base change of them, has `legscore attribute` write contributions, and TF-MoDISco (`modisco motifs`, in
an environment of its own) read the files unchanged. A pattern is a known motif where its bases fit the
consensus: mean probability of the consensus bases, in the best place of either strand. The same is asked of
the consensus with its letters shuffled (--shuffles times); a motif counts as recovered where at most one in a
hundred fits as well. Beside it: which share of the sites of a consensus (either strand) lies in runs of high
contribution, and which share of all positions does. Scores stay in --work, CHUNK tiles a file, so that what
was interrupted goes on, and more promoters can be asked for later.

    python bench/attribute.py --tiles native_tiles.parquet --fasta genome.fa.gz --modisco venv/bin/modisco \\
        [--promoters 300] [--models DIR] [--expression el_nbt_complex] [--work attribute.work] [--save]
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from machine import arguments, finish

from legscore import build_variants, score_file
from legscore.attribute.attribute_files import AttributeOptions, attribute
from legscore.attribute.contributions import Contributions
from legscore.attribute.high_runs import HighRun, high_runs

KNOWN = {
    "REB1": "TTACCCG",
    "RAP1": "CACCCATACAT",
    "RAP1, core": "ACACCC",
    "ABF1": "RTCRYNNNNNACG",
}
"""Consensus of general regulatory factors of yeast (Kubik et al. 2015; Badis et al. 2008)."""
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "N": "ACGT"}
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "R": "Y", "Y": "R", "N": "N"}
LEAST_SHARE = 0.01
N_SEQLETS = 5000
SHORT = ("-z", "8", "-t", "16", "-f", "4", "-g", "4")
"""Seqlets for tiles of 80 bases: cores of 8, trimmed to 16, flanks of 4."""
CHUNK = 100


def main() -> None:
    options = arguments(
        __doc__ or "",
        tiles="",
        fasta="",
        modisco="modisco",
        promoters=300,
        models="",
        expression="el_nbt_complex",
        shuffles=1000,
        work="attribute.work",
    )
    if not (options.tiles and options.fasta):
        raise SystemExit("give --tiles and --fasta")
    work = Path(options.work)
    work.mkdir(exist_ok=True)
    tiles = chosen_tiles(options.tiles, options.expression, options.promoters)
    scores, record = scored(options, tiles, work)
    output = str(work / "contributions.npz")
    found = attribute(AttributeOptions(str(scores), output), print)
    if len(found) != len(tiles):
        raise SystemExit(f"{len(found)} tiles have contributions instead of {len(tiles)}; empty {work}")
    patterns, seconds = motifs(options.modisco, output, work / "motifs.h5", found.base_TL.shape[1])
    rng = np.random.default_rng(1)
    runs = high_runs(found)
    factors = {
        name: {**fit(text, patterns, options.shuffles, rng), **sites_in_runs(text, found, runs)}
        for name, text in KNOWN.items()
    }
    for name, one in factors.items():
        print(f"{name:12s} {'recovered' if one['recovered'] else 'not recovered':14s} {one}")
    finish(
        "attribute",
        {
            "promoters": len(tiles),
            "members": len(record["models"]),
            "engine": record["engine"],
            "modisco": {
                "seconds": round(seconds, 1),
                "patterns": len(patterns),
                "seqlets": [p["seqlets"] for p in patterns],
            },
            "factors": factors,
            "high_runs": {"runs": len(runs), "positive": sum(run.total > 0 for run in runs)},
        },
        options.save,
    )  # fmt: skip


def chosen_tiles(table: str, expression: str, most: int) -> list[str]:
    """BED lines of the `most` tiles of highest expression that stand once in the genome and overlap none
    chosen before; best first."""
    frame = pl.read_parquet(table).filter((pl.col("n_hits") == 1) & pl.col(expression).is_finite())
    taken: dict[str, list[int]] = {}
    lines: list[str] = []
    for row in frame.sort(expression, "chrom", "start", descending=[True, False, False]).iter_rows(
        named=True
    ):
        length = row["end"] - row["start"]
        if len(lines) < most and all(
            abs(row["start"] - start) >= length for start in taken.get(row["chrom"], ())
        ):
            taken.setdefault(row["chrom"], []).append(row["start"])
            name = f"tile{len(lines)}"
            lines.append(f"{row['chrom']}\t{row['start']}\t{row['end']}\t{name}\t0\t{row['strand']}\n")
    return lines


def scored(options: Any, tiles: list[str], work: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with the scores of every change, and what the last file says of its run."""
    (work / "scores").mkdir(exist_ok=True)
    for start in range(0, len(tiles), CHUNK):
        name = f"{start // CHUNK:04d}.parquet"
        bed, changes, scores = work / "tiles.bed", work / "changes.parquet", work / "scores" / name
        if scores.exists():
            continue
        bed.write_text("".join(tiles[start : start + CHUNK]))
        build_variants(None, changes, fasta=options.fasta, regions_bed=bed, saturate=True, force=True)
        aside = work / name
        score_file(changes, aside, models=options.models or (), say=print)
        aside.rename(scores)
    return work / "scores", json.loads(pq.read_schema(scores).metadata[b"legscore"])


def motifs(modisco: str, contributions: str, output: Path, width: int) -> tuple[list[dict[str, Any]], float]:
    """What modisco-lite finds: base probabilities [4, length] of each pattern, its sign and its number of
    seqlets; seconds."""
    started = time.perf_counter()
    one_hot = contributions.replace(".npz", ".one_hot.npz")
    files = ["-s", one_hot, "-a", contributions, "-o", str(output)]
    subprocess.run([modisco, "motifs", *files, "-w", str(width), "-n", str(N_SEQLETS), *SHORT], check=True)
    seconds = time.perf_counter() - started
    script = (
        "import h5py, json, sys\n"
        "file = h5py.File(sys.argv[1])\n"
        "found = [(sign, one) for sign in ('pos', 'neg')\n"
        "    for one in file.get(f'{sign}_patterns', {}).values()]\n"
        "print(json.dumps([[sign, one['sequence'][:].tolist(), int(one['seqlets']['n_seqlets'][0])]\n"
        "    for sign, one in found]))\n"
    )
    python = Path(modisco).with_name("python")
    done = subprocess.run([python, "-c", script, str(output)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return [{"sign": s, "ppm": np.array(ppm).T, "seqlets": k} for s, ppm, k in found], seconds


def fit(
    consensus: str, patterns: list[dict[str, Any]], shuffles: int, rng: np.random.Generator
) -> dict[str, Any]:
    """How well the best positive pattern fits a consensus, and how often its shuffled letters fit as well."""
    best = max(
        ((best_fit(consensus, one["ppm"]), i) for i, one in enumerate(patterns) if one["sign"] == "pos"),
        default=(0.0, -1),
    )
    letters = list(consensus)
    as_good = 0
    for _ in range(shuffles):
        rng.shuffle(letters)
        as_good += max((best_fit("".join(letters), one["ppm"]) for one in patterns), default=0.0) >= best[0]
    share = (as_good + 1) / (shuffles + 1)
    return {
        "consensus": consensus,
        "fit": round(best[0], 3),
        "pattern": best[1],
        "seqlets": patterns[best[1]]["seqlets"] if best[1] >= 0 else 0,
        "shuffled_as_good": round(share, 4),
        "recovered": share <= LEAST_SHARE,
    }


def best_fit(consensus: str, ppm_BL: np.ndarray) -> float:
    """Mean probability of the consensus bases (N left out) where it fits a pattern best, on either strand."""
    wanted_BW = np.array([[base in IUPAC[letter] for letter in consensus] for base in "ACGT"], dtype=float)
    fixed = wanted_BW.sum(axis=0) < 4
    best = 0.0
    for ppm in (ppm_BL, ppm_BL[::-1, ::-1]):
        for start in range(ppm.shape[1] - len(consensus) + 1):
            part = ppm[:, start : start + len(consensus)]
            best = max(best, float((part * wanted_BW).sum(axis=0)[fixed].mean()))
    return best


def sites_in_runs(consensus: str, found: Contributions, runs: list[HighRun]) -> dict[str, Any]:
    """Sites of a consensus in the tiles, on either strand; the share that lies in runs of positive
    contribution, and the share of all positions that does."""
    inside = np.zeros(found.base_TL.shape, dtype=bool)
    for run in runs:
        inside[run.tile, run.start : run.stop] |= run.total > 0
    turned = "".join(COMPLEMENT[letter] for letter in reversed(consensus))
    sites = within = 0
    for text in dict.fromkeys((consensus, turned)):
        fits = np.ones((len(found), found.base_TL.shape[1] - len(text) + 1), dtype=bool)
        for place, letter in enumerate(text):
            wanted = ["ACGT".index(base) for base in IUPAC[letter]]
            fits &= np.isin(found.base_TL[:, place : place + fits.shape[1]], wanted)
        tiles, starts = np.nonzero(fits)
        sites += len(tiles)
        middle = starts + len(text) // 2
        within += int(inside[tiles, middle].sum())
    return {
        "sites": sites,
        "sites_in_runs": round(within / sites, 3) if sites else None,
        "positions_in_runs": round(float(inside[found.has_TL].mean()), 3),
    }


if __name__ == "__main__":
    main()

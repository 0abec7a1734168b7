"""Do contributions lead a motif tool to the factors that are known to drive yeast promoters?

From a table of native promoter tiles (columns chrom, start, end, strand, n_hits and a measured expression),
takes the most highly expressed ones that stand once in the genome and overlap no other. Scores every
single-base change of them, has `legscore attribute` write contributions, and TF-MoDISco (`modisco motifs`, in
an environment of its own) read the files unchanged. A pattern is a known motif where its bases fit the
consensus: mean probability of the consensus bases, in the best place of either strand. The same is asked of
the consensus with its letters shuffled (--shuffles times); a motif counts as recovered where at most one in a
hundred fits as well. Scores stay in --work, so that what was interrupted goes on.

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
from machine import arguments, finish

from legscore import build_variants, score_file
from legscore.attribute.attribute_files import AttributeOptions, attribute
from legscore.attribute.contributions import Contributions
from legscore.attribute.high_runs import high_runs

KNOWN = {
    "REB1": "TTACCCG",
    "RAP1": "ACACCCATACATT",
    "RAP1, core": "ACACCC",
    "ABF1": "TCANNNNNNNACG",
}
"""Consensus of general regulatory factors of yeast (Kubik et al. 2015; Badis et al. 2008)."""
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "N": "ACGT"}
LEAST_SHARE = 0.01
N_SEQLETS = 5000
SHORT = ("-z", "12", "-t", "20", "-f", "4", "-g", "4")
"""Seqlets for tiles of 80 bases: cores of 12, trimmed to 20, flanks of 4."""


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
    n = write_tiles(options.tiles, options.expression, options.promoters, work / "tiles.bed")
    scores, record = scored(options, work)
    output = str(work / "contributions.npz")
    found = attribute(AttributeOptions(str(scores), output), print)
    patterns, seconds = motifs(options.modisco, output, work / "motifs.h5", found.base_TL.shape[1])
    rng = np.random.default_rng(1)
    factors = {name: fit(text, patterns, options.shuffles, rng) for name, text in KNOWN.items()}
    for name, one in factors.items():
        print(f"{name:12s} {'recovered' if one['recovered'] else 'not recovered':14s} {one}")
    finish(
        "attribute",
        {
            "promoters": n,
            "windows": record["windows_scored"],
            "members": len(record["models"]),
            "windows_per_s": record["windows_per_s"],
            "engine": record["engine"],
            "modisco": {
                "seconds": round(seconds, 1),
                "patterns": len(patterns),
                "seqlets": [p["seqlets"] for p in patterns],
            },
            "factors": factors,
            "high_runs": share_in_runs(found),
        },
        options.save,
    )  # fmt: skip


def write_tiles(table: str, expression: str, most: int, bed: Path) -> int:
    """The `most` tiles of highest expression that stand once in the genome and overlap none chosen before."""
    frame = pl.read_parquet(table).filter((pl.col("n_hits") == 1) & pl.col(expression).is_finite())
    taken: dict[str, list[int]] = {}
    lines = []
    for row in frame.sort(expression, "chrom", "start", descending=[True, False, False]).iter_rows(
        named=True
    ):
        length = row["end"] - row["start"]
        if any(abs(row["start"] - start) < length for start in taken.get(row["chrom"], ())):
            continue
        taken.setdefault(row["chrom"], []).append(row["start"])
        lines.append(f"{row['chrom']}\t{row['start']}\t{row['end']}\ttile{len(lines)}\t0\t{row['strand']}\n")
        if len(lines) == most:
            break
    bed.write_text("".join(lines))
    return len(lines)


def scored(options: Any, work: Path) -> tuple[Path, dict[str, Any]]:
    """Scores of every change, and the record of the run; resumed, or finished already."""
    changes, scores = work / "changes.parquet", work / "scores.parquet"
    if not changes.exists():
        build_variants(None, changes, fasta=options.fasta, regions_bed=work / "tiles.bed", saturate=True)
    return scores, score_file(changes, scores, models=options.models or (), say=print)


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


def share_in_runs(found: Contributions) -> dict[str, Any]:
    """Runs of high contribution, and the share of positions that lie in them."""
    runs = high_runs(found)
    inside = sum(run.stop - run.start for run in runs)
    return {
        "runs": len(runs),
        "positive": sum(run.total > 0 for run in runs),
        "share_of_positions": round(inside / max(int(found.has_TL.sum()), 1), 4),
    }


if __name__ == "__main__":
    main()

"""How fast are variants built from a genome? (`variants_memory.py`: whether scoring them takes flat memory.)

Checks first: every base changed in a sample of tiles against the genome read by hand; every REF against the
FASTA (no `ref_mismatch`). Then times, on one core, reading a VCF, the whole path from a VCF to a Parquet
file, and saturation with and without writing. Expected: reading ≥ 150 k records/s, saturation to a file ≥ 2 M
rows/s.

    python bench/variants.py --fasta genome.fa.gz --gtf genes.gtf.gz --vcf cohort.vcf.gz [--assume_utr 47] \\
        [--rounds 3] [--save]
"""

from __future__ import annotations

import os
import tempfile

import pysam
from machine import alternate, arguments, finish

from legscore.variants.build import Builder
from legscore.variants.make import make
from legscore.variants.options import BuildOptions, Setting, prepare
from legscore.variants.records import open_records
from legscore.variants.saturate import Saturated, saturated


def main() -> None:
    options = arguments(__doc__ or "", fasta="", gtf="", vcf="", assume_utr=47, rounds=3)
    if not (options.fasta and options.gtf and options.vcf):
        raise SystemExit("give --fasta, --gtf and --vcf")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    built = BuildOptions(options.fasta, promoters=options.gtf, assume_utr=options.assume_utr)
    setting = prepare(built, print)
    n_records = sum(block.n_records for block in open_records(options.vcf).blocks())
    n_rows = check(setting, options.vcf)
    with tempfile.TemporaryDirectory() as folder:
        every = f"{folder}/every.parquet"
        jobs = {
            "reading a VCF (records)": lambda: sum(
                len(block) for block in open_records(options.vcf).blocks()
            ),
            "VCF to Parquet (records)": lambda: make(options.vcf, f"{folder}/vcf.parquet", built, force=True),
            "saturation in memory (rows)": lambda: sum(
                table.num_rows for table in saturated(setting, Saturated())
            ),
            "saturation to Parquet (rows)": lambda: make(None, every, built, saturate=True, force=True),
        }
        work = dict(zip(jobs, (n_records, n_records, n_rows, n_rows), strict=True))
        rates = alternate(jobs, {name: float(n) for name, n in work.items()}, options.rounds)
        for name, rate in rates.items():
            print(f"{name:30s} {rate / 1e6:6.2f} M/s on one core ({work[name]:,})")
    finish("variants", {"per_s": rates, "counts": work}, options.save)


def check(setting: Setting, vcf: str) -> int:
    """Rows of the saturated set. Ends the script when a base or a REF is wrong."""
    counts = Saturated()
    contigs = {name: pysam.FastaFile(str(setting.genome.path)).fetch(name) for name in setting.genome.names}
    for table in saturated(setting, counts):
        for row in table.slice(0, 600).to_pylist():
            if row["status"] == "ok":
                read = contigs[row["chrom"]][row["pos"] - 1]
                turned = {"A": "T", "C": "G", "G": "C", "T": "A"}[read] if row["strand"] == "-" else read
                if row["ref"] != read or row["sequence"][row["offset"]] != turned:
                    raise SystemExit(f"wrong row {row}; no timing of wrong rows")
    builder = Builder(setting, open_records(vcf))
    for _ in builder.tables():
        pass
    wrong = {name for name in (*builder.counts.rows, *builder.counts.outside) if name.startswith("ref_")}
    if wrong:
        raise SystemExit(f"{vcf}: {wrong} against the FASTA; no timing")
    return counts.rows


if __name__ == "__main__":
    main()

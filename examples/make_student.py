"""Distil the bundled ensemble into the bundled student: at most 1 MB, stored with FP16 weights.

    python examples/make_student.py DATA -o work/ [--publish]

DATA is a folder of public data: gpra_yeast.parquet (measured sequences), native_tiles_genome.parquet and
genome/*.fa.gz (where windows are drawn from), promoters23.tsv and native_variants_measured.parquet (what the
student is checked on: all single changes of 23 promoters, and variants with measured effects). Training
shares no 20 bases in a row with these. About 75 minutes of one core for labels and 80 for training.
Interrupted, the same command goes on, to the same bytes.

--cost, --labels and --steps make other students, with labels that are kept in the folder and used again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

COST, LABELS, STEPS, SEED = 40.0, 200_000, 9_000, 1
"""1/40 of the ensemble's multiply-adds is what 1 MB of FP16 weights hold."""
MOST_BYTES = 1_000_000
PUBLISHED = Path(__file__).resolve().parent / "student" / "bundled_student.safetensors"


def saturated(inserts: list[str], names: list[str]) -> pa.Table:
    """All single changes of inserts as pairs, `tile` says of which."""
    rows: dict[str, list[str]] = {"tile": [], "ref_sequence": [], "alt_sequence": []}
    for name, insert in zip(names, inserts, strict=True):
        for place, old in enumerate(insert):
            for new in "ACGT":
                if new != old:
                    rows["tile"].append(name)
                    rows["ref_sequence"].append(insert)
                    rows["alt_sequence"].append(insert[:place] + new + insert[place + 1 :])
    return pa.table(rows)


def checks(data: Path, folder: Path) -> tuple[Path, Path]:
    """Tables of what the student is checked on: the promoters' changes, and the variants as they are."""
    promoters, variants = folder / "promoters23_snvs.parquet", data / "native_variants_measured.parquet"
    table = csv.read_csv(data / "promoters23.tsv", parse_options=csv.ParseOptions(delimiter="\t"))
    made = saturated(table["insert"].to_pylist(), table["gene"].to_pylist())
    if not promoters.exists() or not pq.read_table(promoters).equals(made):
        pq.write_table(made, promoters)
    return promoters, variants


def command(
    data: Path, output: Path, *, cost: float, labels: int, steps: int, extra: tuple[str, ...] = ()
) -> list[str]:
    """The command line that makes a student; `extra`: more options."""
    genome = next(iter(sorted((data / "genome").glob("*dna*.fa.gz"))))
    made = [
        *("-m", "bundled", "-o", output, "--cost", f"{cost:g}", "--labels", labels, "--steps", steps),
        *("--fasta", genome, "--tiles", data / "native_tiles_genome.parquet"),
        *("--measured", data / "gpra_yeast.parquet", "--seed", SEED),
        *("--keep-labels", "--half", "--force", "--log-every", "200"),
        *extra,
    ]  # fmt: skip
    return [sys.executable, "-m", "legscore", "distill", *map(str, made)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for labels and student")
    parser.add_argument("--cost", type=float, default=COST)
    parser.add_argument("--labels", type=int, default=LABELS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--publish", action="store_true", help=f"copy the student to {PUBLISHED}")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    student = options.output / "student.safetensors"
    promoters, variants = checks(options.data, options.output)
    extra = ("--check", str(promoters), "--check", str(variants), "--truth", "complex_delta")
    made = command(
        options.data, student, cost=options.cost, labels=options.labels, steps=options.steps, extra=extra
    )
    if not student.exists():
        subprocess.run(made, check=True)
    size = student.stat().st_size
    print(f"{student}: {size:,} bytes")
    if options.publish:
        if size > MOST_BYTES:
            raise SystemExit(f"{student} has more than {MOST_BYTES:,} bytes; ask for a higher --cost")
        shutil.copyfile(student, PUBLISHED)
        print(f"{PUBLISHED}: written")


if __name__ == "__main__":
    main()

"""Train the bundled models: those of make_models.py (`bundled@1`) trained further on native promoters too.

    python examples/make_models_2.py gpra_yeast.parquet -o trained/ --apart TABLE.parquet ... \\
        [--publish examples/models]

DATA is the table of make_models.py. Beside its rows of complex medium (`split` train and valid) those of
another experiment on 80-bp tiles of native promoters are used (`split` aux_native_tile, on the same scale in
expression_calibrated). Rows that share 20 bases in a row of their insert, on either strand, with a row of a
test set stay out: those of DATA whose split begins with `test`, and sequences of the --apart tables (columns
sequence, original_seq, ref_seq, alt_seq, insert). Of the tiles about 3 % validate as whole families, and what
shares 20 bases with those does not train. One pass, one random strand for each sequence. On 2 cores with
AVX512-BF16 about 35 minutes; start it twice with OMP_NUM_THREADS=1 and the processes share the work.
Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from legscore.model.checkpoint import Checkpoint, load_checkpoint

STARTS = Path(__file__).resolve().parent / "models_1"
SETTINGS = {"batch": 128, "epochs": 1, "steps_per_epoch": 0, "max_lr": 0.0004, "pct_start": 0.1}
ADAPTER5, ADAPTER3 = 17, 13
"""Bases of the adapters around a measured insert."""
OLIGOS = ("sequence", "original_seq", "ref_seq", "alt_seq")
SHARED_BASES = 20
VALID_PERCENT = 3
TILES, TILES_SET = "aux_native_tile", "native_tile"
"""Their `split` and their `set`."""
NOTE = (
    "trained for four passes over 48,772 measured sequences in complex medium and for one more that has "
    "{tiles:,} native tiles too; published LegNets saw 30 million"
)
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def kmers(insert: str) -> Iterator[str]:
    """Every 20 bases in a row of an insert and of its reverse complement."""
    for strand in (insert, insert.translate(COMPLEMENT)[::-1]):
        for start in range(len(strand) - SHARED_BASES + 1):
            yield strand[start : start + SHARED_BASES]


def kmers_of(oligos: Iterable[str]) -> set[str]:
    """Those of all oligos' inserts."""
    return {kmer for oligo in set(oligos) for kmer in kmers(oligo[ADAPTER5:-ADAPTER3])}


def read(path: Path) -> pa.Table:
    """A Parquet or tab-separated table."""
    if path.suffix == ".parquet":
        return pq.read_table(path)
    return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t"))


def shares(oligos: pa.ChunkedArray, apart: set[str]) -> pa.Array:
    """bool [rows]: whether an oligo's insert has one of these 20-mers on either strand."""
    return pa.array(not apart.isdisjoint(kmers(oligo[ADAPTER5:-ADAPTER3])) for oligo in oligos.to_pylist())


def test_kmers(data: pa.Table, tables: Iterable[Path]) -> set[str]:
    """20-mers of the test rows of DATA and of the --apart tables."""
    found = kmers_of(data.filter(pc.starts_with(data["split"], "test"))["sequence"].to_pylist())
    for path in tables:
        table = read(path)
        for name in set(OLIGOS) & set(table.column_names):
            found |= kmers_of(table[name].to_pylist())
        for insert in table["insert"].to_pylist() if "insert" in table.column_names else ():
            found |= set(kmers(insert))
    return found


def mix(data: pa.Table, tables: Iterable[Path]) -> pa.Table:
    """The rows to train on and to validate on, the tiles behind the others, with `split` for both."""
    complex_medium = data.filter(pc.equal(data["medium"], "complex"))
    first = complex_medium.filter(pc.is_in(complex_medium["split"], pa.array(["train", "valid"])))
    tiles = complex_medium.filter(pc.equal(complex_medium["split"], TILES))
    validating = first.filter(pc.equal(first["split"], "valid"))["sequence"].to_pylist()
    apart = test_kmers(complex_medium, tables) | kmers_of(validating)
    tiles = tiles.filter(pc.invert(shares(tiles["sequence"], apart)))
    held = pa.array(
        zlib.crc32(str(name).encode()) % 100 < VALID_PERCENT for name in tiles["family"].to_pylist()
    )
    at = tiles.column_names.index("split")
    tiles = tiles.set_column(at, "split", pc.if_else(held, "valid", "train").cast(tiles["split"].type))
    rows = pa.concat_tables([first, tiles])
    related = shares(rows["sequence"], kmers_of(tiles.filter(held)["sequence"].to_pylist()))
    return rows.filter(pc.or_(pc.equal(rows["split"], "valid"), pc.invert(related)))


def seed_of(start: Path) -> str:
    """Such as seed3, of yeast_complex_seed3."""
    return start.stem.rpartition("_")[2]


def noted(member: Checkpoint, start: Checkpoint, tiles: int) -> Checkpoint:
    """The member with the note that is shown with it, and what the construct cannot know: organism, assay and
    medium, which are its start's."""
    told = {name: getattr(start.contract, name) for name in ("organism", "assay", "medium")}
    training = member.training | {"note": NOTE.format(tiles=tiles)}
    return replace(member, contract=replace(member.contract, **told), training=training)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--apart", type=Path, action="append", default=[], help="Parquet table of a test set; repeat"
    )
    parser.add_argument("--publish", type=Path, help="folder that gets the finished models with FP16 weights")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = mix(read(options.data), options.apart)
    table = options.output / "rows.parquet"
    pq.write_table(rows.select(["sequence", "expression_calibrated", "split"]), table)
    starts = sorted(STARTS.glob("*.safetensors"))
    for start in starts:
        command = [
            sys.executable, "-m", "legscore", "train", str(table), "-o", str(options.output),
            "--from", str(start), "--seed", seed_of(start).removeprefix("seed"),
            "--split", "split", "--expression", "expression_calibrated", "--out-of-range", "clip",
            "--save-every", "50", "--resume",
        ]  # fmt: skip
        command += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
        subprocess.run(command, check=True)
    tiles = pc.sum(pc.and_(pc.equal(rows["set"], TILES_SET), pc.equal(rows["split"], "train"))).as_py()
    for start in starts if options.publish else ():
        member = load_checkpoint(options.output / f"{seed_of(start)}.safetensors")
        path = options.publish / f"yeast_complex2_{member.name}.safetensors"
        noted(member, load_checkpoint(start), tiles).save(path, half=True)


if __name__ == "__main__":
    main()

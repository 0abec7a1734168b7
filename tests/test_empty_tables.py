"""Tables that name their columns and hold no row, as splitting by chromosome leaves them: an empty output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line

Cli = Callable[..., Ran]
KINDS = {
    "sequence": {"id": pa.string(), "sequence": pa.string()},
    "pair": {"ref_sequence": pa.string(), "alt_sequence": pa.string()},
    "edit": {"sequence": pa.string(), "offset": pa.int64(), "alt_base": pa.string()},
}


def empty(path: Path, kind: str) -> Path:
    table = pa.schema(KINDS[kind]).empty_table()
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        path.write_text(("\t" if path.suffix == ".tsv" else ",").join(KINDS[kind]) + "\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["in.parquet", "in.csv", "in.tsv"])
@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "folder/"])
def test_a_table_without_rows_gives_an_output_without_rows(
    tmp_path: Path, cli: Cli, toy_model: Path, kind: str, source: str, name: str
) -> None:
    out = f"{tmp_path}/{name}"
    ran = cli("run", empty(tmp_path / source, kind), "-m", toy_model, "--engine", "null", "-o", out)
    assert ran.code == 0, ran.err
    assert "rows: 0 (none)" in ran.err
    table = pc.read_csv(out) if name.endswith(".csv") else pq.read_table(out)
    assert table.num_rows == 0
    assert {"status", "score" if kind == "sequence" else "effect"} <= set(table.column_names)


@pytest.mark.parametrize("more", [(), ("--shuffle-null", 3), ("--per-model",)])
def test_variants_of_no_record_are_scored_from_text_too(
    world: Path, cli: Cli, toy_model: Path, more: tuple[object, ...]
) -> None:
    """A CSV does not say that `legscore variants` wrote it."""
    (world / "e.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    (world / "t.bed").write_text("1\t270\t330\tt\t0\t+\n")
    given = ("--fasta", world / "g.fa", "--regions", world / "t.bed")
    assert cli("variants", world / "e.vcf", *given, "-o", world / "v.csv").code == 0
    ran = cli(
        *("run", world / "v.csv", "-m", toy_model, "--engine", "null", "-o", world / "o.parquet"), *more
    )
    assert ran.code == 0, ran.err
    assert pq.read_table(world / "o.parquet").num_rows == 0


def test_what_has_no_columns_is_refused(tmp_path: Path, cli: Cli, toy_model: Path) -> None:
    for name, content, message in (
        ("zero.csv", "", "is empty (0 bytes)"),
        ("zero.fa", "", "is empty (0 bytes)"),
    ):
        (tmp_path / name).write_text(content)
        ran = cli("run", tmp_path / name, "-m", toy_model, "--engine", "null", "-o", tmp_path / "o.parquet")
        one_line(ran, name, message)

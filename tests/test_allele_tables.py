"""Tables of alleles: names of columns, missing values, positions that no genome has, alleles in either order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from legscore.errors import InputError
from legscore.variants.allele_tables import TableRecords, find_columns

CONTIG = "ACGTTGCAAGCTTACGGATCNATGCATTTACG" * 4


@pytest.fixture
def rows(tmp_path: Path, cli: Any) -> Any:
    """Rows of `variants TABLE --centered --keep-outside`."""
    (tmp_path / "g.fa").write_text(f">c\n{CONTIG}\n")

    def build(name: str, *more: object) -> list[dict[str, Any]]:
        out = tmp_path / "o.parquet"
        out.unlink(missing_ok=True)
        given = ("--fasta", tmp_path / "g.fa", "--centered", "--length", 8, "--keep-outside", "-o", out)
        ran = cli("variants", tmp_path / name, *given, *more, "-q")
        assert ran.code == 0, ran.err
        return pq.read_table(out).to_pylist()

    return build


MISSING = ["NA", "na", "Na", "NaN", "nan", "NULL", "null", "None", "none", ".", ""]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_missing_allele_never_becomes_bases(tmp_path: Path, rows: Any, kind: str) -> None:
    alts = ["A", *MISSING, "C,NA", "C,."]
    n = len(alts)
    table: dict[str, Any] = {"chrom": ["c"] * n, "pos": [49] * n, "ref": ["G"] * n, "alt": alts}
    assert CONTIG[48] == "G"
    write(tmp_path / f"t.{kind}", table)
    found = [(row["alt"], row["status"]) for row in rows(f"t.{kind}")]
    null = (None, "null_sequence")
    assert found == [("A", "ok"), *[null] * len(MISSING), ("C", "ok"), null, ("C", "ok")]
    table["ref"], table["alt"] = MISSING, ["A"] * 11
    write(tmp_path / f"t.{kind}", {**table, "chrom": ["c"] * 11, "pos": [49] * 11})
    assert [row["status"] for row in rows(f"t.{kind}")] == ["null_sequence"] * 11


def write(path: Path, table: dict[str, Any]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
        return
    mark = "," if path.suffix == ".csv" else "\t"
    lines = [list(table), *zip(*table.values(), strict=True)]
    quoted = [[f'"{value}"' if "," in str(value) else str(value) for value in line] for line in lines]
    path.write_text("".join(mark.join(line) + "\n" for line in quoted))


def test_na_is_dna_beside_an_n(tmp_path: Path, rows: Any) -> None:
    """A at CONTIG[21] follows an N: its insertion and its deletion are anchored on it."""
    assert CONTIG[20:22] == "NA"
    write(
        tmp_path / "t.csv",
        {"chrom": "ccc", "pos": [21] * 3, "ref": ["N", "NA", "NA"], "alt": ["NA", "N", "na"]},
    )
    found = [(row["ref"], row["alt"], row["status"]) for row in rows("t.csv")]
    assert found == [("N", "NA", "ok"), ("NA", "N", "ok"), ("NA", None, "null_sequence")]


def test_other_alleles_that_are_no_bases(tmp_path: Path, rows: Any) -> None:
    alts = ["<DEL>", "*", "-", "I", "G[c:3[", "0"]
    write(tmp_path / "t.csv", {"chrom": "c" * 6, "pos": [49] * 6, "ref": "G" * 6, "alt": alts})
    assert [row["status"] for row in rows("t.csv")] == [
        "unsupported_allele", "unsupported_allele", "invalid_base", "invalid_base", "unsupported_allele", "invalid_base",
    ]  # fmt: skip
    write(tmp_path / "t.csv", {"chrom": "c" * 3, "pos": [49] * 3, "ref": ["<DEL>", "*", "-"], "alt": "AAA"})
    assert {row["status"] for row in rows("t.csv")} == {"invalid_base"}


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.int8(), pa.uint32(), pa.null()])
@pytest.mark.parametrize("how", ["--centered", "--tiles"])
def test_positions_that_no_genome_has(
    tmp_path: Path, rows: Any, cli: Any, kind: pa.DataType, how: str
) -> None:
    extremes = {
        pa.int64(): [-(2**63), -(2**63) + 1, 2**63 - 1, 2**63 - 2, 0, -1, None],
        pa.uint64(): [0, 2**63 - 1, None],
        pa.int8(): [-128, 0, None],
        pa.uint32(): [2**32 - 1, 0, None],
        pa.null(): [None] * 3,
    }[kind]
    n = len(extremes)
    pq.write_table(
        pa.table({"chrom": ["c"] * n, "pos": pa.array(extremes, kind), "ref": ["G"] * n, "alt": ["T"] * n}),
        tmp_path / "t.parquet",
    )
    if how == "--centered":
        found = rows("t.parquet")
    else:
        (tmp_path / "g.fa").write_text(f">c\n{CONTIG}\n")
        (tmp_path / "t.bed").write_text("c\t0\t20\n")
        given = ("--fasta", tmp_path / "g.fa", how, tmp_path / "t.bed", "--keep-outside")
        ran = cli("variants", tmp_path / "t.parquet", *given, "-o", tmp_path / "o.parquet")
        assert ran.code == 0, ran.err
        found = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [(row["pos"], row["status"]) for row in found] == [
        (pos, "null_sequence" if pos is None else "edge") for pos in extremes
    ]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([2**64 - 1], pa.uint64()), "holds a number that is no position"),
        (pa.array([float("nan")]), "positions must be whole numbers"),
        (pa.array(["12"]), "must be whole"),
    ],
)
def test_positions_that_are_refused(tmp_path: Path, cli: Any, column: pa.Array, message: str) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{CONTIG}\n")
    pq.write_table(
        pa.table({"chrom": ["c"], "pos": column, "ref": ["G"], "alt": ["T"]}), tmp_path / "t.parquet"
    )
    ran = cli(
        "variants",
        tmp_path / "t.parquet",
        "--fasta",
        tmp_path / "g.fa",
        "--centered",
        "-o",
        tmp_path / "o.csv",
    )
    assert (ran.code, message in ran.err.splitlines()[-1]) == (2, True), ran.err


@pytest.mark.parametrize("text", ["9223372036854775808", "-99999999999999999999", "NA", "1e3", "12.0"])
def test_positions_of_text_that_are_refused(tmp_path: Path, cli: Any, text: str) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{CONTIG}\n")
    (tmp_path / "t.csv").write_text(f"chrom,pos,ref,alt\nc,49,G,T\nc,{text},G,T\n")
    ran = cli(
        "variants", tmp_path / "t.csv", "--fasta", tmp_path / "g.fa", "--centered", "-o", tmp_path / "o.csv"
    )
    assert (ran.code, "'pos'" in ran.err.splitlines()[-1]) == (2, True), ran.err


@pytest.mark.parametrize("column", ["chrom", "ref", "alt", "id"])
@pytest.mark.parametrize("kind", ["text", "coded", "bytes"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, cli: Any, column: str, kind: str) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{CONTIG}\n")
    table = {"chrom": pa.array(["c"]), "pos": pa.array([49]), "ref": pa.array(["G"]), "alt": pa.array(["T"])}
    raw = pa.array([b"T\xe4"])
    bad = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    coded = pa.DictionaryArray.from_arrays(pa.array([0]), bad, safe=False)
    table[column] = {"text": bad, "coded": coded, "bytes": raw}[kind]
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    ran = cli(
        "variants",
        tmp_path / "t.parquet",
        "--fasta",
        tmp_path / "g.fa",
        "--centered",
        "-o",
        tmp_path / "o.csv",
    )
    assert (ran.code, "UTF" in ran.err.splitlines()[-1]) == (2, True), ran.err


@pytest.mark.parametrize(
    "header",
    ["CHR\tBP\tREF\tALT", "CHROM\tPOS\tREF\tALT", "#CHROM\tPOS\tREF\tALT", "chr\tposition\tref\talt",
     "Chromosome\tPosition\tRef\tAlt", "chrom\tbase_pair_location\tref_allele\talt_allele"],
)  # fmt: skip
def test_names_of_columns(tmp_path: Path, rows: Any, header: str) -> None:
    (tmp_path / "t.tsv").write_text(f"{header}\nc\t49\tG\tT\n")
    assert [(row["pos"], row["ref"], row["alt"], row["status"]) for row in rows("t.tsv")] == [
        (49, "G", "T", "ok")
    ]


def test_names_that_fit_twice_or_not_at_all() -> None:
    names = ["chrom", "pos", "ref", "alt"]
    assert find_columns([*names, "BP", "A1", "A2", "SNP"], "t", {})[0]["pos"] == "pos"
    assert find_columns(["CHR", "BP", "SNP", "A1", "A2"], "t", {}) == (
        {"chrom": "CHR", "pos": "BP", "ref": "A2", "alt": "A1", "variant_id": "SNP"}, True,
    )  # fmt: skip
    assert find_columns([*names, "start"], "t", {"pos": "start"})[0]["pos"] == "start"
    for given, chosen, message in (
        ([*names, "position"], {}, "has both 'pos' and 'position'; choose with --column pos=pos"),
        (["chrom", "pos", "ref"], {}, "no column for alt.*Name it with --column alt=NAME"),
        (["chrom", "pos", "A1", "alt"], {}, "no column for ref"),
        (names, {"po": "pos"}, "no such role"),
        (names, {"pos": "start"}, "has no column 'start'"),
    ):
        with pytest.raises(InputError, match=message):
            find_columns(given, "t", chosen)


def test_the_genome_tells_which_of_two_alleles_is_the_reference(tmp_path: Path, rows: Any, cli: Any) -> None:
    """A1 and A2 in either order, neither of them, an insertion; both in the genome are refused."""
    assert CONTIG[48:50] == "GA"
    table = {
        "CHR": "c" * 7,
        "BP": [49] * 7,
        "A1": ["T", "G", "T", "GC", "NA", "G", "T"],
        "A2": ["G", "T", "C", "G", "G", "NA", "NA"],
    }
    write(tmp_path / "t.tsv", table)
    found = [(row["ref"], row["alt"], row["status"]) for row in rows("t.tsv")]
    assert found == [
        ("G", "T", "ok"), ("G", "T", "ok"), ("C", "T", "ref_mismatch"), ("G", "GC", "ok"),
        ("G", None, "null_sequence"), ("G", None, "null_sequence"), (None, "T", "null_sequence"),
    ]  # fmt: skip
    write(tmp_path / "t.tsv", {"CHR": "c", "BP": [49], "A1": ["GA"], "A2": ["G"]})
    given = ("--fasta", tmp_path / "g.fa", "--centered", "-o", tmp_path / "o.csv")
    ran = cli("variants", tmp_path / "t.tsv", *given)
    assert (ran.code, "row 1: the genome reads both" in ran.err) == (2, True), ran.err
    assert "--column ref=NAME" in ran.err


def test_a_role_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("chrom,pos,start,ref,alt\nc,49,4,T,A\n")
    (block,) = TableRecords(tmp_path / "t.csv", {"pos": "start"}).blocks()
    assert block.pos.to_pylist() == [4]


def test_columns_chosen_on_the_command_line(tmp_path: Path, rows: Any, cli: Any, toy_model: Path) -> None:
    write(tmp_path / "t.csv", {"chrom": "c", "pos": [3], "one": [49], "ref": "G", "alt": "T"})
    assert [row["status"] for row in rows("t.csv", "--column", "pos=one", "--column", "ref=ref")] == ["ok"]
    given = (tmp_path / "t.csv", "--fasta", tmp_path / "g.fa", "--centered", "--length", 8)
    run = ("run", *given, "-m", toy_model, "--engine", "null", "-o", tmp_path / "s.csv")
    ran = cli(*run, "--column", "pos=one")
    assert ran.code == 0, ran.err
    assert "ref_alt_swapped" not in (tmp_path / "s.csv").read_text()
    for column, message in (("sequence=ref", "about tables of sequences"), ("pos=two", "no column 'two'")):
        ran = cli(*run[:-1], tmp_path / "u.csv", "--column", column)
        assert (ran.code, message in ran.err.splitlines()[-1]) == (2, True), ran.err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_without_rows_gives_one(tmp_path: Path, rows: Any, kind: str) -> None:
    if kind == "csv":
        (tmp_path / "t.csv").write_text("chrom,pos,ref,alt\n")
    else:
        schema = pa.schema(
            [("chrom", pa.string()), ("pos", pa.int64()), ("ref", pa.string()), ("alt", pa.string())]
        )
        pq.write_table(schema.empty_table(), tmp_path / "t.parquet")
    assert rows(f"t.{kind}") == []

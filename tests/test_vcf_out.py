"""Scores into a VCF: text that is no UTF-8, files that change in between, files without a record."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pysam
import pysam.bcftools
import pytest

from legscore.errors import InputError
from legscore.variants import make as make_module
from legscore.variants.contigs import ContigMap
from legscore.variants.make import make
from legscore.variants.options import BuildOptions
from legscore.variants.vcf_out import ENTRY, write_vcf

TILES = ("--length", 20, "--upstream", 40, "--step", 10)


@pytest.fixture
def score(world: Path, toy_model: Path, cli: Any) -> Any:
    """legscore run SOURCE -o OUT on the toy genome."""

    def run(source: object, output: str, *more: object) -> Any:
        given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES, "-m", toy_model)
        return cli("run", world / str(source), *given, "--engine", "null", "-o", f"{world}/{output}", *more)

    return run


def test_the_header_names_the_fields_of_an_entry(world: Path, score: Any) -> None:
    """As `bcftools +split-vep` reads them: after `Format: `, to the end of the Description."""
    assert score("v.vcf", "o.vcf").code == 0
    with pysam.VariantFile(str(world / "o.vcf")) as file:
        text = file.header.info["LEGSCORE"].description
        entries = [entry for record in file for entry in record.info.get("LEGSCORE", ())]
    names = text.split("Format: ")[1].split("|")
    assert tuple(names) == ENTRY
    assert {len(entry.split("|")) for entry in entries} == {len(names)}


def test_split_vep_reads_it(world: Path, score: Any) -> None:
    bcftools = shutil.which("bcftools")
    if bcftools is None:
        pytest.skip("bcftools with its plugins is not here")
    assert score("v.vcf", "o.vcf").code == 0
    command = [bcftools, "+split-vep", str(world / "o.vcf"), "-a", "LEGSCORE"]
    listed = subprocess.run([*command, "-l"], capture_output=True, text=True, check=True).stdout
    assert [line.split("\t")[1] for line in listed.splitlines()] == list(ENTRY)
    rows = subprocess.run(
        [*command, "-d", "-f", "%POS %gene %Consequence\n"], capture_output=True, text=True, check=True
    ).stdout
    assert "290 A ok" in rows.splitlines()


def latin1(world: Path, contig: str, name: str) -> Path:
    """A VCF with ä in Latin-1 in a Description, in a value of INFO and in its key."""
    head = '##fileformat=VCFv4.2\n##contig=<ID=1,length=1200>\n##INFO=<ID=X,Number=1,Type=String,Description="H\xe4ufigkeit">\n'
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    alt = "A" if contig[289] != "A" else "C"
    text = f"{head}{columns}1\t290\t.\t{contig[289]}\t{alt}\t.\t.\tX=sch\xf6n\n"
    path = world / "latin1.vcf"
    path.write_bytes(text.encode("latin-1"))
    if name.endswith(".bcf"):
        pysam.bcftools.view("-Ob", "-o", str(world / name), str(path), catch_stdout=False)
    elif name.endswith(".gz"):
        pysam.tabix_compress(str(path), str(world / name), force=True)
    return world / name


@pytest.mark.parametrize("name", ["latin1.vcf", "latin1.vcf.gz", "latin1.bcf"])
@pytest.mark.parametrize("output", ["o.vcf", "o.vcf.gz", "o.bcf"])
def test_text_that_is_not_utf8_is_written_as_it_was(
    world: Path, contig: str, score: Any, name: str, output: str
) -> None:
    latin1(world, contig, name)
    ran = score(name, output)
    assert ran.code == 0, ran.err
    if output.endswith(".bcf"):
        pysam.bcftools.view("-Ov", "-o", str(world / "o.txt"), str(world / output), catch_stdout=False)
        text = (world / "o.txt").read_bytes()
    else:
        with pysam.BGZFile(str(world / output), "rb") as stream:
            text = stream.read()
    assert "Häufigkeit".encode("latin-1") in text
    assert "X=schön;LEGSCORE=".encode("latin-1") in text


@pytest.mark.parametrize("field", [0, 2, 4])
def test_names_that_are_not_utf8_are_refused_before_scoring(
    world: Path, contig: str, score: Any, field: int
) -> None:
    fields = ["1", "290", ".", contig[289], "A" if contig[289] != "A" else "C", ".", ".", "."]
    fields[field] = "\xe4"
    head = (
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=1200>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    )
    (world / "n.vcf").write_bytes((head + "\t".join(fields) + "\n").encode("latin-1"))
    ran = score("n.vcf", "o.vcf")
    assert (ran.code, len(ran.err.splitlines()[-1]) < 500) == (2, True), ran.err
    assert "Traceback" not in ran.err
    assert not (world / "o.vcf").exists()


def scored_for(world: Path, source: Path) -> Path:
    """A table as `run` would leave it for write_vcf."""
    options = BuildOptions(
        str(world / "g.fa"), promoters=str(world / "g.gtf"), length=20, upstream=40, step=10
    )
    make(str(source), str(world / "t.parquet"), options, numbered=True, force=True)
    table = pl.read_parquet(world / "t.parquet").with_columns(effect=pl.lit(0.5), effect_sd=pl.lit(0.1))
    table.write_parquet(world / "s.parquet")
    return world / "s.parquet"


def changed(lines: list[str], how: str) -> list[str]:
    at = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    first = lines[at].split("\t")
    if how == "one more in front":
        return [*lines[:at], "1\t3\t.\tA\tC\t.\t.\t.\n", *lines[at:]]
    if how == "one less in front":
        return [*lines[:at], *lines[at + 1 :]]
    if how == "one less at the end":
        return lines[:-4]
    index, text = {
        "another position": (1, "289"),
        "another allele": (4, ",".join(first[4].split(",")[::-1])),
        "another reference": (3, "N"),
        "another contig": (0, "MT"),
    }[how]
    first[index] = text
    return [*lines[:at], "\t".join(first), *lines[at + 1 :]]


HOW = ["one more in front", "one less in front", "one less at the end", "another position", "another allele",
       "another reference", "another contig"]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_a_record_that_was_not_scored_gets_no_scores(world: Path, how: str) -> None:
    """By its contig, position and alleles, whatever the file's time and size say."""
    scored = scored_for(world, world / "v.vcf")
    lines = (world / "v.vcf").read_text().splitlines(keepends=True)
    (world / "v.vcf").write_text("".join(changed(lines, how)))
    metadata: dict[str, Any] = {"legscore": "0", "models": []}
    with pytest.raises(InputError, match="changed while it was in use"):
        write_vcf(world / "v.vcf", scored, str(world / "o.vcf"), "vcf", ContigMap({}), {"1": 1200}, metadata)
    assert not list(world.glob("o.*"))


def test_a_file_that_was_written_again_is_refused_by_its_stamp(world: Path) -> None:
    """A record that lies in no tile is compared with nothing else."""
    options = BuildOptions(
        str(world / "g.fa"), promoters=str(world / "g.gtf"), length=20, upstream=40, step=10
    )
    made = make(str(world / "v.vcf"), str(world / "t.parquet"), options, numbered=True)
    scored = scored_for(world, world / "v.vcf")
    given = (ContigMap({}), {"1": 1200}, {"legscore": "0", "models": []}, made.read)
    write_vcf(world / "v.vcf", scored, str(world / "o.vcf"), "vcf", *given)
    text = (world / "v.vcf").read_text()
    (world / "v.vcf").write_text(text.replace("1\t1100\t", "1\t1101\t"))
    with pytest.raises(InputError, match="v.vcf changed while it was in use"):
        write_vcf(world / "v.vcf", scored, str(world / "p.vcf"), "vcf", *given)
    assert not (world / "p.vcf").exists()


@pytest.mark.parametrize("name", ["v.vcf", "g.fa", "g.gtf"])
def test_what_changes_while_a_table_is_made_is_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prepare = make_module.prepare

    def late(*args: Any) -> Any:
        setting = prepare(*args)
        (world / name).write_bytes((world / name).read_bytes() + b"\n")
        return setting

    monkeypatch.setattr(make_module, "prepare", late)
    options = BuildOptions(
        str(world / "g.fa"), promoters=str(world / "g.gtf"), length=20, upstream=40, step=10
    )
    with pytest.raises(InputError, match=f"{name}.*changed while|{name}, line"):
        make(str(world / "v.vcf"), str(world / "t.parquet"), options)
    assert not (world / "t.parquet").exists()


TABLES = ["o.parquet", "o.arrow", "o.csv", "o.tsv", "o.csv.gz"]
FOLDER = "o/"


@pytest.mark.parametrize("output", [*TABLES, FOLDER, "o.vcf", "o.vcf.gz", "o.bcf", "o.bedgraph"])
def test_a_vcf_without_records_gives_an_empty_output(world: Path, score: Any, output: str) -> None:
    lines = (world / "v.vcf").read_text().splitlines(keepends=True)
    (world / "e.vcf").write_text("".join(line for line in lines if line.startswith("#")))
    ran = score("e.vcf", output)
    assert ran.code == 0, ran.err
    assert "no allele lies in a tile, so the output is empty" in ran.err
    if output.endswith(("vcf", "vcf.gz", "bcf")):
        with pysam.VariantFile(str(world / output)) as file:
            assert (list(file), "LEGSCORE" in file.header.info) == ([], True)
    elif output in ("o.parquet", FOLDER):
        table = pq.read_table(world / output)
        assert (table.num_rows, {"variant_id", "effect", "status"} <= set(table.column_names)) == (0, True)
    elif output == "o.bedgraph":
        assert len((world / "o.plus.bedgraph").read_text().splitlines()) == 1


@pytest.mark.parametrize("output", TABLES)
def test_regions_without_alleles_give_an_empty_table(world: Path, cli: Any, output: str) -> None:
    pysam.tabix_index(str(world / "v.vcf"), preset="vcf", keep_original=True)
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES, "-o", world / output)
    ran = cli("variants", world / "v.vcf.gz", "--region", "1:500-600", *given)
    assert ran.code == 0, ran.err
    assert "0 rows" in ran.err
    assert "there is nothing to score" in ran.err
    if output.endswith(".csv"):
        assert "variant_id" in (world / output).read_text()


def test_options_about_columns_are_refused_where_there_are_none(score: Any) -> None:
    for more in (("--keep", "none"), ("--per-model",)):
        ran = score("v.vcf", "o.vcf", *more)
        assert (ran.code, f"{more[0]} is about columns" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("value", ["X=99999999999", "X=-99999999999"])
def test_a_value_that_bcf_cannot_hold_is_no_missing_value(
    world: Path, contig: str, score: Any, value: str
) -> None:
    head = '##fileformat=VCFv4.2\n##contig=<ID=1,length=1200>\n##INFO=<ID=X,Number=1,Type=Integer,Description="x">\n'
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    alt = "A" if contig[289] != "A" else "C"
    (world / "x.vcf").write_text(f"{head}{columns}1\t290\t.\t{contig[289]}\t{alt}\t.\t.\t{value}\n")
    ran = score("x.vcf", "o.bcf")
    assert (ran.code, "BCF cannot hold the value of INFO/X" in ran.err.splitlines()[-1]) == (2, True), ran.err
    assert not (world / "o.bcf").exists()
    assert score("x.vcf", "o.vcf").code == 0
    assert f"{value};LEGSCORE=" in (world / "o.vcf").read_text()

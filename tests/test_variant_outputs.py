"""Scores back into a VCF, and as tracks."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pysam
import pytest

from legscore.variants.vcf_out import _index

TILES = ("--length", 20, "--upstream", 40, "--step", 10)
SCORE = ("--engine", "openvino", "--precision", "fp32")


def given(world: Path) -> tuple[Any, ...]:
    return ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)


@pytest.mark.parametrize("name", ["o.vcf.gz", "o.vcf", "o.vcf.bgz", "o.bcf"])
def test_the_vcf_comes_back_with_scores(world: Path, toy_models: Path, cli: Any, name: str) -> None:
    """Records, order and other fields are those of the input; LEGSCORE holds every row of the table; the rest
    is untouched."""
    ran = cli("run", world / "v.vcf", *given(world), "-m", toy_models, *SCORE, "-o", world / name)
    assert ran.code == 0, ran.err
    assert (
        cli("run", world / "v.vcf", *given(world), "-m", toy_models, *SCORE, "-o", world / "o.parquet").code
        == 0
    )
    rows: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in pl.read_parquet(world / "o.parquet").to_dicts():
        rows[row["pos"], row["alt"]].append(row)
    with pysam.VariantFile(str(world / "v.vcf")) as before, pysam.VariantFile(str(world / name)) as after:
        assert "percent-encoded" in str(after.header)
        assert [line for line in str(after.header).splitlines() if line.startswith("##legscore_models=")]
        ours, theirs = list(after), list(before)
    assert [(r.chrom, r.pos, r.id, r.ref, r.alts) for r in ours] == [
        (r.chrom, r.pos, r.id, r.ref, r.alts) for r in theirs
    ]
    for record in ours:
        expected = [row for alt in record.alts for row in rows[record.pos, alt]]
        assert ("LEGSCORE" in record.info) == bool(expected)
        entries = [entry.split("|") for entry in record.info.get("LEGSCORE", ())]
        assert [(e[0], e[1], e[2], e[3], e[-1]) for e in entries] == [
            (row["alt"], row["gene"], row["tile_id"], row["strand"], row["status"]) for row in expected
        ]
        for entry, row in zip(entries, expected, strict=True):
            assert (entry[4] == ".") == (row["effect"] is None)
            if row["effect"] is not None:
                assert float(entry[4]) == pytest.approx(row["effect"], rel=1e-5)
                assert float(entry[5]) == pytest.approx(row["effect_sd"], rel=1e-5)
        for alt, largest in zip(record.alts, record.info.get("LEGSCORE_MAX", ()), strict=False):
            effects = [row["effect"] for row in rows[record.pos, alt]]
            assert largest == pytest.approx(max(effects, key=abs), rel=1e-5)
    assert len(ours[0].info["LEGSCORE"]) == 6
    assert len(ours[0].info["LEGSCORE_MAX"]) == 2
    assert "LEGSCORE" not in ours[-1].info
    if name != "o.vcf":
        with pysam.VariantFile(str(world / name)) as indexed:
            assert [r.pos for r in indexed.fetch("1", 294, 296)] == [295, 296]
    record = json.loads((world / f"{name}.run.json").read_text())
    assert record["output"] == str(world / name)
    assert not list(world.glob(".*"))


def test_a_region_of_a_vcf_scores_its_own_records(world: Path, toy_model: Path, cli: Any) -> None:
    """Records before the region stay, without scores: numbers of records are those of the whole file."""
    pysam.tabix_index(str(world / "v.vcf"), preset="vcf", keep_original=True)
    chosen = ("run", world / "v.vcf.gz", *given(world), "-m", toy_model, "--engine", "null")
    assert cli(*chosen, "-o", world / "whole.vcf").code == 0
    ran = cli(*chosen, "--region", "1:296-1000", "-o", world / "region.vcf")
    assert ran.code == 0, ran.err
    with (
        pysam.VariantFile(str(world / "whole.vcf")) as one,
        pysam.VariantFile(str(world / "region.vcf")) as other,
    ):
        whole, region = ([(r.pos, r.stop, r.info.get("LEGSCORE")) for r in file] for file in (one, other))
    assert whole[0][2]
    assert [r[2] for r in region] == [scores if stop > 295 else None for _, stop, scores in whole]
    assert any(r[2] for r in region)


def test_contigs_come_from_the_fasta_and_odd_characters_are_encoded(
    world: Path, toy_model: Path, contig: str, cli: Any
) -> None:
    alt = "A" if contig[289] != "A" else "C"
    (world / "bare.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t1100\t.\t{contig[1099]}\t.\t.\t.\t.\nchr1\t290\t.\t{contig[289]}\t{alt}\t.\t.\t.\n"
    )
    (world / "odd.bed").write_text("1\t280\t300\ta b|c;d,e=f%g\t0\t-\n")
    ran = cli(
        "run",
        world / "bare.vcf",
        "--fasta",
        world / "g.fa",
        "--tiles",
        world / "odd.bed",
        "-m",
        toy_model,
        *SCORE,
        "-o",
        world / "o.vcf.gz",
    )
    assert ran.code == 0, ran.err
    assert "not indexed: its records are not sorted" in ran.err
    with pysam.VariantFile(str(world / "o.vcf.gz")) as file:
        assert [(name, file.header.contigs[name].length) for name in file.header.contigs] == [("chr1", 1200)]
        plain, scored = list(file)
    assert "LEGSCORE" not in plain.info
    (entry,) = scored.info["LEGSCORE"]
    assert entry.split("|")[:4] == [alt, ".", "a%20b%7Cc%3Bd%2Ce%3Df%25g", "-"]
    again = cli(
        "run",
        world / "o.vcf.gz",
        "--fasta",
        world / "g.fa",
        "--tiles",
        world / "odd.bed",
        "-m",
        toy_model,
        "--engine",
        "null",
        "-o",
        world / "again.vcf",
    )
    assert again.code == 0, again.err
    lines = (world / "again.vcf").read_text().splitlines()
    assert sum(line.startswith("##INFO=<ID=LEGSCORE,") for line in lines) == 1
    assert lines[-1].count("LEGSCORE=") == 1
    assert lines[-1].endswith("|0|.|.|ok;LEGSCORE_MAX=0")


def test_bcf_takes_what_the_header_does_not_list(world: Path, toy_model: Path, contig: str, cli: Any) -> None:
    """BCF needs every name in its header, which text VCF does without; else records are as they were."""
    alt = "A" if contig[289] != "A" else "C"
    head = '##fileformat=VCFv4.2\n##INFO=<ID=N,Number=1,Type=Integer,Description="n">\n'
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n"
    fine = f"1\t290\t.\t{contig[289]}\t{alt}\t.\tq10\tN=3;MORE=x,y\tGT:Z\t0|1:4\n"
    (world / "f.vcf").write_text(head + fine)
    run = (
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        *TILES,
        "-m",
        toy_model,
        "--engine",
        "null",
    )
    ran = cli("run", world / "f.vcf", *run, "-o", world / "f.bcf")
    assert ran.code == 0, ran.err
    with pysam.VariantFile(str(world / "f.bcf")) as file:
        (record,) = file.fetch("1", 280, 300)
        fields = str(record).rstrip("\n").split("\t")
        assert (fields[6], fields[7].split(";LEGSCORE")[0], fields[8:]) == (
            "q10",
            "N=3;MORE=x,y",
            ["GT:Z", "0|1:4"],
        )
        assert record.samples["s"].phased
        assert record.info["LEGSCORE"][0].startswith(f"{alt}|")
        assert file.header.contigs["1"].length == 1200
    again = cli("run", world / "f.bcf", *run, "-o", world / "again.bcf")  # from BCF to BCF
    assert again.code == 0, again.err
    with (
        pysam.VariantFile(str(world / "again.bcf")) as file,
        pysam.VariantFile(str(world / "f.bcf")) as before,
    ):
        assert [str(r) for r in file] == [str(r) for r in before]
    assert not list(world.glob(".*"))


def test_long_contigs_get_a_csi(tmp_path: Path) -> None:
    """A .tbi ends at 2^29; wheat and lungfish go beyond."""
    with pysam.BGZFile(str(tmp_path / "x.vcf.gz"), "wb") as stream:
        stream.write(
            b"##fileformat=VCFv4.2\n##contig=<ID=1,length=900000000>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        )
        stream.write(b"1\t800000000\t.\tA\tC\t.\t.\t.\n")
    assert _index(tmp_path / "x.vcf.gz", tmp_path / "x.vcf.gz", 900_000_000).endswith("x.vcf.gz.csi")
    with pysam.VariantFile(str(tmp_path / "x.vcf.gz")) as file:
        assert [r.pos for r in file.fetch("1", 799_999_000, 800_001_000)] == [800_000_000]


@pytest.mark.parametrize("kind", ["bedgraph", "bw"])
def test_tracks(world: Path, toy_models: Path, kind: str, cli: Any) -> None:
    """The same numbers as loops over the scored table, by gene strand."""
    if kind == "bw":
        pytest.importorskip("pyBigWig", reason="bigWig tracks need legscore[bigwig]")
    assert cli("variants", "--saturate", *given(world), "-o", world / "s.parquet").code == 0
    for name in ("o.parquet", f"o.{kind}"):
        ran = cli("run", world / "s.parquet", "-m", toy_models, *SCORE, "-o", world / name)
        assert ran.code == 0, ran.err
    effects: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for row in pl.read_parquet(world / "o.parquet").to_dicts():
        if row["status"] == "ok":
            effects[row["strand"], row["pos"], row["tile_id"]].append(abs(row["effect"]))
    expected: dict[tuple[str, int], float] = {}
    for (strand, pos, _), values in effects.items():
        assert len(values) == 3
        expected[strand, pos] = max(expected.get((strand, pos), 0.0), sum(values) / 3)
    for strand, word in (("+", "plus"), ("-", "minus")):
        want = {pos: value for (s, pos), value in expected.items() if s == strand}
        if kind == "bedgraph":
            lines = (world / f"o.{word}.bedgraph").read_text().splitlines()
            assert "SNVs only" in lines[0]
            assert "biased upward" in lines[0]
            rows = [line.split("\t") for line in lines[1:]]
            assert [int(row[2]) for row in rows] == sorted(want)
            assert all(int(row[1]) + 1 == int(row[2]) and row[0] == "1" for row in rows)
            assert [float(row[3]) for row in rows] == pytest.approx(
                [want[pos] for pos in sorted(want)], abs=1e-6
            )
        else:
            import pyBigWig

            with pyBigWig.open(str(world / f"o.{word}.bw")) as file:
                assert file.chroms() == {"1": 1200, "MT": 200}
                assert {end: value for _, end, value in file.intervals("1")} == pytest.approx(want, rel=1e-5)


def test_refusals(world: Path, toy_model: Path, cli: Any) -> None:
    assert cli("variants", "--saturate", *given(world), "-o", world / "s.parquet").code == 0
    (world / "pairs.csv").write_text("ref_sequence,alt_sequence\nACGT,ACGA\n")
    for arguments, message in (
        ((world / "s.parquet", "-o", world / "x.vcf"), "a VCF comes out only where one goes in"),
        ((world / "pairs.csv", "-o", world / "x.bw"), "tracks need the column 'chrom'"),
        ((world / "v.vcf", *given(world), "-o", world / "x.bedgraph"), "no position has its three SNVs"),
        ((world / "v.vcf", *given(world), "-o", world / "v.vcf"), "is both input and output"),
    ):
        ran = cli("run", *arguments, "-m", toy_model, "--engine", "null")
        assert (ran.code, message in ran.err.splitlines()[-1]) == (2, True), ran.err
        assert not list(world.glob("x.*"))
        assert not list(world.glob(".*"))

"""Text of VCFs that a reader would take for something else: line ends of two kinds, marks, damaged blocks."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pysam
import pytest
from conftest import Ran, one_line

from legscore.variants import vcf_file

Cli = Callable[..., Ran]
HEADER = "##fileformat=VCFv4.2\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
PLACES = (285, 290, 300, 310)


@pytest.fixture
def text(contig: str) -> str:
    """A VCF of four changes in tiles of the toy genome, without samples."""
    other = {"A": "C", "C": "A", "G": "T", "T": "G"}
    rows = [f"1\t{p}\t.\t{contig[p - 1]}\t{other[contig[p - 1]]}\t.\t.\tAF=0.5\n" for p in PLACES]
    return HEADER + "".join(rows)


@pytest.fixture
def build(world: Path, cli: Cli) -> Callable[[Path], Ran]:
    (world / "t.bed").write_text("1\t270\t330\tt\t0\t+\n")
    given = ("--fasta", world / "g.fa", "--regions", world / "t.bed", "-o", world / "o.parquet", "--force")
    return lambda path: cli("variants", path, *given)


@pytest.mark.parametrize("name", ["v.vcf", "v.vcf.gz"])
@pytest.mark.parametrize("end", ["\r", "\r\r"])
@pytest.mark.parametrize("block", [1 << 20, 7])
def test_a_record_behind_a_carriage_return(
    world: Path, build: Callable[[Path], Ran], text: str, monkeypatch: pytest.MonkeyPatch, name: str, end: str,
    block: int,
) -> None:  # fmt: skip
    """It would be taken for the end of the record before, and be lost."""
    monkeypatch.setattr(vcf_file, "SCAN_BYTES", block)
    lines = text.splitlines(keepends=True)
    merged = "".join([*lines[:4], lines[4].replace("\n", end), *lines[5:]]).encode()
    (world / name).write_bytes(gzip.compress(merged) if name.endswith(".gz") else merged)
    one_line(build(world / name), f"{name}, line 5: a carriage return ends a record")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_carriage_returns_that_end_no_record(
    world: Path, build: Callable[[Path], Ran], text: str, end: str
) -> None:
    (world / "v.vcf").write_bytes(text.replace("AF=0.5", "NOTE=a\rb").replace("\n", end).encode())
    assert build(world / "v.vcf").code == 0
    assert pq.read_table(world / "o.parquet").num_rows == len(PLACES)


def test_marks_and_line_ends_are_named(world: Path, build: Callable[[Path], Ran], text: str) -> None:
    for content, message in (
        (text.replace("\n", "\r"), "its lines end in carriage returns alone"),
        ("\ufeff" + text, "it begins with a byte order mark"),
    ):
        (world / "v.vcf").write_text(content)
        one_line(build(world / "v.vcf"), "v.vcf", message)


def test_a_damaged_block_is_named_by_its_record(world: Path, build: Callable[[Path], Ran], text: str) -> None:
    """Not by what closing the file says afterwards."""
    rows = "".join(f"1\t{p}\t.\tA\tC\t.\t.\tX={p * 7919 % 65521}\n" for p in range(300, 30_000))
    (world / "v.vcf").write_text(HEADER + rows)
    pysam.tabix_compress(str(world / "v.vcf"), str(world / "v.vcf.gz"), force=True)
    data = bytearray((world / "v.vcf.gz").read_bytes())
    data[len(data) // 2] ^= 0x10
    (world / "v.vcf.gz").write_bytes(data)
    one_line(build(world / "v.vcf.gz"), "v.vcf.gz, line ", "is it cut short or damaged?")

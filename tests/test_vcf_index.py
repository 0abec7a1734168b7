"""--region: its forms, and indexes that belong to another file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pysam
import pysam.bcftools
import pytest

from legscore.errors import InputError
from legscore.variants.vcf_index import index_of, prove_index
from legscore.variants.vcf_regions import END_OF_CONTIG, parse_regions

CONTIGS = {"c1": 400_000, "c2": 50_000, "c3": 1000}


def vcf(path: Path, records: list[tuple[str, int]], info: bool = True) -> Path:
    """SNVs at these places, with text that does not compress away."""
    rng = np.random.default_rng(len(records))
    head = "##fileformat=VCFv4.2\n" + "".join(f"##contig=<ID={c},length={n}>\n" for c, n in CONTIGS.items())
    head += (
        '##INFO=<ID=X,Number=1,Type=String,Description="x">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n'
    )
    lines = [f"{c}\t{pos}\t.\tA\tC\t.\t.\tX={rng.integers(1 << 62)}\n" for c, pos in records]
    text = head + "".join(lines)
    if path.suffix == ".gz":
        with pysam.BGZFile(str(path), "wb") as stream:
            stream.write(text.encode())
    else:
        plain = path.with_suffix(".vcf")
        plain.write_text(text)
        pysam.bcftools.view("-Ob", "-o", str(path), str(plain), catch_stdout=False)
        plain.unlink()
    return path


def index(path: Path, kind: str) -> Path:
    made = Path(f"{path}.{kind}")
    made.unlink(missing_ok=True)
    if path.suffix == ".bcf":
        pysam.bcftools.index("-f", str(path), catch_stdout=False)
    else:
        pysam.tabix_index(str(path), preset="vcf", force=True, keep_original=True, csi=kind == "csi")
    return made


PLACES = [("c1", pos) for pos in range(100, 399_000, 40)] + [("c2", pos) for pos in range(7, 40_000, 90)]
KINDS = [("v.vcf.gz", "tbi"), ("v.vcf.gz", "csi"), ("v.bcf", "csi")]


@pytest.mark.parametrize(("name", "kind"), KINDS)
@pytest.mark.parametrize("n", [0, 1, len(PLACES)])
def test_an_index_of_its_own_file_is_proved(tmp_path: Path, name: str, kind: str, n: int) -> None:
    path = vcf(tmp_path / name, PLACES[:n])
    made = index(path, kind)
    assert index_of(path) == made
    prove_index(path, made, list(CONTIGS))
    os.utime(made, (1.6e9, 1.6e9))  # older than the file, as after copying, and still its own
    prove_index(path, made, list(CONTIGS))


CHANGES = {
    "grown": [*PLACES, ("c3", 10)],
    "grown at its end": [*PLACES, ("c2", 40_001)],
    "grown in front": [("c1", 3), *PLACES],
    "shrunk": PLACES[:-1],
    "cut to a half": PLACES[: len(PLACES) // 2],
    "without its middle": PLACES[:4000] + PLACES[4010:],
    "in another order": PLACES[9975:] + PLACES[:9975],
    "empty": [],
}


@pytest.mark.parametrize(("name", "kind"), KINDS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("newer", [False, True])
def test_an_index_of_another_version_is_refused(
    tmp_path: Path, name: str, kind: str, change: str, newer: bool
) -> None:
    path = vcf(tmp_path / name, PLACES)
    made = index(path, kind)
    vcf(path, CHANGES[change])
    os.utime(made, (2e9, 2e9) if newer else (1.6e9, 1.6e9))
    with pytest.raises(
        InputError, match=r"not the index of this file. Make it with: (tabix|bcftools index) -f"
    ):
        prove_index(path, made, list(CONTIGS))


@pytest.mark.parametrize("kind", ["tbi", "csi"])
def test_the_advice_makes_the_index_that_is_looked_for(tmp_path: Path, kind: str) -> None:
    """htslib prefers a .csi: a new .tbi beside an old .csi would change nothing."""
    path = vcf(tmp_path / "v.vcf.gz", PLACES)
    made = index(path, kind)
    vcf(path, PLACES[:4000] + PLACES[4010:])
    with pytest.raises(
        InputError, match="names places where no block begins|begins where none does"
    ) as refused:
        prove_index(path, made, list(CONTIGS))
    assert ("tabix -f -C -p vcf" in str(refused.value)) == (kind == "csi")


def test_the_other_way_round_too(tmp_path: Path) -> None:
    """An index of no records, of another number of contigs, and damaged ones."""
    path = vcf(tmp_path / "v.vcf.gz", PLACES)
    good = index(path, "tbi").read_bytes()
    for n in (0, 9975):
        other = index(vcf(tmp_path / "o.vcf.gz", PLACES[:n]), "tbi")
        shutil.copy(other, f"{path}.tbi")
        with pytest.raises(InputError, match="not the index of this file"):
            prove_index(path, Path(f"{path}.tbi"), list(CONTIGS))
    for data in (b"", b"TBI\1", good[:200], good[:300] + bytes(100) + good[400:], b"no index at all"):
        Path(f"{path}.tbi").write_bytes(data)
        with pytest.raises(InputError, match="not the index of this file"):
            prove_index(path, Path(f"{path}.tbi"), list(CONTIGS))


def test_regions_are_refused_with_an_index_of_another_file(tmp_path: Path, cli: Any) -> None:
    contig = "A" * 2000
    (tmp_path / "g.fa").write_text(f">c1\n{contig}\n>c2\n{contig}\n>c3\n{contig}\n")
    path = vcf(tmp_path / "v.vcf.gz", [("c1", 500)])
    head = path.read_bytes()
    index(path, "tbi")
    given = ("variants", path, "--fasta", tmp_path / "g.fa", "--centered", "--force")
    given += ("-o", tmp_path / "o.parquet")
    mapped = ("--contig-map", "c1=c1", "--contig-map", "c2=c2", "--contig-map", "c3=c3")
    for region, n in (("c1", 1), ("c1:500", 1), ("c1:501-", 0), ("c2", 0)):
        ran = cli(*given, *mapped, "--region", region)
        assert (ran.code, pq.read_table(tmp_path / "o.parquet").num_rows) == (0, n), ran.err
    vcf(path, [("c1", 500), ("c1", 600), ("c1", 700)])
    ran = cli(*given, *mapped, "--region", "c1", "-q")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
    assert "v.vcf.gz.tbi" in ran.err
    assert f"Make it with: tabix -f -p vcf {path}" in ran.err
    index(path, "tbi")
    assert cli(*given, *mapped, "--region", "c1", "-q").code == 0
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 3
    assert head != path.read_bytes()


NAMES = ["chr1", "chr2", "HLA-A*01:01", "HLA-A*01", "a:1-5", "x,y"]


@pytest.mark.parametrize(
    ("region", "name", "stretch"),
    [
        ("chr1", "chr1", (0, END_OF_CONTIG)),
        ("chr1:1010", "chr1", (1009, 1010)),
        ("chr1:1,010", "chr1", (1009, 1010)),
        ("chr1:1,000-2,000", "chr1", (999, 2000)),
        ("chr1:7-", "chr1", (6, END_OF_CONTIG)),
        ("chr1:-7", "chr1", (0, 7)),
        ("a:1-5", "a:1-5", (0, END_OF_CONTIG)),
        ("a:1-5:3", "a:1-5", (2, 3)),
        ("{HLA-A*01:01}", "HLA-A*01:01", (0, END_OF_CONTIG)),
        ("{HLA-A*01}:01", "HLA-A*01", (0, 1)),
        ("HLA-A*01:01:4-9", "HLA-A*01:01", (3, 9)),
        ("x,y:3", "x,y", (2, 3)),
        ("chr1:1-99999999999999999999", "chr1", (0, END_OF_CONTIG)),
    ],
)
def test_forms_of_a_region(region: str, name: str, stretch: tuple[int, int]) -> None:
    assert parse_regions([region], NAMES, Path("v.vcf")) == {name: [stretch]}


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("chr3", "has no contig 'chr3'"),
        ("chr1:x-y", "'x-y' is no position"),
        ("chr1:", "'' is no position"),
        ("chr1:-", "'-' is no position"),
        ("chr1:,", "',' is no position"),
        ("chr1:0-5", "holds no base"),
        ("chr1:9-5", "holds no base"),
        ("HLA-A*01:01", r"write {HLA-A\*01:01} or {HLA-A\*01}:01"),
        ("{chr1}7", "'7' follows the name"),
        ("", "has no contig ''"),
    ],
)
def test_regions_that_say_nothing(region: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_regions([region], NAMES, Path("v.vcf"))


def test_regions_that_meet_are_one() -> None:
    found = parse_regions(["chr1:5-9", "chr1:1-4", "chr1:8-12", "chr1:20"], NAMES, Path("v"))
    assert found == {"chr1": [(0, 12), (19, 20)]}

"""Haplotypes: genotypes and phase, several alleles at once against strings, and bcftools consensus where it
says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.variants.genotypes import choose_samples
from legscore.variants.haplotype_rows import distinct
from legscore.variants.haplotypes import HaplotypeBuilder
from legscore.variants.options import BuildOptions, prepare
from legscore.variants.records import open_records

FLIP = str.maketrans("ACGTN", "TGCAN")


def write(
    folder: Path,
    contig: str,
    records: list[tuple[Any, ...]],
    samples: list[str],
    tiles: list[tuple[int, int, str]],
) -> None:
    """Records are (pos, ref, alts, [genotypes]) with genotypes such as 0|1 or 0|1:7 (phase set)."""
    (folder / "g.fa").write_text(f">c\n{contig}\n")
    pysam.faidx(str(folder / "g.fa"))
    head = '##fileformat=VCFv4.2\n##contig=<ID=c>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    head += '##FORMAT=<ID=PS,Number=1,Type=Integer,Description="p">\n'
    lines = ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])]
    for pos, ref, alt, genotypes in records:
        form = "GT:PS" if any(":" in g for g in genotypes) else "GT"
        lines.append("\t".join(["c", str(pos), ".", ref, alt, ".", ".", ".", form, *genotypes]))
    (folder / "v.vcf").write_text(head + "\n".join(lines) + "\n")
    (folder / "t.bed").write_text("".join(f"c\t{a}\t{b}\t{a}\t0\t{s}\n" for a, b, s in tiles))


def build(folder: Path, samples: str = "all", **options: Any) -> list[dict[str, Any]]:
    setting = prepare(
        BuildOptions(str(folder / "g.fa"), regions_bed=str(folder / "t.bed"), **options), lambda line: None
    )
    vcf = folder / "v.vcf"
    builder = HaplotypeBuilder(setting, open_records(vcf), choose_samples(vcf, samples))
    return [row for table in builder.tables() for row in table.to_pylist()]


def brief(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["alt_sequence"], row["status"], row["n_carriers"], row["n_samples"]) for row in rows]


CONTIG = "ACGTACGTACGTACGTACGT"


def test_phased_alleles_go_together_and_carriers_are_counted(tmp_path: Path) -> None:
    write(
        tmp_path,
        CONTIG,
        [(5, "A", "T", ["0|1", "1|1", "0|0"]), (7, "G", "C", ["0|1", "0|1", "0|0"])],
        ["a", "b", "c"],
        [(2, 12, "+")],
    )
    assert brief(build(tmp_path)) == [
        (None, "ref_equals_alt", 3, 2),
        ("GTTCCTACGT", "ok", 2, 2),
        ("GTTCGTACGT", "ok", 1, 1),
    ]
    (one,) = [row for row in build(tmp_path, "b") if row["n_alleles"] == 2]
    assert (one["variant_id"], one["pos"], one["ref"], one["offset"]) == ("c:5:A:T;c:7:G:C", 5, None, 2)


def test_what_is_not_known_is_never_the_reference(tmp_path: Path) -> None:
    """Missing alleles, two unphased hets, hets of different phase sets: missing_genotype; one unphased het is
    known."""
    records = [
        (5, "A", "T", ["0/1", "0/1", "0|1:1", "0|1:1", "./.", ".", "0|."]),
        (7, "G", "C", ["0/1", "1/1", "0|1:1", "0|1:9", "0/0", "1/1", "0|0"]),
    ]
    write(tmp_path, CONTIG, records, list("abcdefg"), [(2, 12, "+")])
    assert brief(build(tmp_path, "a")) == [(None, "missing_genotype", 2, 1)]
    assert {r[0] for r in brief(build(tmp_path, "b"))} == {"GTACCTACGT", "GTTCCTACGT"}
    assert {r[0] for r in brief(build(tmp_path, "c"))} == {None, "GTTCCTACGT"}
    assert brief(build(tmp_path, "d")) == [(None, "missing_genotype", 2, 1)]
    assert brief(build(tmp_path, "e")) == [(None, "missing_genotype", 2, 1)]
    assert brief(build(tmp_path, "f")) == [(None, "missing_genotype", 2, 1)]
    assert brief(build(tmp_path, "g")) == [(None, "missing_genotype", 1, 1), (None, "ref_equals_alt", 1, 1)]


def test_hemizygous_polyploid_and_mixed_ploidy(tmp_path: Path) -> None:
    records = [(5, "A", "T", ["1", "0|1|1|0", "1", "1/1"]), (7, "G", "C", ["1", "0|0|1|0", "0|1", "1/1/1"])]
    write(tmp_path, CONTIG, records, list("hpmn"), [(2, 12, "-")])
    both, one = "GTTCCTACGT"[::-1].translate(FLIP), "GTTCGTACGT"[::-1].translate(FLIP)
    assert brief(build(tmp_path, "h")) == [(both, "ok", 1, 1)]
    assert sorted(brief(build(tmp_path, "p")), key=str) == sorted(
        [(None, "ref_equals_alt", 2, 1), (one, "ok", 1, 1), (both, "ok", 1, 1)], key=str
    )
    assert brief(build(tmp_path, "m")) == [(None, "allele_conflict", 2, 1)]
    assert brief(build(tmp_path, "n")) == [(None, "allele_conflict", 3, 1)]


def test_overlaps_duplicates_stars_and_symbols(tmp_path: Path) -> None:
    records = [
        (4, "TACG", "T", ["1|0", "1|0", "0|0", "1|0"]),  # deletes 5-7
        (6, "C", "A,*", ["1|0", "2|0", "0|0", "0|0"]),
        (6, "C", "<DEL>", ["0|0", "0|0", "1|0", "0|0"]),
        (4, "TACGT", "TT", ["0|0", "0|0", "0|0", "1|0"]),  # the same deletion, written differently
    ]
    write(tmp_path, CONTIG, records, list("abcd"), [(2, 16, "+")])
    gone = (CONTIG[:4] + CONTIG[7:])[: 16 - 3]
    assert {r[1] for r in brief(build(tmp_path, "a"))} == {"allele_conflict", "ref_equals_alt"}
    assert (gone[2:], "ok", 1, 1) in brief(build(tmp_path, "b", indel="construct"))
    assert {r[1] for r in brief(build(tmp_path, "c"))} == {"unsupported_allele", "ref_equals_alt"}
    assert (gone[2:], "ok", 1, 1) in brief(build(tmp_path, "d", indel="construct"))


def slow(
    contig: str, changes: list[tuple[int, int, str]], start: int, end: int, strand: str, anchor: str
) -> str | None:
    """Letters carry the place they come from (inserted ones that of the base they stand for); cut around the
    anchored one."""
    length = end - start
    index = {"3": length - 1, "5": 0, "center": length // 2}[anchor]
    place = index if strand == "+" else length - 1 - index
    right = (strand == "+") == (anchor != "5")
    letters: list[tuple[str, int | None]] = []
    at = 0
    for s, e, added in [*sorted(changes), (len(contig), len(contig), "")]:
        letters += [(contig[i], i) for i in range(at, s)]
        stands: list[int | None] = [None] * len(added)
        for k in range(min(len(added), e - s)):
            stands[-1 - k if right else k] = e - 1 - k if right else s + k
        letters += list(zip(added, stands, strict=True))
        at = e
    origin = [base for _, base in letters]
    wanted = start + place
    while 0 <= wanted < len(contig) and wanted not in origin:
        wanted += 1 if right else -1
    if wanted not in origin:
        return None
    first = origin.index(wanted) - place
    if first < 0 or first + length > len(letters):
        return None
    cut = "".join(letter for letter, _ in letters[first : first + length])
    return cut if strand == "+" else cut[::-1].translate(FLIP)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    contig = draw(st.text("ACGT", min_size=30, max_size=60))
    changes, at = [], 1
    while at < len(contig) - 2 and len(changes) < 6:
        start = draw(st.integers(at, min(at + 6, len(contig) - 1)))
        end = draw(st.integers(start, min(start + 3, len(contig) - 1)))
        added = draw(st.text("ACGT", max_size=3))
        if start < end or added:
            changes.append((start, end, added))
        at = end + 2  # a base between changes, so that VCF anchors never are replaced themselves
    start = draw(st.integers(0, len(contig) - 8))
    return {
        "contig": contig,
        "changes": changes,
        "tile": (start, start + draw(st.integers(8, 20)), draw(st.sampled_from("+-"))),
        "anchor": draw(st.sampled_from(["3", "5", "center"])),
    }


def test_several_alleles_equal_the_slow_ones(tmp_path: Path) -> None:
    """One haploid sample that carries every change of the case, as VCF records with an anchor base."""
    seen = {"several": 0}

    @settings(max_examples=200, deadline=None)
    @given(cases())
    def check(case: dict[str, Any]) -> None:
        contig = case["contig"]
        records = [(s, contig[s - 1 : e], contig[s - 1] + x, ["1"]) for s, e, x in case["changes"]]
        if not records:
            return
        write(tmp_path, contig, records, ["a"], [case["tile"]])
        start, end, strand = case["tile"]
        rows = build(tmp_path, anchor=case["anchor"])
        if end > len(contig):
            assert {row["status"] for row in rows} <= {"edge", "ref_equals_alt"}
            return
        if not rows or rows[0]["n_alleles"] < 2:
            return
        (row,) = rows
        seen["several"] += 1
        names = row["variant_id"].split(";")
        used = []
        for (s, e, x), (pos, ref, alt, _) in zip(case["changes"], records, strict=True):
            if f"c:{pos}:{ref}:{alt}" in names:
                before, after = contig[s:e], x
                while before and after and before[0] == after[0]:
                    s, before, after = s + 1, before[1:], after[1:]
                while before and after and before[-1] == after[-1]:
                    e, before, after = e - 1, before[:-1], after[:-1]
                used.append((s, e, after))
        expected = slow(contig, used, start, end, strand, case["anchor"])
        assert (row["status"], row["alt_sequence"]) == (
            ("edge", None) if expected is None else ("ok", expected)
        )

    check()
    assert seen["several"] > 20


def test_one_allele_is_the_same_row_with_and_without_haplotypes(shared: Path, tmp_path: Path) -> None:
    """Real strains: haplotypes of one allele have the sequences of that allele's own row, exactly."""
    from legscore.variants.make import make

    genome = shared / "data/genome"
    options = BuildOptions(
        str(genome / "Saccharomyces_cerevisiae.R64-1-1.dna.primary_assembly.fa.gz"),
        regions_bed=str(genome / "native_promoter_tiles.bed"),
    )
    vcf = str(genome / "strains_vs_R64.vcf.gz")
    make(vcf, str(tmp_path / "a.parquet"), options)
    make(vcf, str(tmp_path / "h.parquet"), options, samples="SK1,Y12,DBVPG6044")
    text = pl.col("tile_id").cast(pl.String)
    alleles = pl.read_parquet(tmp_path / "a.parquet").with_columns(text)
    haplotypes = pl.read_parquet(tmp_path / "h.parquet").with_columns(text)
    both = haplotypes.filter(n_alleles=1).join(alleles, on=["variant_id", "tile_id"], suffix="_a")
    assert len(both) > 60
    assert both["alt_sequence"].equals(both["alt_sequence_a"])
    assert both["offset"].equals(both["offset_a"])
    several = haplotypes.filter(pl.col("n_alleles") > 1, pl.col("status").cast(pl.String) == "ok")
    assert len(several) > 60


def consensus(
    folder: Path, name: str, fasta: str, sample: str, haplotype: int, shared: Path
) -> dict[str, str]:
    """Each sequence of the FASTA as one long tile whose length follows the haplotype: the consensus, upper
    case."""
    cases = shared / "data/vcf_cases/bcftools"
    texts = {r.name: r.sequence for r in pysam.FastxFile(str(cases / fasta))}
    genome, bed = "", ""
    for title, sequence in texts.items():
        chrom, _, span = title.partition(":")
        before = int(span.split("-")[0]) - 1 if span else 0
        # the N keeps an insertion after the last base inside the tile
        genome += f">{chrom}\n{'N' * before}{sequence}N\n"
        bed += f"{chrom}\t{before}\t{before + len(sequence) + 1}\t{title}\t0\t+\n"
    (folder / "g.fa").write_text(genome)
    pysam.faidx(str(folder / "g.fa"))
    (folder / "t.bed").write_text(bed)
    with pysam.VariantFile(str(cases / name)) as file, open(folder / "v.vcf", "w") as out:
        out.write(
            "".join(f"{line}\n" for line in str(file.header).splitlines() if not line.startswith("##contig"))
        )
        for record in file:
            fields = str(record).rstrip().split("\t")
            place = 9 + list(file.header.samples).index(sample)
            for i in range(9, len(fields)):  # every haplotype but the one asked for becomes a copy of it
                values = fields[place].split(":")[0].replace("|", "/").split("/")
                fields[i] = values[haplotype - 1] if len(values) >= haplotype else values[0]
            fields[8] = "GT"
            out.write("\t".join(fields) + "\n")
    rows = build(folder, sample, indel="construct")
    made = {
        row["tile_id"]: row["alt_sequence"][:-1] if row["status"] == "ok" else row["status"] for row in rows
    }
    found = {title: made.get(title, "ref_equals_alt") for title in texts}
    return {
        title: texts[title].upper() if text == "ref_equals_alt" else text for title, text in found.items()
    }


@pytest.mark.shared
@pytest.mark.parametrize(
    ("vcf", "fasta", "sample", "haplotype", "out"),
    [
        ("consensus2.vcf", "consensus2.fa", "NA001", 1, "consensus2.1.out"),
        ("consensus2.vcf", "consensus2.fa", "NA001", 2, "consensus2.2.out"),
        ("consensus7.vcf", "consensus7.fa", "NA001", 1, "consensus7c.out"),
        ("consensus7.vcf", "consensus7.fa", "NA001", 2, "consensus7a.out"),
        ("consensus.overlaps.1.vcf", "consensus.overlaps.1.fa", "A", 1, "consensus.overlaps.1.1.out"),
        ("consensus.overlaps.1.vcf", "consensus.overlaps.1.fa", "B", 1, "consensus.overlaps.1.2.out"),
    ],
)
def test_bcftools_consensus(
    shared: Path, tmp_path: Path, vcf: str, fasta: str, sample: str, haplotype: int, out: str
) -> None:
    expected = {
        r.name: r.sequence.upper() for r in pysam.FastxFile(str(shared / "data/vcf_cases/bcftools" / out))
    }
    assert consensus(tmp_path, vcf, fasta, sample, haplotype, shared) == expected


@pytest.mark.shared
def test_where_bcftools_drops_an_allele_we_say_conflict(shared: Path, tmp_path: Path) -> None:
    """A base inside a deletion on the same haplotype: bcftools skips the later record and warns."""
    assert consensus(tmp_path, "consensus.11.vcf", "consensus.11.fa", "smpl", 2, shared) == {
        "1": "allele_conflict"
    }


def test_errors(tmp_path: Path, cli: Any) -> None:
    write(tmp_path, CONTIG, [(5, "A", "T", ["0|1"])], ["a"], [(2, 12, "+")])
    given = (
        "variants",
        tmp_path / "v.vcf",
        "--fasta",
        tmp_path / "g.fa",
        "--tiles",
        tmp_path / "t.bed",
        "-o",
        tmp_path / "o.parquet",
    )
    for more, message in (
        (("--samples", "a"), "give --haplotypes too"),
        (("--haplotypes", "--samples", "b"), "has no sample 'b'"),
        (("--haplotypes", "--region", "c"), "reads whole files"),
    ):
        ran = cli(*given, *more)
        assert (ran.code, message in ran.err) == (2, True), ran.err
    (tmp_path / "n.vcf").write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=c>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    )
    ran = cli("variants", tmp_path / "n.vcf", *given[2:], "--haplotypes")
    assert (ran.code, "has no samples" in ran.err) == (2, True)
    assert cli(*given, "--haplotypes").code == 0
    assert np.array_equal(pl.read_parquet(tmp_path / "o.parquet")["n_carriers"].sort(), [1, 1])


@pytest.mark.parametrize(("records", "most"), [(1, 1), (3, 2), (12, 5), (70, 1), (40, 9)])
def test_distinct_haplotypes_are_those_of_a_sort_by_rows(records: int, most: int) -> None:
    rng = np.random.default_rng(records)
    alleles = rng.integers(0, most + 1, (200, records))[rng.integers(0, 60, 200)]
    kinds, of = distinct(alleles)
    assert [tuple(row) for row in kinds] == sorted(set(map(tuple, alleles)))
    assert (kinds[of] == alleles).all()

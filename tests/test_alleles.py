"""Alleles → sequences: the vectorised path against strings, in files, through the command's own parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pysam
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from legscore.errors import InputError
from legscore.variants.allele_tables import TableRecords
from legscore.variants.alleles import canonical
from legscore.variants.build import Builder
from legscore.variants.options import BuildOptions, prepare

FLIP = str.maketrans("ACGTN", "TGCAN")


@dataclass(frozen=True)
class Change:
    """contig[start:end] becomes `inserted`, left-aligned."""

    start: int
    end: int
    inserted: str


def slow_change(contig: str, pos: int, ref: str, alt: str) -> Change:
    """From the whole changed contig: the longest common end first, then the longest common beginning."""
    changed = contig[: pos - 1] + alt + contig[pos - 1 + len(ref) :]
    most = min(len(contig), len(changed))
    suffix = 0
    while suffix < most and contig[len(contig) - 1 - suffix] == changed[len(changed) - 1 - suffix]:
        suffix += 1
    prefix = 0
    while prefix < most - suffix and contig[prefix] == changed[prefix]:
        prefix += 1
    return Change(prefix, len(contig) - suffix, changed[prefix : len(changed) - suffix])


def paired(change: Change, from_right: bool) -> list[int | None]:
    """For each inserted letter, the replaced base that it stands for, if any."""
    base: list[int | None] = [None] * len(change.inserted)
    for k in range(min(len(change.inserted), change.end - change.start)):
        base[-1 - k if from_right else k] = (change.end - 1 - k) if from_right else change.start + k
    return base


def slow_refill(contig: str, change: Change, start: int, end: int, strand: str, anchor: str) -> str | None:
    """Letters of the changed contig carry the place they came from; the tile is cut around the anchored
    one."""
    length = end - start
    index = {"3": length - 1, "5": 0, "center": length // 2}[anchor]
    place = index if strand == "+" else length - 1 - index
    right = (strand == "+") == (anchor != "5")
    changed = contig[: change.start] + change.inserted + contig[change.end :]
    origin = [*range(change.start), *paired(change, right), *range(change.end, len(contig))]
    wanted = start + place
    while 0 <= wanted < len(contig) and wanted not in origin:
        wanted += 1 if right else -1
    if wanted not in origin:
        return None
    first = origin.index(wanted) - place
    if first < 0 or first + length > len(changed):
        return None
    cut = changed[first : first + length]
    return cut if strand == "+" else cut[::-1].translate(FLIP)


def slow_construct(contig: str, change: Change, start: int, end: int, strand: str) -> str:
    """The tile's own letters with those replaced that lie in it; letters without a partner count when their
    end lies inside."""
    over_left, over_right = change.start < start, change.end > end
    from_right = over_left and not (over_right and strand == "+")
    middle = ""
    for letter, base in zip(change.inserted, paired(change, from_right), strict=True):
        spare = (not over_left) if from_right else (not over_right)
        if (base is None and spare) or (base is not None and start <= base < end):
            middle += letter
    text = contig[start : max(change.start, start)] + middle + contig[max(change.end, start) : end]
    text = text if not (change.start >= end) else contig[start:end]
    return text if strand == "+" else text[::-1].translate(FLIP)


def overlaps(change: Change, start: int, end: int) -> bool:
    if change.start == change.end:
        return start < change.start < end
    return change.start < end and change.end > start


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    letters = draw(st.sampled_from(["A", "AC", "ACGT", "ACGTN"]))
    contig = draw(st.text(letters, min_size=20, max_size=60))
    n = len(contig)
    variants = []
    for _ in range(draw(st.integers(1, 8))):
        pos = draw(st.integers(1, n))
        ref = contig[pos - 1 : pos - 1 + draw(st.integers(1, 12))]
        alt = draw(st.text(letters.replace("N", "") or "A", min_size=1, max_size=9))
        keep = draw(st.integers(0, min(3, len(ref))))
        variants.append(
            (
                pos,
                ref,
                draw(
                    st.sampled_from(
                        [ref[:keep] + alt, alt + ref[len(ref) - keep :], alt, ref[:1], alt.lower()]
                    )
                ),
            )
        )
    tiles = []
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, n - 1))
        tiles.append((start, start + draw(st.integers(2, 14)), draw(st.sampled_from("+-"))))
    return {"contig": contig, "variants": variants, "tiles": sorted(set(tiles))}


def build(folder: Path, case: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """The case written as FASTA, CSV and BED, then read and built as the command does."""
    (folder / "g.fa").write_text(f">c\n{case['contig']}\n>other\nACGTACGT\n")
    pysam.faidx(str(folder / "g.fa"))
    (folder / "v.csv").write_text(
        "chrom,pos,ref,alt\n" + "".join(f"c,{p},{r},{a}\n" for p, r, a in case["variants"])
    )
    (folder / "t.bed").write_text("".join(f"c\t{a}\t{b}\t.\t0\t{s}\n" for a, b, s in case["tiles"]))
    setting = prepare(
        BuildOptions(str(folder / "g.fa"), regions_bed=str(folder / "t.bed"), **options), lambda line: None
    )
    builder = Builder(setting, TableRecords(folder / "v.csv"))
    return [row for table in builder.tables() for row in table.to_pylist()]


def expected(case: dict[str, Any], anchor: str, indel: str) -> list[tuple[Any, ...]]:
    contig, rows = case["contig"], []
    for pos, ref, alt in case["variants"]:
        change = slow_change(contig, pos, ref, alt.upper())
        if alt.upper() == ref:
            # where a change of nothing is put does not matter
            change = Change(pos - 1 + len(ref), pos - 1 + len(ref), "")
        for start, end, strand in case["tiles"]:
            if alt.upper() == ref or not overlaps(change, start, end):
                continue
            if end > len(contig):
                rows.append((pos, ref, alt, start, strand, "edge", None, None))
                continue
            tile = contig[start:end] if strand == "+" else contig[start:end][::-1].translate(FLIP)
            if indel == "construct" and not (change.end - change.start == len(change.inserted) == 1):
                rows.append(
                    (
                        pos,
                        ref,
                        alt,
                        start,
                        strand,
                        "ok",
                        tile,
                        slow_construct(contig, change, start, end, strand),
                    )
                )
                continue
            made = slow_refill(contig, change, start, end, strand, anchor)
            rows.append((pos, ref, alt, start, strand, "edge" if made is None else "ok", tile, made))
    return rows


@pytest.mark.parametrize(
    ("anchor", "indel"), [("3", "refill"), ("5", "refill"), ("center", "refill"), ("3", "construct")]
)
def test_sequences_equal_the_slow_ones(
    tmp_path_factory: pytest.TempPathFactory, anchor: str, indel: str
) -> None:
    folder = tmp_path_factory.mktemp("alleles")

    @settings(max_examples=150, deadline=None)
    @given(cases())
    def check(case: dict[str, Any]) -> None:
        # in a table NA and NaN are missing values, also where the contig has these bases
        assume(not {allele.upper() for _, *both in case["variants"] for allele in both} & {"NA", "NAN"})
        for old in folder.iterdir():
            old.unlink()
        got = []
        for row in build(folder, case, anchor=anchor, indel=indel):
            if row["status"] == "ref_equals_alt":
                assert row["alt"].upper() == row["ref"]
                continue
            start = int(row["tile_id"].split(":")[1].split("-")[0])
            got.append(
                (
                    row["pos"],
                    row["ref"],
                    row["alt"],
                    start,
                    row["strand"],
                    row["status"],
                    row["ref_sequence"],
                    row["alt_sequence"],
                )
            )
        assert sorted(got, key=str) == sorted(expected(case, anchor, indel), key=str)

    check()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_an_allele_is_the_same_however_it_is_written(data: st.DataObject) -> None:
    """Context added on either side of REF and ALT, and a repeat's unit taken from another copy, change
    nothing."""
    contig = data.draw(st.text("AC", min_size=12, max_size=40))
    start = data.draw(st.integers(0, len(contig) - 1))
    end = data.draw(st.integers(start, min(len(contig), start + 5)))
    inserted = data.draw(st.text("AC", max_size=4))
    ways = []
    for _ in range(3):
        left = data.draw(st.integers(0, start))
        right = data.draw(st.integers(end, len(contig)))
        if left < right and (left < start or right > end or (end > start and inserted)):
            ways.append((left + 1, contig[left:right], contig[left:start] + inserted + contig[end:right]))
    ways = [way for way in ways if way[2]]
    if not ways:
        return
    letters = np.frombuffer(contig.encode(), dtype=np.uint8)
    pos = np.array([way[0] for way in ways], dtype=np.int64)
    made = canonical(letters, pos, pa.array([w[1] for w in ways]), pa.array([w[2] for w in ways]))
    if contig[start:end] == inserted:
        return
    seen = {
        (
            int(made.start_A[i]),
            int(made.end_A[i]),
            made.inserted[made.at_A[i] : made.at_A[i] + made.n_A[i]].tobytes(),
        )
        for i in range(len(ways))
    }
    assert len(seen) == 1


def test_statuses_of_alleles(tmp_path: Path) -> None:
    """Each kind of trouble, on one tile, in the order of the records; several ALTs are rows of their own."""
    case = {
        "contig": "ACGTACGTACGTACGTACGTTTTT",
        "variants": [
            (5, "A", "G"), (5, "C", "G"), (5, "G", "A"), (5, "A", "A"), (5, "A", "*"), (5, "A", "<DEL>"), (5, "A", "A[c:3["),
            (5, "A", "J"), (5, "Z", "A"), (5, "a", "g"), (5, "ACGT", "A"), (9, "A", "ATT"), (24, "TT", "A"), (0, "A", "C"), (22, "T", "C"),
        ],
        "tiles": [(4, 20, "+")],
    }  # fmt: skip
    rows = build(tmp_path, case, keep_outside=True)
    assert [row["status"] for row in rows] == [
        "ok",
        "ref_mismatch",
        "ref_alt_swapped",
        "ref_equals_alt",
        "unsupported_allele",
        "unsupported_allele",
        "unsupported_allele",
        "invalid_base",
        "invalid_base",
        "ok",
        "ok",
        "ok",
        "edge",
        "edge",
        "no_window",
    ]
    assert rows[0]["alt_sequence"] == rows[9]["alt_sequence"] == "GCGTACGTACGTACGT"
    assert [row["offset"] for row in rows[:1]] == [0]
    assert [row["tile_id"] is None for row in rows[-3:]] == [True, True, True]
    assert [row["variant_id"] for row in rows[:2]] == ["c:5:A:G", "c:5:C:G"]


def test_missing_alleles_of_a_vcf_are_no_bases(tmp_path: Path) -> None:
    """NA and NaN, as programs write them, read as bases (N is one); beside a REF of N they are."""
    case = {
        "contig": "ACGTNNGTACGTACGTACGTTTTT",
        "variants": [(9, "A", "NA"), (9, "A", "nan"), (9, "A", "NaN"), (9, "A", "AN"), (5, "N", "NA"), (9, "A", "NAA")],
        "tiles": [(0, 20, "+")],
    }  # fmt: skip
    rows = build(tmp_path, case, keep_outside=True)
    assert [row["status"] for row in rows] == [*["null_sequence"] * 3, "ok", "ok", "ok"]
    assert all((row["alt_sequence"] is None) == (row["status"] != "ok") for row in rows)


def test_use_fasta_and_fail(tmp_path: Path) -> None:
    case = {"contig": "ACGTACGTACGT", "variants": [(3, "T", "C"), (4, "AA", "CC")], "tiles": [(0, 12, "-")]}
    rows = build(tmp_path, case, on_mismatch="use-fasta")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert rows[0]["alt_sequence"] == "ACGTACGTAGGT"
    with pytest.raises(
        InputError, match="record 1: ref is 'T' but c:3 of the FASTA reads 'G'. Wrong genome build"
    ):
        build(tmp_path, case, on_mismatch="fail")


def test_ambiguous_genome_bases(tmp_path: Path) -> None:
    """A VCF writes the first base of an ambiguity code; N in the genome is N in the REF."""
    case = {
        "contig": "ACRTNCGTACGT",
        "variants": [(3, "A", "T"), (3, "G", "T"), (5, "N", "A"), (5, "A", "C")],
        "tiles": [(0, 10, "+")],
    }
    assert [row["status"] for row in build(tmp_path, case)] == ["ok", "ref_mismatch", "ok", "ref_mismatch"]


def test_centered(tmp_path: Path) -> None:
    """The variant's base has index ⌊length/2⌋ in 5'→3' direction, on both strands."""
    contig = "ACGTTGCAAGCTTACGGATCCATGCAT"
    (tmp_path / "g.fa").write_text(f">c\n{contig}\n")
    (tmp_path / "v.csv").write_text("CHROM,POS,REF,ALT\nc,14,A,G\nc,14,A,\nc,2,C,T\n")
    for sign in "+-":
        options = BuildOptions(str(tmp_path / "g.fa"), centered=True, orientation=sign, length=8)
        builder = Builder(prepare(options, lambda line: None), TableRecords(tmp_path / "v.csv"))
        rows = [row for table in builder.tables() for row in table.to_pylist()]
        assert [row["status"] for row in rows] == ["ok", "null_sequence", "edge"]
        start = 13 - 4 if sign == "+" else 13 - 3
        tile = contig[start : start + 8]
        tile = tile if sign == "+" else tile[::-1].translate(FLIP)
        assert rows[0]["ref_sequence"] == tile
        assert rows[0]["offset"] == 4
        assert tile[4] == ("A" if sign == "+" else "T")
        assert rows[0]["alt_sequence"] == tile[:4] + ("G" if sign == "+" else "C") + tile[5:]
        assert builder.counts.records == 3

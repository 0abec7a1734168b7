"""Contig names and lengths: which contigs must agree, and whose genome a FASTA is."""

from __future__ import annotations

from pathlib import Path

import pytest

from legscore.errors import InputError
from legscore.variants.contigs import R64_LENGTHS, organism_of, read_contig_map, reconcile

YEAST = "Saccharomyces cerevisiae"
NUCLEAR = [name for name in R64_LENGTHS if name != "Mito"]
VERSIONS = [9, 8, 5, 10, 3, 5, 9, 6, 2, 9, 9, 5, 3, 8, 6, 4]
REFSEQ = [f"NC_00{1133 + i}.{version}" for i, version in enumerate(VERSIONS)]
GENBANK = [f"BK0069{n}.2" for n in (*range(35, 42), 34, *range(42, 50))]


def test_only_contigs_in_use_must_have_the_stated_length() -> None:
    genome = {"1": 900, "2": 800, "MT": 16_569}
    stated = {"chr1": 900, "chr2": 777, "chrM": 16_571}
    mapped = reconcile(stated, genome, "v.vcf", lengths=stated, used=["chr1"])
    assert mapped.of == {"chr1": "1", "chr2": "2", "chrM": "MT"}
    mapped.check_lengths(["chr1", "chrUn"])
    for name, message in (
        ("chr2", "chr2 is 777 bases long, 2 of"),
        ("chrM", "chrM is 16,571 bases long, MT of"),
    ):
        with pytest.raises(InputError, match=f"v.vcf: contig {message} the FASTA .*--contig-map {name}="):
            mapped.check_lengths(["chr1", name])
        with pytest.raises(InputError, match=message):
            reconcile(stated, genome, "v.vcf", lengths=stated, used=[name])
    with pytest.raises(InputError, match="chr2 is 777"):
        reconcile(stated, genome, "v.vcf", lengths=stated)


@pytest.mark.parametrize(
    "names",
    [
        NUCLEAR,
        [f"chr{name}" for name in NUCLEAR],
        [str(i) for i in range(1, 17)],
        [f"chr{i:02}" for i in range(1, 17)],
        [f"chromosome_{name}" for name in NUCLEAR],
        REFSEQ,
        [f"ref|{name.split('.')[0]}|" for name in REFSEQ],
        GENBANK,
        [f"tpg|{name}|" for name in GENBANK],
    ],
)
@pytest.mark.parametrize("mitochondrion", ["Mito", "chrM", "chrmt", "MT", "NC_001224.1", None])
def test_yeast_by_any_of_its_names(names: list[str], mitochondrion: str | None) -> None:
    lengths = dict(zip(names, (R64_LENGTHS[name] for name in NUCLEAR), strict=True))
    if mitochondrion is not None:
        lengths[mitochondrion] = R64_LENGTHS["Mito"]
    assert organism_of(lengths) == YEAST
    assert organism_of(lengths | {"2micron": 6_318}) == YEAST
    assert organism_of({names[9]: R64_LENGTHS["X"]}) == YEAST


@pytest.mark.parametrize(
    "lengths",
    [
        {},
        {"chrM": R64_LENGTHS["Mito"]},  # no chromosome
        {f"chr{i}": 4_000 for i in [*range(1, 23), "X", "Y", "M"]},
        {**R64_LENGTHS, "IV": 1_531_919},  # an older build
        {**R64_LENGTHS, "chrI": R64_LENGTHS["I"]},  # two genomes in one file
        {"I": R64_LENGTHS["I"], "scaffold_7": 5_000},
        {"I": R64_LENGTHS["II"]},
        {"NC_001134.8": R64_LENGTHS["I"]},
        {"chr1": 230_218, "chr2": 242_193_529},
        {"U00096.3": 4_641_652},
    ],
)
def test_other_genomes_are_not_yeasts(lengths: dict[str, int]) -> None:
    assert organism_of(lengths) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_contig_map_is_read_whatever_ends_its_lines(tmp_path: Path, end: str) -> None:
    path = tmp_path / "map.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + end.join(["# ours\ttheirs", "a\tI", "", "b\tII"]).encode())
    assert read_contig_map([str(path)]) == {"a": "I", "b": "II"}
    for text, message in (
        ("a\tI\tx", "line 2: more than 2"),
        ("a", "line 2: 1 col"),
        ("a\0\tI", "line 2: a NUL"),
    ):
        path.write_text(f"b\tII\n{text}\n")
        with pytest.raises(InputError, match=message):
            read_contig_map([str(path)])

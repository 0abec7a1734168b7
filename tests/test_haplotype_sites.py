"""Haplotypes: what a record says beyond POS and REF. Blocks, structural variants, breakends, phase sets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pysam
import pytest

from legscore.errors import InputError
from legscore.variants.genotypes import choose_samples
from legscore.variants.haplotypes import HaplotypeBuilder
from legscore.variants.options import BuildOptions, prepare
from legscore.variants.records import open_records

CONTIG = "ACGTTGCAAG" * 12
START, END = 40, 60
SNV = (50, "G", "T", ".", "0|1", "0|1")
"""In the tile; it makes one haplotype of each sample ok and leaves the other as the reference."""
HEADER = (
    "##fileformat=VCFv4.5\n##contig=<ID=c,length=120>\n##contig=<ID=d>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="e">\n'
    '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="l">\n'
    '##INFO=<ID=CHR2,Number=1,Type=String,Description="c">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    '##FORMAT=<ID=LEN,Number=1,Type=Integer,Description="l">\n'
)
Record = tuple[Any, ...]
"""pos, ref, alt, info, and the genotype of each sample."""


def write(path: Path, records: Sequence[Record], form: str = "GT", header: str = "") -> Path:
    n = len(records[0]) - 4
    fixed = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines = ["#" + "\t".join([*fixed, *(f"S{i}" for i in range(n))])]
    for pos, ref, alt, info, *genotypes in sorted(records):
        lines.append("\t".join(["c", str(pos), ".", ref, alt, ".", ".", info, form, *genotypes]))
    path.write_text(HEADER + header + "\n".join(lines) + "\n")
    return path


def builder(folder: Path, vcf: Path, samples: str = "all", **options: Any) -> HaplotypeBuilder:
    (folder / "g.fa").write_text(f">c\n{CONTIG}\n>d\n{CONTIG}\n")
    (folder / "t.bed").write_text(f"c\t{START}\t{END}\tt\t0\t+\n")
    chosen = BuildOptions(str(folder / "g.fa"), regions_bed=str(folder / "t.bed"), **options)
    setting = prepare(chosen, lambda line: None)
    return HaplotypeBuilder(setting, open_records(vcf), choose_samples(vcf, samples))


def counted(folder: Path, vcf: Path, samples: str = "all") -> dict[str, int]:
    """Haplotypes by status."""
    rows = [row for table in builder(folder, vcf, samples).tables() for row in table.to_pylist()]
    found: Counter[str] = Counter()
    for row in rows:
        found[row["status"]] += row["n_carriers"]
    return dict(found)


def base(pos: int) -> str:
    return CONTIG[pos - 1]


UNKNOWN = {"ok": 1, "ref_equals_alt": 1, "missing_genotype": 2}
KNOWN = {"ok": 2, "ref_equals_alt": 2}


@pytest.mark.parametrize(
    ("pos", "alt", "info", "right"),
    [
        (45, ".", ".", UNKNOWN),
        (45, ".", "END=48", UNKNOWN),
        (10, ".", "END=41", UNKNOWN),  # begins before the tile and reaches into it
        (10, ".", "DP=3;END=119", UNKNOWN),
        (10, "<NON_REF>", "END=55", UNKNOWN),
        (10, "<*>", "END=55", UNKNOWN),
        (10, "<CNV>", "SVLEN=100", UNKNOWN),
        (10, ".", "END=40", KNOWN),  # ends before the tile's first base
        (61, ".", "END=80", KNOWN),
        (10, "<INS>", "SVLEN=100", KNOWN),  # what is inserted covers nothing
        (10, "<BND>", "CHR2=d;END=100", KNOWN),  # END is a place on another contig
    ],
)
@pytest.mark.parametrize("call", ["./.", ".", ".|."])
def test_a_carrier_that_is_not_known_is_never_the_reference(
    tmp_path: Path, pos: int, alt: str, info: str, right: dict[str, int], call: str
) -> None:
    vcf = write(tmp_path / "v.vcf", [SNV, (pos, base(pos), alt, info, "0/0", call)])
    assert counted(tmp_path, vcf) == right


def test_blocks_by_the_length_of_each_sample(tmp_path: Path) -> None:
    """VCF 4.5: <*> with LEN in FORMAT."""
    blocks = [(20, base(20), "<*>", ".", "0/0:5", "./.:30"), (50, "G", "T", ".", "0|1:.", "0|1:.")]
    vcf = write(tmp_path / "v.vcf", blocks, "GT:LEN")
    assert counted(tmp_path, vcf) == UNKNOWN


def test_half_calls_are_half_known(tmp_path: Path) -> None:
    block = (30, base(30), ".", "END=70")
    vcf = write(tmp_path / "v.vcf", [(*block, "0|."), (50, "G", "T", ".", "1|1")])
    assert counted(tmp_path, vcf) == {"ok": 1, "missing_genotype": 1}
    # without phase nobody knows on which haplotype the other genotype's allele lies
    vcf = write(tmp_path / "v.vcf", [(*block, "0/."), (50, "G", "T", ".", "0/1")])
    assert counted(tmp_path, vcf) == {"missing_genotype": 2}
    vcf = write(tmp_path / "v.vcf", [(*block, "."), (50, "G", "T", ".", "1")])
    assert counted(tmp_path, vcf) == {"missing_genotype": 1}


def test_blocks_of_reference_alone_make_no_rows(tmp_path: Path) -> None:
    vcf = write(tmp_path / "v.vcf", [(10, base(10), "<NON_REF>", "END=90", "0/0", "0/0")])
    assert counted(tmp_path, vcf) == {}
    vcf = write(tmp_path / "v.vcf", [(45, base(45), "<NON_REF>", "END=90", "0/0", "./.")])
    assert counted(tmp_path, vcf) == {"missing_genotype": 2, "ref_equals_alt": 2}


@pytest.mark.parametrize(
    ("alt", "info"),
    [
        ("<DEL>", "END=90"),
        ("<DEL>", "SVLEN=-80"),
        ("<DUP:TANDEM>", "SVLEN=80"),
        ("<INV>", "END=90"),
        ("<CN0>,<CN2>", "END=90"),
        ("<NON_REF>", "END=90"),
        ("N[c:110[", "."),
        ("]c:100]N", "."),
    ],
)
@pytest.mark.parametrize("kind", ["vcf", "bcf"])
def test_an_allele_over_the_tile_that_cannot_be_applied(
    tmp_path: Path, alt: str, info: str, kind: str
) -> None:
    variant = (10, base(10), alt.replace("N", base(10)), info, "0|0", "1|1")
    if alt == "<NON_REF>":
        variant = (10, base(10), alt, info, "0|0", "1|1")
    vcf = write(tmp_path / "v.vcf", [variant, (50, "G", "T", ".", "0|1", "0|0")])
    if kind == "bcf":
        with (
            pysam.VariantFile(str(vcf)) as old,
            pysam.VariantFile(str(tmp_path / "v.bcf"), "wb", header=old.header) as new,
        ):
            for record in old:
                new.write(record)
        vcf = tmp_path / "v.bcf"
    assert counted(tmp_path, vcf) == {"ok": 1, "ref_equals_alt": 1, "unsupported_allele": 2}
    assert counted(tmp_path, vcf, "S0") == {"ok": 1, "ref_equals_alt": 1}


@pytest.mark.parametrize(("alt", "unsupported"), [("<DEL>", 2), ("<CNV>", 2), ("<INS>", 0), ("<ins:me>", 0)])
def test_a_variant_of_unknown_length_begins_behind_its_position(
    tmp_path: Path, alt: str, unsupported: int
) -> None:
    """POS is the base before the tile. The first of those that it takes away lies in it; an insertion takes none."""
    vcf = write(tmp_path / "v.vcf", [(START, base(START), alt, "SVTYPE=X", "0|0", "1|1"), SNV])
    wanted = {"ok": 1, "ref_equals_alt": 1, "unsupported_allele": 2} if unsupported else KNOWN
    assert counted(tmp_path, vcf) == wanted


def test_a_star_needs_its_deletion(tmp_path: Path) -> None:
    deletion = (44, CONTIG[43:47], CONTIG[43], ".", "0|1")
    star = (46, base(46), "*", ".", "0|1")
    assert counted(tmp_path, write(tmp_path / "v.vcf", [deletion, star])) == {"ok": 1, "ref_equals_alt": 1}
    elsewhere = (44, CONTIG[43:47], CONTIG[43], ".", "1|0")
    right = {"ok": 1, "unsupported_allele": 1}
    assert counted(tmp_path, write(tmp_path / "v.vcf", [elsewhere, star])) == right
    right = {"ref_equals_alt": 1, "unsupported_allele": 1}
    assert counted(tmp_path, write(tmp_path / "v.vcf", [star])) == right


JOINED, APART = {"ok": 1, "ref_equals_alt": 1}, {"missing_genotype": 2}


@pytest.mark.parametrize("kind", ["Integer", "String"])
@pytest.mark.parametrize(
    ("key", "one", "two", "right"),
    [
        ("PS", "blkA", "blkB", APART),
        ("PS", "blkA", "blkA", JOINED),
        ("PS", "7", "07", JOINED),
        ("PS", "7", "blk7", APART),
        ("PS", "99999999999999999999", "99999999999999999998", APART),
        ("PS", "99999999999999999999", "99999999999999999999", JOINED),
        ("PS", ".", ".", JOINED),
        ("PS", ".", "7", APART),
        ("PSL", "a,a", "b,b", APART),
        ("PSL", "a,a", "a,a", JOINED),
    ],
)
def test_phase_sets_are_compared_as_they_are_written(
    tmp_path: Path, kind: str, key: str, one: str, two: str, right: dict[str, int]
) -> None:
    header = f'##FORMAT=<ID={key},Number=1,Type={kind},Description="p">\n'
    records = [(45, base(45), "C", ".", f"0|1:{one}"), (50, "G", "T", ".", f"0|1:{two}")]
    assert counted(tmp_path, write(tmp_path / "v.vcf", records, f"GT:{key}", header)) == right


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ((50, "G", "T", ".", "0|2"), "line 10: genotype '0|2' names an allele beyond the 1 in ALT"),
        ((20, base(20), ".", "END=x", "./."), "line 10: END is 'x'"),
    ],
)
def test_records_that_cannot_be_right_are_refused(tmp_path: Path, record: Record, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        counted(tmp_path, write(tmp_path / "v.vcf", [record]))


def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path) -> None:
    """Another record in place of one, one more, and one less."""
    two = [(50, "G", "T", ".", "0|1"), (53, base(53), "A", ".", "0|1")]
    for later in (
        [(50, "G", "A", ".", "0|1"), two[1]],
        [(49, base(49), "A", ".", "0|1"), *two],
        [*two, (90, base(90), "A", ".", "0|1")],
        two[:1],
    ):
        vcf = write(tmp_path / "v.vcf", two)
        made = builder(tmp_path, vcf)
        read = made._read_alleles

        def replaced(read: Any = read, later: Any = later) -> Any:
            found = read()
            write(tmp_path / "v.vcf", later)
            return found

        made._read_alleles = replaced  # type: ignore[method-assign]
        with pytest.raises(InputError, match="change"):
            list(made.tables())


def test_options_without_effect_are_refused(tmp_path: Path, cli: Any) -> None:
    vcf = write(tmp_path / "v.vcf", [SNV])
    builder(tmp_path, vcf)
    given = ("variants", vcf, "--haplotypes", "--fasta", tmp_path / "g.fa", "-o", tmp_path / "o.parquet")
    ran = cli(*given, "--tiles", tmp_path / "t.bed", "--keep-outside")
    assert (ran.code, "--keep-outside is about single alleles" in ran.err) == (2, True), ran.err
    wrong = write(tmp_path / "w.vcf", [(50, "A", "T", ".", "0|1")])
    ran = cli("variants", wrong, *given[2:], "--tiles", tmp_path / "t.bed", "--on-mismatch", "fail")
    assert (ran.code, "ref is 'A' but c:50" in ran.err) == (2, True), ran.err


def random_records(rng: random.Random) -> list[Record]:
    """SNVs, sites without ALT, blocks and deletions <DEL>, of two samples, some of them not called."""
    records = []
    for pos in sorted(rng.sample(range(5, 100), rng.randint(1, 6))):
        other = {"A": "C", "C": "A", "G": "T", "T": "G"}[base(pos)]
        end = f"END={pos + rng.randint(1, 60)}"
        kinds = [(other, "."), (".", "."), (".", end), ("<NON_REF>", end), ("<DEL>", end)]
        alt, info = rng.choice(kinds)
        known = ["0"] if alt in (".", "<NON_REF>") else ["0", "1"]
        calls = [rng.choice("/||").join(rng.choice(["0", "0", *known, "."]) for _ in "12") for _ in "ab"]
        records.append((pos, base(pos), alt, info, *calls))
    return records


def slowly_counted(records: list[Record]) -> dict[str, int]:
    """Haplotypes by status, one at a time, as the text says."""
    over = []
    for pos, _, alt, info, *calls in records:
        end = int(info.removeprefix("END=")) if info != "." else pos
        if pos - 1 < END and end > START:
            over.append((pos, alt, calls))
    found: Counter[str] = Counter()
    for sample in (0, 1):
        calls = [(alt, calls[sample]) for _, alt, calls in over]
        het = [call for _, call in calls if call[0] != call[2]]
        for side in (0, 2):
            carried = [(alt, call[side]) for alt, call in calls if call[side] != "0"]
            if (len(het) > 1 and any("/" in call for call in het)) or any(n == "." for _, n in carried):
                found["missing_genotype"] += 1
            elif any(alt == "<DEL>" for alt, _ in carried):
                found["unsupported_allele"] += 1
            else:
                found["ok" if carried else "ref_equals_alt"] += 1
    placed = [alt for pos, alt, _ in over if alt in "ACGT" or (alt == "<DEL>" and START < pos <= END)]
    return {} if not placed and set(found) == {"ref_equals_alt"} else dict(found)


def test_random_files_equal_a_slow_reading(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(250):
        records = random_records(random.Random(seed))
        right = slowly_counted(records)
        assert counted(tmp_path, write(tmp_path / "v.vcf", records)) == right, records
        seen.update(right)
    assert min(seen[status] for status in ("ok", "missing_genotype", "unsupported_allele")) > 15

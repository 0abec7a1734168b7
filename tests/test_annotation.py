"""Annotations as files have them: IDs that stand twice or not at all, parents that are no transcripts, genomes
of another build, the forms of gene finders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from legscore.errors import InputError, LegscoreError
from legscore.variants.annotation import Annotation, read_annotation
from legscore.variants.genome import Genome
from legscore.variants.options import BuildOptions
from legscore.variants.promoters import PromoterOptions, promoter_tiles
from legscore.variants.tiles import Tiles, region_tiles
from legscore.variants.tss import choose_transcripts, transcription_starts

DRAW = random.Random(11)
LENGTHS = {"chr1": 5000, "chr2": 4000, "chrX": 3000}
OPTIONS = PromoterOptions(upstream=80, biotypes=())
TWO_LOCI = "genes: 1 transcript IDs stand at several loci; each is a transcript of its own"


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text("".join(f">{n}\n{''.join(DRAW.choices('ACGT', k=k))}\n" for n, k in LENGTHS.items()))
    return Genome(path)


def row(chrom: str, feature: str, start: int, end: int, strand: str, attributes: str) -> str:
    return f"{chrom}\tt\t{feature}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"


def gtf(
    chrom: str, feature: str, start: int, end: int, strand: str, gene: str, transcript: str, more: str = ""
) -> str:
    return row(chrom, feature, start, end, strand, f'gene_id "{gene}"; transcript_id "{transcript}";{more}')


def write(tmp_path: Path, text: str, name: str = "a.gtf") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def starts(tiles: Tiles) -> set[tuple[Any, ...]]:
    """(gene, contig, position of the first transcribed base, strand)"""
    rows = tiles.frame.filter(pl.col("tile_id").str.ends_with(".0")).to_dicts()
    return {
        (r["gene"], r["chrom"], r["end"] + 1 if r["strand"] == "+" else r["start"], r["strand"]) for r in rows
    }


def loci(annotation: Annotation) -> list[tuple[Any, ...]]:
    columns = ("gene", "chrom", "start", "end", "strand", "cds_start", "cds_end")
    return annotation.transcripts.select(columns).rows()


def two_exons(chrom: str, start: int, end: int, strand: str, more: str = "") -> str:
    """Exons of 200 bases at either end, and a coding stretch that leaves 50 bases on either side."""
    names = (chrom, strand, "D", "N")
    return "".join(
        gtf(names[0], feature, a, b, *names[1:], more)
        for feature, a, b in (
            ("exon", start, start + 199),
            ("CDS", start + 50, start + 199),
            ("exon", end - 199, end),
            ("CDS", end - 199, end - 50),
        )
    )


@pytest.mark.parametrize(
    "second",
    [
        ("chr2", 1000, 1600, "+"),
        ("chrX", 1000, 1600, "+"),
        ("chr1", 1000, 1600, "-"),
        ("chr1", 3000, 3600, "+"),
        ("chr1", 3000, 3600, "-"),
        ("chr1", 1700, 2300, "+"),
    ],
)
def test_one_id_at_two_loci(tmp_path: Path, genome: Genome, second: tuple[str, int, int, str]) -> None:
    """Without rows for transcripts: another contig or strand, or a second coding stretch."""
    first = ("chr1", 1000, 1600, "+")
    for order in ((first, second), (second, first)):
        path = write(tmp_path, "".join(two_exons(*locus) for locus in order))
        tiles = promoter_tiles(path, genome, OPTIONS)
        assert starts(tiles) == {("D", c, a if s == "+" else b, s) for c, a, b, s in (first, second)}
        assert tiles.frame["tile_id"].is_unique().all()
        assert TWO_LOCI in tiles.said


def test_exons_of_one_transcript_stay_together(tmp_path: Path) -> None:
    text = two_exons("chr1", 1000, 4800, "+")
    # untranslated exons in front and behind, and one that is coding throughout
    for start, end in ((100, 150), (4900, 4950), (2000, 2100)):
        text += gtf("chr1", "exon", start, end, "+", "D", "N")
    text += gtf("chr1", "CDS", 2000, 2100, "+", "D", "N")
    assert loci(read_annotation(write(tmp_path, text))) == [("D", "chr1", 99, 4950, "+", 1049, 4750)]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_exon_numbers_that_begin_anew(tmp_path: Path, strand: str) -> None:
    """Exons alone: one transcript of four, or two of two."""
    places = [(100, 200), (300, 400), (1000, 1100), (1200, 1300)]

    def text(numbers: tuple[int, ...]) -> str:
        return "".join(
            gtf("chr1", "exon", a, b, strand, "D", "N", f' exon_number "{n}";')
            for (a, b), n in zip(places, numbers, strict=True)
        )

    up, down = (1, 2, 3, 4), (4, 3, 2, 1)
    for numbers in (up, down):
        assert len(loci(read_annotation(write(tmp_path, text(numbers))))) == 1
    for numbers in ((1, 2, 1, 2), (2, 1, 2, 1)):
        found = loci(read_annotation(write(tmp_path, text(numbers))))
        assert [(a, b) for _, _, a, b, *_ in found] == [(99, 400), (999, 1300)]
    places = places[:2]
    assert len(loci(read_annotation(write(tmp_path, text((1, 1)))))) == 2


def test_an_intron_longer_than_any(tmp_path: Path) -> None:
    def text(gap: int) -> str:
        return gtf("chr1", "exon", 1, 100, "+", "D", "N") + gtf(
            "chr1", "exon", 100 + gap, 200 + gap, "+", "D", "N"
        )

    assert len(loci(read_annotation(write(tmp_path, text(1_500_000))))) == 1
    assert len(loci(read_annotation(write(tmp_path, text(2_500_000))))) == 2


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("names", ["T", None], ids=["exons of a transcript", "exons of the gene alone"])
def test_gene_rows_say_where_loci_are(tmp_path: Path, strand: str, names: str | None) -> None:
    """A gene whose own row stands twice, without rows for transcripts: two loci, each with its exons."""

    def copy(at: int) -> str:
        transcript = "" if names is None else f' transcript_id "{names}";'
        exons = ((at, at + 99), (at + 200, at + 299))
        return row("chr1", "gene", at, at + 299, strand, 'gene_id "G";') + "".join(
            row("chr1", "exon", *exon, strand, f'gene_id "G";{transcript}') for exon in exons
        )

    found = loci(read_annotation(write(tmp_path, copy(501) + copy(2001))))
    assert [(one[2], one[3]) for one in found] == [(500, 800), (2000, 2300)]
    twice = row("chr1", "gene", 501, 800, strand, 'gene_id "G";') * 2 + copy(501)
    assert len(loci(read_annotation(write(tmp_path, twice)))) == 1


@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_file_that_keeps_a_transcript_together(tmp_path: Path, is_sorted: bool) -> None:
    """Exons alone, without numbers: the rows of one ID at two places of such a file are two loci. Where the file
    is sorted by position, rows of overlapping transcripts take turns and tell nothing."""
    lines = []
    for i, at in enumerate(range(3000, 1000, -100)):
        lines += [gtf("chr1", "exon", at, at + 20, "+", f"g{i}", f"t{i}")]
        lines += [gtf("chr1", "exon", at + 40, at + 60, "+", f"g{i}", f"t{i}")]
    one = gtf("chr1", "exon", 201, 250, "+", "N", "NR_1")
    two = gtf("chr1", "exon", 4001, 4050, "+", "N", "NR_1")
    lines = [one, *lines, two]
    if is_sorted:
        lines.sort(key=lambda line: int(line.split("\t")[3]))
    found = [one for one in loci(read_annotation(write(tmp_path, "".join(lines)))) if one[0] == "N"]
    wanted = [(200, 4050)] if is_sorted else [(200, 250), (4000, 4050)]
    assert [(one[2], one[3]) for one in found] == wanted


def test_transcript_rows_say_where_loci_are(tmp_path: Path) -> None:
    rows = [("transcript", 100, 900), ("exon", 100, 300), ("exon", 700, 900)]
    one = "".join(gtf("chr1", feature, a, b, "+", "D", "N") for feature, a, b in rows)
    other = "".join(gtf("chr1", feature, a + 2000, b + 2000, "+", "D", "N") for feature, a, b in rows)
    found = loci(read_annotation(write(tmp_path, one + other)))
    assert [(a, b) for _, _, a, b, *_ in found] == [(99, 900), (2099, 2900)]
    # exons that lie outside of the only row are another locus, not a start far upstream
    found = loci(read_annotation(write(tmp_path, one + gtf("chr1", "exon", 3000, 3100, "+", "D", "N"))))
    assert [(a, b) for _, _, a, b, *_ in found] == [(99, 900), (2999, 3100)]
    # the same row twice is one locus
    assert len(loci(read_annotation(write(tmp_path, one + one)))) == 1


@pytest.mark.parametrize("name", ["unknown_transcript_1", "", "."])
def test_one_placeholder_for_several_genes(tmp_path: Path, genome: Genome, name: str) -> None:
    places = [
        ("A", "chr1", 500, "+"),
        ("B", "chr1", 1500, "-"),
        ("C", "chr1", 2500, "+"),
        ("D", "chr2", 700, "+"),
    ]
    text = ""
    for gene, chrom, start, strand in places:
        text += row(chrom, "gene", start, start + 299, strand, f'gene_id "{gene}"; transcript_id "";')
        text += gtf(chrom, "CDS", start + 30, start + 269, strand, gene, name)
    tiles = promoter_tiles(write(tmp_path, text), genome, PromoterOptions(upstream=80, assume_utr=30))
    assert starts(tiles) == {(g, c, a if s == "+" else a + 299, s) for g, c, a, s in places}
    assert set(tiles.frame["tile_id"]) == {"A.0", "B.0", "C.0", "D.0"}


def test_a_gene_whose_rows_name_no_transcript(tmp_path: Path, genome: Genome) -> None:
    text = gtf("chr1", "exon", 500, 900, "+", "A", "tA") + gtf("chr1", "CDS", 540, 860, "+", "A", "tA")
    text += row("chr1", "exon", 2000, 2300, "+", 'gene_id "B";') + row(
        "chr1", "CDS", 2040, 2260, "+", 'gene_id "B";'
    )
    tiles = promoter_tiles(write(tmp_path, text), genome, OPTIONS)
    assert starts(tiles) == {("A", "chr1", 500, "+"), ("B", "chr1", 2000, "+")}
    assert any(line.startswith("genes: 1 whose exon or CDS rows name no transcript") for line in tiles.said)
    # beside transcripts that hold them such rows are theirs: no start at the start codon
    text = gtf("chr1", "exon", 500, 900, "+", "A", "t1") + gtf("chr1", "exon", 450, 900, "+", "A", "t2")
    text += row("chr1", "CDS", 540, 860, "+", 'gene_id "A";')
    found = loci(read_annotation(write(tmp_path, text)))
    assert [(a, b, c, d) for _, _, a, b, _, c, d in found] == [(499, 900, 539, 860), (449, 900, 539, 860)]


def test_genes_of_two_contigs_with_one_id(tmp_path: Path, genome: Genome) -> None:
    """As in pseudoautosomal regions: tiles of both, under names of their own, also at one position."""
    for second in (1000, 2000):
        text = ""
        for chrom, start in (("chr1", 1000), ("chrX", second)):
            name = f' gene_name "p{chrom}"; gene_biotype "protein_coding";'
            text += row(chrom, "gene", start, start + 500, "+", f'gene_id "P";{name}')
            text += gtf(chrom, "exon", start, start + 500, "+", "P", "P.t", name)
            text += gtf(chrom, "CDS", start + 40, start + 400, "+", "P", "P.t", name)
        tiles = promoter_tiles(write(tmp_path, text), genome, OPTIONS)
        assert tiles.frame.select("tile_id", "gene_name").rows() == [
            ("P@chr1:1000.0", "pchr1"),
            (f"P@chrX:{second}.0", "pchrX"),
        ]


def test_tile_names_are_unique_whatever_genes_are_called(tmp_path: Path, genome: Genome) -> None:
    text = gtf("chr1", "exon", 1000, 1500, "+", "A", "t1") + gtf("chr1", "exon", 1100, 1500, "+", "A", "t2")
    text += gtf("chr1", "exon", 1000, 1500, "+", "A@1000", "t3") + gtf(
        "chr1", "exon", 600, 1000, "-", "A", "t4"
    )
    tiles = promoter_tiles(write(tmp_path, text), genome, OPTIONS)
    assert len(tiles) == 4
    assert tiles.frame["tile_id"].is_unique().all()
    assert "A@1100.0" in tiles.frame["tile_id"]


def test_regions_that_stand_twice(tmp_path: Path, genome: Genome) -> None:
    path = write(
        tmp_path,
        "chr1\t10\t90\tx\t0\t+\nchr1\t10\t90\tx\t0\t+\nchr1\t10\t90\tx\t0\t-\nchr2\t10\t90\tx\t0\t+\n"
        "chr1\t10\t90\tx@chr1:10-90(+)\t0\t+\nchr1\t10\t90\nchrX\t5\t85\tchr1:10-90(+)\n",
        "r.bed",
    )
    tiles = region_tiles(path, genome)
    assert len(tiles) == 6
    assert tiles.frame["tile_id"].is_unique().all()
    assert {"x@chr1:10-90(-)", "x@chr2:10-90(+)"} < set(tiles.frame["tile_id"])
    assert "regions: 1 stand more than once and are read once" in tiles.said


def test_tables_of_starts_say_which_locus(tmp_path: Path, genome: Genome) -> None:
    text = two_exons("chr1", 1000, 1600, "+") + two_exons("chrX", 700, 1300, "-")
    path = write(tmp_path, text)

    def made(table: str) -> Tiles:
        options = PromoterOptions(upstream=80, tss=write(tmp_path, table, "tss.tsv"))
        return promoter_tiles(path, genome, options)

    with pytest.raises(
        InputError, match=r"line 2: gene D stands at several loci \(chr1 \+, chrX -\); say which"
    ):
        made("gene\ttss\nD\t990\n")
    tiles = made("gene\ttss\tchrom\nD\t990\tchr1\nD\t1310\tchrX\n")
    assert starts(tiles) == {("D", "chr1", 990, "+"), ("D", "chrX", 1310, "-")}
    with pytest.raises(InputError, match=r"line 3: gene D lies on .*, not there"):
        made("gene\ttss\tchrom\nD\t990\tchr1\nD\t1310\tchr2\n")
    with pytest.raises(
        InputError, match=r"tss.tsv, line 3: gene D reaches chrX:3,001, but chrX of the FASTA has"
    ):
        made("gene\ttss\tchrom\nD\t990\tchr1\nD\t3001\tchrX\n")


def gff_gene(name: str, start: int, end: int, parts: str, rest: str = "") -> str:
    """A gene with a transcript that reaches 100 and 40 bases beyond its coding part."""
    text = row("chr1", "gene", start, end, "+", f"ID={name};biotype=protein_coding")
    text += row("chr1", "mRNA", start, end, "+", f"ID={name}.1;Parent={name}")
    text += row("chr1", "exon", start, end, "+", f"Parent={name}.1")
    return text + rest + row("chr1", "CDS", start + 100, end - 40, "+", parts)


@pytest.mark.parametrize(
    ("parts", "rest"),
    [
        ("Parent=G.1,G.1-P", "protein ID=G.1-P;Derives_from=G.1"),
        ("Parent=G.1-P", "protein ID=G.1-P;Derives_from=G.1"),
        ("Parent=G.1-P", "polypeptide ID=G.1-P;Parent=G.1"),
        ("Parent=G.1,op", "operon ID=op"),
        ("Parent=G,G.1", ""),
        ("Parent=G", ""),
        ("Parent=deep2", "polypeptide ID=deep1;Derives_from=G.1|polypeptide ID=deep2;Parent=deep1"),
        ("ID=cds;Parent=G.1", ""),
    ],
)
def test_parents_that_are_no_transcripts(tmp_path: Path, genome: Genome, parts: str, rest: str) -> None:
    others = ""
    for feature, attributes in (line.split(" ") for line in rest.split("|") if line):
        others += row("chr1", feature, 600, 860, "+", attributes)
    path = write(tmp_path, "##gff-version 3\n" + gff_gene("G", 500, 900, parts, others), "a.gff3")
    assert loci(read_annotation(path)) == [("G", "chr1", 499, 900, "+", 599, 860)]
    assert starts(promoter_tiles(path, genome, OPTIONS)) == {("G", "chr1", 500, "+")}


def test_start_codons_are_not_hidden(tmp_path: Path, genome: Genome) -> None:
    """Coding parts below proteins: every transcript begins at its start codon, and that is seen."""
    text = "##gff-version 3\n"
    for i in range(5):
        start, end, name = 500 + 800 * i, 800 + 800 * i, f"G{i}"
        text += row("chr1", "gene", start, end, "+", f"ID={name}") + row(
            "chr1", "mRNA", start, end, "+", f"ID={name}.1;Parent={name}"
        )
        text += row("chr1", "protein", start, end, "+", f"ID={name}.P;Derives_from={name}.1")
        text += row("chr1", "CDS", start, end, "+", f"Parent={name}.1,{name}.P")
    with pytest.raises(InputError, match="5 of 5 coding transcripts begin at their start codon"):
        promoter_tiles(write(tmp_path, text, "a.gff3"), genome, OPTIONS)


def test_a_cds_below_an_operon_alone_is_a_gene(tmp_path: Path) -> None:
    text = "##gff-version 3\n" + row("chr1", "operon", 100, 900, "+", "ID=op")
    for name, start in (("a", 100), ("b", 500)):
        text += row("chr1", "CDS", start, start + 299, "+", f"ID={name};Parent=op;gene={name}X")
    assert [
        (gene, start) for gene, _, start, *_ in loci(read_annotation(write(tmp_path, text, "a.gff3")))
    ] == [
        ("aX", 99),
        ("bX", 499),
    ]


def of_gene(at: int, gene: str, transcript: str) -> str:
    """A gene of 400 bases with a transcript, an exon and a CDS."""
    return (
        row("chr1", "gene", at, at + 399, "+", f"ID={gene};biotype=protein_coding")
        + row("chr1", "mRNA", at, at + 399, "+", f"ID={transcript};Parent={gene}")
        + row("chr1", "exon", at, at + 399, "+", f"Parent={transcript}")
        + row("chr1", "CDS", at + 100, at + 299, "+", f"Parent={transcript}")
    )


def test_one_id_for_a_gene_and_a_transcript(tmp_path: Path, genome: Genome) -> None:
    """A transcript that has its gene's ID, or another gene's: no gene is lost, and none has a false start."""
    for name, text in (("own", of_gene(1001, "X", "X")), ("other", of_gene(1001, "1", "2"))):
        path = write(tmp_path, text + of_gene(2001, "2", "3"), f"{name}.gff3")
        first = "X" if name == "own" else "1"
        wanted = {(first, "chr1", 1001, "+"), ("2", "chr1", 2001, "+")}
        assert starts(promoter_tiles(path, genome, OPTIONS)) == wanted


@pytest.mark.parametrize("feature", ["protein_match", "cDNA_match", "similarity"])
@pytest.mark.parametrize("name", ["ID=e1;", ""])
def test_alignments_are_no_genes(tmp_path: Path, genome: Genome, feature: str, name: str) -> None:
    evidence = row("chr1", feature, 3001, 3200, "+", "ID=m") + row(
        "chr1", "exon", 3001, 3200, "+", f"{name}Parent=m"
    )
    path = write(tmp_path, of_gene(1001, "g", "t") + evidence, "a.gff3")
    assert starts(promoter_tiles(path, genome, OPTIONS)) == {("g", "chr1", 1001, "+")}


def test_ids_of_gff3_that_stand_twice(tmp_path: Path) -> None:
    text = "##gff-version 3\n"
    for chrom, gene, start in (("chr1", "A", 100), ("chr2", "B", 300), ("chr1", "C", 2000)):
        text += row(chrom, "gene", start, start + 500, "+", f"ID={gene}")
        text += row(chrom, "mRNA", start, start + 500, "+", f"ID=t;Parent={gene}")
        text += row(chrom, "exon", start, start + 500, "+", "Parent=t")
        text += row(chrom, "CDS", start + 50, start + 400, "+", "Parent=t")
    assert [
        (g, c, a, cds) for g, c, a, _, _, cds, _ in loci(read_annotation(write(tmp_path, text, "a.gff3")))
    ] == [
        ("A", "chr1", 99, 149),
        ("B", "chr2", 299, 349),
        ("C", "chr1", 1999, 2049),
    ]


@pytest.mark.parametrize(
    ("states", "agrees"),
    [
        ("##sequence-region chr1 1 {}\n", True),
        ("##sequence-region   chr1  1   {}\n", True),
        ("chr1\tRefSeq\tregion\t1\t{}\t.\t+\t.\tID=chr1:1..{};genome=chromosome\n", True),
        ("chr1\te\tchromosome\t1\t{}\t.\t.\t.\tID=chromosome:chr1\n", True),
        ("chr1\tSGD\tchromosome\t1\t{}\t.\t.\t.\tID=chr1;Name=chr1\n", True),
        ('# Sequence Data: seqnum=1;seqlen={};seqhdr="chr1 first"\n', True),
        ("# ----- prediction on sequence number 1 (length = {}, name = chr1) -----\n", True),
        ("##sequence-region chr1 400 {}\n", False),  # part of a contig
        ("##sequence-region chr2 1 {}\n", False),  # nothing lies on chr2
        ("chr1\tx\tcontig\t1\t{}\t.\t.\t.\tID=piece7\n", False),
    ],
)
def test_lengths_of_another_build(tmp_path: Path, genome: Genome, states: str, agrees: bool) -> None:
    body = gff_gene("G", 500, 900, "Parent=G.1")

    def made(length: int) -> Tiles:
        text = "##gff-version 3\n" + states.replace("{}", str(length)) + body
        return promoter_tiles(write(tmp_path, text, "a.gff3"), genome, OPTIONS)

    assert len(made(5000)) == 1
    if agrees:
        with pytest.raises(
            InputError, match="contig chr1 is 4,650 bases long, chr1 of the FASTA 5,000: another"
        ):
            made(4650)
    else:
        assert len(made(4650)) == 1


def test_coordinates_beyond_the_contig(tmp_path: Path, genome: Genome) -> None:
    good = gtf("chr1", "exon", 500, 900, "+", "A", "tA")
    for bad in (
        gtf("chr1", "exon", 4900, 5001, "+", "B", "tB"),
        gtf("chr1", "exon", 9000, 9100, "-", "B", "tB"),
    ):
        with pytest.raises(
            InputError, match=r"a.gtf, line 2: gene B reaches chr1:\d,\d+, but chr1 of the FASTA has 5,000"
        ):
            promoter_tiles(write(tmp_path, good + bad), genome, OPTIONS)
    # on contigs that nobody asks for, or that the FASTA lacks, it does no harm
    coding = PromoterOptions(upstream=80)
    for chrom, more in (("chr2", ' gene_biotype "rRNA";'), ("chrUn", ""), ("chrM", "")):
        text = good.replace("\n", ' gene_biotype "protein_coding";\n')
        text += gtf(chrom, "exon", 99_000, 99_100, "+", "B", "tB", more or ' gene_biotype "protein_coding";')
        assert starts(promoter_tiles(write(tmp_path, text), genome, coding)) == {("A", "chr1", 500, "+")}


def test_a_mitochondrion_of_another_length_does_no_harm(tmp_path: Path, genome: Genome) -> None:
    body = gff_gene("G", 500, 900, "Parent=G.1")
    for name in ("chr2", "chrM"):
        text = f"##gff-version 3\n##sequence-region {name} 1 16571\n##sequence-region chr1 1 5000\n" + body
        assert len(promoter_tiles(write(tmp_path, text, "a.gff3"), genome, OPTIONS)) == 1


def test_genes_over_the_origin_of_a_circular_contig(tmp_path: Path, genome: Genome) -> None:
    text = "##gff-version 3\nchr1\tR\tregion\t1\t5000\t.\t+\t.\tID=chr1:1..5000;Is_circular=true\n"
    text += row("chr1", "gene", 4900, 5200, "-", "ID=G") + row(
        "chr1", "tRNA", 4900, 5200, "-", "ID=G.1;Parent=G"
    )
    assert starts(promoter_tiles(write(tmp_path, text, "a.gff3"), genome, OPTIONS)) == {
        ("G", "chr1", 200, "-")
    }


def test_prokka(tmp_path: Path) -> None:
    """CDS without genes or parents, and the genome behind them."""
    text = "##gff-version 3\n##sequence-region chr1 1 5000\n"
    for name, start, feature, more in (
        ("X_1", 100, "CDS", ";gene=dnaA;Name=dnaA"),
        ("X_2", 500, "CDS", ""),
        ("X_3", 900, "tRNA", ""),
    ):
        text += row("chr1", feature, start, start + 299, "-", f"ID={name};locus_tag={name}{more};product=p")
    text += "##FASTA\n>chr1\nACGTACGT\nchr9\tnot\tgene\n"
    found = read_annotation(write(tmp_path, text, "p.gff"))
    assert loci(found) == [
        ("X_1", "chr1", 99, 399, "-", 99, 399),
        ("X_2", "chr1", 499, 799, "-", 499, 799),
        ("X_3", "chr1", 899, 1199, "-", None, None),
    ]
    assert found.transcripts["gene_name"].to_list() == ["dnaA", None, None]
    assert found.transcripts["biotype"].to_list() == ["protein_coding", "protein_coding", "tRNA"]


def test_augustus(tmp_path: Path) -> None:
    """Bare names on rows of genes and transcripts, transcript_id first elsewhere."""
    text = "# This output was generated with AUGUSTUS\n# start gene g1\n"
    text += row("chr1", "gene", 100, 900, "+", "g1") + row("chr1", "transcript", 100, 900, "+", "g1.t1")
    for feature, start, end in (
        ("start_codon", 150, 152),
        ("initial", 150, 300),
        ("CDS", 150, 300),
        ("CDS", 500, 850),
    ):
        text += row("chr1", feature, start, end, "+", 'transcript_id "g1.t1"; gene_id "g1";')
    text += "# protein sequence = [MAK\n# LL]\n###\n"
    assert loci(read_annotation(write(tmp_path, text, "a.gff"))) == [("g1", "chr1", 99, 900, "+", 149, 850)]


@pytest.mark.parametrize(
    "form",
    [
        "gene_id {}; transcript_id {};",
        "gene_id {} ; transcript_id {}",
        "transcript_id {}.t; gene_id {}",
        "\tgene_id {};\ttranscript_id {};",
    ],
)
def test_unquoted_values(tmp_path: Path, form: str) -> None:
    text = "".join(
        row("chr1", "exon", a, a + 99, "+", form.format(g, g)) for g, a in (("A", 100), ("B", 300))
    )
    assert [(g, a) for g, _, a, *_ in loci(read_annotation(write(tmp_path, text)))] == [("A", 99), ("B", 299)]


def test_names_that_only_some_rows_have(tmp_path: Path) -> None:
    """The first name of a transcript counts, whichever of its rows has it; rows of genes may stand between."""
    name, other = ' gene_name "{}"; gene_biotype "{}";', ' gene_name "no"; gene_biotype "no";'
    text = (
        gtf("chr1", "transcript", 101, 200, "+", "A", "A.1")
        + gtf("chr1", "exon", 101, 120, "+", "A", "A.1")
        + gtf("chr1", "exon", 181, 200, "+", "A", "A.1", name.format("Anna", "first"))
        + gtf("chr1", "CDS", 181, 190, "+", "A", "A.1", other)
        + gtf("chr1", "exon", 301, 320, "-", "B", "B.1", name.format("Bert", "second"))
        + gtf("chr1", "exon", 401, 420, "-", "B", "B.2")
        + gtf("chr1", "exon", 501, 520, "-", "B", "B.1", other)
        + gtf("chr1", "exon", 441, 460, "-", "B", "B.2", name.format("", " third "))
    )
    found = read_annotation(write(tmp_path, text)).transcripts
    assert found.select("gene_name", "biotype", "start", "end").rows() == [
        ("Anna", "first", 100, 200),
        ("Bert", "second", 300, 520),
        (None, "third", 400, 460),
    ]


def test_values_without_quotes_in_later_rows(tmp_path: Path) -> None:
    text = gtf("chr1", "exon", 101, 120, "+", "A", "A.1", ' gene_name "Anna";')
    text += row("chr1", "exon", 301, 320, "+", "gene_id B; transcript_id B.1; gene_name Bert;")
    found = read_annotation(write(tmp_path, text)).transcripts
    assert found.select("gene", "gene_name").rows() == [("A", "Anna"), ("B", "Bert")]


def test_lines_longer_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of every size give the same transcripts, with their line numbers."""
    rows = [gtf("chr1", "exon", at, at + 50, "+", f"G{at}", f"G{at}.1", " n" * at) for at in (1, 90, 200)]
    path = write(tmp_path, "#!x\n" + "\n".join(rows) + ">chr1\nACGT\n")
    expected = read_annotation(path).transcripts
    assert expected["line"].to_list() == [2, 4, 6]
    for size in (7, 64, 333):
        monkeypatch.setattr("legscore.variants.lines.CHUNK_BYTES", size)
        assert read_annotation(path).transcripts.equals(expected)


def test_what_is_left_out_is_said(tmp_path: Path, genome: Genome) -> None:
    kind = ' gene_biotype "protein_coding";'
    text = gtf("chr1", "exon", 500, 900, "+", "A", "tA", kind)
    text += row("chr1", "gene", 2000, 2300, "+", f'gene_id "B";{kind}')  # nothing below it
    text += gtf("chrUn", "exon", 10, 20, "+", "C", "tC", kind) + gtf(
        "chr1", "exon", 30, 40, ".", "D", "tD", kind
    )
    tiles = promoter_tiles(write(tmp_path, text), genome, OPTIONS)
    said = "\n".join(tiles.said)
    assert starts(tiles) == {("A", "chr1", 500, "+")}
    assert "1 genes without a transcript, exon or CDS are left out" in said
    assert "1 transcripts without a strand are left out" in said
    assert (
        "genes: 1 transcription starts lie on contigs that the FASTA does not have and are left out" in said
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1 t exon 5 9 . + . gene_id A", "line 2: fewer than 9 columns"),
        ("chr1\tt", "line 2: fewer than 9 columns"),
        ("chr1\tt\texon\t5\t9\t.\t+\t.", "line 2: fewer than 9 columns"),
        ("chr1\tt\tex\0on\t5\t9\t.\t+\t.\tx", "line 2: a NUL byte"),
        ('chr1\tt\texon\t5\t9\t.\t+\t.\tgene_id "";', "line 2: exon without gene_id"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, genome: Genome, cli: Any, line: str, message: str) -> None:
    path = write(tmp_path, gtf("chr1", "exon", 500, 900, "+", "A", "tA") + line + "\n")
    ran = cli("variants", "--fasta", genome.path, "--promoters", path, "-o", tmp_path / "o.parquet")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert f"a.gtf, {message}" in ran.err


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_marks_change_nothing(tmp_path: Path, genome: Genome, end: str, mark: bytes) -> None:
    text = two_exons("chr1", 1000, 1600, "+") + two_exons("chr2", 900, 1500, "-")
    path = tmp_path / "a.gtf"
    path.write_bytes(mark + text.replace("\n", end).encode())
    assert starts(promoter_tiles(path, genome, OPTIONS)) == {
        ("D", "chr1", 1000, "+"),
        ("D", "chr2", 1500, "-"),
    }


TAGGED = {
    "gencode.gtf": (
        'chr1\tH\ttranscript\t{a}\t{b}\t.\t+\t.\tgene_id "G{g}"; transcript_id "{t}"; gene_type "protein_coding"; '
        'tag "basic"; tag "{tag}"; level 2;\n',
        {"canonical": "Ensembl_canonical", "mane": "MANE_Select"},
    ),
    "ensembl.gff3": (
        "chr1\te\tmRNA\t{a}\t{b}\t.\t+\t.\tID=transcript:{t};Parent=gene:G{g};biotype=protein_coding;tag=basic,{tag}\n",
        {"canonical": "Ensembl_canonical", "mane": "Ensembl_canonical,MANE_Select"},
    ),
    "refseq.gff3": (
        "chr1\tBestRefSeq\tmRNA\t{a}\t{b}\t.\t+\t.\tID=rna-{t};Parent=gene-G{g};tag={tag}\n",
        {"canonical": "RefSeq Select", "mane": "MANE Select"},
    ),
}


@pytest.mark.parametrize("name", TAGGED)
def test_transcripts_by_their_tags(tmp_path: Path, name: str) -> None:
    """One of three is canonical in gene 1, one MANE Select in gene 2, none of gene 3; other tags say nothing."""
    line, tags = TAGGED[name]
    text = ""
    for g, marked in ((1, "canonical"), (2, "mane"), (3, "")):
        if "gff3" in name:
            gene = f"ID=gene{'-' if 'refseq' in name else ':'}G{g};gene_biotype=protein_coding"
            text += f"chr1\te\tgene\t{1000 * g}\t{1000 * g + 900}\t.\t+\t.\t{gene}\n"
        for t in range(3):
            tag = tags[marked] if marked and t == g else "not_MANE_Selected"
            text += line.format(a=1000 * g + 10 * t, b=1000 * g + 900, g=g, t=f"T{g}{t}", tag=tag)
    path = write(tmp_path, text, name)

    def starts(asked: str) -> list[tuple[str, int]]:
        options, said = PromoterOptions(transcripts=asked), list[str]()
        annotation = read_annotation(path)
        found = transcription_starts(choose_transcripts(annotation, options, said), annotation, options, said)
        if asked != "all":
            assert any("genes have none and are left out" in text for text in said)
        return list(found.select("gene", "tss").rows())

    assert len(starts("all")) == 9
    assert starts("canonical") == [("G1", 1009), ("G2", 2019)]
    assert starts("mane") == [("G2", 2019)]


def test_tags_that_are_not_there(tmp_path: Path) -> None:
    line, _ = TAGGED["gencode.gtf"]
    path = write(tmp_path, line.format(a=10, b=90, g=1, t="T", tag="Ensembl_canonical"))
    options = PromoterOptions(transcripts="mane")
    with pytest.raises(
        InputError, match="tags no transcript of these genes as MANE Select; --transcripts canonical"
    ):
        choose_transcripts(read_annotation(path), options, [])
    with pytest.raises(LegscoreError, match="--tss gives others"):
        BuildOptions("g.fa", promoters="a.gtf", tss="t.tsv", transcripts="mane")
    with pytest.raises(LegscoreError, match="transcripts is 'one'; known are all, canonical, mane"):
        BuildOptions("g.fa", promoters="a.gtf", transcripts="one")
    with pytest.raises(LegscoreError, match="--transcripts is about the tiles of genes"):
        BuildOptions("g.fa", regions_bed="t.bed", transcripts="mane")

"""Genomes, contig names, annotations, tiles, and the commands on a toy genome."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pysam
import pytest
from conftest import human_contract, toy_checkpoint

from legscore.errors import InputError
from legscore.variants.annotation import read_annotation
from legscore.variants.contigs import read_contig_map, reconcile
from legscore.variants.genome import Genome
from legscore.variants.promoters import PromoterOptions, promoter_tiles
from legscore.variants.tiles import region_tiles

DATA = Path(__file__).parent / "data/annotation"
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI"]
YEAST = dict.fromkeys([*ROMAN, "Mito"], 1000)
HUMAN = dict.fromkeys([*map(str, range(1, 23)), "X", "Y", "MT"], 1000)


def test_roman_arabic_chr_and_mitochondrion() -> None:
    assert reconcile(YEAST, YEAST, "v").of == {name: name for name in YEAST}
    assert reconcile([f"chr{name}" for name in ROMAN] + ["chrM"], YEAST, "v").of["chrX"] == "X"
    of = reconcile([str(i) for i in range(1, 17)] + ["MT"], YEAST, "v").of
    assert of["10"] == "X"
    assert of["MT"] == "Mito"
    assert reconcile(["chr1", "chrX", "chrM"], HUMAN, "v").of == {"chr1": "1", "chrX": "X", "chrM": "MT"}
    assert reconcile(["chr01", "chr02"], HUMAN, "v").of == {"chr01": "1", "chr02": "2"}


def test_x_is_chromosome_10_in_yeast_and_a_sex_chromosome_in_humans() -> None:
    mapped = reconcile(HUMAN, YEAST, "human.vcf")
    assert mapped.of["10"] == "X"
    assert "X" not in mapped.of
    assert "Y" not in mapped.of
    assert any(
        "X is not mapped to X: human.vcf counts in arabic numerals, the FASTA in roman ones" in line
        for line in mapped.said
    )
    mapped = reconcile(YEAST, HUMAN, "yeast.vcf")
    assert mapped.of["X"] == "10"
    assert mapped.of["IX"] == "9"
    with pytest.raises(InputError, match="no contig in common: X against 1, 2, 3"):
        reconcile(["X"], {str(i): 9 for i in range(1, 17)}, "v")
    assert reconcile(["X"], {str(i): 9 for i in range(1, 17)}, "v", {"X": "10"}).of == {"X": "10"}


def test_nothing_goes_unsaid() -> None:
    mapped = reconcile(["chr1", "chr2", "chrUn_7"], {"1": 9, "2": 9, "3": 9}, "v.vcf")
    assert mapped.said[0] == "contigs of v.vcf: chr1→1, chr2→2"
    assert mapped.said[1].startswith("contigs of v.vcf that the FASTA does not have: chrUn_7")
    assert "chr1" not in reconcile(["chr1", "7"], {"1": 9, "Chr1": 9, "7": 9}, "v").of  # two could be meant


def test_stated_lengths_are_checked() -> None:
    with pytest.raises(
        InputError,
        match="v.vcf: contig X is 156,040,895 bases long, X of the FASTA 1,000: another genome build",
    ):
        reconcile(["X"], YEAST, "v.vcf", lengths={"X": 156_040_895})
    assert reconcile(["X"], YEAST, "v", {"X": "X"}, {"X": 156_040_895}).of == {"X": "X"}
    assert reconcile(["X"], YEAST, "v", lengths={"X": 2_147_483_647}).of == {"X": "X"}


def test_contig_map(tmp_path: Path) -> None:
    (tmp_path / "map.tsv").write_text("# ours\ttheirs\na\tI\nb\tII\n")
    assert read_contig_map([str(tmp_path / "map.tsv"), "c=III"]) == {"a": "I", "b": "II", "c": "III"}
    for entries, message in (
        (["x"], "write NAME=FASTA_NAME"),
        (["a=I", "a=II"], "mapped twice"),
        (["=I"], "a name is empty"),
    ):
        with pytest.raises(InputError, match=message):
            read_contig_map(entries)
    (tmp_path / "bad.tsv").write_text("a\tI\nb II\n")
    with pytest.raises(InputError, match="line 2: 1 columns"):
        read_contig_map([str(tmp_path / "bad.tsv")])
    with pytest.raises(InputError, match="the FASTA has no contig 'XX'"):
        reconcile(["a"], YEAST, "v", {"a": "XX"})


def flip(text: str) -> str:
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_genome(world: Path, contig: str) -> None:
    genome = Genome(world / "g.fa")
    assert genome.lengths == {"1": 1200, "MT": 200}
    assert genome.contig("1").tobytes().decode() == contig
    (world / "z.fa.gz").write_bytes(gzip.compress(b">1\nACGT\n"))
    (world / "n.fa").write_text("ACGT\n")
    (world / "odd.fa").write_text(">1\nAC!T\n")
    for name, message in (("z.fa.gz", "bgzip"), ("n.fa", "no FASTA file"), ("none.fa", "no such file")):
        with pytest.raises(InputError, match=message):
            Genome(world / name)
    with pytest.raises(InputError, match="odd.fa, line 2: contig 1 holds '!', which is no base"):
        Genome(world / "odd.fa").contig("1")


def test_promoter_tiles(world: Path, contig: str) -> None:
    genome = Genome(world / "g.fa")
    tiles = promoter_tiles(world / "g.gtf", genome, PromoterOptions(length=20, upstream=40, step=10))
    rows = {row["tile_id"]: row for row in tiles.frame.to_dicts()}
    assert {name: (row["start"], row["end"]) for name, row in rows.items() if row["gene"] == "A"} == {
        "A.0": (280, 300),
        "A.1": (270, 290),
        "A.2": (260, 280),
    }
    assert {name: (row["start"], row["end"]) for name, row in rows.items() if row["gene"] == "B"} == {
        "B.0": (280, 300),
        "B.1": (290, 310),
        "B.2": (300, 320),
    }
    assert rows["A.0"]["shared_with"] == "B"
    assert rows["B.2"]["shared_with"] is None
    assert [rows[f"C.{k}"]["edge"] for k in range(3)] == [True, True, True]
    assert rows["A.0"]["overlaps_cds"] is False
    assert set(tiles.frame["gene"]) == {"A", "B", "C"}
    assert set(tiles.frame["tss_source"]) == {"transcript"}
    assert any("1 mitochondrial ones are left out" in line for line in tiles.said)
    assert any("3 of them leave their contig" in line for line in tiles.said)
    down = promoter_tiles(
        world / "g.gtf", genome, PromoterOptions(length=20, upstream=0, downstream=60, step=40)
    )
    assert down.frame.filter(gene="A").select("tile_id", "start", "overlaps_cds").rows() == [
        ("A.1", 300, False),
        ("A.0", 340, True),
    ]
    everything = promoter_tiles(world / "g.gtf", genome, PromoterOptions(length=20, upstream=20, biotypes=()))
    assert set(everything.frame["gene"]) == {"A", "B", "C", "R"}


def test_where_starts_come_from(world: Path) -> None:
    genome = Genome(world / "g.fa")
    utr = promoter_tiles(world / "g.gtf", genome, PromoterOptions(length=20, upstream=20, assume_utr=5))
    assert utr.frame.filter(gene="A")["start"].to_list() == [330 - 5 - 20]
    assert utr.frame.filter(gene="B")["start"].to_list() == [250 + 5]
    assert set(utr.frame["tss_source"]) == {"assumed 5 from ATG"}
    (world / "tss.tsv").write_text("gene\ttss\nA\t311\nA\t321\nZ\t5\n")
    table = promoter_tiles(
        world / "g.gtf", genome, PromoterOptions(length=20, upstream=20, tss=world / "tss.tsv")
    )
    assert table.frame.select("tile_id", "start").rows() == [("A@311.0", 290), ("A@321.0", 300)]
    assert any("2 genes have no start there" in line for line in table.said)
    for text, message in (
        ("gene,tss\nA,311\n", r"no column 'gene'; the first line must name gene and tss, separated by tabs"),
        ("gene\ttss\na\t311\n", r"none of its 1 genes \(a\) is in .*; its genes are written as A, B"),
    ):
        (world / "bad.tsv").write_text(text)
        with pytest.raises(InputError, match=message):
            promoter_tiles(
                world / "g.gtf", genome, PromoterOptions(length=20, upstream=20, tss=world / "bad.tsv")
            )
    bare = (
        (world / "g.gtf")
        .read_text()
        .replace("\t301\t600\t", "\t331\t600\t")
        .replace("\t100\t280\t", "\t100\t250\t")
    )
    (world / "atg.gtf").write_text(
        "".join(line for line in bare.splitlines(True) if '"A"' in line or '"B"' in line)
    )
    with pytest.raises(
        InputError,
        match=r"no transcription starts: 2 of 2 coding transcripts begin at their start codon.*--assume-utr",
    ):
        promoter_tiles(world / "atg.gtf", genome, PromoterOptions(length=20, upstream=20))


def test_gff3_reads_like_gtf(world: Path) -> None:
    (world / "g.gff3").write_text(
        "##gff-version 3\n"
        "1\tt\tgene\t301\t600\t.\t+\t.\tID=gene:A;Name=a;biotype=protein_coding;gene_id=A\n"
        "1\tt\tmRNA\t301\t600\t.\t+\t.\tID=transcript:A.t;Parent=gene:A\n"
        "1\tt\texon\t301\t600\t.\t+\t.\tParent=transcript:A.t\n"
        "1\tt\tCDS\t331\t600\t.\t+\t0\tID=CDS:A;Parent=transcript:A.t\n"
    )
    (read,) = read_annotation(world / "g.gff3").transcripts.to_dicts()
    (other,) = read_annotation(world / "g.gtf").transcripts.filter(pl.col("gene") == "A").to_dicts()
    assert read == other


OR4F5 = ("OR4F5", "protein_coding", 5418, "+", 5564, 6573)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ensembl.gff3",
            {
                "ENSG00000223972": ("DDX11L1", "transcribed_unprocessed_pseudogene", 1868, "+", None, None),
                "ENSG00000278267": ("MIR6859-1", "miRNA", 7368, "-", None, None),
                "ENSG00000186092": OR4F5,
                "ENSG00000198888": ("MT-ND1", "protein_coding", 306, "+", 306, 1262),
            },
        ),
        (
            "ncbi.gff3",
            {  # a mature microRNA is no transcript; ND1 has a CDS right below its gene
                "DDX11L1": ("DDX11L1", "transcribed_pseudogene", 1873, "+", None, None),
                "MIR6859-1": ("MIR6859-1", "miRNA", 7368, "-", None, None),
                "OR4F5": OR4F5,
                "IGKJ1": ("IGKJ1", "J_segment", 8999, "+", None, None),
                "ND1": ("ND1", "protein_coding", 306, "+", 306, 1262),
                "TRNF": ("TRNF", "tRNA", 576, "+", None, None),
            },
        ),
        (
            "bacteria.gff3",
            {
                "b0001": ("thrL", "protein_coding", 1189, "+", 1189, 1255),
                "b0002": ("thrA", "protein_coding", 3336, "-", 3336, 4799),
            },
        ),
        (
            "sgd.gff3",
            {
                "YAL069W": ("YAL069W", "protein_coding", 5334, "+", 5334, 5649),
                "YAL068C": ("PAU8", "protein_coding", 11806, "-", 11806, 12169),
                "tP(UGG)A": ("tP(UGG)A", "tRNA", 13799, "+", None, None),
                "Q0010": ("Q0010", "protein_coding", 306, "+", 306, 1262),
            },
        ),
        (
            "gencode.gtf",
            {
                "ENSG00000186092.7": OR4F5,
                "ENSG00000198888.2": ("MT-ND1", "protein_coding", 306, "+", 306, 1262),
            },
        ),
        ("ncbi.gtf", {"OR4F5": OR4F5, "ND1": ("ND1", "protein_coding", 306, "+", 306, 1259)}),
    ],
)
def test_annotations_as_they_are_published(name: str, expected: dict[str, tuple[Any, ...]]) -> None:
    """Small files in the forms of Ensembl, NCBI, SGD and GENCODE: the first transcript of every gene."""
    found = read_annotation(DATA / name)
    first = found.transcripts.unique("gene", keep="first", maintain_order=True)
    read = {
        r[0]: r[1:]
        for r in first.select(
            "gene", "gene_name", "biotype", "start", "strand", "cds_start", "cds_end"
        ).rows()
    }
    assert read == expected
    assert found.contigs.mitochondria == (["NC_012920.1"] if name == "ncbi.gff3" else [])


def test_mitochondria_are_told_by_the_annotation_too(tmp_path: Path) -> None:
    for name in ("NC_000001.11", "NC_012920.1"):
        with open(tmp_path / "n.fa", "a") as stream:
            stream.write(f">{name}\n{'ACGT' * 5000}\n")
    tiles = promoter_tiles(DATA / "ncbi.gff3", Genome(tmp_path / "n.fa"), PromoterOptions())
    assert tiles.frame["gene"].unique().to_list() == ["OR4F5"]
    assert any("1 mitochondrial ones are left out" in line for line in tiles.said)


def test_names_of_gff3_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "p.gff3").write_text(
        "1\tx\tgene\t1\t9\t.\t+\t.\tID=gene:a%2Cb;Name=x%3By;biotype=tRNA\n1\tx\ttRNA\t1\t9\t.\t+\t.\tID=t;Parent=gene:a%2Cb\n"
    )
    assert read_annotation(tmp_path / "p.gff3").transcripts.select("gene", "gene_name").rows() == [
        ("a,b", "x;y")
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tt\tgene\t5", "line 3: fewer than 9 columns"),
        ('1\tt\tgene\tx\t9\t.\t+\t.\tgene_id "A";', "line 3: start is 'x', no whole number"),
        ('1\tt\tgene\t9\t5\t.\t+\t.\tgene_id "A";', "line 3: 9 to 5 is no stretch"),
        ('1\tt\tCDS\t5\t9\t.\t+\t.\tnote "A";', "line 3: CDS without gene_id"),
    ],
)
def test_bad_annotation_lines(tmp_path: Path, line: str, message: str) -> None:
    good = '1\tt\ttranscript\t5\t9\t.\t+\t.\tgene_id "A"; transcript_id "A.1";'
    (tmp_path / "b.gtf").write_text(f"# one\n{good}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / "b.gtf")


def test_regions(world: Path) -> None:
    genome = Genome(world / "g.fa")
    (world / "r.bed").write_text(
        "track name=x\nchr1\t10\t30\ta\t0\t-\nchr1\t10\t30\ta\t0\t+\nchr1\t1190\t1210\nchrUn\t1\t5\n"
    )
    tiles = region_tiles(world / "r.bed", genome)
    assert tiles.frame.select("tile_id", "strand", "edge").rows() == [
        ("a@1:10-30(+)", "+", False),
        ("a@1:10-30(-)", "-", False),
        ("1:1190-1210(+)", "+", True),
    ]
    assert "regions: 1 without a strand are read as +" in tiles.said
    assert "regions: 1 lie on contigs that the FASTA does not have and are left out" in tiles.said
    for text, message in (
        ("1\t5\n", "line 1: fewer than 3"),
        ("1\t5\t5\n", "line 1: 1:5-5 is no stretch"),
        ("#\n1\t5\tx\n", "line 2: end is 'x'"),
        ("1\t5\t9\ta\t0\t?\n", "strand that is none"),
        ("1\t5\t9\ta\t0\t-\n1\t5\t9\ta\t-\n", "line 2: 1:5-9 has a strand outside column 6"),
        ("1\t5\t9\t+\n", "line 1: 1:5-9 has a strand outside column 6"),
        ("", "holds no region"),
    ):
        (world / "bad.bed").write_text(text)
        with pytest.raises(InputError, match=message):
            region_tiles(world / "bad.bed", genome)


TILES = ("--length", 20, "--upstream", 40, "--step", 10)


def test_variants_then_run_equals_run_on_the_vcf(
    world: Path, toy_models: Path, contig: str, cli: Any
) -> None:
    """One row per allele and tile; effects from coordinates equal effects from the sequences given directly,
    exactly."""
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    ran = cli("variants", world / "v.vcf", *given, "-o", world / "v.parquet")
    assert ran.code == 0, ran.err
    rows = pq.read_table(world / "v.parquet").to_pylist()
    insertion, symbolic = f"1:295:{contig[294]}:{contig[294]}GATTACA", f"1:296:{contig[295]}:<DEL>"
    wrong = rows[-1]["variant_id"]
    assert [(r["variant_id"], r["tile_id"], r["status"]) for r in rows] == [
        *[("rs1", tile, "ok") for _ in range(2) for tile in ("A.1", "A.0", "B.0")],
        *[(insertion, tile, "ok") for tile in ("A.0", "B.0", "B.1")],
        *[(symbolic, tile, "unsupported_allele") for tile in ("A.0", "B.0", "B.1")],
        *[
            (wrong, tile, "ref_alt_swapped" if contig[296] == "G" else "ref_mismatch")
            for tile in ("A.0", "B.0", "B.1")
        ],
    ]
    assert rows[1]["ref_sequence"] == contig[280:300]
    assert rows[2]["ref_sequence"] == flip(contig[280:300])
    assert rows[2]["offset"] == 10
    assert rows[6]["alt_sequence"] == (contig[280:295] + "GATTACA" + contig[295:300])[-20:]
    assert "outside every tile: 1 alleles (no_window 1)" in ran.err
    made = json.loads(pq.read_schema(world / "v.parquet").metadata[b"legscore"])["variants"]
    assert made["tiles"] == "promoters"
    assert made["anchor"] == "3"

    score = ("-m", toy_models, "--engine", "openvino", "--precision", "fp32")
    assert cli("run", world / "v.parquet", *score, "-o", world / "two.parquet").code == 0
    ran = cli("run", world / "v.vcf", *given, *score, "-o", world / "one.parquet")
    assert ran.code == 0, ran.err
    one, two = pq.read_table(world / "one.parquet"), pq.read_table(world / "two.parquet")
    assert one.equals(two)
    assert (world / "one.parquet").read_bytes() == (world / "two.parquet").read_bytes()
    assert one["status"].to_pylist() == [r["status"] for r in rows]
    assert [e is None for e in one["effect"].to_pylist()] == [r["status"] != "ok" for r in rows]
    assert not list(world.glob(".legscore*"))
    assert json.loads((world / "one.parquet.run.json").read_text())["inputs"] == [str(world / "v.vcf")]

    direct = pq.read_table(world / "v.parquet", columns=["ref_sequence", "alt_sequence"]).filter(
        pl.Series([r["status"] == "ok" for r in rows]).to_arrow()
    )
    pq.write_table(direct, world / "direct.parquet")
    assert cli("run", world / "direct.parquet", *score, "-o", world / "d.parquet").code == 0
    kept = one.filter(pl.Series([r["status"] == "ok" for r in rows]).to_arrow())
    assert pq.read_table(world / "d.parquet")["effect"].to_pylist() == kept["effect"].to_pylist()


def test_saturation(world: Path, toy_model: Path, contig: str, cli: Any) -> None:
    """Every change once, in order, and the same effects as the same changes from a table."""
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    ran = cli("variants", "--saturate", *given, "-o", world / "s.parquet")
    assert ran.code == 0, ran.err
    rows = pq.read_table(world / "s.parquet").to_pylist()
    assert len(rows) == 6 * 20 * 3 + 3
    edges = [row for row in rows if row["status"] == "edge"]
    assert [row["tile_id"] for row in edges] == ["C.2", "C.1", "C.0"]
    assert all(row["sequence"] is None and row["pos"] is None for row in edges)
    by_tile: dict[str, list[dict[str, Any]]] = {}
    for row in rows[3:]:
        by_tile.setdefault(row["tile_id"], []).append(row)
    for group in by_tile.values():
        text = group[0]["sequence"]
        assert [(r["offset"], r["alt_base"]) for r in group] == [
            (i, b) for i in range(20) for b in "ACGT" if b != text[i]
        ]
        for row in group:
            assert contig[row["pos"] - 1] == row["ref"]
            assert row["alt_base"] == (row["alt"] if row["strand"] == "+" else flip(row["alt"]))
            assert row["variant_id"] == f"1:{row['pos']}:{row['ref']}:{row['alt']}"
    pl.DataFrame([{k: r[k] for k in ("chrom", "pos", "ref", "alt")} for r in by_tile["B.0"]]).write_csv(
        world / "b.csv"
    )
    score = ("-m", toy_model, "--engine", "openvino", "--precision", "fp32")
    assert cli("run", world / "s.parquet", *score, "-o", world / "so.parquet").code == 0
    assert cli("run", world / "b.csv", *given, *score, "-o", world / "bo.parquet").code == 0
    first = pl.read_parquet(world / "so.parquet").filter(tile_id="B.0")
    second = pl.read_parquet(world / "bo.parquet").filter(tile_id="B.0")
    assert first["effect"].to_list() == second["effect"].to_list()
    assert first["effect"].null_count() == 0


def test_saturate_indels_needs_saturate(world: Path, cli: Any) -> None:
    ran = cli(
        "variants",
        "--saturate-indels",
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        "-o",
        world / "s.parquet",
    )
    assert (ran.code, "give both" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    ("anchor", "indel"), [("3", "refill"), ("5", "refill"), ("center", "refill"), ("3", "construct")]
)
def test_saturation_with_changes_of_length(
    world: Path, toy_model: Path, contig: str, cli: Any, anchor: str, indel: str
) -> None:
    """All one-base deletions and insertions of a contig, written as a VCF would and built by the slower way,
    are the same rows with the same effects; tiles on both strands, one at an end of the contig, one of a run
    of A's, one with an N."""
    text = contig[:20] + "A" * 12 + contig[32:60] + "N" + contig[61:120]
    (world / "s.fa").write_text(f">1\n{text}\n")
    (world / "t.bed").write_text(
        "1\t0\t20\tfirst\t0\t+\n1\t0\t20\tturned\t0\t-\n1\t18\t38\trun\t0\t+\n1\t22\t32\tsame\t0\t+\n"
        "1\t25\t45\tend_of_run\t0\t-\n1\t50\t70\tunknown\t0\t+\n1\t61\t81\tbeside\t0\t-\n1\t100\t120\tlast\t0\t+\n"
        "1\t110\t130\tbeyond\t0\t+\n"
    )
    rows = []
    for i in range(len(text)):
        before = text[i - 1] if i else None
        rows += [(i + 1, text[i], base) for base in "ACGT" if text[i] in "ACGT" and base != text[i]]
        if text[i] in "ACGT" and i:
            rows.append((i, before + text[i], before))
        elif text[i] in "ACGT":
            rows.append((1, text[:2], text[1]))
        rows += [(i, before, before + base) for base in "ACGT" if i]
    pl.DataFrame([{"chrom": "1", "pos": p, "ref": r, "alt": a} for p, r, a in rows]).write_csv(
        world / "all.csv"
    )
    given = ("--fasta", world / "s.fa", "--tiles", world / "t.bed", "--anchor", anchor, "--indel", indel)
    assert cli("variants", world / "all.csv", *given, "-o", world / "pairs.parquet").code == 0
    ran = cli("variants", "--saturate", "--saturate-indels", *given, "-o", world / "s.parquet")
    assert ran.code == 0, ran.err
    for name in ("pairs", "s"):
        score = ("-m", toy_model, "--engine", "openvino", "--precision", "fp32", "--max-n", 3)
        assert cli("run", world / f"{name}.parquet", *score, "-o", world / f"{name}.out.parquet").code == 0
    key = ["tile_id", "offset", "pos", "ref", "alt"]
    keep = [*key, "variant_id", "status", "ref_score", "alt_score", "effect"]
    one = pl.read_parquet(world / "pairs.out.parquet").filter(pl.col("tile_id") != "beyond").select(keep)
    two = pl.read_parquet(world / "s.out.parquet").filter(pl.col("tile_id") != "beyond").select(keep)
    # a change of a run of equal bases is one row here, at its left end, and one row for every way of writing
    # it there
    once = one.join(two.select(*key), on=key, how="semi")
    assert once.sort(key).equals(two.sort(key))
    again = one.join(two.select(*key), on=key, how="anti")
    twins = again.join(two, on=["tile_id", "offset", "status", "alt_score"], how="semi", nulls_equal=True)
    assert len(twins) == len(again) > 20
    made = pq.read_table(world / "s.parquet")
    assert made["alt_base"].type == pa.dictionary(pa.int32(), pa.string())
    assert set(made["alt_base"].unique().to_pylist()) == {*"ACGT", "-", "+A", "+C", "+G", "+T", None}
    statuses = dict(two.group_by("status").len().iter_rows())
    assert statuses.pop("ok") > 900
    assert set(statuses) <= {"edge", "ref_equals_alt"}
    for row in two.filter(pl.col("status") == "edge").iter_rows(named=True):
        assert row["tile_id"] in ("first", "turned", "last")
    for _, group in two.group_by("tile_id", maintain_order=True):
        assert group["offset"].to_list() == group["offset"].sort().to_list()


def test_tiles_themselves_can_be_scored(world: Path, toy_model: Path, contig: str, cli: Any) -> None:
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    for name in ("t.parquet", "t.tsv"):
        assert cli("variants", *given, "-o", world / name).code == 0
    table = pl.read_parquet(world / "t.parquet")
    assert pl.read_csv(world / "t.tsv", separator="\t")["tile_id"].to_list() == table["tile_id"].to_list()
    assert table.filter(tile_id="B.1")["sequence"].to_list() == [flip(contig[290:310])]
    assert (
        cli("run", world / "t.parquet", "-m", toy_model, "--engine", "null", "-o", world / "ts.parquet").code
        == 0
    )
    assert pl.read_parquet(world / "ts.parquet")["status"].to_list() == ["null_sequence"] * 3 + ["ok"] * 6


def test_human_inserts_set_the_length_of_tiles(world: Path, cli: Any) -> None:
    toy_checkpoint(0, human_contract()).save(world / "human.safetensors")
    ran = cli(
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--centered",
        "-m",
        world / "human.safetensors",
        "--engine",
        "null",
        "-o",
        world / "h.tsv",
        "--keep",
        "all",
    )
    assert ran.code == 0, ran.err
    rows = pl.read_csv(world / "h.tsv", separator="\t")
    ok = rows.filter(pl.col("status") == "ok")
    assert set(ok["ref_sequence"].str.len_chars()) == {200}
    assert set(ok["offset"]) == {100}  # in the window of 230 bases: index 15 + 100


def test_regions_of_an_indexed_vcf(world: Path, cli: Any) -> None:
    pysam.tabix_index(str(world / "v.vcf"), preset="vcf", keep_original=True)
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES, "--force")
    assert (
        cli("variants", world / "v.vcf.gz", *given, "--region", "1:295-296", "-o", world / "r.parquet").code
        == 0
    )
    assert set(pq.read_table(world / "r.parquet")["pos"].to_pylist()) == {295, 296}
    once = pq.read_table(world / "r.parquet").num_rows
    # regions that overlap, and records that reach from one into the next, give every record once, in the
    # order of the file
    for regions in (("1:296-296", "1:290-295", "1:294-296"), ("1:295-295", "1:296-296")):
        more = [text for region in regions for text in ("--region", region)]
        assert cli("variants", world / "v.vcf.gz", *given, *more, "-o", world / "r.parquet").code == 0
        rows = pq.read_table(world / "r.parquet").filter(pc.field("pos") >= 295)
        assert (rows.num_rows, rows["pos"].to_pylist() == sorted(rows["pos"].to_pylist())) == (once, True)
    ran = cli("variants", world / "v.vcf", *given, "--region", "1:295-296", "-o", world / "r.parquet")
    assert (ran.code, "--region needs an index" in ran.err) == (2, True)
    ran = cli("variants", world / "v.vcf.gz", *given, "--region", "1:x-y", "-o", world / "r.parquet")
    assert (ran.code, "write CHROM, CHROM:POS" in ran.err) == (2, True), ran.err
    ran = cli("variants", world / "v.vcf.gz", *given, "--region", "7", "-o", world / "r.parquet")
    assert (ran.code, "has no contig '7'" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("variants", "v.vcf", "-o", "o.parquet"), "needs the genome: --fasta"),
        (("variants", "v.vcf", "--fasta", "g.fa", "-o", "o.parquet"), "say which tiles to make"),
        (
            (
                "variants",
                "v.vcf",
                "--fasta",
                "g.fa",
                "--promoters",
                "g.gtf",
                "--tiles",
                "r.bed",
                "-o",
                "o.parquet",
            ),
            "give one",
        ),
        (
            (
                "variants",
                "v.vcf",
                "--fasta",
                "g.fa",
                "--centered",
                "--orientation",
                "gene",
                "-o",
                "o.parquet",
            ),
            "needs --promoters",
        ),
        (
            (
                "variants",
                "v.vcf",
                "--fasta",
                "g.fa",
                "--promoters",
                "g.gtf",
                "--tss",
                "t",
                "--assume-utr",
                "3",
                "-o",
                "o.parquet",
            ),
            "give one",
        ),
        (
            (
                "variants",
                "v.vcf",
                "--fasta",
                "g.fa",
                "--promoters",
                "g.gtf",
                "--length",
                "500",
                "--upstream",
                "160",
                "-o",
                "o.parquet",
            ),
            "less than a tile of 500",
        ),
        (
            (
                "variants",
                "v.vcf",
                "--fasta",
                "g.fa",
                "--promoters",
                "g.gtf",
                "--biotype",
                "rrna",
                "-o",
                "o.parquet",
            ),
            "it has protein_coding, rRNA",
        ),
        (
            ("variants", "v.vcf", "--fasta", "g.fa", "--promoters", "g.gtf", "-o", "o.xlsx"),
            "unknown extension",
        ),
        (
            ("variants", "--saturate", "v.vcf", "--fasta", "g.fa", "--promoters", "g.gtf", "-o", "o.parquet"),
            "give it no VARIANTS",
        ),
        (("variants", "--saturate", "--fasta", "g.fa", "--centered", "-o", "o.parquet"), "needs VARIANTS"),
        (
            ("variants", "v.vcf", "--fasta", "g.fa", "--centered", "--context", "genome", "-o", "o.parquet"),
            "needs --length",
        ),
        (
            ("variants", "none.vcf", "--fasta", "g.fa", "--promoters", "g.gtf", "-o", "o.parquet"),
            "none.vcf: no such file",
        ),
        (
            ("variants", "g.gtf", "--fasta", "g.fa", "--promoters", "g.gtf", "-o", "o.parquet"),
            "unknown format",
        ),
        (("run", "v.vcf", "-o", "o.parquet"), "a VCF needs --fasta"),
        (
            ("run", "v.vcf", "--promoters", "g.gtf", "-o", "o.parquet"),
            "--promoters is about variants in a genome; give --fasta too",
        ),
        (
            ("run", "v.vcf", "v.vcf", "--fasta", "g.fa", "--centered", "-o", "o.parquet"),
            "give one input, not 2",
        ),
    ],
)
def test_errors_are_one_line(
    world: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(world)
    ran = cli(*arguments)
    assert ran.code == 2
    assert message in ran.err.splitlines()[-1]
    assert not (world / "o.parquet").exists()
    assert not list(world.glob(".o*"))


def test_table_aliases_and_carried_columns(world: Path, contig: str, cli: Any) -> None:
    alt = "A" if contig[289] != "A" else "C"
    (world / "t.tsv").write_text(
        f"chromosome\tposition\tREF\tALT\trsid\tmeasured\tstrand\nchr1\t290\t{contig[289]}\t{alt},.\trs9\t0.5\t+\n"
    )
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    ran = cli("variants", world / "t.tsv", *given, "-o", world / "t.parquet")
    assert ran.code == 0, ran.err
    rows = pq.read_table(world / "t.parquet").to_pylist()
    assert [(r["variant_id"], r["chrom"], r["tile_id"], r["measured"]) for r in rows] == [
        ("rs9", "chr1", tile, "0.5") for tile in ("A.1", "A.0", "B.0")
    ]
    assert "not carried over, since legscore has its own of that name: strand" in ran.err
    for text, message in (
        ("chrom,pos,ref\n1,2,A\n", "no column for alt"),
        ("chrom,pos,ref,alt,ALT\n1,2,A,C,C\n", "has both 'alt' and 'ALT'"),
        ("chrom,pos,ref,alt\n1,2.5,A,C\n", "reads '2.5' in row 1"),
    ):
        (world / "bad.csv").write_text(text)
        ran = cli("variants", world / "bad.csv", *given, "-o", world / "bad.parquet")
        assert (ran.code, message in ran.err) == (2, True), ran.err


def test_a_given_status_must_be_known(world: Path, toy_model: Path, cli: Any) -> None:
    (world / "s.csv").write_text(
        "ref_sequence,alt_sequence,status\nACGT,ACGA,edge\nACGT,ACGA,\nACGT,ACGA,ok\n"
    )
    assert (
        cli("run", world / "s.csv", "-m", toy_model, "--engine", "null", "-o", world / "s.parquet").code == 0
    )
    assert pq.read_table(world / "s.parquet")["status"].to_pylist() == ["edge", "ok", "ok"]
    (world / "s.csv").write_text("ref_sequence,alt_sequence,status\nACGT,ACGA,benign\n")
    ran = cli("run", world / "s.csv", "-m", toy_model, "--engine", "null", "-o", world / "s2.parquet")
    assert (ran.code, "column 'status' reads 'benign', which is no status of legscore" in ran.err) == (
        2,
        True,
    )


def test_whole_windows_from_the_genome(world: Path, contig: str, cli: Any) -> None:
    """--context genome: 231 bases, the variant at index 115, as the published human scripts cut them, no
    flanks; status edge at the first and last bases of a contig. The scores are those of a model that reads
    231 bases."""
    checkpoint = toy_checkpoint(0, human_contract())
    checkpoint.save(world / "human.safetensors")
    at = [1, 115, 116, 600, 1085, 1086, 1200]
    (world / "s.tsv").write_text(
        "chrom\tpos\tref\talt\n"
        + "".join(f"1\t{p}\t{contig[p - 1]}\t{'A' if contig[p - 1] != 'A' else 'C'}\n" for p in at)
    )
    given = ("--fasta", world / "g.fa", "--centered", "--context", "genome")
    score = ("-m", world / "human.safetensors", "--engine", "openvino", "--precision", "fp32", "--rc", "none")
    ran = cli("run", world / "s.tsv", *given, *score, "-o", world / "h.parquet", "--keep", "all")
    assert ran.code == 0, ran.err
    assert "context: genome; windows of 231 bases" in ran.err
    rows = pq.read_table(world / "h.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["edge", "edge", "ok", "ok", "ok", "edge", "edge"]
    for row in rows[2:5]:
        assert row["ref_sequence"] == contig[row["pos"] - 116 : row["pos"] + 115]
        assert row["alt_sequence"] == row["ref_sequence"][:115] + row["alt"] + row["ref_sequence"][116:]
    long = human_contract(
        length=231, flank5="", flank3="", adapter5="", adapter3="", insert_min=231, insert_max=231
    )
    toy_checkpoint(0, long).save(world / "long.safetensors")
    (world / "w.csv").write_text("sequence\n" + "".join(f"{row['ref_sequence']}\n" for row in rows[2:5]))
    assert (
        cli(
            "run", world / "w.csv", "-m", world / "long.safetensors", *score[2:], "-o", world / "w.parquet"
        ).code
        == 0
    )
    assert pq.read_table(world / "w.parquet")["score"].to_pylist() == [row["ref_score"] for row in rows[2:5]]
    ran = cli(
        "variants",
        world / "s.tsv",
        "--fasta",
        world / "g.fa",
        "--tiles",
        world / "g.gtf",
        "--context",
        "genome",
        "--length",
        231,
        "-o",
        world / "x.csv",
    )
    assert (ran.code, "--tiles and --indel construct do not go with it" in ran.err) == (2, True)


def test_only_contigs_in_use_must_have_their_length(world: Path, cli: Any) -> None:
    """A mitochondrion of another build, on which no tile lies, refuses no file; chromosomes with tiles do."""
    text = (world / "v.vcf").read_text()
    given = ("--fasta", world / "g.fa", "--force", "-o", world / "o.parquet")
    promoters = ("--promoters", world / "g.gtf", *TILES)
    other = text.replace("#CHROM", "##contig=<ID=chrM,length=16571>\n#CHROM")
    (world / "m.vcf").write_text(other)
    ran = cli("variants", world / "m.vcf", *given, *promoters)
    assert ran.code == 0, ran.err
    assert "contigs of another length in the FASTA, on which no tile lies: chrM" in ran.err
    assert cli("variants", world / "m.vcf", *given, "--centered").code == 0
    (world / "m.vcf").write_text(other + "chrM\t5\t.\tA\tC\t.\t.\t.\n")
    assert cli("variants", world / "m.vcf", *given, *promoters).code == 0
    for more in (("--centered",), (*promoters, "--keep-outside")):
        ran = cli("variants", world / "m.vcf", *given, *more)
        assert (ran.code, "contig chrM is 16,571 bases long, MT of the FASTA 200" in ran.err) == (2, True)
    (world / "m.vcf").write_text(text.replace("length=1200", "length=1300"))
    ran = cli("variants", world / "m.vcf", *given, *promoters)
    assert (ran.code, "contig 1 is 1,300 bases long, 1 of the FASTA 1,200" in ran.err) == (2, True)


def test_contigs_that_the_header_does_not_list(world: Path, contig: str, cli: Any) -> None:
    """They are mapped like the others and said; one that changes the meaning of another is refused."""
    alt = "A" if contig[289] != "A" else "C"
    head = "##fileformat=VCFv4.2\n##contig=<ID={}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (world / "p.vcf").write_text(head.format("MT") + f"1\t290\t.\t{contig[289]}\t{alt}\t.\t.\t.\n")
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    ran = cli("variants", world / "p.vcf", *given, "-o", world / "p.parquet")
    assert ran.code == 0, ran.err
    assert "p.vcf that its header does not list: 1" in ran.err
    assert set(pq.read_table(world / "p.parquet")["status"].to_pylist()) == {"ok"}
    (world / "r.fa").write_text(f">I\n{contig}\n>II\nACGT\n>X\nACGTACGT\n")
    (world / "r.bed").write_text("X\t0\t8\n")
    (world / "x.vcf").write_text(head.format("X") + "2\t1\t.\tA\tC\t.\t.\t.\nX\t1\t.\tA\tC\t.\t.\t.\n")
    ran = cli(
        "variants",
        world / "x.vcf",
        "--fasta",
        world / "r.fa",
        "--tiles",
        world / "r.bed",
        "-o",
        world / "x.parquet",
    )
    assert (ran.code, "X means another contig; say which with --contig-map X=NAME" in ran.err) == (2, True), (
        ran.err
    )


def test_null_fields_are_null_sequence(world: Path, contig: str, cli: Any) -> None:
    (world / "n.csv").write_text(f"chrom,pos,ref,alt\n1,290,{contig[289]},\n1,,A,C\n,290,A,C\n1,290,,C\n")
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES, "--keep-outside")
    ran = cli("variants", world / "n.csv", *given, "-o", world / "n.parquet")
    assert ran.code == 0, ran.err
    rows = pq.read_table(world / "n.parquet").to_pylist()
    found = [(r["pos"], r["tile_id"] is None, r["status"]) for r in rows]
    assert (290, False, "null_sequence") in found
    assert (None, True, "null_sequence") in found
    assert {r["status"] for r in rows} == {"null_sequence", "contig_missing"}


@pytest.mark.parametrize("record", ["1\t3o0\t.\tA\tG\t.\t.\t.", "1\t300\t.\tA", "1\t300\t.\tA\tG\t.\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_record_that_cannot_be_read_is_named_by_its_line(
    world: Path, cli: Any, record: str, packed: bool
) -> None:
    lines = (world / "v.vcf").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if not line.startswith("#")) + 1
    lines.insert(at, record)
    (world / "b.vcf").write_text("\n".join(lines) + "\n")
    if packed:
        pysam.tabix_compress(str(world / "b.vcf"), str(world / "b.vcf.gz"))
    name = world / ("b.vcf.gz" if packed else "b.vcf")
    ran = cli(
        "variants",
        name,
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        *TILES,
        "-o",
        world / "o.parquet",
    )
    assert ran.code == 2
    assert f"{name.name}, line {at + 1}: " in ran.err.splitlines()[-1], ran.err
    assert "Correct or remove it" in ran.err.splitlines()[-1]


def test_gzipped_and_truncated_vcfs(world: Path, toy_model: Path, cli: Any) -> None:
    """Gzip without bgzip's blocks is read as a stream; a region of it cannot be. Damage is never the end of a
    file."""
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    out = ("-o", world / "o.parquet", "--force")
    text = (world / "v.vcf").read_bytes()
    (world / "z.vcf.gz").write_bytes(gzip.compress(text[:300]) + gzip.compress(text[300:]))
    pysam.tabix_compress(str(world / "v.vcf"), str(world / "t.vcf.gz"))
    found = []
    for name in ("v.vcf", "t.vcf.gz", "z.vcf.gz"):
        ran = cli("variants", world / name, *given, *out)
        assert ran.code == 0, ran.err
        found.append(pl.read_parquet(world / "o.parquet"))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    scored = [world / "s1.vcf", world / "s2.vcf"]
    for name, target in zip(("v.vcf", "z.vcf.gz"), scored, strict=True):
        assert cli("run", world / name, *given, "-m", toy_model, "--engine", "null", "-o", target).code == 0
    texts = [
        [line for line in path.read_text().splitlines() if not line.startswith("##legscore_command=")]
        for path in scored
    ]
    assert texts[0] == texts[1]
    ran = cli("variants", world / "z.vcf.gz", *given, "--region", "1:290-300", *out)
    assert (ran.code, "packed with bgzip" in ran.err) == (2, True), ran.err
    (world / "o.parquet").unlink()
    whole = gzip.compress(text)
    (world / "z.vcf.gz").write_bytes(whole[:-40])
    (world / "c.vcf.gz").write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    (world / "t.vcf.gz").write_bytes((world / "t.vcf.gz").read_bytes()[:-40])
    for name in ("z.vcf.gz", "c.vcf.gz", "t.vcf.gz"):
        ran = cli("variants", world / name, *given, *out)
        assert (ran.code, "is it cut short" in ran.err.splitlines()[-1]) == (2, True), ran.err
        assert not (world / "o.parquet").exists()


def test_the_default_reach_holds_a_tile_of_any_length(world: Path, cli: Any) -> None:
    """160 bases upstream of a start, and two tiles where 160 hold none: a human insert has 200."""
    for length, upstream in ((80, 160), (160, 160), (200, 400)):
        ran = cli(
            *("variants", "--fasta", world / "g.fa", "--promoters", world / "g.gtf", "--length", length),
            *("-o", world / f"{length}.parquet"),
        )
        assert ran.code == 0, ran.err
        tiles = pl.read_parquet(world / f"{length}.parquet")
        reach = tiles.filter(pl.col("gene") == "A").select(pl.col("end").max() - pl.col("start").min())
        assert reach.item() == upstream, length
        made_by = json.loads(pq.read_schema(world / f"{length}.parquet").metadata[b"legscore"])["variants"]
        assert (made_by["length"], made_by["upstream"]) == (length, upstream)

"""The variants companion on real data: measured tiles and variants, shipped VCFs, specification and tool test
files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pysam
import pytest

from legscore.errors import LegscoreError
from legscore.rows.schema import OK
from legscore.variants.alleles import canonical
from legscore.variants.build import Builder
from legscore.variants.contigs import R64_LENGTHS, organism_of
from legscore.variants.genome import Genome
from legscore.variants.make import make, tile_table
from legscore.variants.options import BuildOptions, prepare
from legscore.variants.records import is_vcf, open_records

pytestmark = pytest.mark.shared
ADAPTERS = (17, 13)


def quiet(line: str) -> None:
    pass


@pytest.fixture
def fasta(shared: Path) -> str:
    return str(shared / "data/genome/Saccharomyces_cerevisiae.R64-1-1.dna.primary_assembly.fa.gz")


def test_the_shared_genome_is_yeast(fasta: str) -> None:
    lengths = Genome(fasta).lengths
    assert lengths == R64_LENGTHS
    assert organism_of(lengths) == "Saccharomyces cerevisiae"


def test_tiles_equal_the_measured_oligos(shared: Path, fasta: str, tmp_path: Path) -> None:
    oligos = pl.read_parquet(shared / "data/native_tiles_genome.parquet")
    oligos = oligos.with_row_index("name")
    bed = oligos.select("chrom", "start", "end", "name", pl.lit(0).alias("score"), "strand")
    bed.write_csv(tmp_path / "t.bed", separator="\t", include_header=False)
    table = pl.from_arrow(
        tile_table(prepare(BuildOptions(fasta, regions_bed=str(tmp_path / "t.bed")), quiet))
    )
    assert isinstance(table, pl.DataFrame)
    joined = oligos.with_columns(pl.col("name").cast(pl.String)).join(
        table.select(pl.col("tile_id").alias("name"), pl.col("sequence").alias("made")), on="name"
    )
    assert len(joined) == 62_897
    insert = joined["sequence"].str.slice(ADAPTERS[0], 80)
    assert (insert == joined["made"]).all()


def test_tiles_of_known_starts_have_the_published_names(shared: Path, fasta: str, tmp_path: Path) -> None:
    """Tiles GENE.2 from --tss lie where the published ones lie, on both strands."""
    known = (
        pl.read_parquet(shared / "data/genome/promoter_haplotypes_1011.parquet")
        .unique("promoter")
        .sort("promoter")
    )
    known = known.filter(pl.col("promoter").str.ends_with(".2"))
    plus = pl.col("strand") == "+"
    tss = pl.when(plus).then(pl.col("start") + 160 + 1).otherwise(pl.col("end") - 160)
    table = known.select(pl.col("promoter").str.strip_suffix(".2").alias("gene"), tss.alias("tss"))
    table.write_csv(tmp_path / "tss.tsv", separator="\t")
    gtf = str(shared / "data/genome/Saccharomyces_cerevisiae.R64-1-1.109.gtf.gz")
    setting = prepare(BuildOptions(fasta, promoters=gtf, tss=str(tmp_path / "tss.tsv"), biotypes=()), quiet)
    made = pl.from_arrow(tile_table(setting))
    assert isinstance(made, pl.DataFrame)
    joined = known.join(made, left_on="promoter", right_on="tile_id", suffix="_made")
    assert len(joined) > 5_000
    assert (joined["start"] == joined["start_made"]).all()
    assert (joined["ref_seq"] == joined["sequence"]).all()


@pytest.mark.parametrize("name", ["native_variants_measured.parquet", "genome/native_measured_snvs.vcf.gz"])
def test_variants_equal_the_measured_pairs(shared: Path, fasta: str, tmp_path: Path, name: str) -> None:
    bed = str(shared / "data/genome/native_promoter_tiles.bed")
    make(str(shared / "data" / name), str(tmp_path / "v.parquet"), BuildOptions(fasta, regions_bed=bed))
    made = pl.read_parquet(tmp_path / "v.parquet").with_columns(pl.col("tile_id").cast(pl.String))
    measured = pl.read_parquet(shared / "data/native_variants_measured.parquet")
    joined = measured.join(
        made,
        left_on=["variant_id", "promoter", "pos", "alt"],
        right_on=["variant_id", "tile_id", "pos", "alt"],
        suffix="_made",
    )
    assert len(joined) == len(measured) == 3_788
    for side in ("ref", "alt"):
        assert (joined[f"{side}_seq"].str.slice(ADAPTERS[0], 80) == joined[f"{side}_sequence"]).all()
    assert (joined["offset"] == joined["offset_made"]).all()
    assert set(joined["status"]) == {"ok"}


@pytest.mark.parametrize(
    "name", ["saccharomyces_cerevisiae", "promoter_snvs_1011", "native_measured_snvs", "strains_vs_R64"]
)
def test_every_ref_of_the_shipped_vcfs_matches(shared: Path, fasta: str, name: str) -> None:
    bed = str(shared / "data/genome/native_promoter_tiles.bed")
    records = open_records(shared / f"data/genome/{name}.vcf.gz")
    builder = Builder(prepare(BuildOptions(fasta, regions_bed=bed), quiet), records)
    for _ in builder.tables():
        pass
    counts = builder.counts
    assert set(counts.rows) | set(counts.outside) | {"no_window"} == {"ok", "no_window"}
    expected = {
        "saccharomyces_cerevisiae": {"SNV": 263_368}, "promoter_snvs_1011": {"SNV": 56_120}, "native_measured_snvs": {"SNV": 3_788},
        "strains_vs_R64": {"SNV": 186_442, "insertion": 9_017, "deletion": 9_294},
    }  # fmt: skip
    assert {kind: n for kind, n in counts.kinds.items() if n} == expected[name]


def cases(shared: Path) -> list[Path]:
    return sorted(path for path in (shared / "data/vcf_cases").rglob("*") if is_vcf(path))


def test_every_vcf_case_is_read_or_refused_in_one_line(shared: Path, tmp_path: Path) -> None:
    """All 421 files against a random genome with their contigs: rows with a status, or one clear line."""
    index = pl.read_csv(shared / "data/vcf_cases/INDEX.tsv", separator="\t", quote_char=None)
    rows_of = dict(index.select("file", "n_rows").rows())
    read, refusals = 0, {}
    rng = np.random.default_rng(3)
    letters = "".join(rng.choice(list("ACGT"), 3000))
    for path in cases(shared):
        relative = str(path.relative_to(shared / "data/vcf_cases"))
        try:
            records = open_records(path)
            names = [name.split()[0] for name in records.contigs or ["none"]]
            (tmp_path / "g.fa").write_text("".join(f">{name}\n{letters}\n" for name in dict.fromkeys(names)))
            pysam.faidx(str(tmp_path / "g.fa"))
            options = BuildOptions(
                str(tmp_path / "g.fa"),
                centered=True,
                keep_outside=True,
                contig_map=[f"{name}={name}" for name in names],
            )
            builder = Builder(prepare(options, quiet), records)
            n = sum(table.num_rows for table in builder.tables())
        except LegscoreError as error:
            refusals[relative] = str(error)
            continue
        read += 1
        assert n == sum(builder.counts.kinds.values())
        if path.suffix == ".vcf":
            assert builder.counts.records == rows_of[relative], relative
    assert read > 380
    assert len(refusals) < 40
    for relative, text in refusals.items():
        assert "\n" not in text
        assert Path(relative).name in text
        assert "/passed/" not in relative, text


def test_damaged_records_are_named_by_line(shared: Path) -> None:
    for name, message in (
        (
            "hts-specs/4.3/failed/failed_body_pos_001.vcf",
            r"failed_body_pos_001.vcf, line 4: unable to parse next record \('1 123abc",
        ),
        ("hts-specs/4.3/failed/failed_meta_004.vcf", "line 3 follows the header without a #CHROM line"),
        ("htsjdk/mangledBaseVariants.vcf", "line 1 is not ##fileformat=VCFv4.x but '!##fileformat=VCFv4.2'"),
        ("pysam/example_empty.vcf", "is empty"),
    ):
        with pytest.raises(LegscoreError, match=message):
            for _ in open_records(shared / "data/vcf_cases" / name).blocks():
                pass


def changes_of(path: Path, genome: dict[str, str], *, align: bool) -> set[tuple[str, int, int, bytes]]:
    """Canonical (or as-written) changes of the sequence alleles of a VCF that match the genome."""
    found = set()
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if line.startswith("#") or len(fields) < 5 or fields[0] not in genome:
            continue
        letters = np.frombuffer(genome[fields[0]].upper().encode(), dtype=np.uint8)
        alts = fields[4].split(",")
        made = canonical(
            letters,
            np.full(len(alts), int(fields[1])),
            pa.array([fields[3]] * len(alts)),
            pa.array(alts),
            align=align,
        )
        for a in np.flatnonzero(made.status_A == OK):
            text = made.inserted[made.at_A[a] : made.at_A[a] + made.n_A[a]].tobytes()
            found.add((fields[0], int(made.start_A[a]), int(made.end_A[a]), text))
    return found


@pytest.mark.parametrize(
    ("vcf", "out", "fasta"),
    [("norm.split.vcf", "norm.split.and.norm.out", "norm.fa"), ("norm.vcf", "norm.out", "norm.fa")],
)
def test_left_alignment_agrees_with_bcftools_norm(shared: Path, vcf: str, out: str, fasta: str) -> None:
    """Alleles of the input, canonical, are those that bcftools norm wrote; split ones do not move any
    more."""
    folder = shared / "data/vcf_cases/bcftools"
    genome = {record.name: record.sequence for record in pysam.FastxFile(str(folder / fasta))}
    ours, theirs = changes_of(folder / vcf, genome, align=True), changes_of(folder / out, genome, align=True)
    assert len(ours) > 20
    assert theirs <= ours
    if "split" in out:
        assert ours == theirs
        assert changes_of(folder / out, genome, align=False) == theirs

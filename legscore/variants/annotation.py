"""GTF and GFF3 (also .gz) → one row per transcript, and the coding stretches. Coordinates 0-based half-open,
plus strand.

Both dialects are read the same way: rows of a transcript, its exons and its CDS are grouped by transcript, so
that files without transcript rows work too. Genes take their biotype from the gene's row (`gene_biotype`,
`gene_type`, `biotype`); in a file without any, a gene with CDS is `protein_coding` and others go by their
feature's name. A CDS right below its gene (bacteria, organelles) is a transcript of its own; what lies below
a transcript that is no gene (mature microRNAs) is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from legscore.errors import InputError
from legscore.variants.lines import read_lines, split_fields, whole_numbers

COLUMNS = ["chrom", "source", "feature", "start", "end", "score", "strand", "phase", "attributes"]
FEATURES = (
    r"region|gene|transcript|exon|CDS|stop_codon|\w*_gene|pseudogene|\w*_gene_segment|\w*RNA|\w*transcript"
)
USED = rf"^[^\t]*\t[^\t]*\t({FEATURES})\t"
ORGANELLE = r"(^|;)genome=mitochondrion(;|$)"
CODING = ("CDS", "stop_codon")


@dataclass(frozen=True)
class Annotation:
    """`transcripts`: gene, gene_name, biotype, chrom, start, end, strand, cds_start, cds_end (null without
    CDS), one row per transcript; `cds`: chrom, start, end. `skipped`: transcripts without a strand;
    `mitochondria`: contigs whose region row says so (NCBI)."""

    path: Path
    transcripts: pl.DataFrame
    cds: pl.DataFrame
    skipped: int
    mitochondria: tuple[str, ...] = ()

    @property
    def contigs(self) -> list[str]:
        return self.transcripts["chrom"].unique(maintain_order=True).to_list()


def read_annotation(path: str | Path) -> Annotation:
    """Read a GTF or GFF3 file.

    Raises:
        InputError: no such file, a malformed line (with its number), or no transcript in it.
    """
    path = Path(path)
    frames, dialect, mitochondria = [], "", []
    for lines in read_lines(path):
        frame = split_fields(lines.filter(pl.col("text").str.contains(USED)), COLUMNS)
        region = pl.col("feature") == "region"
        mitochondria += frame.filter(region & pl.col("attributes").str.contains(ORGANELLE))["chrom"].to_list()
        frame = frame.filter(~region)
        short = frame.filter(pl.col("attributes").is_null())
        if len(short):
            raise InputError(
                f"{path}, line {short['line'][0]}: fewer than 9 columns; GTF and GFF3 have 9, separated "
                "by tabs"
            )
        if len(frame):
            dialect = dialect or ("GTF" if 'gene_id "' in str(frame["attributes"][0]) else "GFF3")
            frames.append(_fields(whole_numbers(frame, ["start", "end"], path), dialect, path))
    if not frames:
        raise InputError(f"{path} holds no gene, transcript, exon or CDS; pass a GTF or GFF3 file")
    rows = pl.concat(frames)
    genes = rows.filter(pl.col("transcript").is_null()).unique("gene", keep="first", maintain_order=True)
    parts = rows.filter(pl.col("transcript").is_not_null() & pl.col("strand").is_in(["+", "-"]))
    coding = pl.col("feature").is_in(CODING)
    transcripts = parts.group_by("transcript", maintain_order=True).agg(
        pl.col("gene").drop_nulls().first(),
        pl.col("gene_name").drop_nulls().first(),
        pl.col("biotype").drop_nulls().first(),
        pl.col("below").drop_nulls().first(),
        pl.col("chrom", "strand", "feature").first(),
        pl.col("start").min(),
        pl.col("end").max(),
        pl.col("start").filter(coding).min().alias("cds_start"),
        pl.col("end").filter(coding).max().alias("cds_end"),
    )
    transcripts = transcripts.with_columns(pl.coalesce("gene", "transcript").alias("gene"))
    lower = pl.col("below").is_in(rows["own"].drop_nulls().unique().implode())
    transcripts = transcripts.filter(~lower.fill_null(False))
    if not len(transcripts):
        raise InputError(f"{path} holds no transcript, exon or CDS with a strand; pass a GTF or GFF3 file")
    transcripts = transcripts.join(
        genes.select("gene", pl.col("gene_name").alias("g_name"), pl.col("biotype").alias("g_biotype")),
        on="gene",
        how="left",
        maintain_order="left",
    )
    transcripts = transcripts.with_columns(
        pl.coalesce("g_name", "gene_name").alias("gene_name"),
        pl.coalesce("g_biotype", "biotype").alias("biotype"),
    )
    if transcripts["biotype"].is_null().all():
        has_cds = pl.col("cds_start").is_not_null().any().over("gene")
        transcripts = transcripts.with_columns(
            pl.when(has_cds).then(pl.lit("protein_coding")).otherwise("feature").alias("biotype")
        )
    for name in ("gene", "gene_name") if dialect == "GFF3" else ():
        transcripts = transcripts.with_columns(
            pl.Series(name, [text and unquote(text) for text in transcripts[name].to_list()], pl.String)
        )
    skipped = rows.filter(~pl.col("strand").is_in(["+", "-"]) & pl.col("transcript").is_not_null())[
        "transcript"
    ].n_unique()
    kept = ["gene", "gene_name", "biotype", "chrom", "start", "end", "strand", "cds_start", "cds_end"]
    return Annotation(
        path,
        transcripts.select(kept),
        parts.filter(coding).select("chrom", "start", "end").unique(maintain_order=True),
        skipped,
        tuple(mitochondria),
    )


def _fields(frame: pl.DataFrame, dialect: str, path: Path) -> pl.DataFrame:
    """Typed rows: gene, gene_name, biotype, transcript (null for a gene's row), coordinates 0-based."""
    wrong = frame.filter((pl.col("start") < 1) | (pl.col("end") < pl.col("start")))
    if len(wrong):
        row = wrong.row(0, named=True)
        raise InputError(
            f"{path}, line {row['line']}: {row['start']} to {row['end']} is no stretch (1-based, start ≤ end)"
        )
    text, feature = pl.col("attributes"), pl.col("feature")

    def gtf(*names: str) -> pl.Expr:
        return pl.coalesce(text.str.extract(rf'(?:^|;)\s*{name} "([^"]*)"') for name in names)

    def gff(*names: str) -> pl.Expr:
        found = pl.coalesce(text.str.extract(rf"(?:^|;)\s*{name}=([^;]*)") for name in names)
        return found.str.replace(r"^(gene|transcript|CDS|rna)[:-]", "")

    if dialect == "GTF":
        frame = frame.with_columns(
            gtf("gene_id").alias("gene"),
            gtf("gene_name", "gene").alias("gene_name"),
            gtf("gene_biotype", "gene_type").alias("biotype"),
            pl.when(feature != "gene").then(gtf("transcript_id")).alias("transcript"),
            pl.lit(None, pl.String).alias("own"),
            pl.lit(None, pl.String).alias("below"),
        )
    else:
        frame = frame.with_columns(
            gff("ID").alias("_id"),
            gff("Parent").alias("_parent"),
            gff("gene_biotype", "gene_type", "biotype").alias("_biotype"),
            gff("gene_name", "gene", "Name").alias("_name"),  # SGD's Name is the systematic one
        )
        is_gene = feature.str.contains("gene$")
        part = feature.is_in(["exon", *CODING])
        frame = frame.with_columns(
            pl.when(is_gene).then("_id").when(~part).then("_parent").alias("gene"),
            pl.when(is_gene).then("_name").alias("gene_name"),
            pl.when(is_gene).then("_biotype").alias("biotype"),
            pl.when(part).then("_parent").when(~is_gene).then("_id").alias("transcript"),
            # as written: without their prefixes a microRNA and its gene may have one name
            pl.when(~part & ~is_gene).then(text.str.extract(r"(?:^|;)\s*ID=([^;]*)")).alias("own"),
            pl.when(~part & ~is_gene).then(text.str.extract(r"(?:^|;)\s*Parent=([^;]*)")).alias("below"),
        )
        frame = frame.with_columns(pl.col("transcript").str.split(",")).explode("transcript")
        frame = frame.with_columns(pl.col("transcript").str.replace(r"^(transcript|rna)[:-]", ""))
    nameless = frame.filter(pl.col("gene").is_null() & pl.col("transcript").is_null())
    if len(nameless):
        row = nameless.row(0, named=True)
        raise InputError(
            f"{path}, line {row['line']}: {row['feature']} without "
            f"{'gene_id' if dialect == 'GTF' else 'ID or Parent'}: "
            f"{row['attributes'][:60]!r}"
        )
    return frame.select(
        "line",
        "gene",
        "gene_name",
        "biotype",
        "transcript",
        "own",
        "below",
        "feature",
        "chrom",
        pl.col("start") - 1,
        "end",
        "strand",
    )

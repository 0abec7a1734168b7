"""GTF and GFF3 (also .gz) → one row per transcript, and the coding stretches. Coordinates 0-based half-open,
plus strand.

A transcript is the rows of one gene and transcript ID at one locus (`legscore.variants.loci`), so that files
without rows for transcripts work too. Rows that name their gene only belong to its transcripts that hold
them, or else are a transcript of their own. Genes take their biotype from the gene's row (`gene_biotype`,
`gene_type`, `biotype`); in a file without any, a gene with CDS is `protein_coding` and others go by their
feature's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from legscore.errors import InputError
from legscore.variants.features import CODING, StatedContigs, read_features, with_places
from legscore.variants.gff3 import gff_links, gff_names, link
from legscore.variants.gtf import gtf_names, with_genes_of_exons
from legscore.variants.loci import KEY, with_copies, with_loci

ROW = [
    *("line", "kind", "feature", "chrom", "start", "end", "strand"),
    *("gene", "gene_name", "biotype", "transcript", "exon_number", "canonical", "mane"),
]
TRANSCRIPT = [
    "gene",
    "gene_name",
    "biotype",
    "chrom",
    "start",
    "end",
    "strand",
    "cds_start",
    "cds_end",
    "line",
    "canonical",
    "mane",
]
MARKS = {"canonical": "Ensembl canonical, RefSeq Select or MANE Select", "mane": "MANE Select"}
"""What the tags of a transcript's row may say, by the column that says so."""
_TAG = r"(?:^|;)\s*tag[ =]\"?[^;]*\b"
_SELECT = r"(?:_| |%20)Select\b"
ON_A_STRAND = pl.col("strand").is_in(["+", "-"])


@dataclass(frozen=True)
class Annotation:
    """Transcripts and coding stretches of a genome.

    Attributes:
        transcripts: TRANSCRIPT, one row each; cds_start and cds_end are null without CDS, `line` is that of
            the first row.
        cds: chrom, start, end, each once.
        skipped: transcripts without a strand.
        contigs: what the file says of contigs: lengths, mitochondria, circular ones.
        bare_genes: gene and biotype of genes' rows that have no transcript, exon or CDS.
        said: what to print.
    """

    path: Path
    transcripts: pl.DataFrame
    cds: pl.DataFrame
    skipped: int
    contigs: StatedContigs
    bare_genes: pl.DataFrame
    said: tuple[str, ...] = ()


def read_annotation(path: str | Path) -> Annotation:
    """Read a GTF or GFF3 file.

    Raises:
        InputError: no such file, a malformed line (with its number), or no transcript in it.
    """
    path, contigs = Path(path), StatedContigs()
    rows, dialect = _read_rows(path, contigs)
    genes = rows.filter(pl.col("kind") == "gene")
    below = rows.filter(pl.col("kind") != "gene")
    transcripts = _transcripts(with_copies(below.filter(ON_A_STRAND), genes))
    if not len(transcripts):
        raise InputError(f"{path} holds no transcript, exon or CDS with a strand; pass a GTF or GFF3 file")
    said = _said(transcripts, dialect)
    transcripts = _with_names(transcripts, genes)
    if dialect == "GFF3":
        transcripts, genes = (_decoded(frame, ["gene", "gene_name"]) for frame in (transcripts, genes))
    bare = genes.filter(ON_A_STRAND).join(transcripts, on=["gene", "chrom"], how="anti")
    coding = below.filter(ON_A_STRAND & pl.col("feature").is_in(CODING))
    return Annotation(
        path,
        transcripts.select(TRANSCRIPT),
        coding.select("chrom", "start", "end").unique(maintain_order=True),
        below.filter(~ON_A_STRAND).select("gene", "transcript").n_unique(),
        contigs,
        bare.unique(["gene", "chrom"], maintain_order=True).select("gene", "biotype"),
        tuple(said),
    )


def _read_rows(path: Path, contigs: StatedContigs) -> tuple[pl.DataFrame, str]:
    """Columns of ROW, coordinates 0-based half-open, and the dialect. `transcript` is null for genes, and for
    parts that name none."""
    used: list[pl.DataFrame] = []
    links: list[pl.DataFrame] = []
    dialect = ""
    for frame in read_features(path, contigs):
        rows = frame.filter(pl.col("kind").is_not_null())
        if len(rows):
            dialect = dialect or _dialect(rows["attributes"])
            rows = with_places(rows, path)
            named = gtf_names(rows) if dialect == "GTF" else gff_names(rows)
            used.append(_with_marks(named.drop("source", "score", "phase")))
        if dialect != "GTF":
            links.append(gff_links(frame.filter(pl.col("kind").is_null())))
    if not used:
        raise InputError(f"{path} holds no gene, transcript, exon or CDS; pass a GTF or GFF3 file")
    rows = pl.concat(used)
    rows = with_genes_of_exons(rows) if dialect == "GTF" else link(rows, pl.concat(links))
    nameless = rows.filter(
        pl.col("gene").is_null() & pl.col("transcript").is_null() & (pl.col("kind") != "gene")
    )
    if len(nameless):
        row = nameless.row(0, named=True)
        raise InputError(
            f"{path}, line {row['line']}: {row['feature']} without "
            f"{'gene_id' if dialect == 'GTF' else 'ID or Parent'}: {row['attributes'][:60]!r}"
        )
    return rows.select(ROW), dialect


def _with_marks(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of MARKS, from the tags of transcripts' rows; false in others."""
    own, text = (rows["kind"] == "transcript").arg_true(), pl.col("attributes")
    found = rows[own].select(
        text.str.contains(_TAG + rf"(?:Ensembl_canonical\b|(?:MANE|RefSeq){_SELECT})").alias("canonical"),
        text.str.contains(_TAG + "MANE" + _SELECT).alias("mane"),
    )
    none = pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)
    return rows.with_columns(
        none.scatter(own, column.fill_null(False)).alias(column.name) for column in found
    )


def _dialect(attributes: pl.Series) -> str:
    """GTF or GFF3, by what most rows look like."""
    gtf, gff = (
        int(attributes.str.contains(pattern).sum() or 0)
        for pattern in (r"(?:^|;)\s*(?:gene_id|transcript_id)\s", r"(?:^|;)\s*\w+=")
    )
    return "GTF" if gtf >= gff else "GFF3"


def _transcripts(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a transcript, in the order of the file. `named` tells those whose rows name them."""
    loose = rows.filter(pl.col("transcript").is_null() & (pl.col("kind") == "part"))
    found = _joined(rows.filter(pl.col("transcript").is_not_null())).with_columns(pl.lit(True).alias("named"))
    if not len(loose):
        return found
    loci = found.with_row_index("_at").select(
        "gene", "chrom", "strand", "_at", pl.col("start").alias("_from"), pl.col("end").alias("_to")
    )
    held = loose.join(loci, on=["gene", "chrom", "strand"], how="inner")
    held = held.filter((pl.col("start") >= pl.col("_from")) & (pl.col("end") <= pl.col("_to")))
    coding = (
        held.filter(pl.col("feature").is_in(CODING))
        .group_by("_at")
        .agg(pl.col("start").min().alias("_cds_start"), pl.col("end").max().alias("_cds_end"))
    )
    found = found.with_row_index("_at").join(coding, on="_at", how="left", maintain_order="left")
    found = found.with_columns(
        pl.coalesce("cds_start", "_cds_start").alias("cds_start"),
        pl.coalesce("cds_end", "_cds_end").alias("cds_end"),
    ).drop("_at", "_cds_start", "_cds_end")
    alone = _joined(loose.join(held, on="line", how="anti")).with_columns(pl.lit(False).alias("named"))
    return pl.concat([found, alone]).sort("line", maintain_order=True)


def _joined(rows: pl.DataFrame) -> pl.DataFrame:
    """Transcripts of rows that go together: their extent, and that of their coding parts."""
    coding = pl.col("feature").is_in(CODING)
    found = (
        with_loci(rows)
        .group_by("key", "locus", maintain_order=True)
        .agg(
            pl.col(*KEY, "line").first(),
            pl.col("gene_name").drop_nulls().first(),
            pl.col("biotype").drop_nulls().first(),
            pl.col("feature").first(),
            pl.col(*MARKS).any(),
            pl.col("start").min(),
            pl.col("end").max(),
            pl.col("start").filter(coding).min().alias("cds_start"),
            pl.col("end").filter(coding).max().alias("cds_end"),
        )
    )
    return found.drop("key").with_columns(pl.coalesce("gene", "transcript").alias("gene"))


def _with_names(transcripts: pl.DataFrame, genes: pl.DataFrame) -> pl.DataFrame:
    """Names and biotypes of the genes: from the row of that gene that holds the transcript, else from another
    one of it."""
    rows = genes.select(
        "gene", pl.col("chrom").alias("_chrom"), pl.col("start").alias("_from"), pl.col("end").alias("_to"),
        pl.col("gene_name").alias("_name"), pl.col("biotype").alias("_biotype"),
    )  # fmt: skip
    found = transcripts.with_row_index("_at").join(rows, on="gene", how="left", maintain_order="left")
    there = pl.col("chrom") == pl.col("_chrom")
    holds = there & (pl.col("start") >= pl.col("_from")) & (pl.col("end") <= pl.col("_to"))
    found = found.with_columns((there.cast(pl.Int8) + holds.cast(pl.Int8)).fill_null(0).alias("_fits"))
    best = found.sort("_at", "_fits", descending=[False, True], maintain_order=True).unique(
        "_at", keep="first", maintain_order=True
    )
    best = best.with_columns(
        pl.coalesce("_name", "gene_name").alias("gene_name"),
        pl.coalesce("_biotype", "biotype").alias("biotype"),
    )
    if best["biotype"].is_null().all():
        has_cds = pl.col("cds_start").is_not_null().any().over("gene", "chrom")
        best = best.with_columns(
            pl.when(has_cds).then(pl.lit("protein_coding")).otherwise("feature").alias("biotype")
        )
    return best


def _decoded(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Columns of GFF3 without percent signs."""
    return frame.with_columns(
        pl.Series(name, [text and unquote(text) for text in frame[name].to_list()], pl.String)
        for name in names
    )


def _said(transcripts: pl.DataFrame, dialect: str) -> list[str]:
    """What is not as a reader would take it."""
    lines = []
    places = transcripts.filter("named").group_by("gene", "transcript").len()
    if several := places.filter(pl.col("len") > 1).height:
        lines.append(
            f"genes: {several:,} transcript IDs stand at several loci; each is a transcript of its own"
        )
    shared = transcripts.filter("named").group_by("transcript").agg(pl.col("gene").n_unique())
    if several := shared.filter(pl.col("gene") > 1).height:
        lines.append(f"genes: {several:,} transcript IDs are shared by genes; each gene has its own")
    loose = transcripts.filter(~pl.col("named"))
    if len(loose) and dialect == "GTF":
        lines.append(
            f"genes: {loose['gene'].n_unique():,} whose exon or CDS rows name no transcript (without a "
            "transcript_id) are read as one transcript each"
        )
    return lines

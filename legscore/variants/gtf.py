"""GTF: the gene and the transcript that each row names.

Values are quoted or not. AUGUSTUS writes bare names on its gene and transcript rows; the gene of such a
transcript is that of its exons.
"""

from __future__ import annotations

import polars as pl

BARE = r"^\s*([^\s;=\"]+)\s*;?\s*$"


def gtf_names(frame: pl.DataFrame) -> pl.DataFrame:
    """Add gene, gene_name, biotype, transcript (null on genes' rows, and where a row names none) and
    exon_number."""
    text, kind = pl.col("attributes"), pl.col("kind")
    unquoted = frame["attributes"].str.contains(r"(?:^|;)\s*(?:gene_id|transcript_id)\s+[^\s\";]").any()

    def value(name: str) -> pl.Expr:
        found = text.str.extract(rf'(?:^|;)\s*{name}\s+"([^"]*)"')
        if unquoted:
            found = pl.coalesce(found, text.str.extract(rf"(?:^|;)\s*{name}\s+([^\s\";][^;]*)"))
        found = found.str.strip_chars()
        return pl.when(found != "").then(found)

    bare = text.str.extract(BARE)
    frame = frame.with_columns(
        value("gene_id").alias("gene"),
        pl.coalesce(value("gene_name"), value("gene")).alias("gene_name"),
        pl.coalesce(value("gene_biotype"), value("gene_type")).alias("biotype"),
        pl.when(kind != "gene").then(value("transcript_id")).alias("transcript"),
        text.str.extract(r'(?:^|;)\s*exon_number\s+"?(\d+)')
        .cast(pl.Int64, strict=False)
        .alias("exon_number"),
    )
    if frame["gene"].null_count():
        frame = frame.with_columns(
            pl.coalesce("gene", value("locus_tag"), "gene_name", pl.when(kind == "gene").then(bare)).alias(
                "gene"
            ),
            pl.coalesce("transcript", pl.when(kind == "transcript").then(bare)).alias("transcript"),
        )
    return frame


def with_genes_of_exons(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that name a transcript and no gene get the gene that the transcript's other rows name, where these
    name one."""
    if not rows.filter(pl.col("gene").is_null() & pl.col("transcript").is_not_null()).height:
        return rows
    genes = rows.filter(pl.col("gene").is_not_null() & pl.col("transcript").is_not_null())
    genes = genes.group_by("transcript", "chrom", "strand").agg(
        pl.col("gene").first().alias("_gene"), pl.col("gene").n_unique().alias("_n")
    )
    rows = rows.join(genes, on=["transcript", "chrom", "strand"], how="left", maintain_order="left")
    found = pl.when(pl.col("_n") == 1).then("_gene")
    return rows.with_columns(pl.coalesce("gene", found).alias("gene")).drop("_gene", "_n")

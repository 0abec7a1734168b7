"""GTF: the gene and the transcript that each row names.

Values are quoted or not. AUGUSTUS writes bare names on its gene and transcript rows; the gene of such a
transcript is that of its exons.
"""

from __future__ import annotations

import polars as pl

UNQUOTED = r"(?:^|;)\s*(?:gene_id|transcript_id)\s+[^\s\";]"
BARE = r"^\s*([^\s;=\"]+)\s*;?\s*$"


def gtf_names(frame: pl.DataFrame) -> pl.DataFrame:
    """Add gene, gene_name, biotype, transcript (null on genes' rows, and where a row names none) and
    exon_number."""
    text, kind = pl.col("attributes"), pl.col("kind")
    frame = frame.with_columns(
        _quoted("gene_id").alias("gene"),
        _quoted("transcript_id").alias("transcript"),
        text.str.extract(r'(?:^|;)\s*exon_number\s+"?(\d+)')
        .cast(pl.Int64, strict=False)
        .alias("exon_number"),
    )
    lacking = frame.filter(pl.col("gene").is_null() | pl.col("transcript").is_null())
    value = _value if lacking["attributes"].str.contains(UNQUOTED).any() else _quoted
    if value is _value:
        frame = frame.with_columns(value("gene_id").alias("gene"), value("transcript_id").alias("transcript"))
    frame = frame.with_columns(pl.when(kind != "gene").then("transcript").alias("transcript"))
    names = {
        "gene_name": pl.coalesce(value("gene_name"), value("gene")),
        "biotype": pl.coalesce(value("gene_biotype"), value("gene_type")),
    }
    frame = _with_names_of_runs(frame, names)
    if frame["gene"].null_count():
        bare = text.str.extract(BARE)
        frame = frame.with_columns(
            pl.coalesce("gene", value("locus_tag"), "gene_name", pl.when(kind == "gene").then(bare)).alias(
                "gene"
            ),
            pl.coalesce("transcript", pl.when(kind == "transcript").then(bare)).alias("transcript"),
        )
    return frame


def _quoted(name: str) -> pl.Expr:
    """A value in quotes; null where a row has none, or an empty one."""
    found = pl.col("attributes").str.extract(rf'(?:^|;)\s*{name}\s+"([^"]*)"')
    return found.str.strip_chars().replace("", None)


def _value(name: str) -> pl.Expr:
    """A value in quotes, or else without."""
    text = pl.col("attributes")
    bare = text.str.extract(rf"(?:^|;)\s*{name}\s+([^\s\";][^;]*)")
    found = pl.coalesce(text.str.extract(rf'(?:^|;)\s*{name}\s+"([^"]*)"'), bare)
    return found.str.strip_chars().replace("", None)


def _with_names_of_runs(frame: pl.DataFrame, names: dict[str, pl.Expr]) -> pl.DataFrame:
    """Add the values `names`, null where a row of a gene without ID has none.

    Only the first value of a transcript counts. Rows of one mostly follow each other, so that values are
    looked for in the first row of each run, and further in runs whose first row has none.
    """
    keys = ("kind", "chrom", "strand", "gene", "transcript")
    begins = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in keys)
    begins = begins.fill_null(True) | pl.col("gene").is_null()
    at = frame.select(begins.alias("begins"), (begins.cum_sum().cast(pl.Int64) - 1).alias("run"))
    found = frame.filter(at["begins"]).select(**names)[at["run"]]
    for name, expression in names.items():
        some = (found[name].is_null() & ~at["begins"]).arg_true()
        if len(some):
            values = frame[some].select(expression.alias(name))[name]
            found = found.with_columns(found[name].scatter(some, values))
    return frame.hstack(found)


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

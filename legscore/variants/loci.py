"""Which rows of an annotation make one transcript: an ID may stand at several places of a genome.

A transcript is the rows of one gene and transcript ID on one strand of one contig, at one locus. Two rows for
transcripts that do not overlap are two loci, and what lies outside all of them is another one. Without such
rows loci are apart where exon numbers begin anew, where a second coding stretch begins (coding bases go on
from exon to exon in one transcript), and where an intron would be longer than any known.
"""

from __future__ import annotations

import polars as pl

MOST_INTRON = 2_000_000
"""The longest introns of vertebrates have 1.2 million bases."""
KEY = ("gene", "transcript", "chrom", "strand")


def with_loci(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `locus`, a number from 0 for each locus of a KEY, in the order of the contig.

    Args:
        rows: KEY, `line`, `kind` (transcript or part), `feature`, `start`, `end` (0-based half-open) and
            `exon_number`.
    """
    rows = rows.with_row_index("_row").with_columns(pl.col("_row").first().over(KEY).alias("_key"))
    rows = rows.sort("_key", "start", "end", maintain_order=True)
    reach = pl.col("end").cum_max().shift(1).over("_key")
    begins = reach.is_null() | (pl.col("start") > reach)
    rows = rows.with_columns(begins.cum_sum().over("_key").alias("_block"))
    blocks = _blocks(rows).with_columns(_apart().alias("_apart"))
    blocks = blocks.with_columns(pl.col("_apart").cum_sum().over("_key").alias("locus"))
    rows = rows.join(blocks.select("_key", "_block", "locus"), on=["_key", "_block"], how="left")
    return rows.sort("line", maintain_order=True).drop("_row", "_key", "_block")


def _blocks(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a key that touch each other, with what decides whether the next ones go with them."""
    exon, coding = pl.col("feature") == "exon", pl.col("feature").is_in(["CDS", "stop_codon"])
    blocks = rows.group_by("_key", "_block", maintain_order=True).agg(
        pl.col("start").min(),
        pl.col("end").max(),
        pl.col("strand").first(),
        (pl.col("kind") == "transcript").any().alias("own_row"),
        pl.col("start").filter(coding).min().alias("cds_start"),
        pl.col("end").filter(coding).max().alias("cds_end"),
        pl.col("start").filter(exon).min().alias("exon_start"),
        pl.col("end").filter(exon).max().alias("exon_end"),
        pl.col("exon_number").min().alias("number"),
    )
    rises = pl.col("number").diff().sign().sum().over("_key")
    direction = (
        pl.when(rises != 0)
        .then(rises.sign())
        .otherwise(pl.when(pl.col("strand") == "-").then(-1).otherwise(1))
    )
    repeats = (pl.col("number").n_unique() < pl.len()) & pl.col("number").is_not_null().all()
    codes = pl.col("cds_end").is_not_null()
    tail = pl.when(codes).then((pl.col("exon_end") > pl.col("cds_end")).fill_null(False))
    return blocks.with_columns(
        direction.alias("direction"),
        repeats.over("_key").alias("repeats"),
        pl.when(codes).then("_block").forward_fill().shift(1).over("_key").alias("coded"),
        tail.forward_fill().shift(1).over("_key").alias("tail"),
        (pl.col("start") - pl.col("end").shift(1).over("_key")).alias("gap"),
    )


def _apart() -> pl.Expr:
    """Whether a block is of another locus than the block before it."""
    own_rows = pl.col("own_row") | pl.col("own_row").shift(1).over("_key")
    step = pl.col("number").diff().over("_key") * pl.col("direction")
    begins_anew = pl.col("repeats") & (step <= 0)
    # `coded` is the last block before that codes; exons between it and this one, or bases behind its coding
    # ones and before those of this block, belong to no coding stretch
    between = pl.col("_block") - pl.col("coded") > 1
    head = (pl.col("cds_start") > pl.col("exon_start")).fill_null(False)
    codes_again = pl.col("cds_start").is_not_null() & (between | (pl.col("tail") & head))
    widest = pl.col("gap") == pl.col("gap").max().over("_key", "coded")
    second_stretch = pl.col("coded").is_not_null() & codes_again.any().over("_key", "coded") & widest
    apart = own_rows | (pl.col("gap") > MOST_INTRON) | begins_anew | second_stretch
    return (pl.col("gap").is_not_null() & apart).fill_null(False)

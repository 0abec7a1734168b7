"""Which rows of an annotation make one transcript: an ID may stand at several places of a genome.

A transcript is the rows of one gene and transcript ID on one strand of one contig, at one locus. Two rows for
transcripts that do not overlap are two loci, and what lies outside all of them is another one; so are two
rows of one gene that do not overlap. Without such rows loci are apart where exon numbers begin anew, where a
second coding stretch begins (coding bases go on from exon to exon in one transcript), where an intron would
be longer than any known, and where a file that keeps a transcript's rows together has them at two places.
"""

from __future__ import annotations

import polars as pl

from legscore.variants.features import CODING

MOST_INTRON = 2_000_000
"""The longest introns of vertebrates have 1.2 million bases."""
KEY = ("gene", "transcript", "chrom", "strand", "copy")
GROUPED = 0.9
"""Share of transcripts whose rows follow each other from which on a file counts as one that keeps them so."""


def with_copies(rows: pl.DataFrame, genes: pl.DataFrame) -> pl.DataFrame:
    """Add `copy`: which of its gene's rows a row lies in, from 0 in the order of the contig, where the gene
    has several that do not overlap; else null.

    Args:
        rows: gene, chrom, strand, start, end and `line`, in the order of lines.
        genes: gene, chrom, strand, start and end of genes' rows.
    """
    on = ["gene", "chrom", "strand"]
    several = genes.filter(pl.len().over(on) > 1).sort(*on, "start", "end")
    reach = pl.col("end").cum_max().shift(1).over(on)
    begins = (reach.is_null() | (pl.col("start") > reach)).cum_sum().over(on).cast(pl.Int64) - 1
    places = several.with_columns(begins.alias("copy")).group_by(*on, "copy", maintain_order=True).agg(
        pl.col("start").min().alias("_from"), pl.col("end").max().alias("_to")
    ).filter(pl.len().over(on) > 1)  # fmt: skip
    if not len(places):
        return rows.with_columns(pl.lit(None, pl.Int64).alias("copy"))
    held = rows.select("line", *on, "start", "end").join(places, on=on, how="inner")
    held = held.filter((pl.col("start") >= pl.col("_from")) & (pl.col("end") <= pl.col("_to")))
    held = held.select("line", *on, "copy").unique(["line", *on], keep="first")
    return rows.join(held, on=["line", *on], how="left", nulls_equal=True, maintain_order="left")


def with_loci(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `key`, a number for each KEY, and `locus`, one from 0 for each of its loci, in the order of the
    contig.

    Args:
        rows: KEY, `line`, `kind` (transcript or part), `feature`, `start`, `end` (0-based half-open) and
            `exon_number`, in the order of lines.
    """
    rows = rows.with_columns(_keys(rows).alias("key"))
    rows = rows.with_columns(_apart_in_file(rows).alias("key"))
    doubtful = pl.col("key").is_in(_doubtful(rows).implode())
    some = rows.filter(doubtful)
    if not len(some):
        return rows.with_columns(pl.lit(0, pl.Int64).alias("locus"))
    some = some.sort("key", "start", "end", maintain_order=True)
    reach = pl.col("end").cum_max().shift(1).over("key")
    begins = reach.is_null() | (pl.col("start") > reach)
    some = some.with_columns(begins.cum_sum().over("key").cast(pl.Int64).alias("_block"))
    blocks = _blocks(some).with_columns(_apart().alias("_apart"))
    blocks = blocks.with_columns(pl.col("_apart").cum_sum().over("key").cast(pl.Int64).alias("locus"))
    some = some.join(blocks.select("key", "_block", "locus"), on=["key", "_block"], how="left").drop("_block")
    others = rows.filter(~doubtful).with_columns(pl.lit(0, pl.Int64).alias("locus"))
    return pl.concat([some, others]).sort("line", maintain_order=True)


def _keys(rows: pl.DataFrame) -> pl.Series:
    """A number for each KEY. Rows of a transcript mostly follow each other: only the first of a run is
    compared with others."""
    run = _runs(rows, *KEY)
    firsts = rows.select(*KEY, run.alias("_run")).unique("_run", keep="first", maintain_order=True)
    numbers = firsts.select(KEY).unique(maintain_order=True).with_row_index("key")
    known = firsts.join(numbers, on=list(KEY), how="left", nulls_equal=True, maintain_order="left")
    return known["key"].cast(pl.Int64).gather(run)


def _runs(rows: pl.DataFrame, *names: str) -> pl.Series:
    """A number from 0 for each run of rows that agree in these columns."""
    changes = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in names)
    run = rows.select(changes.fill_null(True).cum_sum().cast(pl.Int64) - 1).to_series()
    return run - run.min() if len(run) else run


def _apart_in_file(rows: pl.DataFrame) -> pl.Series:
    """Keys, with a further one for each place at which a file that keeps transcripts together has one, where
    it has neither a row of its own nor exon numbers, and its stretches do not overlap. A file sorted by
    position tells nothing."""
    run, n_keys = _runs(rows, "key"), rows["key"].n_unique()
    n_runs = run.n_unique()
    if n_runs == n_keys or n_keys < GROUPED * n_runs:
        return rows["key"]
    numbered = rows.with_columns(run.alias("_run"))
    if numbered.select((pl.col("start").diff() >= 0).all().over("chrom").all()).item():
        return rows["key"]
    places = (
        numbered.group_by("_run", maintain_order=True)
        .agg(
            pl.col("key").first(),
            pl.col("start").min(),
            pl.col("end").max(),
            ((pl.col("kind") == "transcript") | pl.col("exon_number").is_not_null()).any().alias("_told"),
        )
        .filter((pl.len() > 1).over("key") & ~pl.col("_told").any().over("key"))
        .sort("key", "start", "end")
    )
    apart = (pl.col("start") > pl.col("end").cum_max().shift(1)).fill_null(True).all().over("key")
    further = places.filter(apart & (pl.int_range(pl.len()).over("key") > 0)).with_row_index("_new")
    found = numbered.join(further.select("_run", "_new"), on="_run", how="left", maintain_order="left")
    return found.select(pl.coalesce(pl.col("_new").cast(pl.Int64) + n_keys, "key").alias("key")).to_series()


def _doubtful(rows: pl.DataFrame) -> pl.Series:
    """Keys that may stand at several loci. The rows of others lie in their transcript's row; or without one,
    exon numbers are all different, no intron is too long, and as many bases code as lie in exons from the
    first coding one to the last."""
    exon, coding = pl.col("feature") == "exon", pl.col("feature").is_in(CODING)
    own = pl.col("kind") == "transcript"
    size, exon_number = pl.col("end") - pl.col("start"), pl.col("exon_number").filter(exon)
    keys = (
        rows.group_by("key")
        .agg(
            own.sum().alias("own_rows"),
            pl.col("start").min(),
            pl.col("end").max(),
            pl.col("start").filter(own).min().alias("own_start"),
            pl.col("end").filter(own).max().alias("own_end"),
            pl.col("start").filter(coding).min().alias("cds_start"),
            pl.col("end").filter(coding).max().alias("cds_end"),
            size.filter(coding).sum().alias("coding"),
            (exon_number.drop_nulls().n_unique() < exon_number.drop_nulls().len()).alias("repeats"),
        )
        .sort("key")
    )
    # keys are counted from 0, so that a key's values are found by its number
    bounds = {name: keys[name].gather(rows["key"]) for name in ("cds_start", "cds_end")}
    inner = rows.select("key", "feature", "start", "end", **bounds).filter(
        exon & pl.col("cds_start").is_not_null()
    )
    inside = pl.min_horizontal("end", "cds_end") - pl.max_horizontal("start", "cds_start")
    within = inner.group_by("key").agg(inside.clip(0).sum().alias("inside"))
    keys = keys.join(within, on="key", how="left")
    without = pl.col("own_rows") == 0
    one = (
        (pl.col("own_rows") == 1)
        & (pl.col("own_start") <= pl.col("start"))
        & (pl.col("own_end") >= pl.col("end"))
    )
    too_long = pl.col("end") - pl.col("start") > MOST_INTRON
    odd = pl.col("repeats") | too_long | (pl.col("inside") > pl.col("coding")).fill_null(False)
    return keys.filter(~one & (~without | odd))["key"]


def _blocks(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a key that touch each other, with what decides whether the next ones go with them."""
    exon, coding = pl.col("feature") == "exon", pl.col("feature").is_in(CODING)
    blocks = rows.group_by("key", "_block", maintain_order=True).agg(
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
    rises = pl.col("number").diff().sign().sum().over("key")
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
        repeats.over("key").alias("repeats"),
        pl.when(codes).then("_block").forward_fill().shift(1).over("key").alias("coded"),
        tail.forward_fill().shift(1).over("key").alias("tail"),
        (pl.col("start") - pl.col("end").shift(1).over("key")).alias("gap"),
    )


def _apart() -> pl.Expr:
    """Whether a block is of another locus than the block before it."""
    own_rows = pl.col("own_row") | pl.col("own_row").shift(1).over("key")
    step = pl.col("number").diff().over("key") * pl.col("direction")
    begins_anew = pl.col("repeats") & (step <= 0)
    # `coded` is the last block before that codes; exons between it and this one, or bases behind its coding
    # ones and before those of this block, belong to no coding stretch
    between = pl.col("_block") - pl.col("coded") > 1
    head = (pl.col("cds_start") > pl.col("exon_start")).fill_null(False)
    codes_again = pl.col("cds_start").is_not_null() & (between | (pl.col("tail") & head))
    widest = pl.col("gap") == pl.col("gap").max().over("key", "coded")
    second_stretch = pl.col("coded").is_not_null() & codes_again.any().over("key", "coded") & widest
    apart = own_rows | (pl.col("gap") > MOST_INTRON) | begins_anew | second_stretch
    return (pl.col("gap").is_not_null() & apart).fill_null(False)

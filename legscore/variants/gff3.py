"""GFF3: the gene and the transcript that each row belongs to, by its Parent.

A parent may be a transcript, a gene, or neither (a protein, an operon). Those that are neither lead on by
their own Parent or Derives_from, or are passed over. A CDS or exon that has no parent (Prokka, Prodigal) is a
gene of its own. A transcript below another one (a mature microRNA) is none. Where no row has the ID that a
Parent names, it is taken as a transcript (files without rows for them) or, from a transcript, as a gene. An
ID may be that of a gene and of a transcript: parts mean the transcript, transcripts the gene. What lies below
an alignment (`match`, `protein_match`) is no gene.
"""

from __future__ import annotations

import polars as pl

PREFIX = r"^(gene|transcript|CDS|rna)[:-]"
"""Of Ensembl's and NCBI's IDs; not part of the name."""
EVIDENCE = r"(?i)match|similarity|alignment|^hsp$"
"""Features that say where another sequence fits."""
MOST_STEPS = 8
"""From a part to its transcript through features that are none."""
BEST_PARENT = {
    "part": ("transcript", "unknown", "gene", "nothing"),
    "transcript": ("gene", "unknown", "transcript", "nothing"),
}
"""Of several parents those count that come first here."""


def gff_names(frame: pl.DataFrame) -> pl.DataFrame:
    """Add own and parents (IDs as written), gene_name, biotype, and exon_number, which GFF3 has not. Names
    and biotypes are those of genes' rows and of rows without a parent."""
    frame = frame.with_columns(
        _value("ID").alias("own"),
        _value("Parent").alias("parents"),
        pl.lit(None, pl.Int64).alias("exon_number"),
    )
    is_gene = pl.col("kind") == "gene"
    # SGD's Name is the systematic one
    name = pl.coalesce(_value("gene_name"), _value("gene"), _value("Name"))
    biotype = pl.coalesce(_value("gene_biotype"), _value("gene_type"), _value("biotype"))
    named = frame.select(is_gene | pl.col("parents").is_null()).to_series().arg_true()
    values = frame[named].select(
        name.str.replace(PREFIX, "").alias("gene_name"), pl.when(is_gene).then(biotype).alias("biotype")
    )
    empty = pl.repeat(None, len(frame), dtype=pl.String, eager=True)
    return frame.with_columns(empty.scatter(named, column).alias(column.name) for column in values)


def _with_tags(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    """Add tag, the name of a gene without a row, to rows `where` it is asked for; null elsewhere."""
    asked = rows.select(where).to_series().arg_true()
    tag = pl.coalesce(_value("locus_tag"), _value("gene"), "own", _value("Name"))
    empty = pl.repeat(None, len(rows), dtype=pl.String, eager=True)
    return rows.with_columns(empty.scatter(asked, rows[asked].select(tag).to_series()).alias("tag"))


def gff_links(frame: pl.DataFrame) -> pl.DataFrame:
    """Of features that genes are not made of: own, whether it is an alignment, and the ID that each leads on
    to (null for none), one a row."""
    leads = pl.coalesce(_value("Derives_from"), _value("Parent"))
    aligned = pl.col("feature").str.contains(EVIDENCE).alias("aligned")
    links = frame.select(_value("ID").alias("own"), aligned, leads.alias("to"))
    links = links.filter(pl.col("own").is_not_null())
    return links.with_columns(pl.col("to").str.split(",")).explode("to").unique(maintain_order=True)


def link(rows: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """Add gene and transcript: one row for each gene and transcript that a row belongs to.

    `transcript` is null for genes, and for parts right below a gene.
    """
    genes = rows.filter(pl.col("kind") == "gene").with_columns(
        pl.col("own").alias("gene"), pl.lit(None, pl.String).alias("transcript")
    )
    is_gene = (pl.col("kind") == "gene").any().alias("is_gene")
    named = rows.filter((pl.col("kind") != "part") & pl.col("own").is_not_null())
    kind_of = named.group_by(pl.col("own").alias("to")).agg(
        is_gene, (pl.col("kind") == "transcript").any().alias("is_transcript")
    )
    below = rows.filter(pl.col("kind") != "gene")
    aligned = links.filter("aligned")["own"].unique()
    below = below.filter(~pl.col("parents").is_in(aligned.implode()).fill_null(False))
    below = _parents(below, links.drop("aligned").unique(maintain_order=True), kind_of)
    transcripts = _transcripts(below.filter(pl.col("kind") == "transcript"))
    parts = _parts(below.filter(pl.col("kind") == "part"), transcripts)
    found = transcripts.filter(pl.col("is") != "transcript")  # else: below a transcript
    columns = [*rows.columns, "gene", "transcript"]
    linked = pl.concat([frame.select(columns) for frame in (genes, found, parts)])
    return linked.with_columns(pl.col("gene").str.replace(PREFIX, "")).sort("line", maintain_order=True)


def _value(name: str) -> pl.Expr:
    found = pl.col("attributes").str.extract(rf"(?:^|;)\s*{name}=([^;]*)")
    return found.str.strip_chars().replace("", None)


def _parents(rows: pl.DataFrame, links: pl.DataFrame, kind_of: pl.DataFrame) -> pl.DataFrame:
    """Rows times their parents of the best kind. `to` is the parent's ID, `is` its kind: transcript, gene,
    unknown (no row has the ID) or nothing."""
    rows = rows.with_columns(pl.col("parents").alias("to"))
    several = rows["to"].str.contains(",", literal=True).any() or False
    if several:
        rows = rows.with_columns(pl.col("to").str.split(",")).explode("to")
    rows = _with_kinds(rows, kind_of)
    if len(links):
        for _ in range(MOST_STEPS):
            lost = pl.col("is").is_null() & pl.col("to").is_in(links["own"].implode())
            onward = rows.filter(lost).drop("is").rename({"to": "own_"})
            if not len(onward):
                break
            several = True
            onward = onward.join(links.rename({"own": "own_"}), on="own_", how="left", maintain_order="left")
            onward = _with_kinds(onward.drop("own_"), kind_of)
            rows = pl.concat([rows.filter(~lost), onward.select(rows.columns)])
        astray = pl.col("is").is_null() & pl.col("to").is_in(links["own"].implode())
        rows = rows.with_columns(pl.when(~astray).then("to").alias("to"))
    unknown = pl.when(pl.col("to").is_not_null()).then(pl.lit("unknown")).otherwise(pl.lit("nothing"))
    rows = rows.with_columns(pl.coalesce("is", unknown).alias("is"))
    return _best_parents(rows) if several else rows


def _best_parents(rows: pl.DataFrame) -> pl.DataFrame:
    """Of the parents of each row those of the best kind, each once."""
    is_part, ranks = pl.col("kind") == "part", dict[str, pl.Expr]()
    for kind, order in BEST_PARENT.items():
        numbers = {parent: rank for rank, parent in enumerate(order)}
        ranks[kind] = pl.col("is").replace_strict(numbers, return_dtype=pl.Int64)
    rows = rows.with_columns(
        pl.when(is_part).then(ranks["part"]).otherwise(ranks["transcript"]).alias("_rank")
    )
    rows = rows.filter(pl.col("_rank") == pl.col("_rank").min().over("line")).drop("_rank")
    return rows.unique(["line", "to"], keep="first", maintain_order=True).sort("line", maintain_order=True)


def _with_kinds(rows: pl.DataFrame, kind_of: pl.DataFrame) -> pl.DataFrame:
    """Add `is`, the kind of the row that `to` names; where rows of two kinds have the ID, the kind that a row
    like this lies below. No row lies below itself."""
    rows = rows.join(kind_of, on="to", how="left", maintain_order="left")
    gene = pl.when("is_gene").then(pl.lit("gene"))
    other = (pl.col("kind") == "part") | (pl.col("to") != pl.col("own")).fill_null(True)
    transcript = pl.when(pl.col("is_transcript") & other).then(pl.lit("transcript"))
    found = pl.when(pl.col("kind") == "part").then(pl.coalesce(transcript, gene))
    return rows.with_columns(found.otherwise(pl.coalesce(gene, transcript)).alias("is")).drop(
        "is_gene", "is_transcript"
    )


def _transcripts(rows: pl.DataFrame) -> pl.DataFrame:
    """Transcripts: named by their ID, or by their line where they have none; below their gene, or a gene of
    their own."""
    below_gene = pl.col("is").is_in(["gene", "unknown"])
    rows = _with_tags(rows, ~below_gene)
    gene = pl.when(below_gene).then("to").otherwise("tag")
    unnamed = pl.when(gene.is_not_null()).then(pl.format("line {}", "line"))
    return rows.with_columns(gene.alias("gene"), pl.coalesce("own", unnamed).alias("transcript"))


def _parts(rows: pl.DataFrame, transcripts: pl.DataFrame) -> pl.DataFrame:
    """Parts with the genes of their transcripts. Where an ID stands at several loci, that which holds the
    part counts."""
    alone, of_gene = pl.col("is") == "nothing", pl.col("is") == "gene"
    rows = _with_tags(rows, alone)
    gene = pl.when(alone).then("tag").otherwise(pl.when(pl.col("is") != "transcript").then("to"))
    name = pl.when(alone).then(pl.coalesce("own", "tag")).otherwise(pl.when(~of_gene).then("to"))
    rows = rows.with_columns(gene.alias("gene"), name.alias("transcript"))
    loci = transcripts.select(
        "transcript", "chrom", pl.col("gene").alias("_gene"), pl.col("start").alias("_start"),
        pl.col("end").alias("_end"), (pl.col("is") == "transcript").alias("_lower"),
    )  # fmt: skip
    n_parts = len(rows)
    rows = rows.join(loci, on=["transcript", "chrom"], how="left", maintain_order="left")
    if several := len(rows) > n_parts:
        inside = ((pl.col("start") >= pl.col("_start")) & (pl.col("end") <= pl.col("_end"))).fill_null(False)
        rows = rows.with_columns(inside.alias("_inside"))
        rows = rows.filter(pl.col("_inside") | ~pl.col("_inside").any().over("line", "transcript"))
    rows = rows.filter(~pl.col("_lower").fill_null(False))
    rows = rows.with_columns(pl.coalesce("gene", "_gene").alias("gene"))
    if several:
        rows = rows.unique(["line", "gene", "transcript"], keep="first", maintain_order=True)
    return rows

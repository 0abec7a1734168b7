"""Transcription starts: of which genes, and where they are taken from (the annotation, the start codons, or a
table)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from legscore.errors import InputError, nearest, shorten
from legscore.variants.annotation import MARKS, Annotation
from legscore.variants.contigs import MITOCHONDRION
from legscore.variants.lines import read_fields, whole_numbers

START = ["gene", "gene_name", "chrom", "strand", "tss", "tss_source", "line", "source"]
AT_START_CODON = 0.9
"""Share of transcripts that begin at their start codon from which on an annotation counts as one without
starts."""
PLUS = pl.col("strand") == "+"


@dataclass(frozen=True)
class StartOptions:
    """Which starts: those of genes of `biotypes` (empty for all) and of their `transcripts` (in MARKS, or
    `all`); in the table `tss` instead of the annotation's, or `assume_utr` bases upstream of each ATG."""

    biotypes: Sequence[str] = ("protein_coding",)
    transcripts: str = "all"
    tss: str | Path | None = None
    assume_utr: int | None = None


def choose_transcripts(annotation: Annotation, options: StartOptions, said: list[str]) -> pl.DataFrame:
    """Transcripts of the biotypes and tags asked for, without those of the mitochondrion; what is left out is
    said."""
    chosen, bare = annotation.transcripts, annotation.bare_genes
    if options.biotypes:
        there = chosen["biotype"].unique().drop_nulls().sort().to_list()
        for biotype in options.biotypes:
            if biotype not in there:
                raise InputError(
                    f"--biotype {biotype}: {annotation.path} has no such genes{nearest(biotype, there)}; it "
                    f"has {shorten(there)}"
                )
        asked = pl.col("biotype").is_in(list(options.biotypes))
        chosen, bare = chosen.filter(asked), bare.filter(asked | pl.col("biotype").is_null())
    without_chr = pl.col("chrom").str.replace("^(?i)chr", "").str.to_uppercase()
    inside = without_chr.is_in(sorted(MITOCHONDRION)) | pl.col("chrom").is_in(annotation.contigs.mitochondria)
    genes, kept = chosen["gene"].n_unique(), chosen.filter(~inside)
    lost = genes - kept["gene"].n_unique()
    kind = ", ".join(options.biotypes) or "of every biotype"
    aside = f"; {lost:,} mitochondrial ones are left out" if lost else ""
    said.append(f"genes: {kept['gene'].n_unique():,} {kind}{aside}")
    if annotation.skipped:
        said.append(f"       {annotation.skipped:,} transcripts without a strand are left out")
    if len(bare):
        said.append(f"       {len(bare):,} genes without a transcript, exon or CDS are left out")
    if not len(kept):
        raise InputError(f"{annotation.path}: no gene is left to make tiles of")
    return kept if options.transcripts == "all" else _tagged(kept, annotation, options.transcripts, said)


def _tagged(transcripts: pl.DataFrame, annotation: Annotation, asked: str, said: list[str]) -> pl.DataFrame:
    """Those that the annotation tags as its gene's canonical one, or MANE Select."""
    tagged = transcripts.filter(pl.col(asked))
    if not len(tagged):
        others = [name for name in MARKS if name != asked and transcripts[name].any()]
        hint = f"; --transcripts {others[0]} finds some" if others else "; leave --transcripts out"
        raise InputError(
            f"--transcripts {asked}: {annotation.path} tags no transcript of these genes as "
            f"{MARKS[asked]}{hint}"
        )
    said.append(f"       {len(tagged):,} of {len(transcripts):,} transcripts are tagged {MARKS[asked]}")
    if lost := transcripts["gene"].n_unique() - tagged["gene"].n_unique():
        said.append(f"       {lost:,} genes have none and are left out")
    return tagged


def transcription_starts(
    transcripts: pl.DataFrame, annotation: Annotation, options: StartOptions, said: list[str]
) -> pl.DataFrame:
    """Columns of START: tss is the 0-based place of the first transcribed base; `line` of `source` says it.
    Where starts come from is said.

    Raises:
        InputError: an unreadable table, or no starts known.
    """
    if options.tss is not None:
        return _of_table(Path(options.tss), transcripts, said)
    with_cds = transcripts.filter(pl.col("cds_start").is_not_null())
    source = pl.lit(str(annotation.path)).alias("source")
    if options.assume_utr is not None:
        utr = options.assume_utr
        if not len(with_cds):
            raise InputError(f"--assume-utr: {annotation.path} has no CDS, so no start codons; pass --tss")
        tss = pl.when(PLUS).then(pl.col("cds_start") - utr).otherwise(pl.col("cds_end") - 1 + utr)
        said.append(f"starts: assumed {utr} bases upstream of each start codon (--assume-utr)")
        if n := len(transcripts) - len(with_cds):
            said.append(f"        {n:,} transcripts without a start codon are left out")
        what = pl.lit(f"assumed {utr} from ATG").alias("tss_source")
        return with_cds.with_columns(tss.alias("tss"), what, source).select(START)
    at_plus, at_minus = pl.col("start") == pl.col("cds_start"), pl.col("end") == pl.col("cds_end")
    at_codon = with_cds.filter(pl.when(PLUS).then(at_plus).otherwise(at_minus))
    if len(with_cds) and len(at_codon) >= AT_START_CODON * len(with_cds):
        raise InputError(
            f"{annotation.path} holds no transcription starts: {len(at_codon):,} of {len(with_cds):,} coding "
            "transcripts begin at their start codon. Pass --tss starts.tsv, or --assume-utr N to take the "
            "base N upstream of each ATG (yeast: about 50)"
        )
    said.append(f"starts: those of {len(transcripts):,} transcripts in {annotation.path}")
    if len(at_codon):
        said.append(f"        {len(at_codon):,} begin at their start codon; their true starts are not known")
    tss = pl.when(PLUS).then(pl.col("start")).otherwise(pl.col("end") - 1)
    what = pl.lit("transcript").alias("tss_source")
    return transcripts.with_columns(tss.alias("tss"), what, source).select(START)


def _of_table(path: Path, transcripts: pl.DataFrame, said: list[str]) -> pl.DataFrame:
    """Starts of --tss. Contig and strand are the gene's."""
    table = _read_table(path)
    genes = transcripts.unique(["gene", "chrom", "strand"], keep="first", maintain_order=True)
    genes = genes.select("gene", "gene_name", "chrom", "strand")
    found = table.join(genes, on="gene", how="inner", maintain_order="left")
    if not len(found):
        theirs, ours = (shorten(names["gene"].unique(maintain_order=True), 3) for names in (table, genes))
        raise InputError(
            f"--tss {path}: none of its {len(table):,} genes ({theirs}) is in the annotation with the "
            f"biotypes asked for; its genes are written as {ours}"
        )
    said_of = {name: f"{name}_given" for name in ("chrom", "strand")}
    fits = pl.all_horizontal(
        pl.col(given).is_null() | (pl.col(given) == pl.col(name)) for name, given in said_of.items()
    )
    found, others = found.filter(fits), found.filter(~fits)
    astray = others.join(found, on="line", how="anti")
    if len(astray):
        row = astray.row(0, named=True)
        raise InputError(
            f"--tss {path}, line {row['line']}: gene {row['gene']} lies on {row['chrom']} {row['strand']} in "
            "the annotation, not there"
        )
    several = found.filter(pl.len().over("line") > 1)
    if len(several):
        row, places = several.row(0, named=True), several.filter(pl.col("line") == several["line"][0])
        listed = shorten(f"{chrom} {strand}" for chrom, strand in places.select("chrom", "strand").rows())
        raise InputError(
            f"--tss {path}, line {row['line']}: gene {row['gene']} stands at several loci ({listed}); say "
            "which in columns chrom and strand"
        )
    said.append(
        f"starts: {len(found):,} from {path}; {len(table) - len(found):,} of its rows name other genes"
    )
    if without := genes.join(table, on="gene", how="anti")["gene"].n_unique():
        said.append(f"        {without:,} genes have no start there and get no tiles")
    what = pl.lit("table").alias("tss_source")
    return found.with_columns(what, pl.lit(f"--tss {path}").alias("source")).select(START)


def _read_table(path: Path) -> pl.DataFrame:
    """line, gene, tss (0-based), chrom_given, strand_given (null where not given)."""
    frames = list(read_fields(path, [f"c{i}" for i in range(64)]))
    frame = pl.concat(frames) if frames else pl.DataFrame()
    if not len(frame):
        raise InputError(f"--tss {path} is empty; it needs the columns gene and tss, separated by tabs")
    header = {str(frame[f"c{i}"][0]).strip(): f"c{i}" for i in range(64) if frame[f"c{i}"][0] is not None}
    if lacking := [name for name in ("gene", "tss") if name not in header]:
        raise InputError(
            f"--tss {path}: line {frame['line'][0]} has no column {lacking[0]!r}; the first line must name "
            "gene and tss, separated by tabs"
        )
    null = pl.lit(None, pl.String)
    table = frame.slice(1).select(
        "line",
        pl.col(header["gene"]).alias("gene"),
        pl.col(header["tss"]).alias("tss"),
        *(
            (pl.col(header[name]) if name in header else null).alias(f"{name}_given")
            for name in ("chrom", "strand")
        ),
    )
    return whole_numbers(table, ["tss"], path).with_columns(pl.col("tss") - 1)

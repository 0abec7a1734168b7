"""Tiles upstream of transcription starts.

Tile k of a gene has its 3' edge k·step bases upstream of the most downstream one, in the gene's 5'→3'
direction; with `downstream` 0 that is the base before the transcription start. Tiles are named `GENE.k`, for
genes with several starts `GENE@POS.k`, and for genes on several contigs `GENE@CONTIG:POS.k`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legscore.errors import InputError
from legscore.variants.annotation import Annotation, read_annotation
from legscore.variants.contigs import ContigMap, reconcile
from legscore.variants.genome import Genome
from legscore.variants.tiles import Tiles, edges_said, finished, on_fasta
from legscore.variants.tss import StartOptions, choose_transcripts, transcription_starts


@dataclass(frozen=True)
class PromoterOptions(StartOptions):
    """Which promoters, all in bases: tiles of `length` that reach `upstream` and `downstream` of the start,
    `step` from one to the next."""

    length: int = 80
    upstream: int = 160
    downstream: int = 0
    step: int = 40


def promoter_tiles(
    path: str | Path, genome: Genome, options: PromoterOptions, given: Mapping[str, str] | None = None
) -> Tiles:
    """Tiles upstream of every transcription start of an annotation.

    Args:
        given: {contig of the file: contig of the FASTA}, from --contig-map.

    Raises:
        InputError: an unreadable annotation or table, one of another genome build, no gene left, no room for
            a tile, or no transcription starts known.
    """
    reach = options.upstream + options.downstream
    if reach < options.length:
        raise InputError(
            f"--upstream {options.upstream} and --downstream {options.downstream} leave {reach} bases, less "
            f"than a tile of {options.length}; widen them"
        )
    annotation, said = read_annotation(path), list[str]()
    transcripts = choose_transcripts(annotation, options, said)
    starts = transcription_starts(transcripts, annotation, options, said)
    contigs = reconcile(
        annotation.transcripts["chrom"].unique(maintain_order=True).to_list(),
        genome.lengths,
        str(path),
        given,
        annotation.contigs.lengths,
        used=starts["chrom"].unique(maintain_order=True),
    )
    starts = _on_contigs(starts, annotation, contigs, genome, said)
    n_tiles = (reach - options.length) // options.step + 1
    cds, _ = on_fasta(annotation.cds, contigs.of)
    made = finished(_laid(starts, options, n_tiles), genome, cds)
    said.append(
        f"tiles: {len(made):,} of {options.length} bases for {len(starts):,} transcription starts of "
        f"{starts['gene'].n_unique():,} genes"
    )
    return Tiles(made, (*contigs.said, *annotation.said, *said, *edges_said(made)))


def _on_contigs(
    starts: pl.DataFrame, annotation: Annotation, contigs: ContigMap, genome: Genome, said: list[str]
) -> pl.DataFrame:
    """Starts on the contigs of the FASTA, each once. InputError where they lie beyond its end."""
    _check_ends(annotation.transcripts, starts, annotation, contigs, genome)
    wraps = pl.col("chrom").is_in(annotation.contigs.circular)
    starts, lost = on_fasta(starts.with_columns(wraps.alias("wraps")), contigs.of)
    if lost:
        said.append(
            f"genes: {lost:,} transcription starts lie on contigs that the FASTA does not have and are "
            "left out"
        )
    if not len(starts):
        raise InputError(f"{annotation.path}: no transcription start is left to make tiles of")
    length = pl.col("chrom").replace_strict(genome.lengths, return_dtype=pl.Int64)
    # a gene may go over the origin of a circular contig; its coordinates go on counting
    tss = pl.when(pl.col("wraps") & (pl.col("tss") >= length)).then(pl.col("tss") - length).otherwise("tss")
    starts = starts.with_columns(tss.alias("tss"))
    return starts.unique(["gene", "chrom", "strand", "tss"], keep="first", maintain_order=True)


def _check_ends(
    transcripts: pl.DataFrame,
    starts: pl.DataFrame,
    annotation: Annotation,
    contigs: ContigMap,
    genome: Genome,
) -> None:
    """InputError for a transcript on a contig that is used, or a start, beyond the end of its contig."""
    length_of = {name: genome.lengths[target] for name, target in contigs.of.items()}
    length = pl.col("chrom").replace_strict(length_of, default=None, return_dtype=pl.Int64)
    here = pl.col("chrom").is_in(starts["chrom"].unique().implode())
    line = ~pl.col("chrom").is_in(annotation.contigs.circular)
    for frame, end, where in (
        (transcripts.filter(here), pl.col("end"), annotation.path),
        (starts, pl.col("tss") + 1, starts["source"][0]),
    ):
        beyond = frame.with_columns(end.alias("_end"), length.alias("_length"))
        beyond = beyond.filter(line & (pl.col("_end") > pl.col("_length")))
        if len(beyond):
            row = beyond.row(0, named=True)
            target = contigs.of[row["chrom"]]
            raise InputError(
                f"{where}, line {row['line']}: gene {row['gene']} reaches {row['chrom']}:{row['_end']:,}, "
                f"but {target} of the FASTA has {row['_length']:,} bases: another genome build? Pass its "
                "--fasta"
            )


def _laid(starts: pl.DataFrame, options: PromoterOptions, n_tiles: int) -> pl.DataFrame:
    """`n_tiles` tiles a start, with their names."""
    several = pl.col("tss").len().over("gene") > 1
    scattered = pl.col("chrom").n_unique().over("gene") > 1
    base = (
        pl.when(scattered)
        .then(pl.format("{}@{}:{}", "gene", "chrom", pl.col("tss") + 1))
        .when(several)
        .then(pl.format("{}@{}", "gene", pl.col("tss") + 1))
        .otherwise("gene")
    )
    tiles = starts.with_columns(base.alias("base")).join(pl.DataFrame({"k": np.arange(n_tiles)}), how="cross")
    # of the tile's 3' edge from the start, positive downstream
    far = options.downstream - options.step * pl.col("k")
    plus, length = pl.col("strand") == "+", options.length
    start = pl.when(plus).then(pl.col("tss") + far - length).otherwise(pl.col("tss") + 1 - far)
    return tiles.with_columns(
        start.alias("start"), pl.format("{}.{}", "base", "k").alias("tile_id")
    ).with_columns((pl.col("start") + length).alias("end"))

"""Tiles: the stretches of genome whose variants are scored, from promoters or from BED regions.

Tile k of a gene has its 3' edge 40·k bases (`step`) upstream of the most downstream one, in the gene's 5'→3'
direction; with `downstream` 0 that is the base before the transcription start. Genes with several starts have
tiles `GENE@POS.k`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legscore.errors import InputError, nearest, shorten
from legscore.variants.annotation import Annotation, read_annotation
from legscore.variants.contigs import MITOCHONDRION, reconcile
from legscore.variants.genome import Genome
from legscore.variants.intervals import Intervals
from legscore.variants.lines import read_fields, whole_numbers

COLUMNS = [
    "tile_id",
    "gene",
    "gene_name",
    "chrom",
    "start",
    "end",
    "strand",
    "tss_source",
    "overlaps_cds",
    "shared_with",
    "edge",
]
AT_START_CODON = 0.9
"""Share of transcripts that begin at their start codon from which on an annotation counts as one without
starts."""


@dataclass(frozen=True)
class Tiles:
    """`frame` has COLUMNS, sorted by contig (order of the FASTA), start, end, strand and name. `start` and
    `end` are 0-based half-open on the plus strand; `edge` marks tiles that leave their contig; `said` is what
    to print."""

    frame: pl.DataFrame
    said: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame)

    def by_contig(self) -> dict[str, np.ndarray]:
        """{contig: row numbers, int64, ascending}"""
        chrom = self.frame["chrom"].to_numpy()
        return {
            str(name): np.flatnonzero(chrom == name)
            for name in self.frame["chrom"].unique(maintain_order=True)
        }


@dataclass(frozen=True)
class PromoterOptions:
    """Which promoters: `length`, `upstream`, `downstream`, `step` in bases; `biotypes` empty for all; `tss` a
    table of starts; `assume_utr` bases between start and ATG."""

    length: int = 80
    upstream: int = 160
    downstream: int = 0
    step: int = 40
    biotypes: Sequence[str] = ("protein_coding",)
    tss: str | Path | None = None
    assume_utr: int | None = None


def promoter_tiles(
    path: str | Path, genome: Genome, options: PromoterOptions, given: Mapping[str, str] | None = None
) -> Tiles:
    """Tiles upstream of every transcription start of an annotation.

    Raises:
        InputError: an unreadable annotation or table, no gene left, no room for a tile, or no transcription
            starts known.
    """
    if options.upstream + options.downstream < options.length:
        raise InputError(
            f"--upstream {options.upstream} and --downstream {options.downstream} leave "
            f"{options.upstream + options.downstream} "
            f"bases, less than a tile of {options.length}; widen them"
        )
    annotation = read_annotation(path)
    contigs = reconcile(annotation.contigs, genome.lengths, str(path), given)
    said = list(contigs.said)
    transcripts = _choose(annotation, options, said)
    starts = _starts(transcripts, annotation, options, said)
    starts = starts.with_columns(
        pl.col("chrom").replace_strict(contigs.of, default=None, return_dtype=pl.String)
    )
    if lost := starts["chrom"].null_count():
        said.append(
            f"genes: {lost:,} transcription starts lie on contigs that the FASTA does not have and are "
            "left out"
        )
    starts = starts.filter(pl.col("chrom").is_not_null()).unique(
        ["gene", "chrom", "strand", "tss"], keep="first", maintain_order=True
    )
    if not len(starts):
        raise InputError(f"{path}: no transcription start is left to make tiles of")
    several = pl.col("tss").len().over("gene") > 1
    starts = starts.with_columns(
        pl.when(several).then(pl.format("{}@{}", "gene", pl.col("tss") + 1)).otherwise("gene").alias("base")
    )
    n_tiles = (options.upstream + options.downstream - options.length) // options.step + 1
    ks = pl.DataFrame({"k": np.arange(n_tiles)})
    tiles = starts.join(ks, how="cross")
    plus = pl.col("strand") == "+"
    # of the tile's 3' edge from the start, positive downstream
    far = options.downstream - options.step * pl.col("k")
    frame = tiles.with_columns(
        pl.when(plus)
        .then(pl.col("tss") + far - options.length)
        .otherwise(pl.col("tss") + 1 - far)
        .alias("start"),
        pl.format("{}.{}", "base", "k").alias("tile_id"),
    ).with_columns((pl.col("start") + options.length).alias("end"))
    cds = annotation.cds.with_columns(
        pl.col("chrom").replace_strict(contigs.of, default=None, return_dtype=pl.String)
    )
    made = _finish(frame, genome, cds.filter(pl.col("chrom").is_not_null()))
    genes = starts["gene"].n_unique()
    said.append(
        f"tiles: {len(made):,} of {options.length} bases for {len(starts):,} transcription starts of "
        f"{genes:,} genes"
    )
    if edges := int(made["edge"].sum()):
        said.append(f"       {edges:,} of them leave their contig (status edge)")
    return Tiles(made, tuple(said))


def region_tiles(path: str | Path, genome: Genome, given: Mapping[str, str] | None = None) -> Tiles:
    """Tiles from a BED file (3 to 6 columns; strand + where there is none).

    Raises:
        InputError: a malformed line (with its number) or no region.
    """
    path = Path(path)
    frames = list(read_fields(path, ["chrom", "start", "end", "name", "score", "strand"]))
    frame = pl.concat(frames) if frames else pl.DataFrame()
    if not len(frame):
        raise InputError(
            f"{path} holds no region; BED has chrom, start, end and optionally name, score, strand, with tabs"
        )
    short = frame.filter(pl.col("end").is_null())
    if len(short):
        raise InputError(
            f"{path}, line {short['line'][0]}: fewer than 3 columns; BED has chrom, start, end, separated "
            "by tabs"
        )
    frame = whole_numbers(frame, ["start", "end"], path)
    for wrong, why in (
        ((pl.col("start") < 0) | (pl.col("end") <= pl.col("start")), "is no stretch (0-based, start < end)"),
        (
            pl.col("strand").is_not_null() & ~pl.col("strand").is_in(["+", "-", "."]),
            "has a strand that is none of + - .",
        ),
    ):
        bad = frame.filter(wrong)
        if len(bad):
            row = bad.row(0, named=True)
            raise InputError(f"{path}, line {row['line']}: {row['chrom']}:{row['start']}-{row['end']} {why}")
    contigs = reconcile(
        frame["chrom"].unique(maintain_order=True).to_list(), genome.lengths, str(path), given
    )
    said = list(contigs.said)
    unstranded = frame["strand"].is_null() | (frame["strand"] == ".")
    if n := int(unstranded.sum()):
        said.append(f"regions: {n:,} without a strand are read as +")
    frame = frame.with_columns(
        pl.col("chrom").replace_strict(contigs.of, default=None, return_dtype=pl.String)
    )
    frame = frame.filter(pl.col("chrom").is_not_null()).with_columns(
        pl.col("strand").replace(".", None).fill_null("+")
    )
    place = pl.format("{}:{}-{}({})", "chrom", "start", "end", "strand")
    named = pl.col("name").is_not_null() & ~pl.col("name").is_in([".", ""])
    again = pl.col("tile_id").len().over("tile_id") > 1
    frame = frame.with_columns(pl.when(named).then("name").otherwise(place).alias("tile_id"))
    frame = frame.with_columns(
        pl.when(again).then(pl.format("{}@{}", "tile_id", place)).otherwise("tile_id").alias("tile_id")
    )
    null = pl.lit(None, pl.String)
    frame = frame.with_columns(
        null.alias("gene"), null.alias("gene_name"), pl.lit("regions").alias("tss_source")
    )
    made = _finish(frame.unique(["tile_id"], keep="first", maintain_order=True), genome, None)
    lengths = (made["end"] - made["start"]).to_numpy()
    said.append(f"tiles: {len(made):,} regions of {int(lengths.min()):,} to {int(lengths.max()):,} bases")
    if edges := int(made["edge"].sum()):
        said.append(f"       {edges:,} of them leave their contig (status edge)")
    return Tiles(made, tuple(said))


def _choose(annotation: Annotation, options: PromoterOptions, said: list[str]) -> pl.DataFrame:
    """Transcripts of the biotypes asked for, without those of the mitochondrion; what is left out is said."""
    chosen = annotation.transcripts
    if options.biotypes:
        there = chosen["biotype"].unique().drop_nulls().sort().to_list()
        for biotype in options.biotypes:
            if biotype not in there:
                raise InputError(
                    f"--biotype {biotype}: {annotation.path} has no such genes{nearest(biotype, there)}; it "
                    f"has {shorten(there)}"
                )
        chosen = chosen.filter(pl.col("biotype").is_in(list(options.biotypes)))
    bare = pl.col("chrom").str.replace("^(?i)chr", "").str.to_uppercase()
    inside = bare.is_in(sorted(MITOCHONDRION)) | pl.col("chrom").is_in(list(annotation.mitochondria))
    genes, kept = chosen["gene"].n_unique(), chosen.filter(~inside)
    lost = genes - kept["gene"].n_unique()
    kind = ", ".join(options.biotypes) or "of every biotype"
    aside = f"; {lost:,} mitochondrial ones are left out" if lost else ""
    said.append(f"genes: {kept['gene'].n_unique():,} {kind}{aside}")
    if annotation.skipped:
        said.append(f"       {annotation.skipped:,} transcripts without a strand are left out")
    if not len(kept):
        raise InputError(f"{annotation.path}: no gene is left to make tiles of")
    return kept


def _starts(
    transcripts: pl.DataFrame, annotation: Annotation, options: PromoterOptions, said: list[str]
) -> pl.DataFrame:
    """Transcription starts: gene, gene_name, chrom, strand, tss (0-based base +1), tss_source. Where they
    come from is said."""
    plus = pl.col("strand") == "+"
    columns = ["gene", "gene_name", "chrom", "strand", "tss", "tss_source"]
    if options.tss is not None:
        found = _read_starts(Path(options.tss), transcripts, said)
        return found.with_columns(pl.lit("table").alias("tss_source")).select(columns)
    with_cds = transcripts.filter(pl.col("cds_start").is_not_null())
    if options.assume_utr is not None:
        utr = options.assume_utr
        if not len(with_cds):
            raise InputError(f"--assume-utr: {annotation.path} has no CDS, so no start codons; pass --tss")
        tss = pl.when(plus).then(pl.col("cds_start") - utr).otherwise(pl.col("cds_end") - 1 + utr)
        said.append(f"starts: assumed {utr} bases upstream of each start codon (--assume-utr)")
        if n := len(transcripts) - len(with_cds):
            said.append(f"        {n:,} transcripts without a start codon are left out")
        return with_cds.with_columns(
            tss.alias("tss"), pl.lit(f"assumed {utr} from ATG").alias("tss_source")
        ).select(columns)
    at_codon = with_cds.filter(
        pl.when(plus)
        .then(pl.col("start") == pl.col("cds_start"))
        .otherwise(pl.col("end") == pl.col("cds_end"))
    )
    if len(with_cds) and len(at_codon) >= AT_START_CODON * len(with_cds):
        raise InputError(
            f"{annotation.path} holds no transcription starts: {len(at_codon):,} of {len(with_cds):,} "
            "coding transcripts begin "
            "at their start codon. Pass --tss starts.tsv, or --assume-utr N to take the base N upstream of "
            "each ATG "
            "(yeast: about 50)"
        )
    said.append(f"starts: those of {len(transcripts):,} transcripts in {annotation.path}")
    tss = pl.when(plus).then(pl.col("start")).otherwise(pl.col("end") - 1)
    return transcripts.with_columns(tss.alias("tss"), pl.lit("transcript").alias("tss_source")).select(
        columns
    )


def _read_starts(path: Path, transcripts: pl.DataFrame, said: list[str]) -> pl.DataFrame:
    """--tss: columns gene and tss (1-based position of the first transcribed base), with a header, separated
    by tabs. Contig and strand are the gene's."""
    frames = list(read_fields(path, [f"c{i}" for i in range(64)]))
    if not frames or not len(frames[0]):
        raise InputError(f"--tss {path} is empty; it needs the columns gene and tss, separated by tabs")
    frame = pl.concat(frames)
    header = {str(frame[f"c{i}"][0]).strip(): f"c{i}" for i in range(64) if frame[f"c{i}"][0] is not None}
    if lacking := [name for name in ("gene", "tss") if name not in header]:
        raise InputError(
            f"--tss {path}: line {frame['line'][0]} has no column {lacking[0]!r}; the first line must name "
            "gene and tss, "
            "separated by tabs"
        )
    table = frame.slice(1).select(
        "line", pl.col(header["gene"]).alias("gene"), pl.col(header["tss"]).alias("tss")
    )
    table = whole_numbers(table, ["tss"], path).with_columns(pl.col("tss") - 1)
    genes = transcripts.unique("gene", keep="first", maintain_order=True).select(
        "gene", "gene_name", "chrom", "strand"
    )
    found = table.join(genes, on="gene", how="inner", maintain_order="left")
    if not len(found):
        theirs, ours = (shorten(names["gene"].to_list(), 3) for names in (table, genes))
        raise InputError(
            f"--tss {path}: none of its {len(table):,} genes ({theirs}) is in the annotation with the "
            "biotypes asked for; its "
            f"genes are written as {ours}"
        )
    without = genes.join(table, on="gene", how="anti")
    said.append(
        f"starts: {len(found):,} from {path}; {len(table) - len(found):,} of its rows name other genes"
    )
    if len(without):
        said.append(f"        {len(without):,} genes have no start there and get no tiles")
    return found


def _finish(frame: pl.DataFrame, genome: Genome, cds: pl.DataFrame | None) -> pl.DataFrame:
    """Sort; add overlaps_cds (null where the annotation is not known), shared_with and edge."""
    order = {name: i for i, name in enumerate(genome.names)}
    frame = frame.with_columns(
        pl.col("chrom").replace_strict(order, return_dtype=pl.Int64).alias("_order"),
        pl.col("chrom").replace_strict(genome.lengths, return_dtype=pl.Int64).alias("_length"),
    )
    frame = frame.sort("_order", "start", "end", "strand", "tile_id", maintain_order=True)
    frame = frame.with_columns(((pl.col("start") < 0) | (pl.col("end") > pl.col("_length"))).alias("edge"))
    overlaps = np.zeros(len(frame), dtype=bool)
    shared: list[pl.DataFrame] = []
    gene, chrom = frame["gene"], frame["chrom"].to_numpy()
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    for name in frame["chrom"].unique(maintain_order=True):
        rows = np.flatnonzero(chrom == name)
        if cds is not None:
            coding = cds.filter(pl.col("chrom") == name)
            hit, _ = Intervals(coding["start"].to_numpy(), coding["end"].to_numpy()).overlapping(
                start[rows], end[rows]
            )
            overlaps[rows[hit]] = True
        one, other = Intervals(start[rows], end[rows]).overlapping(start[rows], end[rows])
        shared.append(
            pl.DataFrame(
                {"row": rows[one], "mine": gene.gather(rows[one]), "theirs": gene.gather(rows[other])}
            )
        )
    pairs = (
        pl.concat(shared).filter(pl.col("mine") != pl.col("theirs"))
        if shared
        else pl.DataFrame({"row": [], "theirs": []})
    )
    joined = pairs.group_by("row").agg(pl.col("theirs").unique().sort().str.join(",").alias("shared_with"))
    frame = (
        frame.with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64))
        .join(joined, on="row", how="left", maintain_order="left")
    )
    known = (
        pl.Series("overlaps_cds", overlaps)
        if cds is not None
        else pl.lit(None, pl.Boolean).alias("overlaps_cds")
    )
    return frame.with_columns(known).select(COLUMNS)

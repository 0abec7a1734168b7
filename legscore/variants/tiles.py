"""Tiles: the stretches of genome whose variants are scored. Here those of BED regions, and what all have;
those of promoters in `legscore.variants.promoters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legscore.errors import InputError
from legscore.variants.contigs import reconcile
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
PLACE = ["chrom", "start", "end", "strand"]


@dataclass(frozen=True)
class Tiles:
    """Tiles of a genome.

    Attributes:
        frame: COLUMNS, sorted by contig (order of the FASTA), start, end, strand and name; `tile_id` is
            unique. `start` and `end` are 0-based half-open on the plus strand; `edge` marks tiles that leave
            their contig.
        said: what to print.
    """

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


def region_tiles(path: str | Path, genome: Genome, given: Mapping[str, str] | None = None) -> Tiles:
    """Tiles from a BED file (3 to 6 columns; strand + where there is none).

    A name that stands twice is followed by its place; a region that stands twice is one tile.

    Args:
        given: {contig of the file: contig of the FASTA}, from --contig-map.

    Raises:
        InputError: a malformed line (with its number), or no region on a contig of the FASTA.
    """
    path = Path(path)
    frame = _read_regions(path)
    names = frame["chrom"].unique(maintain_order=True).to_list()
    contigs = reconcile(names, genome.lengths, str(path), given)
    said = list(contigs.said)
    frame, lost = on_fasta(frame, contigs.of)
    if lost:
        said.append(f"regions: {lost:,} lie on contigs that the FASTA does not have and are left out")
    unstranded = pl.col("strand").is_null() | pl.col("strand").is_in([".", ""])
    if n := frame.filter(unstranded).height:
        said.append(f"regions: {n:,} without a strand are read as +")
    frame = frame.with_columns(pl.when(unstranded).then(pl.lit("+")).otherwise("strand").alias("strand"))
    named = pl.col("name").is_not_null() & ~pl.col("name").is_in([".", ""])
    frame = frame.with_columns(pl.when(named).then("name").otherwise(_place()).alias("tile_id"))
    once = frame.unique(["tile_id", *PLACE], keep="first", maintain_order=True)
    if n := len(frame) - len(once):
        said.append(f"regions: {n:,} stand more than once and are read once")
    null = pl.lit(None, pl.String)
    once = once.with_columns(
        null.alias("gene"), null.alias("gene_name"), pl.lit("regions").alias("tss_source")
    )
    made = finished(once, genome, None)
    lengths = (made["end"] - made["start"]).to_numpy()
    said.append(f"tiles: {len(made):,} regions of {int(lengths.min()):,} to {int(lengths.max()):,} bases")
    return Tiles(made, (*said, *edges_said(made)))


def _read_regions(path: Path) -> pl.DataFrame:
    """Columns of BED, checked; start and end as numbers."""
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
    no_strand, signs = pl.col("strand").is_null(), ["+", "-"]
    for wrong, why in (
        (
            no_strand & (pl.col("score").is_in(signs) | (pl.col("name") == "+")),
            "has a strand outside column 6, where it would not be read; BED has name and score before it",
        ),
        ((pl.col("start") < 0) | (pl.col("end") <= pl.col("start")), "is no stretch (0-based, start < end)"),
        (
            pl.col("strand").is_not_null() & ~pl.col("strand").is_in(["+", "-", ".", ""]),
            "has a strand that is none of + - .",
        ),
    ):
        bad = frame.filter(wrong)
        if len(bad):
            row = bad.row(0, named=True)
            raise InputError(f"{path}, line {row['line']}: {row['chrom']}:{row['start']}-{row['end']} {why}")
    return frame


def on_fasta(frame: pl.DataFrame, of: Mapping[str, str]) -> tuple[pl.DataFrame, int]:
    """Rows with `chrom` as the FASTA has it; how many lie on contigs that it does not have."""
    target = pl.col("chrom").replace_strict(of, default=None, return_dtype=pl.String)
    mapped = frame.with_columns(target.alias("chrom")).filter(pl.col("chrom").is_not_null())
    return mapped, len(frame) - len(mapped)


def _place() -> pl.Expr:
    return pl.format("{}:{}-{}({})", *PLACE)


def _unique_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """A tile_id that several tiles have is followed by the place of each, and where that is one, by a
    number."""
    name = pl.col("tile_id")
    several = name.len().over("tile_id") > 1
    apart = pl.format("{}@{}", "tile_id", _place())
    while frame.select(several.any()).item():
        frame = frame.with_columns(pl.when(several).then(apart).otherwise(name).alias("tile_id"))
        apart = pl.format("{}#{}", "tile_id", name.cum_count().over("tile_id"))
    return frame


def finished(frame: pl.DataFrame, genome: Genome, cds: pl.DataFrame | None) -> pl.DataFrame:
    """COLUMNS: tile_id made unique, sorted, with overlaps_cds (null where the annotation is not known),
    shared_with and edge.

    Args:
        frame: the other columns; no two rows have one tile_id and one place.
        cds: chrom, start, end of coding stretches.
    """
    order = {name: i for i, name in enumerate(genome.names)}
    frame = _unique_ids(frame).with_columns(
        pl.col("chrom").replace_strict(order, return_dtype=pl.Int64).alias("_order"),
        pl.col("chrom").replace_strict(genome.lengths, return_dtype=pl.Int64).alias("_length"),
    )
    frame = frame.sort("_order", "start", "end", "strand", "tile_id", maintain_order=True)
    frame = frame.with_columns(((pl.col("start") < 0) | (pl.col("end") > pl.col("_length"))).alias("edge"))
    frame = frame.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    frame = frame.join(_shared_with(frame), on="row", how="left", maintain_order="left")
    known = pl.lit(None, pl.Boolean).alias("overlaps_cds") if cds is None else _overlaps(frame, cds)
    return frame.with_columns(known).select(COLUMNS)


def _rows_by_contig(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    return {
        str(chrom): rows["row"].to_numpy() for (chrom,), rows in frame.group_by("chrom", maintain_order=True)
    }


def _overlaps(frame: pl.DataFrame, cds: pl.DataFrame) -> pl.Series:
    """Whether each tile overlaps a coding stretch."""
    overlaps = np.zeros(len(frame), dtype=bool)
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    for name, rows in _rows_by_contig(frame).items():
        coding = cds.filter(pl.col("chrom") == name)
        stretches = Intervals(coding["start"].to_numpy(), coding["end"].to_numpy())
        hit, _ = stretches.overlapping(start[rows], end[rows])
        overlaps[rows[hit]] = True
    return pl.Series("overlaps_cds", overlaps)


def _shared_with(frame: pl.DataFrame) -> pl.DataFrame:
    """row, and the other genes that have a tile overlapping it, separated by commas."""
    gene, start, end = frame["gene"], frame["start"].to_numpy(), frame["end"].to_numpy()
    pairs = [pl.DataFrame(schema={"row": pl.Int64, "mine": pl.String, "theirs": pl.String})]
    for rows in _rows_by_contig(frame).values():
        one, other = Intervals(start[rows], end[rows]).overlapping(start[rows], end[rows])
        mine, theirs = gene.gather(rows[one]), gene.gather(rows[other])
        pairs.append(pl.DataFrame({"row": rows[one], "mine": mine, "theirs": theirs}))
    others = pl.concat(pairs).filter(pl.col("mine") != pl.col("theirs"))
    return others.group_by("row").agg(pl.col("theirs").unique().sort().str.join(",").alias("shared_with"))


def edges_said(made: pl.DataFrame) -> list[str]:
    edges = int(made["edge"].sum())
    return [f"       {edges:,} of them leave their contig (status edge)"] if edges else []

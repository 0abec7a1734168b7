"""Scored SNVs → tracks: for each position and gene strand one number, as bedGraph or bigWig, a file per
strand.

The number is the mean of |effect| over the three SNVs of the position, then the largest over tiles. It says
how much a change there can do, not in which direction, and noise of the models makes |effect| larger than it
is: near zero it is biased upward.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from legscore.errors import InputError, OutputError
from legscore.system.publish import check_writable, publishing, writing
from legscore.variants.alleles import FARTHEST

NOTE = (
    "mean |effect| of the three SNVs of a position, largest over tiles, {strand} gene strand (legscore; "
    "SNVs only; "
    "|effect| is biased upward by the noise of the ensemble)"
)
NEEDS = ("chrom", "pos", "ref", "alt", "tile_id", "strand", "effect", "status")


def write_tracks(scored: Path, output: str, record: Mapping[str, Any]) -> list[str]:
    """Write OUT.plus.EXT and OUT.minus.EXT from a Parquet file of `legscore run`.

    Returns:
        Lines to print.

    Raises:
        InputError: columns are missing, or no position has its three SNVs. OutputError: no library for
            bigWig.
    """
    there = pl.read_parquet_schema(scored)
    if lacking := [name for name in NEEDS if name not in there]:
        raise InputError(
            f"{output}: tracks need the column {lacking[0]!r}; score what legscore variants wrote, with "
            "--keep auto"
        )
    means, lone = position_means(scored)
    empty = pl.scan_parquet(scored).select(pl.len()).collect().item() == 0
    if not len(means) and not empty:
        raise InputError(
            f"{output}: no position has its three SNVs scored; make them with legscore variants --saturate"
        )
    lines = write_strands(means, output, contig_lengths(record), NOTE)
    if lone:
        lines.append(
            f"        {lone:,} positions have fewer than three scored SNVs in a tile and are left out"
        )
    return lines


def write_strands(values: pl.DataFrame, output: str, lengths: Mapping[str, int], note: str) -> list[str]:
    """Write a file for each strand.

    Args:
        values: chrom, pos (1-based), strand, value; each position and strand once.
        output: OUT.EXT, for OUT.plus.EXT and OUT.minus.EXT.
        lengths: of the contigs, in the order of the files.
        note: what the values are; `{strand}` in it is plus or minus.

    Returns:
        Lines to print.

    Raises:
        InputError: a contig or position that is not in `lengths`.
    """
    if unknown := sorted(name for name in values["chrom"].unique() if name not in lengths):
        raise InputError(
            f"{output}: the length of contig {unknown[0]!r} is not known; score what legscore variants "
            "--saturate wrote"
        )
    ends = values["chrom"].replace_strict(lengths, return_dtype=pl.Int64) if len(values) else values["pos"]
    if beyond := values.filter((values["pos"] < 1) | (values["pos"] > ends)).head(1).to_dicts():
        raise InputError(
            f"{output}: position {beyond[0]['pos']:,} lies outside contig {beyond[0]['chrom']}; score what "
            "legscore variants --saturate wrote"
        )
    order = {name: i for i, name in enumerate(lengths)}
    values = values.with_columns(
        pl.col("chrom").replace_strict(order, return_dtype=pl.Int64).alias("_order")
    ).sort("_order", "pos")
    path, lines = Path(output), []
    for strand, word in (("+", "plus"), ("-", "minus")):
        target = path.with_name(f"{path.stem}.{word}{path.suffix}")
        check_writable(target)
        part = values.filter(pl.col("strand") == strand)
        with publishing(target) as temporary, writing(target):
            if path.suffix.lower() in (".bw", ".bigwig"):
                _bigwig(part, temporary, lengths)
            else:
                _bedgraph(part, temporary, word, note)
        lines.append(f"output: {target} ({len(part):,} positions)")
    return lines


def contig_lengths(record: Mapping[str, Any]) -> dict[str, int]:
    """Lengths of the genome's contigs, as `legscore variants` noted them in the table that was scored; empty
    where they are not what it writes."""
    noted = record.get("variants")
    contigs = noted.get("contigs") if isinstance(noted, dict) else None
    if not isinstance(contigs, dict) or any(
        type(n) is not int or not 1 <= n <= FARTHEST for n in contigs.values()
    ):
        return {}
    return contigs


def position_means(scored: Path) -> tuple[pl.DataFrame, int]:
    """Frame chrom, pos (1-based), strand, value; and the number of positions and tiles left out for want of
    an SNV."""
    text = ("chrom", "ref", "alt", "tile_id", "strand", "status")
    rows = pl.scan_parquet(scored).select(NEEDS).with_columns(pl.col(name).cast(pl.String) for name in text)
    rows = rows.filter(
        (pl.col("ref").str.len_bytes() == 1)
        & (pl.col("alt").str.len_bytes() == 1)
        & (pl.col("status") == "ok")
        & pl.col("effect").is_finite()
    )
    tiles = rows.group_by("chrom", "pos", "strand", "tile_id").agg(
        pl.col("effect").abs().cast(pl.Float64).mean().alias("value"),
        pl.col("alt").str.to_uppercase().n_unique().alias("n"),
    )
    found = tiles.collect()
    whole = found.filter(pl.col("n") == 3)
    return whole.group_by("chrom", "pos", "strand").agg(pl.col("value").max()), len(found) - len(whole)


def _bedgraph(part: pl.DataFrame, target: Path, word: str, note: str) -> None:
    with open(target, "wb") as stream:
        stream.write(
            f'track type=bedGraph name="legscore {word}" description="{note.format(strand=word)}"\n'.encode()
        )
        part.select(
            "chrom", (pl.col("pos") - 1).alias("start"), pl.col("pos").alias("end"), "value"
        ).write_csv(stream, separator="\t", include_header=False, float_precision=6)


def _bigwig(part: pl.DataFrame, target: Path, lengths: Mapping[str, int]) -> None:
    try:
        import pyBigWig
    except ImportError:
        raise OutputError(
            "bigWig needs pyBigWig: pip install 'legscore[bigwig]', or write .bedgraph"
        ) from None
    file = pyBigWig.open(str(target), "w")
    file.addHeader(list(lengths.items()))
    for (name,), rows in part.group_by("chrom", maintain_order=True):
        start = rows["pos"].to_numpy() - 1
        file.addEntries(
            [str(name)] * len(rows), start.tolist(), ends=(start + 1).tolist(), values=rows["value"].to_list()
        )
    file.close()

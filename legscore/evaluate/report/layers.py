"""Pack the large parts of the page: heat maps of saturated promoters and the track along the genome.

Numbers are whole multiples of a step that is written beside them (16 bits, base64), finer than any screen
shows. Heat maps are kept for as many promoters as fit `HEAT_BYTES`, largest effects first, and the page says
how many there are; the track counts every row into bins of 1, 2, 5, 10, … bases, the narrowest with at most
`TRACK_BINS` of them.
"""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from legscore.evaluate.provenance import said_lengths
from legscore.evaluate.report.collect import Scores
from legscore.evaluate.report.order import in_order
from legscore.evaluate.saturation import BASES, Saturation, saturation, wanted_columns

HEAT_BYTES = 6_000_000
TRACK_BINS = 120_000
MISSING = -32768
MOST_POS = 2**31 - 1
"""No contig is longer; places are kept in 32 bits."""


def packed(values: np.ndarray) -> dict[str, Any]:
    """Floats as int16 multiples of a step; NaN is MISSING."""
    known = np.isfinite(values)
    limit = float(np.abs(values[known]).max()) if known.any() else 0.0
    step = limit / 32767 or 1.0
    whole = np.where(known, np.rint(np.where(known, values, 0.0) / step), MISSING).astype("<i2")
    return {"step": step, "data": base64.b64encode(whole.tobytes()).decode("ascii")}


def packed_whole(values: np.ndarray, kind: str) -> str:
    """Whole numbers as base64 of a little-endian type."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def heat_maps(scores: Scores, column: str | None) -> dict[str, Any] | None:
    """Saturated promoters for the picker; None where the rows are none."""
    names = wanted_columns([*scores.frame.columns, *scores.values])
    if not names:
        return None
    wanted = [
        name
        for name in dict.fromkeys([*names, *([column] if column else [])])
        if name in scores.frame.columns
    ]
    frame = scores.frame.select(wanted).with_columns(pl.Series("effect", scores.values["effect"]))
    if not frame["offset"].dtype.is_numeric():
        frame = frame.with_columns(pl.col("offset").cast(pl.String))
    frame = frame.with_columns(pl.col("offset").cast(pl.Int64, strict=False))
    found = saturation(frame, column, said_lengths(scores.metadata))
    if found is None:
        return None
    kept = _kept(found)
    heads = np.cumsum([0, *found.length_T[kept]])
    values = np.concatenate([found.effect_TBL[t, :, : found.length_T[t]].T.ravel() for t in kept])
    bases = "".join(
        "".join(BASES[b] if b >= 0 else "." for b in found.base_TL[t, : found.length_T[t]]) for t in kept
    )
    return {
        "column": found.column,
        "of": len(found),
        "titles": [found.titles_T[t] for t in kept],
        "places": [asdict(place) if (place := found.places_T[t]) else None for t in kept],
        "heads": heads.tolist(),
        "sequence": bases,
        "effect": packed(values),
    }


def _kept(found: Saturation) -> np.ndarray:
    """Tiles that fit, in the order of the file; those with the largest effects when not all do."""
    cost = 8 * found.length_T.astype(np.int64)
    if cost.sum() <= HEAT_BYTES:
        return np.arange(len(found))
    strongest = np.argsort(-np.nanmax(np.abs(found.effect_TBL), axis=(1, 2)), kind="stable")
    return np.sort(strongest[np.cumsum(cost[strongest]) <= HEAT_BYTES])


def track(scores: Scores) -> dict[str, Any] | None:
    """Largest and smallest effect and number of rows in bins along the genome; None without chrom and pos."""
    if not {"chrom", "pos"} <= set(scores.frame.columns) or scores.main != "effect":
        return None
    place = scores.frame["pos"]
    if not place.dtype.is_numeric():  # of a CSV
        place = place.cast(pl.String).cast(pl.Int64, strict=False)
    frame = pl.DataFrame(
        {
            "chrom": scores.frame["chrom"].cast(pl.String),
            "pos": place.cast(pl.Int64, strict=False),
            "effect": scores.values["effect"],
        }
    )
    frame = frame.filter(
        pl.col("effect").is_finite() & pl.col("chrom").is_not_null() & pl.col("pos").is_between(1, MOST_POS)
    )
    if not len(frame):
        return None
    width = next(w for w in _widths() if _bins(frame, w) <= TRACK_BINS)
    binned = (
        frame.group_by("chrom", ((pl.col("pos") - 1) // width).alias("bin"))
        .agg(pl.col("effect").max().alias("high"), pl.col("effect").min().alias("low"), pl.len().alias("n"))
        .sort("chrom", "bin")
    )
    names = in_order(binned["chrom"].unique().to_list())
    parts = [binned.filter(pl.col("chrom") == name) for name in names]
    ends = frame.group_by("chrom").agg(pl.col("pos").max())
    last = dict(ends.iter_rows())
    ordered = pl.concat(parts)
    return {
        "width": width,
        "names": names,
        "lengths": [int(last[name]) for name in names],
        "counts": [len(part) for part in parts],
        "rows": len(frame),
        "bin": packed_whole(ordered["bin"].to_numpy(), "<i4"),
        "n": packed_whole(ordered["n"].to_numpy(), "<i4"),
        "high": packed(ordered["high"].to_numpy()),
        "low": packed(ordered["low"].to_numpy()),
    }


def _widths() -> Any:
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10


def _bins(frame: pl.DataFrame, width: int) -> int:
    return frame.select(pl.struct("chrom", (pl.col("pos") - 1) // width).n_unique()).item()

"""Values of columns as numbers: a column of numbers, of texts that stand for them, or of lists of them."""

from __future__ import annotations

import numpy as np
import polars as pl

from legscore.errors import InputError, shorten

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", ".")
"""Texts of CSV files that stand for no number."""


def numbers(values: pl.Series, option: str, name: str) -> np.ndarray:
    """A column as float64 [rows], NaN where there is no number; InputError for text that is none, with its
    row."""
    kind = values.dtype
    if kind == pl.Null:
        return np.full(len(values), np.nan)
    if kind.is_numeric() or kind == pl.Boolean:
        return np.asarray(values.cast(pl.Float64).fill_null(float("nan")).to_numpy(), dtype=np.float64)
    if kind != pl.String:
        raise InputError(f"{option} {name}: the column holds {kind}; it must hold numbers")
    texts = values.str.strip_chars()
    parsed = texts.cast(pl.Float64, strict=False)
    bad = parsed.is_null() & texts.is_not_null() & ~texts.is_in(list(MISSING))
    if bad.any():
        at = int(bad.arg_true()[0])
        many = int(bad.sum())
        raise InputError(
            f"{option} {name}: row {at + 1:,} holds {str(values[at])[:40]!r}, which is no number"
            + (f" (as do {many - 1:,} more)" if many > 1 else "")
        )
    return np.asarray(parsed.fill_null(float("nan")).to_numpy(), dtype=np.float64)


def lists(values: pl.Series, name: str) -> np.ndarray:
    """A column of lists of equal length as float64 [rows, members]; NaN where there is none."""
    if not isinstance(values.dtype, pl.List | pl.Array):
        raise InputError(
            f"{name}: the column holds {values.dtype}; it must hold lists, as legscore run --per-model "
            "writes them"
        )
    rows = values.cast(pl.List(pl.Float64))
    lengths = rows.list.len().drop_nulls().unique().to_list()
    if len(lengths) != 1 or lengths[0] < 1:
        raise InputError(
            f"{name}: its lists have {shorten(sorted(lengths))} values; all must have the same number"
        )
    empty = pl.Series([[None] * lengths[0]], dtype=pl.List(pl.Float64))
    whole = rows.to_frame("v").select(pl.coalesce(pl.col("v"), pl.lit(empty).first())).to_series()
    return np.asarray(whole.explode().cast(pl.Float64).fill_null(float("nan")).to_numpy()).reshape(
        len(values), lengths[0]
    )

"""Weighted scores over classes of promoters, as the DREAM 2022 challenge computed its own.

With weights w and the correlations of each class, the Pearson score is Σ w r² / Σ w and the Spearman score Σ
w ρ / Σ w (Rafi et al. 2024, doi:10.1038/s41587-024-02414-w). A weights file has the columns `class` and
`weight`. Rows belong to a class through a class column (several names in one row with `;`), through a column
`rows` of the weights file that names a file with the row numbers (`pos`, from 0) or pairs of rows (`alt_pos`,
`ref_pos`: the class is then judged on differences alt − ref, as the challenge did for single-base changes and
motifs), or, for the class `all`, by being there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from legscore.errors import InputError, nearest, shorten
from legscore.evaluate.correlation import pearson, spearman
from legscore.evaluate.tables import Tables
from legscore.evaluate.values import numbers

EVERY = "all"
MOST_ROWS = 2.0**53
"""Row numbers from here on are not exact as floats, and no file has them."""


@dataclass(frozen=True)
class PromoterClass:
    """A class: weight, and the rows (numbers in the file) or pairs of rows (alt, ref) that it holds; None for
    a class column."""

    name: str
    weight: float
    rows: np.ndarray | None = None
    pairs: np.ndarray | None = None


@dataclass(frozen=True)
class ClassScore:
    """Correlations of one class, or (name "weighted score") the scores over all. r is r, not r²."""

    prediction: str
    name: str
    weight: float
    n: int
    pearson: float
    spearman: float
    reason: str = ""


def read_weights(path: str) -> list[PromoterClass]:
    """Read a weights file. InputError for missing columns, unknown classes' files, weights that are negative
    or no numbers."""
    table = Tables([path])
    wanted = {"class": "--class-weights", "weight": "--class-weights"}
    if table.has("rows"):
        wanted["rows"] = "--class-weights"
    frame = table.select(wanted).frame
    weights = numbers(frame["weight"], "--class-weights", "weight")
    names = frame["class"].cast(pl.String).to_list()
    files = frame["rows"].cast(pl.String).to_list() if "rows" in wanted else [None] * len(names)
    found = []
    for i, (name, weight) in enumerate(zip(names, weights, strict=True)):
        if not name or not math.isfinite(weight) or weight < 0:
            raise InputError(f"{path}: row {i + 1} needs a class and a weight of 0 or more")
        if names.index(name) != i:
            raise InputError(f"{path}: the class {name!r} stands twice")
        listed = files[i]
        found.append(
            _listed(name, weight, Path(path).parent / listed) if listed else PromoterClass(name, weight)
        )
    if not sum(c.weight for c in found) > 0:
        raise InputError(f"{path}: the weights sum to 0")
    return found


def _listed(name: str, weight: float, path: Path) -> PromoterClass:
    table = Tables([str(path)])
    columns = ["alt_pos", "ref_pos"] if table.has("alt_pos") else ["pos"]
    frame = table.select(dict.fromkeys(columns, f"--class-weights, rows of {name}")).frame
    values = np.stack([numbers(frame[c], "--class-weights", c) for c in columns], axis=1)
    if not ((values >= 0) & (values < MOST_ROWS) & (values % 1 == 0)).all():
        raise InputError(f"{path}: {' and '.join(columns)} must hold row numbers from 0")
    whole = np.unique(values.astype(np.int64), axis=0)
    return (
        PromoterClass(name, weight, pairs=whole)
        if len(columns) == 2
        else PromoterClass(name, weight, rows=whole[:, 0])
    )


def class_scores(
    classes: list[PromoterClass],
    row_N: np.ndarray,
    label_N: list[str | None] | None,
    truth_N: np.ndarray,
    predictions: Mapping[str, np.ndarray],
) -> list[ClassScore]:
    """Scores of each prediction.

    Args:
        row_N: number of each evaluated row in the file. label_N: text of the class column, None without one.
        truth_N, predictions: float64 [rows], finite.

    Raises:
        InputError: a class that no row belongs to, or that nothing assigns rows to.
    """
    held = [(c, *_members(c, row_N, label_N)) for c in classes]
    found = []
    for prediction, values_N in predictions.items():
        mine = []
        for c, alt, ref in held:
            x, y = (v[alt] - v[ref] if ref is not None else v[alt] for v in (truth_N, values_N))
            r, rho = pearson(x, y), spearman(x, y)
            mine.append(ClassScore(prediction, c.name, c.weight, len(alt), r.value, rho.value, r.reason))
        weights = np.array([score.weight for score in mine])
        total = weights.sum()
        first = float(weights @ np.array([score.pearson**2 for score in mine]) / total)
        second = float(weights @ np.array([score.spearman for score in mine]) / total)
        lacking = [score.name for score in mine if math.isnan(score.pearson)]
        reason = f"no correlation in {shorten(lacking)}" if lacking else ""
        found += [
            *mine,
            ClassScore(prediction, "weighted score", float(total), len(truth_N), first, second, reason),
        ]
    return found


def _members(
    c: PromoterClass, row_N: np.ndarray, label_N: list[str | None] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Places of a class's rows among the evaluated ones; for pairs also those of the references."""
    if c.pairs is not None or c.rows is not None:
        place = {int(row): i for i, row in enumerate(row_N)}
        if c.pairs is not None:
            both = [(place[a], place[r]) for a, r in c.pairs.tolist() if a in place and r in place]
            alt, ref = (np.array([pair[side] for pair in both], dtype=np.intp) for side in (0, 1))
            return _some(c, alt), ref
        assert c.rows is not None
        return _some(c, np.array([place[r] for r in c.rows.tolist() if r in place], dtype=np.intp)), None
    if c.name == EVERY:
        return np.arange(len(row_N)), None
    if label_N is None:
        raise InputError(
            f"nothing says which rows are of the class {c.name!r}: give --class COLUMN, or a rows file in "
            "--class-weights"
        )
    held = [
        i
        for i, text in enumerate(label_N)
        if text is not None and c.name in [part.strip() for part in text.split(";")]
    ]
    if not held:
        known = {part.strip() for text in label_N if text is not None for part in text.split(";")}
        raise InputError(
            f"no evaluated row is of the class {c.name!r}{nearest(c.name, known)}; there are "
            f"{shorten(sorted(known))}"
        )
    return np.array(held, dtype=np.intp), None


def _some(c: PromoterClass, places: np.ndarray) -> np.ndarray:
    if not len(places):
        raise InputError(
            f"none of the rows of the class {c.name!r} is among the evaluated ones (row numbers count from 0)"
        )
    return places

"""Ensemble size against quality: the mean of the first k members, and random subsets of k (the paper's Figure
S7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.evaluate.ensemble_curve import Point
from legscore.evaluate.figures.style import COLOURS, check_drawable, new_figure, plain, save
from legscore.system.entries import NUMBER, TEXT, check_entries
from legscore.system.small_files import parse_json

TEXTS = ("group", "truth", "prediction", "metric")
NUMBERS = ("k", "first", "mean", "spread", "low", "high", "subsets")
ENTRIES = dict.fromkeys(TEXTS, TEXT) | dict.fromkeys(NUMBERS, NUMBER)
"""What a point of a curve holds in JSON; numbers other than k may be null."""
LABELS = {"pearson": "Pearson r", "spearman": "Spearman ρ", "rmse": "RMSE", "mae": "MAE"}


def read_points(path: str) -> list[Point]:
    """The ensemble curve in a JSON file of `legscore evaluate --ensemble-curve --json`."""
    try:
        held = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); give what legscore evaluate --ensemble-curve --json wrote"
        ) from None
    points = held.get("ensemble_curve") if isinstance(held, dict) else None
    if not points:
        raise InputError(
            f"{path} holds no ensemble curve; legscore evaluate --ensemble-curve --json FILE writes one"
        )
    check_entries(points, [ENTRIES], f"{path}: its ensemble curve")
    for at, point in enumerate(points, start=1):
        if lacking := [name for name in (*TEXTS, "k") if point.get(name) is None]:
            raise InputError(f"{path}: entry {at} of its ensemble curve has no {lacking[0]}")
        check_drawable([point[name] for name in NUMBERS if point.get(name) is not None], path)
    texts = [{name: point[name] for name in TEXTS} for point in points]
    values: list[dict[str, Any]] = [
        {name: math.nan if point.get(name) is None else point[name] for name in NUMBERS} for point in points
    ]
    return [
        Point(**text, **value, exhaustive=bool(point.get("exhaustive")))
        for text, value, point in zip(texts, values, points, strict=True)
    ]


def draw_curve(points: Sequence[Point], path: str) -> None:
    """One panel for Pearson and one for Spearman; a line for each prediction and group."""
    figure = new_figure(7.0, 3.0)
    lines = list(dict.fromkeys((p.group, p.truth, p.prediction) for p in points))
    for axes, name in zip(figure.subplots(1, 2), ("pearson", "spearman"), strict=True):
        for i, line in enumerate(lines):
            mine = [p for p in points if (p.group, p.truth, p.prediction) == line and p.metric == name]
            _line(axes, mine, COLOURS[i % len(COLOURS)], plain(", ".join(dict.fromkeys((line[2], line[0])))))
        top = max(p.k for p in points)
        axes.set(xlabel="members in the mean, k", ylabel=LABELS[name])
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(0.5, top + 0.5)
    figure.axes[0].legend(loc="lower right", fontsize=7)
    figure.suptitle(
        "bars: smallest to largest over subsets of k, a spread and no standard error",
        fontsize=7,
        color="#666666",
    )
    save(figure, path)


def _line(axes: Any, points: Sequence[Point], colour: str, label: str) -> None:
    k = [p.k for p in points]
    mean = [p.mean for p in points]
    error = [[p.mean - p.low for p in points], [p.high - p.mean for p in points]]
    axes.errorbar(
        k,
        mean,
        yerror(error),
        fmt="o-",
        color=colour,
        markersize=3,
        linewidth=1,
        capsize=2,
        label=f"{label}: subsets",
    )
    axes.plot(
        k,
        [p.first for p in points],
        "s--",
        color=colour,
        markersize=3,
        linewidth=0.8,
        alpha=0.6,
        label=f"{label}: first k",
    )


def yerror(error: list[list[float]]) -> list[list[float]]:
    """Lengths of error bars, rounding below 0 taken out."""
    return [[max(0.0, value) for value in side] for side in error]

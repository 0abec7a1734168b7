"""Pictures of a set of designs, as PNG bytes. Needs `legscore[report]`.

- `target_and_score`: target against score, as in the paper's Figure 2, and beside it the score by models that
  took no part.
- `error_by_target`: score − target by target, with what random sequences give.
- `diversity`: Hamming distance from each design to its nearest other design, and to its nearest training
  sequence.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import numpy as np
import pyarrow as pa

P = ParamSpec("P")
BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#9aa3ad"
"""Okabe and Ito's, which colour-blind readers tell apart."""
HEXAGONS = (8, 36)
"""Hexagons across: fewest and most."""
FEW, MOST_POINTS = 300, 2000
"""Designs that are drawn as large points, and as points at all; more are counted in hexagons."""
SHADES = ["#cfe6f5", "#7cbfe8", "#1f6fa5", "#12263a"]
STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "legend.fontsize": 8, "axes.titlesize": 9, "axes.titlelocation": "left",
}  # fmt: skip


def _styled(draw: Callable[P, bytes]) -> Callable[P, bytes]:
    """Draw in STYLE, whatever the user's own settings are."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **named: P.kwargs) -> bytes:
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            return draw(*args, **named)

    return drawn


@_styled
def target_and_score(table: pa.Table, agreement: Mapping[str, Any]) -> bytes:
    """Columns `target`, `score` and, where it is, `check_score`."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    panels = [("score", "score", "")]
    if "check_score" in table.column_names:
        panels.append(("check_score", "score by models that took no part", "check_"))
    figure, axes = _figure(4.6 * len(panels), 4.1, len(panels))
    target = table["target"].to_numpy()
    values = [table[name].to_numpy() for name, _, _ in panels]
    low, high = (float(f([f(target), *(f(v) for v in values)])) for f in (min, max))
    low, high = low - 0.5, high + 0.5
    across = int(np.clip(1.6 * np.sqrt(len(target)), *HEXAGONS))
    shades = LinearSegmentedColormap.from_list("designs", SHADES)
    for axis, (_, label, prefix), score in zip(axes, panels, values, strict=True):
        drawn = None
        if len(target) <= MOST_POINTS:
            axis.scatter(target, score, s=30 if len(target) <= FEW else 12, color=BLUE, alpha=0.6, lw=0)
        else:
            drawn = axis.hexbin(
                target,
                score,
                gridsize=across,
                extent=(low, high, low, high),
                cmap=shades,
                mincnt=1,
                linewidths=0.2,
            )
            drawn.set_clim(1, max(2, float(np.max(drawn.get_array()))))
        axis.plot([low, high], [low, high], color="0.4", linewidth=0.8, linestyle="--")
        pearson, spearman = agreement.get(f"{prefix}pearson"), agreement.get(f"{prefix}spearman")
        if pearson is not None and spearman is not None:
            axis.set_title(f"Pearson {pearson:.3f}, Spearman {spearman:.3f}, n = {len(target):,}")
        axis.set(xlabel="target", ylabel=label, xlim=(low, high), ylim=(low, high), aspect="equal")
        if drawn is not None:
            ticks = MaxNLocator(integer=True, nbins=6)
            figure.colorbar(drawn, ax=axis, label="designs", ticks=ticks, shrink=0.8)
    return _bytes(figure)


@_styled
def error_by_target(table: pa.Table, rows: Sequence[Mapping[str, float]]) -> bytes:
    """Every design's error, and the rows of `legscore.design.report.error_by_target`."""
    figure, (axis,) = _figure(7.2, 3.6)
    target = table["target"].to_numpy()
    axis.scatter(target, table["score"].to_numpy() - target, s=7, color=GREY, linewidths=0, label="designs")
    middle = [row["target"] for row in rows]
    axis.plot(
        middle, [row["error"] for row in rows], color=BLUE, marker="o", markersize=3, label="mean error"
    )
    axis.plot(
        middle, [row["mae"] for row in rows], color=ORANGE, marker="s", markersize=3, label="mean |error|"
    )
    if all("random_mae" in row for row in rows):
        random = [row["random_mae"] for row in rows]
        label = "mean |error| of random sequences"
        axis.plot(middle, random, color=RED, linestyle="--", marker="_", label=label)
    axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set(xlabel="target", ylabel="score − target")
    figure.legend(loc="outside upper center", ncols=4)
    return _bytes(figure)


@_styled
def diversity(neighbours: np.ndarray, trained: np.ndarray | None, length: int) -> bytes:
    """Distances int [N] to the nearest other design (none of a single one) and to the nearest training
    sequence."""
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = _figure(7.2, 3.0)
    edges = np.arange(length + 2) - 0.5
    if len(neighbours):
        axis.hist(neighbours, bins=edges, color=BLUE, alpha=0.65, label="nearest other design")
    if trained is not None:
        axis.hist(trained, bins=edges, color=ORANGE, alpha=0.65, label="nearest training sequence")
    axis.set(xlim=(-0.5, length + 0.5), xlabel=f"substitutions (of {length} bases)", ylabel="designs")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=2)
    return _bytes(figure)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _bytes(figure: Any) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return sink.getvalue()

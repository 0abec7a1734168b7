"""Measured against predicted: few rows as points, many as hexagons of counts; every row is in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.evaluate.correlation import pearson, spearman
from legscore.evaluate.figures.style import COLOURS, GREY, check_drawable, count_bar, new_figure, plain, save

GRID = 55
MOST_POINTS = 2000
"""Rows of a panel that are drawn as points; where one has more, all panels are hexagons."""


@dataclass(frozen=True)
class Panel:
    """One scatter: names and float64 [rows], finite."""

    title: str
    x_name: str
    y_name: str
    x_N: np.ndarray
    y_N: np.ndarray


def draw_scatter(panels: Sequence[Panel], path: str, columns: int = 4) -> None:
    """A row of panels, each with the line of equality and its correlations; hexagons share a colour scale of
    logarithmic counts."""
    wide = min(columns, len(panels))
    high = -(-len(panels) // wide)
    as_points = max(len(panel.x_N) for panel in panels) <= MOST_POINTS
    figure = new_figure(2.5 * wide + (0.0 if as_points else 0.6), 2.6 * high)
    grid = np.atleast_1d(figure.subplots(high, wide, squeeze=False)).ravel()
    drawn = [_panel(axes, panel, as_points) for axes, panel in zip(grid, panels, strict=False)]
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if not as_points:
        most = max(float(np.max(hexagons.get_array())) for hexagons in drawn)
        for hexagons in drawn:
            hexagons.set_clim(1, max(most, 2))
        count_bar(figure, drawn[0], list(grid[: len(panels)]), "rows", shrink=0.8, pad=0.01)
    save(figure, path)


def _panel(axes: Any, panel: Panel, as_points: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    low = float(min(panel.x_N.min(), panel.y_N.min()))
    high = float(max(panel.x_N.max(), panel.y_N.max()))
    check_drawable((low, high), panel.title)
    margin = 0.03 * (high - low or 1.0)
    limits = (low - margin, high + margin)
    if as_points:
        size = 14 if len(panel.x_N) <= 300 else 6
        drawn = axes.scatter(panel.x_N, panel.y_N, s=size, color=COLOURS[0], alpha=0.6, linewidths=0)
    else:
        drawn = axes.hexbin(
            panel.x_N,
            panel.y_N,
            gridsize=GRID,
            mincnt=1,
            bins="log",
            cmap="viridis",
            extent=(*limits, *limits),
            linewidths=0.1,
        )
    axes.plot(limits, limits, color=GREY, linewidth=0.7, linestyle="--")
    r, rho = pearson(panel.x_N, panel.y_N), spearman(panel.x_N, panel.y_N)
    text = f"r = {r.value:.3f}\nρ = {rho.value:.3f}\nn = {len(panel.x_N):,}"
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=7)
    axes.set(
        xlabel=plain(panel.x_name),
        ylabel=plain(panel.y_name),
        title=plain(panel.title),
        xlim=limits,
        ylim=limits,
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_aspect("equal")
    return drawn

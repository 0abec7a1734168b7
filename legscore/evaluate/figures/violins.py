"""Bootstrap distributions of predictions side by side, with a test between neighbours (the paper's Figures
3C-D and 4).

Violins are the bootstrap's; stars are not: they come from the test for dependent correlations that
`legscore.evaluate.compare` chooses and names (Silver, Hittner & May), Holm-corrected over the comparisons of
a panel. Where whole clusters are drawn, rows are not independent and that test does not hold: stars then come
from the bootstrap of clusters, and the figure says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from legscore.errors import InputError
from legscore.evaluate.compare import Group
from legscore.evaluate.figures.ensemble_size import LABELS
from legscore.evaluate.figures.style import COLOURS, GREY, check_drawable, new_figure, plain, save

LEAST_WIDTH = 2.4
"""Of a panel, in inches."""
LETTERS_PER_INCH = 22
"""Of the line below the panels."""
LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class ViolinPanel:
    """One panel.

    Attributes:
        draws: prediction → values in the resamples, in the order they are drawn.
        tests: (prediction, its neighbour) → p; NaN where the test has no value.
        test: name of the test. n: rows.
    """

    title: str
    metric: str
    draws: Mapping[str, np.ndarray]
    tests: Mapping[tuple[str, str], float]
    test: str = ""
    n: int = 0


def violin_panel(
    group: Group, metric: str, title: str, names: Mapping[str, str] | None = None
) -> ViolinPanel:
    """The panel of one group of rows: its predictions, best first, and the tests of neighbours.

    Args:
        group: compared with a bootstrap.
        metric: `pearson` or `spearman`.
        names: prediction → what the picture calls it; only these are drawn. All by their own names where
            None.

    Raises:
        InputError: fewer than two predictions have a value.
    """
    values = {m.prediction: m.value for m in group.metrics if m.metric == metric and not math.isnan(m.value)}
    shown = {name: name for name in values} if names is None else dict(names)
    order = sorted((name for name in values if name in shown), key=lambda name: -values[name])
    if len(order) < 2:
        raise InputError(f"{title}: violins compare predictions, and {len(order)} of them has a value")
    between = {frozenset((c.first, c.second)): c for c in group.comparisons if c.metric == metric}
    pairs = [(one, other, between[frozenset((one, other))]) for one, other in itertools.pairwise(order)]
    clusters = group.n_clusters > 0
    tests = {(shown[one], shown[other]): c.boot_p if clusters else c.p for one, other, c in pairs}
    test = f"bootstrap of {group.n_clusters:,} clusters" if clusters else pairs[0][2].method
    draws = {shown[name]: group.draws[name, metric] for name in order}
    return ViolinPanel(title, metric, draws, tests, test, group.n)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the given order; a NaN stays one and is not
    counted."""
    order = [int(index) for index in np.argsort(p) if not math.isnan(p[int(index)])]
    found, worst = [math.nan] * len(p), 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - place) * p[index]))
        found[index] = worst
    return found


def stars(p: float) -> str:
    """Marks of LEVELS, `n.s.` above them, `–` where there is no p."""
    if math.isnan(p):
        return "–"
    return next((mark for level, mark in LEVELS if p <= level), "n.s.")


def draw_violins(panels: Sequence[ViolinPanel], path: str, columns: int = 4) -> None:
    """Violins of each panel with median and 95 % interval; brackets compare neighbours, and a line below says
    by which test."""
    wide = min(columns, len(panels))
    high = -(-len(panels) // wide)
    most = max(len(panel.draws) for panel in panels)
    width = max(LEAST_WIDTH, 0.6 + 0.42 * most) * wide + 0.4
    figure = new_figure(width, 2.6 * high)
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    names = list(dict.fromkeys(name for panel in panels for name in panel.draws))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, panel, colours)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if named := list(dict.fromkeys(panel.test for panel in panels if panel.test)):
        levels = ", ".join(f"{mark} p ≤ {level:g}" for level, mark in reversed(LEVELS))
        said = (
            "violins: bootstrap, with median and 95 %",
            f"stars: {', '.join(named)}, Holm within a panel ({levels})",
        )
        lines = [line for part in said for line in wrap(part, int(width * LETTERS_PER_INCH))]
        figure.supxlabel("\n".join(lines), fontsize=6, color=GREY)
    save(figure, path)


def _panel(axes: Any, panel: ViolinPanel, colours: Mapping[str, str]) -> None:
    names = list(panel.draws)
    values = [panel.draws[name][np.isfinite(panel.draws[name])] for name in names]
    parts = axes.violinplot(values, showextrema=False, widths=0.8)
    for body, name in zip(parts["bodies"], names, strict=True):
        body.set(facecolor=colours[name], alpha=0.55, edgecolor="none")
    for i, draws in enumerate(values, start=1):
        low, middle, top = np.quantile(draws, [0.025, 0.5, 0.975])
        axes.plot([i, i], [low, top], color="black", linewidth=1)
        axes.plot(i, middle, "o", color="white", markeredgecolor="black", markersize=3.5, markeredgewidth=0.7)
    low = min(float(draws.min()) for draws in values)
    top = max(float(draws.max()) for draws in values)
    check_drawable((low, top), panel.title)
    step = 0.09 * (top - low or 1.0)
    level = top + step / 2
    corrected = dict(zip(panel.tests, holm(list(panel.tests.values())), strict=True))
    for (one, other), p in corrected.items():
        i, k = names.index(one) + 1, names.index(other) + 1
        if abs(i - k) == 1:
            axes.plot(
                [i + 0.05, i + 0.05, k - 0.05, k - 0.05],
                [level, level + step / 4, level + step / 4, level],
                color="black",
                lw=0.6,
            )
            axes.text((i + k) / 2, level + step / 4, stars(p), ha="center", va="bottom", fontsize=7)
    axes.set_ylim(low - step, level + 1.6 * step)
    axes.set_xticks(range(1, len(names) + 1), [plain(name) for name in names], rotation=45, ha="right")
    axes.set(ylabel=LABELS.get(panel.metric, panel.metric), title=plain(panel.title))
    if panel.n:
        axes.text(0.03, 0.03, f"n = {panel.n:,}", transform=axes.transAxes, fontsize=7, color=GREY)

"""Bootstrap distributions of models side by side, with tests between them (the paper's Figure 4).

Stars come from the bootstrap's own p of the difference, Holm-corrected over the comparisons of a panel, not
drawn by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.evaluate.figures.ensemble_size import LABELS
from legscore.evaluate.figures.style import COLOURS, new_figure, plain, save

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class ViolinPanel:
    """One panel.

    Attributes:
        draws: model → values in the resamples.
        tests: (first model, second model) → p.
    """

    title: str
    metric: str
    draws: Mapping[str, np.ndarray]
    tests: Mapping[tuple[str, str], float]


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the given order."""
    order = np.argsort(p)
    found, worst = [1.0] * len(p), 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[int(index)]))
        found[int(index)] = worst
    return found


def stars(p: float) -> str:
    return next((mark for level, mark in LEVELS if p <= level), "n.s.")


def draw_violins(panels: Sequence[ViolinPanel], path: str, columns: int = 4) -> None:
    """Violins of each panel with median and 95 % interval; brackets compare neighbours."""
    wide = min(columns, len(panels))
    high = -(-len(panels) // wide)
    most = max(len(panel.draws) for panel in panels)
    figure = new_figure(max(2.0, 0.6 + 0.42 * most) * wide + 0.4, 2.6 * high)
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    save(figure, path)


def _panel(axes: Any, panel: ViolinPanel) -> None:
    names = list(panel.draws)
    values = [panel.draws[name][np.isfinite(panel.draws[name])] for name in names]
    parts = axes.violinplot(values, showextrema=False, widths=0.8)
    for i, body in enumerate(parts["bodies"]):
        body.set(facecolor=COLOURS[i % len(COLOURS)], alpha=0.55, edgecolor="none")
    for i, draws in enumerate(values, start=1):
        low, middle, top = np.quantile(draws, [0.025, 0.5, 0.975])
        axes.plot([i, i], [low, top], color="black", linewidth=1)
        axes.plot(i, middle, "o", color="white", markeredgecolor="black", markersize=3.5, markeredgewidth=0.7)
    low = min(float(draws.min()) for draws in values)
    top = max(float(draws.max()) for draws in values)
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

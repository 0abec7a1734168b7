"""Contributions as logos: one or several tiles below each other, on one scale.

A letter's height is the contribution of the base that is there; letters that lower the score hang down.
Letters are outlines of the font. Long tiles go on in further rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.errors import InputError
from legscore.evaluate.figures.style import (
    BASE_COLOURS,
    check_drawable,
    new_figure,
    plain,
    save,
)
from legscore.evaluate.saturation import BASES, Place

EVERY = 10
"""Positions that are multiples of it are written."""
ROW = 120
"""Most positions side by side."""
MOST_ROWS = 40


@dataclass(frozen=True)
class Panel:
    """One tile to draw.

    Attributes:
        title: of the panel. sequence: 5' → 3' as scored, other letters where the base is not known.
        height_L: float [length], height of each letter; 0 or NaN draws none.
        place: on the genome; None where it is not known.
    """

    title: str
    sequence: str
    height_L: np.ndarray
    place: Place | None


def draw_logos(panels: Sequence[Panel], path: str) -> None:
    """The figure of some tiles, in a file."""
    save(logo_figure(panels), path)


def logo_figure(panels: Sequence[Panel]) -> Any:
    """A row of letters for each tile (for each ROW positions of it), all of one height and one width a
    letter.

    Raises:
        InputError: more rows than MOST_ROWS, or a tile without positions.
    """
    rows = [(panel, start) for panel in panels for start in range(0, len(panel.sequence), ROW)]
    if len(rows) > MOST_ROWS:
        raise InputError(f"{len(rows)} rows of logos are more than {MOST_ROWS}; name fewer promoters")
    if empty := [panel.title for panel in panels if not panel.sequence]:
        raise InputError(f"{empty[0]}: there are no positions to draw")
    heights = np.concatenate([np.nan_to_num(panel.height_L) for panel in panels])
    check_drawable(heights.tolist(), "contributions")
    low, high = min(float(heights.min()), 0.0), max(float(heights.max()), 0.0)
    margin = 0.06 * (high - low or 1.0)
    widest = min(max(len(panel.sequence) for panel in panels), ROW)
    figure = new_figure(max(4.0, 0.105 * widest + 0.9), 1.5 * len(rows) + 0.1)
    for (panel, start), axes in zip(rows, np.atleast_1d(figure.subplots(len(rows), 1)), strict=True):
        stop = min(start + ROW, len(panel.sequence))
        draw_letters(axes, panel.sequence[start:stop], panel.height_L[start:stop])
        axes.set(xlim=(-0.5, widest - 0.5), ylim=(low - margin, high + margin), ylabel="contribution")
        axes.spines["bottom"].set_visible(False)
        if start == 0:
            axes.set_title(plain(panel.title))
        label_positions(axes, panel.place, start, stop)
    figure.align_ylabels()
    return figure


def draw_letters(axes: Any, sequence: str, height_L: np.ndarray) -> None:
    """The letters of a sequence at 0, 1, 2, …, each as high as its number says, and the zero line."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    outlines = {base: TextPath((0, 0), base, size=1) for base in BASES}
    for at, (base, height) in enumerate(zip(sequence, height_L, strict=True)):
        if base not in BASES or not np.isfinite(height) or height == 0:
            continue
        box = outlines[base].get_extents()
        move = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, height / box.height)
        move = move.translate(at - 0.45, 0)
        shape = move.transform_path(outlines[base])
        axes.add_patch(PathPatch(shape, facecolor=BASE_COLOURS[base], edgecolor="none"))
    axes.plot([-0.5, len(sequence) - 0.5], [0, 0], color="black", linewidth=0.5, zorder=0)


def label_positions(axes: Any, place: Place | None, start: int, stop: int) -> None:
    """Positions on the genome below a row, or offsets where it is not known where the tile lies."""
    offsets = np.arange(start, stop)
    numbers = place.first + place.step * offsets if place else offsets
    marked = np.flatnonzero(numbers % EVERY == 0)
    axes.set_xticks(marked, [f"{number:,}" for number in numbers[marked].tolist()], fontsize=7)
    axes.tick_params(axis="x", length=2)
    strand = "" if place is None else (" (+ strand)" if place.step > 0 else " (− strand)")
    axes.set_xlabel(f"position on {plain(place.chrom)}{strand}, 5' → 3'" if place else "offset, 5' → 3'")

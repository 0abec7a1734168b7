"""In-silico mutagenesis of one promoter: effects of every change at every position, and the sequence as a
logo.

A letter's height is minus the mean effect of changing it: letters that the model needs stand up, letters
whose change raises the score hang down. Letters are drawn from outlines of the font; packages for logos bring
a second table library for little more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from legscore.evaluate.figures.logo import EVERY, draw_letters
from legscore.evaluate.figures.style import (
    check_drawable,
    effect_colours,
    new_figure,
    plain,
    save,
    value_bar,
)
from legscore.evaluate.saturation import BASES, Tile


def draw_ism(tile: Tile, path: str) -> None:
    """The figure of one tile, in a file."""
    save(ism_figure(tile), path)


def ism_figure(tile: Tile) -> Any:
    """Logo above, heat map below, positions from the tile's 5' end."""
    length = len(tile.sequence)
    figure = new_figure(max(5.0, 0.13 * length + 1.2), 3.0)
    logo, heat = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.3, 1]})
    _logo(logo, tile)
    limit = float(np.nanmax(np.abs(tile.effect_BL))) or 1.0
    check_drawable([limit], tile.title)
    image = heat.imshow(
        tile.effect_BL,
        aspect="auto",
        cmap=effect_colours(),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(-0.5, length - 0.5, 3.5, -0.5),
    )
    for at, base in enumerate(tile.sequence):
        if base in BASES:
            heat.plot(at, BASES.index(base), ".", color="black", markersize=2)
    heat.set_yticks(range(4), list(BASES))
    heat.set_xticks(range(length), list(tile.sequence), fontsize=5 if length > 60 else 7)
    heat.tick_params(axis="both", length=0)
    heat.set(ylabel="changed to")
    _positions(heat, tile)
    value_bar(figure, image, heat, "effect", pad=0.01)
    logo.set(title=plain(tile.title), ylabel="−mean effect")
    logo.tick_params(axis="x", length=0, labelbottom=False)
    return figure


def _positions(axes: Any, tile: Tile) -> None:
    """Below the letters: positions on the genome, or offsets where the table does not say where the tile
    lies."""
    place = tile.place
    numbers = np.arange(len(tile.sequence)) * (place.step if place else 1) + (place.first if place else 0)
    marked = np.flatnonzero(numbers % EVERY == 0)
    below = axes.secondary_xaxis(-0.17)
    below.set_xticks(marked, [f"{number:,}" for number in numbers[marked].tolist()])
    below.tick_params(axis="x", length=2, labelsize=7)
    below.spines["bottom"].set_visible(False)
    where = f"position on {plain(place.chrom)}" if place else "offset"
    below.set_xlabel(f"{where}; sequence 5' → 3' as scored, dots: the base that is there")


def _logo(axes: Any, tile: Tile) -> None:
    heights = tile.importance
    draw_letters(axes, tile.sequence, heights)
    known = heights[np.isfinite(heights)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.06 * (max(high, 0) - min(low, 0) or 1.0)
    axes.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    axes.set_xlim(-0.5, len(tile.sequence) - 0.5)

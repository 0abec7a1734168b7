"""In-silico mutagenesis of one promoter: effects of every change at every position, and the sequence as a
logo.

A letter's height is minus the mean effect of changing it: letters that the model needs stand up, letters
whose change raises the score hang down. Letters are drawn from outlines of the font; packages for logos bring
a second table library for little more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from legscore.evaluate.figures.style import (
    BASE_COLOURS,
    check_drawable,
    effect_colours,
    new_figure,
    plain,
    save,
)
from legscore.evaluate.saturation import BASES, Tile


def draw_ism(tile: Tile, path: str) -> None:
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
    heat.set(xlabel="sequence, 5' → 3' (dots: the base that is there)", ylabel="changed to")
    figure.colorbar(image, ax=heat, label="effect", pad=0.01)
    logo.set(title=plain(tile.title), ylabel="−mean effect")
    logo.tick_params(axis="x", length=0, labelbottom=False)
    save(figure, path)


def _logo(axes: Any, tile: Tile) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    heights = tile.importance
    outlines = {base: TextPath((0, 0), base, size=1) for base in BASES}
    for at, (base, height) in enumerate(zip(tile.sequence, heights, strict=True)):
        if base not in BASES or not np.isfinite(height) or height == 0:
            continue
        box = outlines[base].get_extents()
        move = (
            Affine2D()
            .translate(-box.x0, -box.y0)
            .scale(0.9 / box.width, height / box.height)
            .translate(at - 0.45, 0)
        )
        axes.add_patch(
            PathPatch(move.transform_path(outlines[base]), facecolor=BASE_COLOURS[base], edgecolor="none")
        )
    known = heights[np.isfinite(heights)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.06 * (max(high, 0) - min(low, 0) or 1.0)
    axes.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    axes.set_xlim(-0.5, len(tile.sequence) - 0.5)
    axes.axhline(0, color="black", linewidth=0.5)

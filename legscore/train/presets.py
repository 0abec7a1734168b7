"""Recipes by name, as the papers trained; changed by a TOML file and by options.

`noginet` is the DREAM 2022 original, trained for the challenge's 80 epochs; `noginet-defined` (150) and
`noginet-complex` (300) train it as long as the paper did on each medium. `optimized` is the later network
trained with Lion for 80,000 steps (Penzar et al. 2023), `human` the lentiMPRA network (Agarwal et al.: one
score by mean squared error, windows shifted along the vector, the best epoch kept). `generator` is the
LegNet-Generator, trained to undo mutations of inserts (`legscore.train.generator`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from legscore.errors import LegscoreError, nearest
from legscore.system.small_files import read_toml
from legscore.train.construct import CONSTRUCTS, Construct, read_construct
from legscore.train.recipe import Recipe

PRESETS: dict[str, Recipe] = {
    "noginet": Recipe(),
    "noginet-defined": Recipe(preset="noginet-defined", epochs=150),
    "noginet-complex": Recipe(preset="noginet-complex", epochs=300),
    "optimized": Recipe(
        preset="optimized", filters_per_group=1, inner_from="in", se="plain", concat_order="fx,x",
        final_activation="none", fold_on="padded", optimizer="lion", max_lr=0.0005, weight_decay=0.1,
        cycle_momentum=False,
    ),
    "human": Recipe(
        preset="human", construct=CONSTRUCTS["human"], n_value=0.0, widths=(64, 80, 96, 112, 128),
        stem_kernel=5, kernel=3, pools=(2, 2, 2, 2), filters_per_group=1, inner_from="in", se="plain",
        se_divisor=1, concat_order="fx,x", final_activation="none", head="scalar", loss="mse",
        reverse_channel=False, singleton_channel=False, rc="random", shift_max=21, max_lr=0.01,
        weight_decay=0.1, cycle_momentum=False, epochs=25, steps_per_epoch=0, clip=1.0, keep="best",
    ),
    "generator": Recipe(
        preset="generator", n_value=0.0, final_activation="none", head="bases", loss="ce",
        reverse_channel=False, singleton_channel=False, rc="none", n_folds=5, max_lr=0.001,
        schedule="constant", cycle_momentum=False, epochs=200,
    ),
}  # fmt: skip


def resolve(
    preset: str | None = None, file: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> Recipe:
    """A preset, changed by a TOML file, changed by options. LegscoreError names what is unknown or
    mistyped."""
    changes: dict[str, Any] = {}
    if file is not None:
        changes = read_toml(file, "recipe")
        named = changes.pop("preset", preset)
        if preset not in (None, named):
            raise LegscoreError(
                f"recipe {file} says preset {named!r}, the command line {preset!r}; leave one out"
            )
        preset = named
    preset = preset or "noginet"
    if not isinstance(preset, str) or preset not in PRESETS:
        raise LegscoreError(
            f"preset is {preset!r}; known are {', '.join(PRESETS)}{nearest(str(preset), PRESETS)}"
        )
    changes |= dict(options or {})
    return changed(PRESETS[preset], changes)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other settings, checked by name and type; LegscoreError names what is unknown or
    mistyped."""
    changes = dict(changes)
    known = {f.name: type(getattr(recipe, f.name)) for f in fields(Recipe)}
    for name, value in changes.items():
        if name == "construct":
            changes[name] = value if isinstance(value, Construct) else read_construct(value, "recipe")
            continue
        if name not in known:
            raise LegscoreError(f"recipe: unknown setting {name!r}{nearest(name, known)}")
        if known[name] is tuple and isinstance(value, (list, tuple)) and all(type(n) is int for n in value):
            changes[name] = tuple(value)
        elif known[name] is float and type(value) in (int, float):
            changes[name] = float(value)
        elif type(value) is not known[name]:
            raise LegscoreError(f"recipe: {name} is {value!r}, of the wrong type")
    return replace(recipe, **changes)

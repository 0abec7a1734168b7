"""The parts of an ablation study: named variants of a recipe, scores of their models, mean and SD per
variant.

As published, one switch after another: the first variants lead from the original network to the optimised
one, each keeping the changes before it; the rest change one thing in the result. The plateau schedule follows
a validation fold and is trained once per fold.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import LegscoreError, nearest
from legscore.model.checkpoint import load_checkpoint
from legscore.model.legnet import from_checkpoint
from legscore.system.publish import publishing, writing
from legscore.system.small_files import read_toml
from legscore.train.data import TrainingData
from legscore.train.devices import choose_device, choose_precision
from legscore.train.predict import correlations, predict
from legscore.train.presets import changed
from legscore.train.recipe import Recipe

PATH: dict[str, dict[str, Any]] = {
    "original": {},
    "no final activation": {"final_activation": "none"},
    "plain SE": {"se": "plain"},
    "depthwise": {"filters_per_group": 1},
    "inner width from input": {"inner_from": "in"},
    "Lion": {"optimizer": "lion"},
}
"""Each keeps the changes before it."""
SINGLE: dict[str, dict[str, Any]] = {
    "no SE": {"se": "none"},
    "residual sum": {"residual": "add"},
    "no residual": {"residual": "none"},
    "regression": {"loss": "mse"},
    "no singleton channel": {"singleton_channel": False},
    "no reverse channel": {"reverse_channel": False},
    "one strand": {"reverse_channel": False, "rc": "none"},
    "plateau schedule": {"schedule": "plateau"},
    "one-cycle schedule": {"schedule": "onecycle"},
}
"""Each changes the last of `PATH`."""
BY_FOLD = ("plateau schedule", "one-cycle schedule")
"""Trained once per fold, on the same ten folds: a plateau follows a validation fold, and is compared with the
one-cycle schedule in pairs."""
ARCHITECTURE: dict[str, dict[str, Any]] = {
    "kernel 3": {"kernel": 3},
    "kernel 5": {"kernel": 5},
    "kernel 9": {"kernel": 9},
    "1 filter per group": {"filters_per_group": 1},
    "2 filters per group": {"filters_per_group": 2},
    "4 filters per group": {"filters_per_group": 4},
    "8 filters per group": {"filters_per_group": 8},
    "inner factor 1": {"inner_factor": 1},
    "inner factor 2": {"inner_factor": 2},
    "inner factor 6": {"inner_factor": 6},
    "inner width from input": {"inner_from": "in"},
    "SE plain": {"se": "plain"},
    "SE none": {"se": "none"},
    "SE reduction 2": {"se_divisor": 2},
    "SE reduction 8": {"se_divisor": 8},
    "residual sum": {"residual": "add"},
    "no residual": {"residual": "none"},
}
"""The architecture study: each changes one thing in the recipe. Numbers of blocks and half the filters are
added from the recipe's own widths."""
START = {
    "final_activation": "silu",
    "se": "bilinear",
    "filters_per_group": 2,
    "inner_from": "out",
    "optimizer": "adamw",
}
"""What the path changes must not be changed before it."""
FIXED = ("construct", "bins", "fold_on", "n_folds", "singletons", "singleton_min")
"""What a variant may not change: the data are read once."""


@dataclass(frozen=True)
class Variant:
    """A named recipe; `folds` is `all` for one model per fold instead of one per seed."""

    name: str
    recipe: Recipe
    changes: str
    folds: str = "one"

    @property
    def folder(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.name.lower())


@dataclass(frozen=True)
class Row:
    """A variant's result: models, and mean and sample SD of their Pearson and Spearman."""

    variant: str
    changes: str
    models: int
    pearson: float
    pearson_sd: float | None
    spearman: float
    spearman_sd: float | None


def published_variants(base: Recipe) -> list[Variant]:
    """The published study on top of a recipe of the original network. Lion takes a tenth of the rate and ten
    times the decay, and leaves the momentum alone, as the optimised network's recipe does."""
    for name, value in START.items():
        if getattr(base, name) != value:
            raise LegscoreError(
                f"the published study starts from the original network, but {name} is "
                f"{getattr(base, name)!r}, not {value!r}; "
                "leave it, or name variants of your own with --variants"
            )
    variants, recipe = [], base
    for name, changes in PATH.items():
        settings: dict[str, Any] = dict(changes)
        if settings.get("optimizer") == "lion":
            settings |= {"max_lr": base.max_lr / 10, "weight_decay": base.weight_decay * 10}
            settings["cycle_momentum"] = False
        recipe = replace(recipe, **settings)
        variants.append(Variant(name, recipe, _text(settings)))
    for name, settings in SINGLE.items():
        folds = "all" if name in BY_FOLD else "one"
        variants.append(Variant(name, replace(recipe, **settings), _text(settings), folds))
    return variants


def architecture_variants(base: Recipe) -> list[Variant]:
    """Number of blocks, filters, group size, inner width, kernel, SE and residual, one changed at a time; a
    change to what the recipe has already is left out."""
    changes: dict[str, dict[str, Any]] = {"base": {}}
    for blocks in range(2, len(base.widths) - 1):
        changes[f"{blocks} blocks"] = {"widths": base.widths[: blocks + 1], "pools": base.pools[:blocks]}
    changes["half the filters"] = {"widths": tuple(max(2, width // 2) for width in base.widths)}
    variants = []
    for name, settings in (changes | ARCHITECTURE).items():
        recipe = replace(base, **settings)
        if name == "base" or recipe != base:
            variants.append(Variant(name, recipe, _text(settings)))
    return variants


def read_variants(path: str | Path, base: Recipe) -> list[Variant]:
    """Variants from a TOML file: tables [[variant]] with `name`, optionally `after` (a variant before it
    whose settings it keeps) and `folds = "all"`, and recipe settings."""
    tables = read_toml(path, "variants").get("variant")
    if not isinstance(tables, list) or not tables:
        raise LegscoreError(f"variants {path}: write tables [[variant]] with a name and recipe settings")
    found: dict[str, Variant] = {}
    for table in tables:
        if not isinstance(table, dict):
            raise LegscoreError(f"variants {path}: write tables [[variant]] with a name and recipe settings")
        name, after, folds = table.pop("name", None), table.pop("after", None), table.pop("folds", "one")
        if not isinstance(name, str) or not name or name in found:
            raise LegscoreError(f"variants {path}: every variant needs a name of its own, not {name!r}")
        if after is not None and after not in found:
            raise LegscoreError(f"variants {path}: {name!r} comes after {after!r}, which is not before it")
        if folds not in ("one", "all"):
            raise LegscoreError(f"variants {path}: folds of {name!r} is {folds!r}; it must be 'one' or 'all'")
        if fixed := next((key for key in table if key in FIXED), None):
            raise LegscoreError(f"variants {path}: {name!r} changes {fixed}, which all variants share")
        start = found[after].recipe if after else base
        folder = Variant(name, base, "").folder
        if twin := next((v.name for v in found.values() if v.folder == folder), None):
            raise LegscoreError(
                f"variants {path}: {name!r} and {twin!r} would share the folder {folder!r}; rename one"
            )
        found[name] = Variant(name, changed(start, table), _text(table), folds)
    return list(found.values())


def with_equal_steps(variants: Sequence[Variant], base_steps: int) -> list[Variant]:
    """The variants with the base's steps per epoch, where that was one pass: a pass over one strand is half
    as many steps, and shorter training is not what is compared."""
    return [
        replace(v, recipe=replace(v.recipe, steps_per_epoch=base_steps))
        if v.recipe.steps_per_epoch == 0
        else v
        for v in variants
    ]


def choose(variants: Sequence[Variant], only: Sequence[str]) -> list[Variant]:
    """Those named, or all. LegscoreError on an unknown name."""
    names = [variant.name for variant in variants]
    for name in only:
        if name not in names:
            raise LegscoreError(
                f"--only {name}: no such variant{nearest(name, names)}; they are {', '.join(names)}"
            )
    return [variant for variant in variants if not only or variant.name in only]


def score_member(path: Path, data: TrainingData, device: str | None) -> tuple[float, float]:
    """Pearson and Spearman of a trained member on `data`; both strands averaged where it was trained on
    both."""
    checkpoint = load_checkpoint(path)
    place = choose_device(device)
    network = from_checkpoint(checkpoint).to(place)
    dtype = choose_precision("auto", place)
    scores = predict(
        network, data.codes_NL, checkpoint.contract, place, dtype, both=checkpoint.contract.rc_trained
    )
    return correlations(scores, data.expression_N)


def samples(data: TrainingData, held_out: tuple[int, ...], recipe: Recipe) -> int:
    """Samples of a pass: training rows, on both strands where the recipe says so."""
    rows = int(np.count_nonzero(~np.isin(data.fold_N, held_out)))
    return 2 * rows if recipe.rc == "both" else rows


def held_out_rows(data: TrainingData, held_out: tuple[int, ...]) -> TrainingData:
    """The validation fold: what models are compared on when no test set is given."""
    rows = np.flatnonzero(np.isin(data.fold_N, held_out[:1]))
    return replace(data, codes_NL=data.codes_NL[rows], expression_N=data.expression_N[rows])


def summarise(variant: Variant, results: Sequence[tuple[float, float]]) -> Row:
    """Mean and sample SD (None for one model) over members."""
    values = np.array(results)
    mean = values.mean(axis=0)
    sd = values.std(axis=0, ddof=1).tolist() if len(values) > 1 else [None, None]
    return Row(variant.name, variant.changes, len(values), float(mean[0]), sd[0], float(mean[1]), sd[1])


def is_summary(path: Path) -> bool:
    """Whether a file is a table that an earlier call on the same folder wrote, which the next one renews."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip() == ",".join(field.name for field in fields(Row))
    except OSError:
        return False


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file, by rename."""
    with publishing(path) as temporary, writing(path), open(temporary, "w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(header)
        out.writerows(rows)


def draw(path: Path, rows: Sequence[Row], members: dict[str, list[tuple[float, float]]]) -> None:
    """Pearson and Spearman: each variant's models as points, with mean and SD."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise LegscoreError("the picture needs matplotlib: pip install 'legscore[train]'") from None
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(rows)), dpi=150, layout="constrained")
    for index, (axes, name) in enumerate(
        zip(figure.subplots(1, 2, sharey=True), ("Pearson", "Spearman"), strict=True)
    ):
        for y, row in enumerate(rows):
            values = [result[index] for result in members[row.variant]]
            axes.plot(values, [y] * len(values), "o", color="#9bb7d4", markersize=4)
            mean, sd = (row.pearson, row.pearson_sd) if index == 0 else (row.spearman, row.spearman_sd)
            axes.errorbar(mean, y, xerr=sd or 0.0, fmt="|", color="#1f4e79", markersize=12, capsize=3)
        axes.set(
            xlabel=f"{name} (mean ± SD of models)",
            yticks=range(len(rows)),
            yticklabels=[row.variant for row in rows],
        )
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color="#e5e5e5")
        axes.set_axisbelow(True)
    figure.axes[0].invert_yaxis()
    with publishing(path) as temporary, writing(path):
        figure.savefig(temporary, format="png")


def _text(changes: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in changes.items())

"""Do we find the published comparisons, with published predictions? And can they be drawn again?

Runs `legscore evaluate` over the published predictions: levels of native (and random) promoters by medium,
all and the paper's filtered subset; levels and effects of drifting promoters, effects by 1 to 3
substitutions; effects of native single-base variants. Pearson, Spearman and RMSE must equal the reference
table to 1e-6, or the script ends. Bootstrap means and 95 % limits should lie within 0.003 of the reference's
own bootstrap; that one had 1,000 draws, whose limits have a standard error of 0.001 to 0.002 for a thousand
rows, so the script ends only where a difference is also beyond 4 such errors, and counts those beyond 0.003.
With --out it draws, each as PNG and SVG, what the LegNet paper shows in Figures 3 (native promoters: A-B
predicted against measured, C-D bootstrap violins), 4 (effects by number of substitutions, Pearson and
Spearman), S5 (LegNet beside DeepSEA, DanQ and DeepAtt) and S7 (ensemble curve, from a file of `run
--per-model` with the measured column), and predicted against measured effects. Stars come from the test for
dependent correlations. S6, the optimised network's own figure, needs its predictions, which are not public.

    python bench/reproduce_published.py --native native.parquet --drift drift.parquet --random random.parquet
        --snv native_variants.parquet --reference correlations.csv [--per-model scores.parquet] [--out
        figures/] [--save]
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import cast

import numpy as np
import polars as pl
from machine import arguments, finish

from legscore.evaluate.compare import Group
from legscore.evaluate.correlation import CORRELATIONS
from legscore.evaluate.evaluation import evaluate, panels
from legscore.evaluate.figures.ensemble_size import draw_curve
from legscore.evaluate.figures.scatter import Panel, draw_scatter
from legscore.evaluate.figures.violins import ViolinPanel, draw_violins, violin_panel
from legscore.evaluate.options import EvaluationOptions

MODELS = ("legnet", "transformer", "danq", "deepsea", "deepatt")
ALL_MODELS = (*MODELS, "convolutional", "biochemical")
PAPER = MODELS[:2]
"""What the paper's Figures 3 and 4 compare."""
NAMES = {
    "legnet": "LegNet", "transformer": "transformer", "danq": "DanQ", "deepsea": "DeepSEA",
    "deepatt": "DeepAtt",
}  # fmt: skip
MEDIA = ("defined", "complex")
EXACT, CLOSE = 1e-6, 0.003
BOOT: dict[str, tuple[str, float | None]] = {
    "boot_mean": ("boot_mean", None),
    "low": ("lo95", 0.025),
    "high": ("hi95", 0.975),
}
REFERENCE_DRAWS = 1000
NORMAL = NormalDist()
FORMATS = ("png", "svg")


def main() -> None:
    options = arguments(
        __doc__ or "",
        native="",
        drift="",
        random="",
        snv="",
        reference="",
        per_model="",
        per_model_truth="measured",
        out="",
        bootstrap=10_000,
    )
    if not (options.native and options.drift and options.reference):
        raise SystemExit("give --native, --drift and --reference")
    reference = pl.read_csv(options.reference)
    started = time.perf_counter()
    found: dict[tuple[str, str, str, str], Group] = {}
    for dataset in ("native", "random"):
        if path := getattr(options, dataset):
            for subset, where in (("all", []), ("published_filtered", [("in_published_filtered", "true")])):
                for medium, group in by_medium(
                    path, "measured", ALL_MODELS, where, options.bootstrap
                ).items():
                    found[dataset, medium, subset, "expression"] = group
    for medium, group in by_medium(options.drift, "measured", ALL_MODELS, [], options.bootstrap).items():
        found["drift", medium, "all", "expression"] = group
    for medium in ("complex", "defined"):
        deltas = [f"delta_{name}" for name in ("legnet", "transformer", "biochemical")]
        wanted = EvaluationOptions(
            [options.drift],
            ["delta_measured"],
            deltas,
            where=[("medium", medium)],
            variant=True,
            bootstrap=options.bootstrap,
        )
        for group in evaluate(wanted).groups:
            found["drift", medium, group.name.replace("substitutions", "n_mut"), "delta"] = group
    if options.snv:
        snv = [f"complex_{name}_delta" for name in ("legnet", "transformer", "convolutional")]
        wanted = EvaluationOptions(
            [options.snv], ["complex_delta"], snv, variant=True, bootstrap=options.bootstrap
        )
        found["native_snv", "complex", "n_mut=1", "delta"] = evaluate(wanted).groups[0]
    checked = check(reference, found)
    print(", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in checked.items()))
    print(f"{time.perf_counter() - started:.0f} s")
    shown = significance(found)
    drawn = []
    if options.out:
        drawn = draw(
            options.native,
            options.drift,
            options.per_model,
            options.per_model_truth,
            Path(options.out),
            found,
        )
    result = {**checked, "draws": options.bootstrap, "comparisons": shown, "figures": drawn}
    finish("reproduce_published", result, options.save)


def by_medium(
    path: str, truth: str, models: tuple[str, ...], where: list[tuple[str, str]], draws: int
) -> dict[str, Group]:
    """Groups of each medium, with the models that the table has a column for."""
    there = [name for name in models if name in pl.read_parquet_schema(path)]
    groups = evaluate(
        EvaluationOptions([path], [truth], there, by=["medium"], where=where, bootstrap=draws)
    ).groups
    return {group.name.removeprefix("medium="): group for group in groups}


def check(reference: pl.DataFrame, found: dict[tuple[str, str, str, str], Group]) -> dict[str, float]:
    """Compare with the reference; SystemExit at the first value that differs by more than chance allows."""
    result: dict[str, float] = {
        "rows": 0,
        "largest_difference": 0.0,
        "bootstrap_values": 0,
        "largest_bootstrap_difference": 0.0,
    }
    beyond = 0
    for row in reference.iter_rows(named=True):
        group = found.get((row["dataset"], row["medium"], row["subset"], row["target"]))
        if group is None:
            continue
        mine = {m.metric: m for m in group.metrics if model_of(m.prediction) == row["model"]}
        where = f"{row['dataset']} {row['medium']} {row['subset']} {row['target']} {row['model']}"
        if not mine or mine["pearson"].n != row["n"]:
            raise SystemExit(f"{where}: n is {mine['pearson'].n if mine else 'missing'}, not {row['n']}")
        for name in ("pearson", "spearman", "rmse"):
            off = abs(mine[name].value - row[name])
            result["largest_difference"] = max(result["largest_difference"], off)
            if not off <= EXACT:
                raise SystemExit(f"{where}: {name} is {mine[name].value}, not {row[name]}")
        for name in ("pearson", "spearman"):
            draws = group.draws[mine[name].prediction, name]
            for ours, (theirs, share) in BOOT.items():
                value, other = getattr(mine[name], ours), row[f"{name}_{theirs}"]
                off, chance = abs(value - other), error_of_difference(draws, share)
                result["bootstrap_values"] += 1
                result["largest_bootstrap_difference"] = max(result["largest_bootstrap_difference"], off)
                if off > CLOSE:
                    beyond += 1
                    print(
                        f"{where}: {name} {ours} {value:.4f}, reference {other:.4f}; error of the "
                        f"difference {chance:.4f}"
                    )
                if off > max(CLOSE, 4 * chance):
                    raise SystemExit("that is more than 4 standard errors")
        result["rows"] += 1
    if not result["rows"]:
        raise SystemExit("the reference has no row for these tables")
    return {**result, "bootstrap_values_beyond_0.003": beyond}


def model_of(prediction: str) -> str:
    return prediction.removeprefix("delta_").removeprefix("complex_").removesuffix("_delta")


def error_of_difference(draws: np.ndarray, share: float | None) -> float:
    """Standard error of the difference between a quantile (None: the mean) of ours and one of REFERENCE_DRAWS
    draws: from the spacing of our draws around it, or from a normal with their SD where that is larger."""
    both = math.sqrt(1 / REFERENCE_DRAWS + 1 / len(draws))
    sd = float(draws.std(ddof=1))
    if share is None:
        return sd * both
    step = math.sqrt(share * (1 - share)) * both
    spacing = (
        float(np.quantile(draws, min(1.0, share + step)) - np.quantile(draws, max(0.0, share - step))) / 2
    )
    return max(spacing, sd * step / NORMAL.pdf(NORMAL.inv_cdf(share)))


def significance(found: dict[tuple[str, str, str, str], Group]) -> list[dict[str, object]]:
    """LegNet against each other model: difference of Pearson, both p-values."""
    shown: list[dict[str, object]] = []
    for (dataset, medium, subset, target), group in found.items():
        for c in group.comparisons:
            if c.metric == "pearson" and "legnet" in c.first and subset != "published_filtered":
                line = {"rows": f"{dataset} {medium} {subset} {target}", "pair": f"{c.first} - {c.second}"}
                test = {"test": c.method, "z": c.z, "p": c.p, "zou": [c.zou_low, c.zou_high]}
                shown.append({**line, "difference": c.difference, "boot_p": c.boot_p, **test})
    for line in shown:
        print(
            f"{line['rows']:32s} {line['pair']:44s} {line['difference']:+.4f}  p {line['boot_p']:.2g}  z "
            f"{line['z']:.1f}"
        )
    return shown


def draw(
    native: str,
    drift: str,
    per_model: str,
    truth: str,
    folder: Path,
    found: dict[tuple[str, str, str, str], Group],
) -> list[str]:
    """The figures; names of those that could be drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    shown: dict[str, tuple[Sequence[Panel] | Sequence[ViolinPanel], int]] = {
        "figure3AB": (native_scatters(native), 2),
        "figure3CD": (native_violins(native, PAPER), 2),
        "figure4": (effect_violins(found), 3),
        "figureS5": (native_violins(native, MODELS), 2),
        "effects_by_substitutions": (effect_scatters(drift), 3),
    }
    for name, (drawn, columns) in shown.items():
        for kind in FORMATS:
            if isinstance(drawn[0], ViolinPanel):
                draw_violins(cast("Sequence[ViolinPanel]", drawn), f"{folder}/{name}.{kind}", columns)
            else:
                draw_scatter(cast("Sequence[Panel]", drawn), f"{folder}/{name}.{kind}", columns)
    if not per_model:
        return list(shown)
    curve = evaluate(EvaluationOptions([per_model], [truth], ["score"], curve=True, bootstrap=0)).curve
    for kind in FORMATS:
        draw_curve(curve, f"{folder}/figureS7.{kind}")
    return [*shown, "figureS7"]


def native_scatters(native: str) -> list[Panel]:
    """Predicted against measured native promoters: defined medium above, complex below."""
    return [
        Panel(f"{NAMES[p.title]}, {medium}", p.x_name, NAMES[p.title], p.x_N, p.y_N)
        for medium in MEDIA
        for p in panels(EvaluationOptions([native], ["measured"], PAPER, where=[("medium", medium)]))[0]
    ]


def native_violins(native: str, models: Sequence[str]) -> list[ViolinPanel]:
    """Pearson and Spearman of native promoters, on the rows that all the models have; media for which one of
    them has no predictions are left out."""
    found = []
    for medium in MEDIA:
        there = [
            name
            for name in models
            if pl.read_parquet(native, columns=["medium", name]).filter(medium=medium)[name].count()
        ]
        if len(there) < len(models):
            continue
        wanted = EvaluationOptions([native], ["measured"], there, where=[("medium", medium)])
        group = evaluate(wanted).groups[0]
        found += [violin_panel(group, metric, f"native, {medium}", NAMES) for metric in CORRELATIONS]
    return found


def effect_violins(found: dict[tuple[str, str, str, str], Group]) -> list[ViolinPanel]:
    """Pearson and Spearman of effects of 1 to 3 substitutions: a row for each medium and metric."""
    names = {f"delta_{name}": NAMES[name] for name in PAPER}
    return [
        violin_panel(group, metric, f"{substituted(k)}, {medium}", names)
        for medium in MEDIA
        for metric in CORRELATIONS
        for k in (1, 2, 3)
        for group in [found["drift", medium, f"n_mut={k}", "delta"]]
    ]


def effect_scatters(drift: str) -> list[Panel]:
    """Predicted against measured effects, by number of substitutions."""
    return [
        Panel(f"{substituted(k)}, {medium}", "measured effect", "LegNet's", p.x_N, p.y_N)
        for medium in MEDIA
        for k in (1, 2, 3)
        for p in panels(
            EvaluationOptions(
                [drift], ["delta_measured"], ["delta_legnet"], where=[("medium", medium), ("n_mut", str(k))]
            )
        )[0]
    ]


def substituted(k: int) -> str:
    return f"{k} substitution{'s' * (k > 1)}"


if __name__ == "__main__":
    main()

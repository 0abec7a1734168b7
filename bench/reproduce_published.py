"""Do we find the published comparisons, with published predictions? And can they be drawn again?

Runs `legscore evaluate` over the published predictions: levels of native (and random) promoters by medium,
all and the paper's filtered subset; levels and effects of drifting promoters, effects by 1 to 3
substitutions; effects of native single-base variants. Pearson, Spearman and RMSE must equal the reference
table to 1e-6, or the script ends. Bootstrap means and 95 % limits should lie within 0.003 of the reference's
own bootstrap; that one had 1,000 draws, whose limits have a standard error of 0.001 to 0.002 for a thousand
rows, so the script ends only where a difference is also beyond 4 such errors, and counts those beyond 0.003.
With --out it draws Figures 3 (hexagons), 4 (bootstrap violins with significance), S5 (effects by
substitutions) and S7 (ensemble curve, from a file of `run --per-model` with the measured column) of the
LegNet paper, each as PNG and SVG.

    python bench/reproduce_published.py --native native.parquet --drift drift.parquet --random random.parquet
        --snv native_variants.parquet --reference correlations.csv [--per-model scores.parquet] [--out
        figures/] [--save]
"""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
from machine import arguments, finish

from legscore.evaluate.compare import Group
from legscore.evaluate.evaluation import EvaluationOptions, evaluate, panels
from legscore.evaluate.figures.ensemble_size import draw_curve
from legscore.evaluate.figures.scatter import Panel, draw_scatter
from legscore.evaluate.figures.violins import ViolinPanel, draw_violins

MODELS = ("legnet", "transformer", "danq", "deepsea", "deepatt")
ALL_MODELS = (*MODELS, "convolutional", "biochemical")
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
    scatters: list[Panel] = []
    for medium in ("complex", "defined"):
        there = [
            m
            for m in MODELS
            if pl.read_parquet(native, columns=["medium", m]).filter(medium=medium)[m].count()
        ]
        some, _ = panels(EvaluationOptions([native], ["measured"], there, where=[("medium", medium)]))
        scatters += [Panel(f"{p.title}, {medium}", p.x_name, p.y_name, p.x_N, p.y_N) for p in some]
    levels = [
        violins(found["native", medium, "all", "expression"], f"native, {medium}", metric, "")
        for medium in ("complex", "defined")
        for metric in ("pearson", "spearman")
    ]
    effects = [
        violins(
            found["drift", medium, f"n_mut={k}", "delta"],
            f"{k} substitution{'s' * (k > 1)}, {medium}",
            "pearson",
            "delta_",
        )
        for medium in ("complex", "defined")
        for k in (1, 2, 3)
    ]
    shifts: list[Panel] = []
    for medium in ("complex", "defined"):
        for k in (1, 2, 3):
            wanted = EvaluationOptions(
                [drift], ["delta_measured"], ["delta_legnet"], where=[("medium", medium), ("n_mut", str(k))]
            )
            shifts += [
                Panel(f"{k} substitution{'s' * (k > 1)}, {medium}", p.x_name, p.y_name, p.x_N, p.y_N)
                for p in panels(wanted)[0]
            ]
    names = ["figure3", "figure4", "figure4_effects", "figureS5"]
    for kind in FORMATS:
        draw_scatter(scatters, f"{folder}/figure3.{kind}", 5)
        draw_violins(levels, f"{folder}/figure4.{kind}", 4)
        draw_violins(effects, f"{folder}/figure4_effects.{kind}", 3)
        draw_scatter(shifts, f"{folder}/figureS5.{kind}", 3)
    if per_model:
        curve = evaluate(EvaluationOptions([per_model], [truth], ["score"], curve=True, bootstrap=0)).curve
        for kind in FORMATS:
            draw_curve(curve, f"{folder}/figureS7.{kind}")
        names.append("figureS7")
    return names


def violins(group: Group, title: str, metric: str, prefix: str) -> ViolinPanel:
    """The panel of one group: published models that it has, best first, and the bootstrap's p of
    neighbours."""
    values = {
        m.prediction: m.value
        for m in group.metrics
        if m.metric == metric and m.prediction.removeprefix(prefix) in MODELS
    }
    order = sorted((name for name in values if not math.isnan(values[name])), key=lambda name: -values[name])
    p = {frozenset((c.first, c.second)): c.boot_p for c in group.comparisons if c.metric == metric}
    tests = {
        (one.removeprefix(prefix), other.removeprefix(prefix)): p[frozenset((one, other))]
        for one, other in itertools.pairwise(order)
    }
    return ViolinPanel(
        title, metric, {name.removeprefix(prefix): group.draws[name, metric] for name in order}, tests
    )


if __name__ == "__main__":
    main()

"""Fit a calibration of effects and measure its coverage on promoters that it has not seen.

Split-conformal prediction (Vovk et al. 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116): half of the
clusters (promoters) give the line through 0 and the floor, the other half the quantile of |measured − slope ×
effect| / (SD + floor), at place ⌈(n + 1) × coverage⌉. The floor is the one that makes the errors of the first
half likeliest (Laplace): a large one means that the SD over members says little about the error. Coverage is
then measured with whole clusters held out, ten folds, each with a calibration made without it. Rows of a
promoter depend on each other, so coverage holds on average over promoters, not in each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.dna.contract import Contract
from legscore.errors import InputError, ModelError
from legscore.evaluate.bootstrap import Resampling, resample, spread
from legscore.evaluate.options import EvaluationOptions
from legscore.evaluate.tables import Tables
from legscore.evaluate.values import numbers
from legscore.run.calibration import SETTINGS, Calibration

FOLDS = 10
FLOORS = 2.0 ** np.arange(-6, 9)
"""Floors that are tried, in units of the median SD."""
LEAST_CLUSTERS = 4
DRAWS = 2000


@dataclass(frozen=True)
class Line:
    """What is fitted to the first half of the clusters: slope and floor."""

    slope: float
    floor: float


def fit_line(x: np.ndarray, y: np.ndarray, sd: np.ndarray | None) -> Line:
    """Least squares on rows and their mirror images (−x, −y), which is the line through 0; and the floor."""
    squares = float(x @ x)
    if not squares > 0:
        raise InputError("--calibrate: all predicted effects are 0")
    slope = float(x @ y) / squares
    error = np.abs(y - slope * x)
    if sd is None:
        return Line(slope, 1.0)
    unit = float(np.median(sd)) or float(sd.mean()) or 1.0
    costs = []
    for floor in unit * FLOORS:
        scale = sd + floor
        costs.append(float(np.log(scale).mean() + np.log((error / scale).mean() or 1e-300)))
    return Line(slope, unit * float(FLOORS[int(np.argmin(costs))]))


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The ⌈(n + 1) × coverage⌉-th smallest score; infinite where n is too small for the coverage."""
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.partition(scores, place - 1)[place - 1]) if place <= len(scores) else math.inf


def fit(
    x: np.ndarray,
    y: np.ndarray,
    sd: np.ndarray | None,
    halves: tuple[np.ndarray, np.ndarray],
    coverage: float,
) -> tuple[Line, float]:
    """Line from the rows of the first half, quantile from those of the second."""
    first, second = halves
    line = fit_line(x[first], y[first], None if sd is None else sd[first])
    scale = line.floor if sd is None else sd[second] + line.floor
    return line, conformal_quantile(np.abs(y[second] - line.slope * x[second]) / scale, coverage)


def _context_of(contract: Any) -> str | None:
    """What the scored windows were made of; None where the record's contract does not say, or another
    legscore wrote it in another way."""
    try:
        return Contract.from_json(contract).context
    except ModelError:
        return None


def calibrate(
    x_N: np.ndarray,
    y_N: np.ndarray,
    sd_N: np.ndarray | None,
    cluster_N: np.ndarray,
    metadata: Mapping[str, Any] | None,
    coverage: float,
    seed: int,
    about: Mapping[str, Any],
) -> Calibration:
    """The calibration of an ensemble, with its measured coverage in `fit`.

    Args:
        x_N, y_N: predicted and measured effects, float64 [rows], finite. sd_N: SD over members, None where
            there is none.
        cluster_N: number of each row's promoter, from 0.
        metadata: record of the run that made the scores. about: columns, for the reader.
    """
    models = [str(m.get("sha256")) for m in (metadata or {}).get("models", [])]
    if metadata is None or not models or "None" in models:
        raise InputError(
            "--calibrate: the predictions do not say which models made them; a calibration belongs to one "
            "ensemble. Use a file "
            "that legscore run wrote (Parquet, Arrow, or a table with its .run.json beside it)"
        )
    if (metadata.get("engine") or {}).get("engine") == "null":
        raise InputError("--calibrate: these scores are zeros of the null engine")
    n_clusters = int(cluster_N.max()) + 1
    if n_clusters < LEAST_CLUSTERS:
        raise InputError(
            f"--calibrate: {n_clusters} clusters are too few to hold any out; {LEAST_CLUSTERS} are the least"
        )
    rng = np.random.default_rng(seed)
    checked = _check(x_N, y_N, sd_N, cluster_N, n_clusters, coverage, rng, seed)
    halves = _halves(rng.permutation(n_clusters), cluster_N)
    line, quantile = fit(x_N, y_N, sd_N, halves, coverage)
    if not math.isfinite(quantile):
        raise InputError(
            f"--calibrate: {len(halves[1])} rows are too few for intervals of {coverage:.0%}; bring more or "
            "ask for less"
        )
    options = dict(metadata.get("options", {}))
    options["context"] = _context_of(metadata.get("contract"))
    return Calibration(
        tuple(models),
        {name: options.get(name) for name in SETTINGS},
        line.slope,
        quantile,
        line.floor,
        sd_N is not None,
        coverage,
        {
            **about,
            "rows": len(x_N),
            "clusters": n_clusters,
            "rows_of_line": len(halves[0]),
            "rows_of_quantile": len(halves[1]),
            "seed": seed,
            "held_out": checked,
        },
    )


def _halves(clusters: Sequence[int] | np.ndarray, cluster_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = len(clusters) // 2
    return np.flatnonzero(np.isin(cluster_N, clusters[:middle])), np.flatnonzero(
        np.isin(cluster_N, clusters[middle:])
    )


def _check(
    x: np.ndarray,
    y: np.ndarray,
    sd: np.ndarray | None,
    cluster: np.ndarray,
    n_clusters: int,
    coverage: float,
    rng: np.random.Generator,
    seed: int,
) -> dict[str, Any]:
    """Coverage and width on held-out clusters, over all, by fold, and by thirds of |effect| and of SD."""
    folds = np.array_split(rng.permutation(n_clusters), min(FOLDS, n_clusters // 2))
    inside, width = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for fold in folds:
        rest = rng.permutation(np.setdiff1d(np.arange(n_clusters), fold))
        line, quantile = fit(x, y, sd, _halves(rest, cluster), coverage)
        rows = np.isin(cluster, fold)
        half = quantile * (line.floor + (0.0 if sd is None else sd[rows]))
        inside[rows], width[rows] = np.abs(y[rows] - line.slope * x[rows]) <= half, 2 * half
    drawn = resample(
        lambda counts: (inside @ counts / counts.sum(axis=0))[None], len(x), Resampling(DRAWS, seed, cluster)
    )
    about = spread(drawn[0], 0.95)
    found: dict[str, Any] = {
        "folds": len(folds), "coverage": float(inside.mean()), "coverage_low": about.low,
        "coverage_high": about.high, "mean_width": float(width.mean()),
        "by_fold": [float(inside[np.isin(cluster, fold)].mean()) for fold in folds],
        "by_abs_effect": _thirds(np.abs(x), inside),
    }  # fmt: skip
    if sd is not None:
        found["by_sd"] = _thirds(sd, inside)
    return found


def _thirds(values: np.ndarray, inside: np.ndarray) -> list[float]:
    """Coverage in the lowest, middle and highest third of rows by a value."""
    return [float(inside[rows].mean()) for rows in np.array_split(np.argsort(values, kind="stable"), 3)]


def calibrate_columns(options: EvaluationOptions, coverage: float) -> Calibration:
    """Read what --calibrate needs from the files of an evaluation and fit. InputError for more than one truth
    or prediction."""
    if len(options.predictions) != 1 or len(options.truths) != 1:
        raise InputError(
            "--calibrate fits one prediction to one truth; give one --truth and one --prediction"
        )
    truth, prediction = options.truths[0], options.predictions[0]
    tables = Tables(options.paths, options.keys)
    sd = f"{prediction}_sd" if tables.has(f"{prediction}_sd") else None
    names = {truth: "--truth", prediction: "--prediction"} | ({sd: "--calibrate"} if sd else {})
    names |= {options.cluster: "--cluster"} if options.cluster else {}
    selection = tables.select(names, options.where)
    columns = {
        name: numbers(selection.frame[name], names[name], name)
        for name in (truth, prediction, *([sd] if sd else []))
    }
    if sd and not np.isfinite(columns[sd]).any():
        sd = None  # one member
    keep = np.isfinite(columns[truth]) & np.isfinite(columns[prediction])
    if sd:
        keep &= np.isfinite(columns[sd])
    clusters = np.arange(len(keep))
    if options.cluster:
        keep &= selection.frame[options.cluster].is_not_null().to_numpy()
        clusters = selection.frame[options.cluster].rank("dense").fill_null(0).to_numpy().astype(np.intp)
    if not keep.any():
        raise InputError("--calibrate: no row has a truth, a prediction and its SD")
    table, _ = tables.find(prediction, "--prediction")
    about = {"truth": truth, "prediction": prediction, "sd": sd, "cluster": options.cluster}
    _, dense = np.unique(clusters[keep], return_inverse=True)
    return calibrate(
        columns[prediction][keep],
        columns[truth][keep],
        columns[sd][keep] if sd else None,
        dense,
        table.metadata(),
        coverage,
        options.seed,
        about,
    )

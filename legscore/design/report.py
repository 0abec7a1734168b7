"""What came of a set of designs: pictures and numbers from the table alone (`target score insert`, and `check_score`,
`nearest_distance` where they are), so that any file of designs can be reported on. Needs `legscore[report]`.

- `hexbin.png`: target against score, as in the paper's Figure 2, and beside it the score by other models where there is one.
- `error_by_target.png`: score − target by target, with what random sequences give.
- `diversity.png`: Hamming distance from each design to its nearest other design, and to its nearest training sequence.
- `report.json`: agreement, and error by target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.design import hamming
from legscore.publish import publishing, writing
from legscore.sequences import encode_text

MOST_BINS = 12
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


def error_by_target(table: pa.Table, random: np.ndarray | None = None) -> list[dict[str, float]]:
    """Rows of at most MOST_BINS equal stretches of the targets: number, mean score, mean error, mean |error|, and that of random
    sequences."""
    target, score = (table[name].to_numpy().astype(np.float64) for name in ("target", "score"))
    values = np.unique(target)
    edges = np.linspace(values[0], values[-1], min(MOST_BINS, len(values)) + 1)
    place = np.clip(np.searchsorted(edges, target, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for i in np.unique(place):
        here = place == i
        row = {
            "target_low": float(edges[i]), "target_high": float(edges[i + 1]), "n": int(here.sum()),
            "target": float(target[here].mean()), "score": float(score[here].mean()),
            "error": float((score - target)[here].mean()), "mae": float(np.abs(score - target)[here].mean()),
        }  # fmt: skip
        if random is not None:
            row["random_mae"] = float(np.abs(random.astype(np.float64)[None, :] - target[here][:, None]).mean())
        rows.append(row)
    return rows


def write_report(table: pa.Table, folder: Path, agreement: Mapping[str, Any], random: np.ndarray | None = None) -> list[Path]:
    """Write pictures and report.json into an existing folder; returns the files."""
    codes = np.stack([encode_text(text) for text in table["insert"].to_pylist()])
    neighbours = hamming.nearest(codes, codes, same=True)[1] if len(codes) > 1 else np.empty(0, np.int64)
    trained = "nearest_distance" in table.column_names
    numbers = {
        "agreement": dict(agreement),
        "by_target": error_by_target(table, random),
        "nearest_design": _quantiles(neighbours),
        "nearest_training": _quantiles(table["nearest_distance"].to_numpy()) if trained else None,
        "gc": _quantiles(np.isin(codes, (1, 2)).mean(axis=1)),
    }
    files = [
        _hexbin(table, folder, agreement),
        _errors(table, folder, random),
        _diversity(table, folder, neighbours, codes.shape[1]),
    ]
    target = folder / "report.json"
    with publishing(target) as temporary, writing(target):
        temporary.write_text(json.dumps(numbers, indent=1) + "\n")
    return [*files, target]


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        name: float(np.quantile(values, q)) for name, q in (("min", 0), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("max", 1))
    }


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Any, path: Path) -> Path:
    with publishing(path) as temporary, writing(path):
        figure.savefig(temporary, format="png")
    return path


def _hexbin(table: pa.Table, folder: Path, agreement: Mapping[str, Any]) -> Path:
    panels = [("score", "score", "")]
    if "check_score" in table.column_names:
        panels.append(("check_score", "score by models that took no part", "check_"))
    figure, axes = _figure(4.6 * len(panels), 4.2, len(panels))
    target = table["target"].to_numpy()
    values = [table[name].to_numpy() for name, _, _ in panels]
    low, high = (float(f([target.min() if f is min else target.max(), *(f(v) for v in values)])) for f in (min, max))
    for axis, (_, label, prefix), score in zip(axes, panels, values, strict=True):
        drawn = axis.hexbin(target, score, gridsize=24, extent=(low, high, low, high), cmap="viridis", mincnt=1, linewidths=0.2)
        axis.plot([low, high], [low, high], color="0.4", linewidth=0.8, linestyle="--")
        pearson, spearman = agreement.get(f"{prefix}pearson"), agreement.get(f"{prefix}spearman")
        if pearson is not None and spearman is not None:
            axis.set_title(f"Pearson {pearson:.3f}, Spearman {spearman:.3f}, n = {len(target):,}", fontsize=9)
        axis.set_xlabel("target")
        axis.set_ylabel(label)
        figure.colorbar(drawn, ax=axis, label="designs")
    return _save(figure, folder / "hexbin.png")


def _errors(table: pa.Table, folder: Path, random: np.ndarray | None) -> Path:
    rows = error_by_target(table, random)
    figure, (axis,) = _figure(5.2, 3.8)
    error = table["score"].to_numpy() - table["target"].to_numpy()
    axis.scatter(table["target"].to_numpy(), error, s=6, color="0.65", linewidths=0, label="designs")
    middle = [row["target"] for row in rows]
    axis.plot(middle, [row["error"] for row in rows], color="tab:blue", marker="o", markersize=3, label="mean error")
    axis.plot(middle, [row["mae"] for row in rows], color="tab:orange", marker="o", markersize=3, label="mean |error|")
    if random is not None:
        axis.plot(
            middle, [row["random_mae"] for row in rows], color="tab:red", linestyle="--", label="mean |error| of random sequences"
        )
    axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set_xlabel("target")
    axis.set_ylabel("score − target")
    axis.legend(fontsize=7)
    return _save(figure, folder / "error_by_target.png")


def _diversity(table: pa.Table, folder: Path, neighbours: np.ndarray, length: int) -> Path:
    figure, (axis,) = _figure(5.2, 3.6)
    edges = np.arange(length + 2) - 0.5
    if len(neighbours):
        axis.hist(neighbours, bins=edges, color="tab:blue", alpha=0.6, label="nearest other design")
    if "nearest_distance" in table.column_names:
        axis.hist(
            table["nearest_distance"].to_numpy(), bins=edges, color="tab:orange", alpha=0.6, label="nearest training sequence"
        )
    axis.set_xlim(0, length)
    axis.set_xlabel(f"Hamming distance (of {length} bases)")
    axis.set_ylabel("designs")
    axis.legend(fontsize=8)
    return _save(figure, folder / "diversity.png")

"""Results of an evaluation in files: everything as JSON, one long CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legscore.evaluate.changes import MEANING
from legscore.evaluate.compare import ASSUMES, Group
from legscore.evaluate.evaluation import Evaluation
from legscore.evaluate.options import EvaluationOptions
from legscore.run.calibration import Calibration
from legscore.system.publish import publishing, writing
from legscore.version import __version__

CSV_COLUMNS = (
    "section", "group", "truth", "prediction", "other", "metric", "k", "n", "value", "low", "high",
    "boot_mean", "boot_sd", "z", "p", "boot_p", "zou_low", "zou_high", "method", "shares", "note",
)  # fmt: skip


def write_json(
    path: Path, found: Evaluation, options: EvaluationOptions, calibration: Calibration | None = None
) -> None:
    """Everything, with options, as JSON (no NaN: null)."""
    held: dict[str, Any] = {
        "legscore": __version__,
        "options": asdict(options),
        "rows": found.selection.rows,
        "dropped": dict(found.selection.dropped),
        "notes": [*found.selection.notes, *found.notes],
        "resampling": found.resampling,
        "assumes": ASSUMES,
        "meaning": {**MEANING, "spread": ("sample SD over subsets of members, which overlap: no "
                                         "standard error")},
        "noise": {truth: asdict(noise) for truth, noise in found.noise.items()},
        "groups": [
            {
                "name": g.name, "n": g.n, "n_clusters": g.n_clusters, "n_beyond": g.n_beyond,
                "dropped": g.dropped, "notes": g.notes, "metrics": [asdict(m) for m in g.metrics],
                "comparisons": [asdict(c) for c in g.comparisons],
            }
            for g in found.groups
        ],
        "classes": [asdict(c) for c in found.classes],
        "ensemble_curve": [asdict(p) for p in found.curve],
    }  # fmt: skip
    if calibration:
        held["calibration"] = asdict(calibration)
    with publishing(path) as temporary, writing(path):
        # a file name that is no UTF-8 is spelt \\udc80, which JSON reads back
        temporary.write_text(
            json.dumps(_plain(held), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
            encoding="utf-8",
            errors="backslashreplace",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_csv(path: Path, found: Evaluation) -> None:
    """One row per statistic, comparison, class and point of the curve; what does not apply is empty."""
    with (
        publishing(path) as temporary,
        writing(path),
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        out = csv.DictWriter(stream, CSV_COLUMNS, restval="")
        out.writeheader()
        for row in statistics_of(found):
            out.writerow(
                {name: "" if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}
            )


def statistics_of(found: Evaluation) -> Iterator[dict[str, Any]]:
    """Every statistic, comparison, class and point of the curve, as {column: value}."""
    for group in found.groups:
        yield from _group_rows(group)
    for group in found.groups:
        if group.n_beyond is not None:
            share = group.n_beyond / group.n
            yield {"section": "beyond", "group": group.name, "metric": "share", "n": group.n, "value": share}
    for truth, noise in found.noise.items():
        for name in ("sd", "threshold", "replicate_r", "reliability", "ceiling"):
            yield {
                "section": "noise",
                "truth": truth,
                "metric": name,
                "n": noise.n,
                "value": getattr(noise, name),
                "note": noise.reason,
            }
    for s in found.classes:
        for name in ("pearson", "spearman"):
            yield {
                "section": "class",
                "group": s.name,
                "prediction": s.prediction,
                "metric": name,
                "n": s.n,
                "value": getattr(s, name),
                "note": s.reason,
            }
    for p in found.curve:
        yield {
            "section": "ensemble_curve",
            "group": p.group,
            "truth": p.truth,
            "prediction": p.prediction,
            "metric": p.metric,
            "k": p.k,
            "n": p.subsets,
            "value": p.mean,
            "low": p.low,
            "high": p.high,
            "note": f"first k: {p.first!r}; spread: {p.spread!r}",
        }


def _group_rows(group: Group) -> Iterator[dict[str, Any]]:
    for m in group.metrics:
        yield {
            "section": "metric",
            "group": group.name,
            "truth": m.truth,
            "prediction": m.prediction,
            "metric": m.metric,
            "n": m.n,
            "value": m.value,
            "low": m.low,
            "high": m.high,
            "boot_mean": m.boot_mean,
            "boot_sd": m.boot_sd,
            "note": m.reason,
        }
    for c in group.comparisons:
        yield {
            "section": "comparison",
            "group": group.name,
            "prediction": c.first,
            "other": c.second,
            "metric": c.metric,
            "n": c.n,
            "value": c.difference,
            "low": c.boot_low,
            "high": c.boot_high,
            "z": c.z,
            "p": c.p,
            "boot_p": c.boot_p,
            "zou_low": c.zou_low,
            "zou_high": c.zou_high,
            "method": c.method,
            "shares": c.shares,
            "note": c.reason,
        }

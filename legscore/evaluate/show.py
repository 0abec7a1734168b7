"""Results of an evaluation as lines for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from legscore.evaluate.changes import CHANGE_METRICS
from legscore.evaluate.compare import ASSUMES, Comparison, Group, Metric
from legscore.evaluate.correlation import METRICS
from legscore.evaluate.evaluation import Evaluation
from legscore.evaluate.options import EvaluationOptions
from legscore.run.calibration import Calibration

HEADS = {
    "pearson": "Pearson", "spearman": "Spearman", "rmse": "RMSE", "mae": "MAE", "sign_agreement": "sign",
    "sign_agreement_all": "sign, all", "auroc": "AUROC", "auprc": "AUPRC", "auroc_up": "AUROC up",
    "auroc_down": "AUROC down",
}  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of columns as wide as they need; the first is on the left, others on the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def lines(
    found: Evaluation, options: EvaluationOptions, calibration: Calibration | None = None
) -> Iterator[str]:
    """What the terminal shows."""
    yield f"rows: {found.selection.summary()}"
    yield from (f"note: {note}" for note in (*found.selection.notes, *found.notes))
    if options.bootstrap:
        yield (
            f"intervals: {options.confidence:.0%} percentile bootstrap, {found.resampling}, the same for "
            "all predictions"
        )
    for truth, noise in found.noise.items():
        text = (
            f"noise of {truth}: SD {noise.sd:.4g} ({noise.source}); a change is beyond ±{noise.threshold:.4g}"
        )
        if not math.isnan(noise.replicate_r):
            text += f"; replicates correlate {noise.replicate_r:.4f} ({noise.n:,} rows)"
            text += f", noise ceiling for Pearson {noise.ceiling:.4f}"
        yield text + (f"; {noise.reason}" if noise.reason else "")
    for group in found.groups:
        yield ""
        yield from _group(group, len(found.groups) > 1)
    if any(c.method for group in found.groups for c in group.comparisons):
        yield ""
        yield f"{ASSUMES}; p (boot) and its interval do not"
    yield from _classes(found)
    yield from _curve(found)
    if calibration:
        yield ""
        yield from calibration_lines(calibration)


def _group(group: Group, named: bool) -> Iterator[str]:
    dropped = "".join(f", {count:,} {reason}" for reason, count in group.dropped.items())
    clusters = f", {group.n_clusters:,} clusters" if group.n_clusters else ""
    yield f"{group.name if named else 'all'}: n = {group.n:,}{clusters}" + (
        f" (dropped{dropped[1:]})" if dropped else ""
    )
    yield from (f"note: {note}" for note in group.notes)
    for names in (METRICS, CHANGE_METRICS):
        shown = [m for m in group.metrics if m.metric in names]
        if not shown:
            continue
        several = len({m.truth for m in shown}) > 1
        labels = list(dict.fromkeys((m.truth, m.prediction) for m in shown))
        by = {(m.truth, m.prediction, m.metric): m for m in shown}
        rows = [["prediction", *(HEADS[name] for name in names)]]
        for truth, prediction in labels:
            label = f"{prediction} ~ {truth}" if several else prediction
            rows.append([label, *(_with_interval(by[truth, prediction, name]) for name in names)])
        yield from table(rows)
        yield from _reasons(shown)
        if names is CHANGE_METRICS and group.n_beyond is not None:
            share = group.n_beyond / group.n
            yield (
                f"  beyond the threshold: {group.n_beyond:,} of {group.n:,} rows; by chance AUPRC is "
                f"{share:.4f}, AUROC 0.5"
            )
    compared = [c for c in group.comparisons if c.method or c.metric == "rmse"]
    if compared:
        rows = [["first − second", "", "difference", "p (boot)", "z", "p (test)", "Zou interval"]]
        rows += [_comparison(c) for c in compared]
        yield from table(rows)
        methods: dict[str, None] = {}
        for c in compared:
            if c.method:
                methods[
                    f"test: {c.method}, "
                    + (f"the correlations share {c.shares}" if c.shares else "no variable in common")
                ] = None
        yield from methods
        yield from {
            f"  {c.first} − {c.second}, {HEADS[c.metric]}: {c.reason}": None for c in compared if c.reason
        }


def _reasons(shown: Sequence[Metric]) -> Iterator[str]:
    """Why there is no value, or not in every resample: each reason once, with all that it is about."""
    about: dict[str, list[Metric]] = {}
    for m in shown:
        if m.reason:
            about.setdefault(m.reason, []).append(m)
    for reason, metrics in about.items():
        heads, of = (
            list(dict.fromkeys(names))
            for names in ([HEADS[m.metric] for m in metrics], [m.prediction for m in metrics])
        )
        if len(heads) * len(of) == len(metrics):
            yield f"  {', '.join(heads)} of {', '.join(of)}: {reason}"
        else:
            yield from (f"  {HEADS[m.metric]} of {m.prediction}: {reason}" for m in metrics)


def _with_interval(m: Metric) -> str:
    if math.isnan(m.value):
        return "-"
    interval = "" if math.isnan(m.low) else f" [{m.low:.4f}, {m.high:.4f}]"
    return f"{m.value:.4f}{interval}"


def _comparison(c: Comparison) -> list[str]:
    interval = "" if math.isnan(c.boot_low) else f" [{c.boot_low:+.4f}, {c.boot_high:+.4f}]"
    zou = "" if math.isnan(c.zou_low) else f"[{c.zou_low:+.4f}, {c.zou_high:+.4f}]"
    return [
        f"{c.first} − {c.second}",
        HEADS[c.metric],
        f"{c.difference:+.4f}{interval}",
        _p(c.boot_p),
        _z(c.z),
        _p(c.p),
        zou,
    ]


def _p(p: float) -> str:
    return "-" if math.isnan(p) else "<1e-300" if p < 1e-300 else f"{p:.2g}" if p < 0.001 else f"{p:.4f}"


def _z(z: float) -> str:
    return "-" if math.isnan(z) else f"{z:.2f}"


def _classes(found: Evaluation) -> Iterator[str]:
    if not found.classes:
        return
    yield ""
    yield "by class; weighted score: Pearson Σ w r² / Σ w, Spearman Σ w ρ / Σ w"
    rows = [["prediction", "class", "weight", "n", "Pearson", "Spearman"]]
    rows += [
        [c.prediction, c.name, f"{c.weight:g}", f"{c.n:,}", f"{c.pearson:.4f}", f"{c.spearman:.4f}"]
        for c in found.classes
    ]
    yield from table(rows)
    yield from (f"  {c.prediction}, {c.name}: {c.reason}" for c in found.classes if c.reason)


def _curve(found: Evaluation) -> Iterator[str]:
    if not found.curve:
        return
    yield ""
    yield (
        "mean of k members: the first k, and random subsets of k (mean ± spread over subsets, which is no "
        "standard error)"
    )
    rows = [
        ["prediction", "group", "k", "subsets", "Pearson, first k", "subsets", "Spearman, first k", "subsets"]
    ]
    by = {(p.group, p.truth, p.prediction, p.k, p.metric): p for p in found.curve}
    for group, truth, prediction, k in dict.fromkeys(
        (p.group, p.truth, p.prediction, p.k) for p in found.curve
    ):
        row = [prediction, group, str(k), str(by[group, truth, prediction, k, "pearson"].subsets)]
        for name in ("pearson", "spearman"):
            point = by[group, truth, prediction, k, name]
            spread = "" if math.isnan(point.spread) else f" ± {point.spread:.4f}"
            row += [f"{point.first:.4f}", f"{point.mean:.4f}{spread}"]
        rows.append(row)
    yield from table(rows)


def calibration_lines(calibration: Calibration) -> Iterator[str]:
    """What a fitted calibration is and how well it covered held-out promoters."""
    checked = calibration.fit["held_out"]
    scale = (
        f"(SD + {calibration.floor:.4g})"
        if calibration.uses_sd
        else f"{calibration.floor:.4g} (no SD: one member)"
    )
    yield (
        f"calibration: {calibration.slope:.4f} × effect ± {calibration.quantile:.4f} × {scale}, for "
        f"{calibration.coverage:.0%}, "
        f"from {calibration.fit['rows']:,} rows of {calibration.fit['clusters']:,} clusters"
    )
    yield (
        f"coverage on held-out clusters: {checked['coverage']:.3f} "
        f"[{checked['coverage_low']:.3f}, {checked['coverage_high']:.3f}] "
        f"(folds {min(checked['by_fold']):.3f}-{max(checked['by_fold']):.3f}), mean width "
        f"{checked['mean_width']:.4g}"
    )
    if calibration.fit.get("cluster") is None:
        yield (
            "note: every row is a cluster of its own; where rows share a promoter give --cluster, or "
            "coverage looks too good"
        )
    for name, label in (("by_abs_effect", "|effect|"), ("by_sd", "SD")):
        if name in checked:
            yield f"coverage by thirds of {label}, low to high: " + ", ".join(
                f"{value:.3f}" for value in checked[name]
            )

"""Collect what the page shows of a file of scores: counts, histograms, the largest effects.

Nothing is sampled: every row is counted into bins, and lists of the largest say out of how many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from legscore.errors import InputError, listed, nearest
from legscore.evaluate.correlation import METRICS, metric
from legscore.evaluate.provenance import circumstances
from legscore.evaluate.saturation import TILE_COLUMNS, wanted_columns
from legscore.evaluate.tables import Table, Tables
from legscore.evaluate.values import numbers
from legscore.input.whole_table import is_plain
from legscore.system.entries import is_number

BINS, LEAST_BINS, GRID = 80, 10, 90
MOST_POINTS = 2000
"""Rows that are drawn as points; more are counted on a raster."""
TOP_ROWS = 1000
MOST, LEAST_SPAN = 1e30, 1e-12
NEAR_FLOOR = 0.25
"""Scores this close to the floor count as being there (in bins of the sorter)."""
LABELS = (
    "variant_id", "id", "gene_name", "gene", "gene_id", "promoter", "tile_id", "haplotype_id", "chrom", "pos",
    "ref", "alt", "strand", "start", "end", "offset", "ref_base", "alt_base", "n_carriers", "n_samples",
)  # fmt: skip
"""Columns that say which row it is."""
COUNTS = ("pos", "start", "end", "offset", "n_carriers", "n_samples")
"""Labels that are whole numbers, also in text files."""
FIRST_LABELS = LABELS[: LABELS.index("alt") + 1]
"""Those that stand before the values in the table of the largest."""
VERSIONS = ("openvino", "torch", "tensorrt", "cuda", "cpu", "gpu", "device")
"""Entries of an engine's description that say on what it ran."""
VALUES = (
    "score",
    "score_sd",
    "ref_score",
    "alt_score",
    "effect",
    "effect_sd",
    "effect_low",
    "effect_high",
    "p",
    "q",
    "n_count",
)


@dataclass
class Scores:
    """A file of scores in memory: only what the page needs.

    Attributes:
        main: `effect` or `score`. values: name → float64 [rows], NaN where null. labels: other columns as
            read, with `status`.
    """

    table: Table
    main: str
    frame: pl.DataFrame
    values: dict[str, np.ndarray]
    metadata: dict[str, Any] | None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frame)


def read_scores(path: str, truth: str | None, tile: str | None) -> Scores:
    """Read a file that `legscore run` wrote (or any with a column `effect` or `score`)."""
    tables = Tables([path])
    table = tables.all[0]
    names = table.columns
    main = next((name for name in ("effect", "score") if name in names), None)
    if main is None:
        raise InputError(
            f"{table.name} has neither effect nor score{nearest('score', names)}; "
            f"it has {listed('score', names)}"
        )
    for option, column in (("--truth", truth), ("--tile-column", tile)):
        if column and column not in names:
            raise InputError(
                f"{option} {column}: {table.name} has no such column{nearest(column, names)}; there are "
                f"{listed(column, names)}"
            )
    numeric = [name for name in dict.fromkeys([*VALUES, *([truth] if truth else [])]) if name in names]
    wanted = dict.fromkeys(
        [*LABELS, *TILE_COLUMNS, *wanted_columns(names), "status", *([tile] if tile else [])]
    )
    kinds = table.opened.schema
    if tile and not is_plain(kinds.field(tile).type):
        raise InputError(
            f"--tile-column {tile}: the column holds {kinds.field(tile).type}; it must hold names"
        )
    texts = [
        name for name in wanted if name in names and name not in numeric and is_plain(kinds.field(name).type)
    ]
    read = table.read([*numeric, *texts])
    columns: dict[str, pl.Series] = {}
    for name in read.column_names:
        columns[name] = pl.from_arrow(read.select([name])).to_series()  # type: ignore[union-attr]
        if columns[name].dtype == pl.Categorical:
            columns[name] = columns[name].cast(pl.String)
    values = {
        name: numbers(columns[name], "--truth" if name == truth else "column", name) for name in numeric
    }
    if not len(read):
        raise InputError(f"{table.name} has no rows")
    for name, found in values.items():
        largest = float(np.abs(found[np.isfinite(found)]).max(initial=0.0))
        if largest > MOST:
            raise InputError(f"{table.name}: column {name!r} holds {largest:.3g}; no score is above {MOST:g}")
    if not np.isfinite(values[main]).any():
        raise InputError(f"{table.name}: no row has a value of {main}")
    frame = (
        pl.DataFrame({name: columns[name] for name in texts})
        if texts
        else pl.DataFrame({"row": range(len(read))})
    )
    return Scores(table, main, frame, values, table.metadata())


def status_counts(scores: Scores) -> list[tuple[str, int]]:
    """Rows by status, most first; without a status column by whether there is a value."""
    if "status" in scores.frame.columns:
        counts = scores.frame["status"].cast(pl.String).fill_null("(null)").value_counts(sort=True)
        return [(str(name), int(n)) for name, n in counts.iter_rows()]
    known = int(np.isfinite(scores.values[scores.main]).sum())
    return [("with a value", known), ("without", len(scores) - known)]


def histogram(values: np.ndarray) -> dict[str, Any] | None:
    """Counts in bins between the extremes, BINS and fewer for few rows; None where nothing is finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = _span(known)
    bins = int(np.clip(2 * math.sqrt(len(known)), LEAST_BINS, BINS))
    counts, _ = np.histogram(known, bins, (low, high))
    return {
        "low": low,
        "high": high,
        "counts": counts.tolist(),
        "n": len(known),
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def _span(values: np.ndarray) -> tuple[float, float]:
    """The extremes of finite values; apart by 1 where they are too near each other to be cut into bins."""
    low, high = float(values.min()), float(values.max())
    if high - low <= LEAST_SPAN * max(1.0, abs(low), abs(high)):
        return low - 0.5, high + 0.5
    return low, high


def density(x: np.ndarray, y: np.ndarray) -> dict[str, Any] | None:
    """Up to MOST_POINTS rows as points, with their row numbers from 1; more counted on a raster, GRID cells a
    side. None where no row has both values."""
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return None
    row, x, y = np.flatnonzero(both) + 1, x[both], y[both]
    sides = [_span(x), _span(y)]
    found: dict[str, Any] = {"x": sides[0], "y": sides[1], "n": len(x)}
    if len(x) <= MOST_POINTS:
        at = {name: [float(f"{v:.6g}") for v in values.tolist()] for name, values in (("x", x), ("y", y))}
        return {**found, "points": {**at, "row": row.tolist()}}
    counts, _, _ = np.histogram2d(x, y, GRID, sides)
    return {**found, "counts": counts.T.astype(int).tolist()}


def floor(scores: Scores) -> dict[str, Any]:
    """The level below which predictions do not go, and how many scores are near it."""
    names = [name for name in ("score", "ref_score", "alt_score") if name in scores.values]
    contract = (scores.metadata or {}).get("contract") or {}
    named = (contract.get("output") or {}).get("floor")
    known = [scores.values[name][np.isfinite(scores.values[name])] for name in names]
    every = np.concatenate(known) if known else np.zeros(0)
    if not len(every):
        return {"known": False}
    level = float(every.min()) if named is None else float(named)
    near = every <= level + NEAR_FLOOR
    found = {
        "known": True,
        "named": named is not None,
        "level": level,
        "near": int(near.sum()),
        "of": len(every),
    }
    if "ref_score" in names and scores.main == "effect":
        weak = scores.values["ref_score"] <= level + NEAR_FLOOR
        effects = scores.values["effect"][weak]
        effects = effects[np.isfinite(effects)]
        found |= {"weak_rows": len(effects), "weak_losing": int((effects < 0).sum())}
    return {**found, "within": NEAR_FLOOR}


def top(scores: Scores, truth: str | None) -> dict[str, Any]:
    """The TOP_ROWS rows with the largest magnitude of the main value: column names, kinds and rows as they
    are shown."""
    main = scores.values[scores.main]
    size = np.where(np.isfinite(main), np.abs(main), -1.0)
    n = int((size >= 0).sum())
    count = min(TOP_ROWS, n)
    chosen = np.argpartition(-size, count - 1)[:count] if count else np.zeros(0, dtype=np.intp)
    chosen = chosen[np.lexsort((chosen, -size[chosen]))]
    columns: list[dict[str, Any]] = [{"name": "row", "number": True}]
    data: list[list[Any]] = [(chosen + 1).tolist()]

    def add_labels(names: Iterable[str]) -> None:
        for name in names:
            if name in scores.frame.columns:
                held = scores.frame[name].gather(chosen)
                if held.null_count() == len(held):
                    continue
                if name in COUNTS and held.dtype == pl.String:
                    whole = held.cast(pl.Int64, strict=False)
                    held = whole if whole.null_count() == held.is_in([""]).fill_null(True).sum() else held
                number = held.dtype.is_numeric()
                columns.append({"name": name, "number": number})
                if number and not held.dtype.is_integer():
                    held = held.cast(pl.Float64)
                    held = held.set(~held.is_finite(), None)  # JSON has neither NaN nor infinity
                data.append(held.to_list() if number else held.cast(pl.String).to_list())

    add_labels(FIRST_LABELS)
    order = [scores.main, *([truth] if truth else [])]
    # the main value's SD and limits first
    order += sorted(VALUES, key=lambda name: not name.startswith(scores.main))
    for name in dict.fromkeys(order):
        if name in scores.values and name != "n_count":
            columns.append({"name": name, "number": True})
            data.append(
                [round(v, 5) if math.isfinite(v) else None for v in scores.values[name][chosen].tolist()]
            )
    add_labels(name for name in LABELS if name not in FIRST_LABELS)
    return {
        "columns": columns,
        "rows": [list(row) for row in zip(*data, strict=True)],
        "of": n,
        "by": scores.main,
    }


def against_truth(scores: Scores, truth: str) -> dict[str, Any]:
    """Measured against predicted: raster and metrics. InputError when no row has both."""
    x, y = scores.values[truth], scores.values[scores.main]
    raster = density(x, y)
    if raster is None:
        raise InputError(f"--truth {truth}: no row has both {truth} and {scores.main}")
    both = np.isfinite(x) & np.isfinite(y)
    found = {name: metric(name, x[both], y[both]) for name in METRICS}
    metrics = {
        name: {"value": None if math.isnan(f.value) else f.value, "reason": f.reason}
        for name, f in found.items()
    }
    return {"truth": truth, "prediction": scores.main, "raster": raster, "metrics": metrics}


def run_facts(scores: Scores, given: str) -> list[tuple[str, str]]:
    """What was run, as pairs of label and text. `given`: what the user calls the scores."""
    record, made = scores.metadata, circumstances(scores.table.opened, given)
    if record is None:
        return [
            *made,
            (
                "record",
                "this file does not say which models made it (written by something else, or a table without "
                "its .run.json)",
            ),
        ]
    options = record.get("options") or {}
    output = (record.get("contract") or {}).get("output") or {}
    facts = [("legscore", _shown(record.get("legscore"))), ("score", _shown(output.get("unit")))]
    facts += [(f"model {i}", _model(model)) for i, model in enumerate(record.get("models") or [], start=1)]
    if cascade := record.get("cascade"):
        which = f"the models scored {_shown(cascade.get('rescore'))} again"
        facts.append(("student", f"{_model(cascade.get('student') or {})}; it scored every row, {which}"))
    facts += _engine(record.get("engine") or {}, record.get("fidelity") or {})
    rows = f"{_shown(options.get('kind'))}s, sequences read as {_shown(options.get('sequence_is'))}"
    facts += [("rows are", rows), ("strands", _shown(options.get("rc")))]
    if calibration := record.get("calibration"):
        about = f"intervals for {calibration.get('coverage') or 0:.0%}"
        facts.append(("calibration", f"{about}, sha256 {_shown(calibration.get('sha256'))[:16]}…"))
    if variants := record.get("variants"):
        told = (f"{k}={v}" for k, v in variants.items() if isinstance(v, str | int | float | bool))
        facts.append(("variants", ", ".join(told)))
    return [*facts, *made]


def _model(model: dict[str, Any]) -> str:
    training = model.get("training") or {}
    pearson = (training.get("metrics") or {}).get("pearson")
    about = [f"sha256 {_shown(model.get('sha256'))[:16]}…"]
    about += [f"{training['preset']}, seed {training.get('seed')}"] if training.get("preset") else []
    about += [f"validation Pearson {pearson:.4f}"] if is_number(pearson) else []
    return f"{_shown(model.get('name'))} ({'; '.join(about)})"


def _engine(engine: dict[str, Any], fidelity: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("engine", f"{_shown(engine.get('engine'))}, precision {_shown(engine.get('precision'))}")]
    if versions := [f"{name} {engine[name]}" for name in VERSIONS if engine.get(name)]:
        facts.append(("on", "; ".join(versions)))
    if engine.get("warning"):
        facts.append(("warning", str(engine["warning"])))
    if fidelity:
        values = (f"{k.replace('_', ' ')} {v:.6g}" for k, v in fidelity.items() if is_number(v))
        facts.append(("fidelity", f"against {_shown(fidelity.get('reference'))}: {', '.join(values)}"))
    return facts


def _shown(value: object) -> str:
    return "?" if value is None else str(value)

"""The page on a set of designs: one HTML file with its pictures, without scripts and without a way to the
network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.system.entries import is_number
from legscore.version import __version__

MOST_ROWS = 500
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
STYLE = """
:root{--paper:#fff;--card:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de}
@media (prefers-color-scheme:dark){
:root{--paper:#0f1419;--card:#161c23;--ink:#e6edf3;--soft:#9aa6b2;--line:#313a44}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:18px}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 4px}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:14px 0}
p{margin:4px 0 8px;color:var(--soft);max-width:90ch}
img{display:block;max-width:100%;height:auto;background:#fff;border-radius:6px;padding:6px;margin:8px 0}
.wide{overflow-x:auto;max-height:32em}
table{border-collapse:collapse;font-size:13px;margin:8px 0}
th,td{padding:3px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{position:sticky;top:0;background:var(--card)}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
td.dna{font-family:ui-monospace,monospace;font-size:12px}
.facts td{white-space:normal;overflow-wrap:anywhere}
.facts th{vertical-align:top}
.picture{overflow-x:auto}
@media (max-width:600px){main{padding:8px}section{padding:10px}img{max-width:none;width:max(100%,430px)}}
"""
SHOWN = {
    "row": "row", "insert": "insert", "target": "target", "score": "score", "score_sd": "SD",
    "error": "error", "check_score": "check score", "check_sd": "check SD", "nearest_distance": "to training",
    "nearest_training": "nearest", "start_id": "start", "n_edits": "edits", "seed": "seed",
}  # fmt: skip
"""Columns of the table of designs, and their headings."""


def render(
    table: pa.Table,
    numbers: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    record: Mapping[str, Any],
    name: str,
) -> str:
    """The page as text.

    Args:
        numbers: `agreement`, `by_target`, `nearest_design`, `nearest_training`, `gc`
            (`legscore.design.report`).
        pictures: PNG bytes: `hexbin`, `error_by_target`, `diversity`.
        record: of the run that made the designs, or empty.
    """
    sections = [
        _section("What was made", _facts(facts(record))),
        _section(
            "Target and score",
            _agreement(numbers["agreement"]),
            _picture(pictures["hexbin"], "target against score"),
            about="Dashed: a score equal to its target. Scores are predictions: designs were not measured.",
        ),
        _section(
            "Error by target",
            _picture(pictures["error_by_target"], "error by target"),
            _by_target(numbers["by_target"]),
            about=_about_random(record, numbers["by_target"]),
        ),
        _section(
            "Diversity",
            _picture(
                pictures["diversity"], "substitutions to the nearest other design and training sequence"
            ),
            _distances(numbers),
            about="A design near a training sequence would be remembered, not made."
            if numbers["nearest_training"]
            else (
                "Training sequences were not given (legscore design --training), so that remembered ones "
                "would not show."
            ),
        ),
        _designs(table),
    ]
    title = html.escape(f"legscore report: {name}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        'content="light dark">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        f"<p>{table.num_rows:,} designs · legscore "
        f"{__version__}</p>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was made and by what, as pairs of label and text."""
    made = record.get("design") or {}
    if not made:
        return [
            (
                "record",
                (
                    "this file does not say how its designs were made (another program's, or a table without "
                    "its .run.json)"
                ),
            )
        ]
    found = [("legscore", str(record.get("legscore", "?"))), ("method", str(made.get("method", "?")))]
    if generator := made.get("generator"):
        found.append(("generator", f"{generator.get('name')} (sha256 {str(generator.get('sha256'))[:16]}…)"))
        schedule, emphasis = made.get("schedule") or {}, made.get("emphasis")
        steps = ", ".join(f"{name} {value}" for name, value in schedule.items())
        found.append(("loop", f"{steps}, emphasis {emphasis:g}" if is_number(emphasis) else steps))
        engine = made.get("generator_engine") or {}
        found.append(("generator's engine", _engine(engine)))
    found.append(("targets", f"{made.get('target', '?')}, {made.get('calls', '?')} predictor calls a design"))
    rules = made.get("rules") or {}
    held = [f"{name} {_words(value)}" for name, value in rules.items() if value]
    if (made.get("min_distance") or 0) > 1:
        held.append(f"at least {made['min_distance']} substitutions apart")
    found.append(("constraints", "; ".join(held) if held else "none"))
    for label, key in (("scored by", "judge"), ("checked by", "check")):
        if judge := made.get(key):
            names = ", ".join(str(model.get("name")) for model in judge.get("models") or [])
            found.append(
                (label, f"{names}; {_engine(judge.get('engine') or {})}; strands {judge.get('rc', '?')}")
            )
    if not made.get("check"):
        found.append(
            (
                "checked by",
                "no models that took no part (legscore design --check); the scores are those that chose",
            )
        )
    found.append(("seed", str(made.get("seed", "?"))))
    return found


def _engine(engine: Mapping[str, Any]) -> str:
    where = next((str(engine[key]) for key in ("gpu", "cpu", "device") if engine.get(key)), "")
    return f"{engine.get('engine', '?')}, precision {engine.get('precision', '?')}" + (
        f", {where}" if where else ""
    )


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(str(key) for key in value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _section(title: str, *parts: str, about: str = "") -> str:
    head = f"<section>\n<h2>{html.escape(title)}</h2>\n" + (f"<p>{html.escape(about)}</p>\n" if about else "")
    return head + "".join(parts) + "</section>\n"


def _picture(png: bytes, alt: str) -> str:
    return (
        f'<div class="picture"><img alt="{html.escape(alt)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}"></div>\n'
    )


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>\n" for label, text in pairs
    )
    return f'<table class="facts">\n{rows}</table>\n'


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], text: Sequence[int] = (0,)) -> str:
    """A table; columns `text` are text, the others numbers."""

    def cells(values: Sequence[Any], tag: str) -> str:
        kinds = ("" if k in text else ' class="number"' for k in range(len(values)))
        return "".join(
            f"<{tag}{kind}>{html.escape(str(v))}</{tag}>" for kind, v in zip(kinds, values, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    head = f"<thead><tr>{cells(heads, 'th')}</tr></thead>"
    return f'<div class="wide"><table>\n{head}\n<tbody>\n{body}</tbody>\n</table></div>\n'


def _number(value: Any, digits: int = 2) -> str:
    return (
        "–"
        if value is None or (isinstance(value, float) and not np.isfinite(value))
        else f"{value:.{digits}f}"
    )


def _agreement(found: Mapping[str, Any]) -> str:
    judges = [
        ("the models that chose", ""),
        *([("models that took no part", "check_")] if "check_mae" in found else []),
    ]
    shown = [
        [
            label,
            *(_number(found[f"{prefix}{key}"], 3) for key in ("pearson", "spearman")),
            *(_number(found[f"{prefix}{key}"]) for key in ("mae", "rmse")),
        ]
        for label, prefix in judges
    ]
    if "random_mae" in found:
        shown.append(["random sequences, by the former", "", "", _number(found["random_mae"]), ""])
    return _table(["judged by", "Pearson", "Spearman", "mean |error|", "RMSE"], shown)


def _about_random(record: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> str:
    if rows and "random_mae" in rows[0]:
        n = ((record.get("design") or {}).get("random") or {}).get("n") or 0
        return f"Error is score − target. {n:,} random sequences were scored by the same models."
    return "Error is score − target. The file holds no scores of random sequences to compare with."


def _by_target(rows: Sequence[Mapping[str, float]]) -> str:
    random = bool(rows) and "random_mae" in rows[0]
    heads = [
        "targets",
        "designs",
        "mean score",
        "mean error",
        "mean |error|",
        *(["of random sequences"] if random else []),
    ]
    shown = [
        [
            " – ".join(dict.fromkeys(f"{row[side]:.4g}" for side in ("target_low", "target_high"))),
            f"{row['n']:,}",
            *(_number(row[key]) for key in ("score", "error", "mae", *(("random_mae",) if random else ()))),
        ]
        for row in rows
    ]
    return _table(heads, shown)


def _distances(numbers: Mapping[str, Any]) -> str:
    labels = {
        "nearest_design": "substitutions to the nearest other design",
        "nearest_training": "substitutions to the nearest training sequence",
        "gc": "share of G and C",
    }
    heads = {"min": "least", "q25": "quartile", "median": "median", "q75": "quartile", "max": "most"}
    rows = [
        [label, *(_number(numbers[key][q], 2 if key == "gc" else 0) for q in heads)]
        for key, label in labels.items()
        if numbers.get(key)
    ]
    return _table(["", *heads.values()], rows)


def _designs(table: pa.Table) -> str:
    """The designs nearest to their targets."""
    error = np.abs(table["score"].to_numpy() - table["target"].to_numpy())
    order = np.argsort(error, kind="stable")[:MOST_ROWS]
    names = [name for name in SHOWN if name == "row" or name in table.column_names]
    columns = {name: table[name].take(order).to_pylist() for name in names if name != "row"} | {
        "row": (order + 1).tolist()
    }
    shown = [
        [_number(v) if isinstance(v, float) else "–" if v is None else v for v in row]
        for row in zip(*(columns[n] for n in names), strict=True)
    ]
    text = [k for k, name in enumerate(names) if name in ("insert", "nearest_training", "start_id")]
    about = (
        f"The {len(order):,} of {table.num_rows:,} nearest to their targets, nearest first; rows count "
        "from 1."
    )
    made = _table([SHOWN[name] for name in names], shown, text)
    return _section("Designs", made.replace("<td>", '<td class="dna">'), about=about)

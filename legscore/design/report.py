"""Report on a set of designs: numbers, pictures and a page, from the table and its record.

So any file of designs can be reported on: by `legscore design --report`, and by `legscore report` on what it
wrote. Needs `legscore[report]`.

A folder gets `index.html` (everything in one file), the pictures `hexbin.png`, `error_by_target.png` and
`diversity.png`, and `report.json`; a name that ends in .html gets the page alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.design import hamming, pictures
from legscore.design.outputs import agreement, check_drawing
from legscore.design.page import render
from legscore.dna.codes import encode_text
from legscore.errors import InputError, OutputError, shorten
from legscore.input.column_types import is_text
from legscore.input.read import Input, open_input
from legscore.input.source import first_line, run_record
from legscore.input.whole_table import read_columns
from legscore.system.entries import NUMBER, TEXT, check_entries, is_number
from legscore.system.log import Say
from legscore.system.publish import check_writable, publishing, writing

MOST_BINS = 12
COLUMNS = ("insert", "target", "score", "error", "steps", "seed")
"""What tells a table of designs from others."""
OPTIONAL = (
    "score_sd",
    "check_score",
    "check_sd",
    "nearest_distance",
    "nearest_training",
    "start_id",
    "n_edits",
)
NUMBERS = {
    **dict.fromkeys(("target", "score", "score_sd", "error", "check_score", "check_sd"), pa.float64()),
    **dict.fromkeys(("steps", "seed", "nearest_distance", "n_edits"), pa.int64()),
}  # fmt: skip
"""Columns of numbers, and as which they are read."""
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
PAGES = (".html", ".htm")
JUDGE = {"models": [{"name": TEXT}], "engine": {}}
ENTRIES = {
    "design": {
        "generator": {}, "schedule": {}, "generator_engine": {}, "rules": {}, "min_distance": NUMBER,
        "judge": JUDGE, "check": JUDGE,
        "random": {"n": NUMBER, "mae": NUMBER, "score_quantiles": [NUMBER]},
    },
}  # fmt: skip
"""What `legscore design` writes into a record, as far as it is read here."""


def is_designs(names: list[str]) -> bool:
    """Whether columns are those of a table of designs."""
    return set(COLUMNS) <= set(names)


def error_by_target(table: pa.Table, random: np.ndarray | None = None) -> list[dict[str, float]]:
    """Rows of at most MOST_BINS equal stretches of the targets: number, mean score, mean error, mean |error|,
    and that of random sequences with scores `random`."""
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
            row["random_mae"] = float(
                np.abs(random.astype(np.float64)[None, :] - target[here][:, None]).mean()
            )
        rows.append(row)
    return rows


def write_report(
    table: pa.Table, output: Path, record: Mapping[str, Any], name: str = "designs"
) -> list[Path]:
    """Write the page, and into a folder the pictures and numbers too.

    Args:
        table: COLUMNS, and what there is of OPTIONAL.
        output: a folder, made if need be, or a page's name.
        record: of the run that made the designs (`legscore.design.make`); empty where there is none.
        name: of the designs, for the page.

    Returns:
        The files written, the page first.
    """
    random = (record.get("design") or {}).get("random") or {}
    quantiles = random.get("score_quantiles")
    sample = np.asarray(quantiles, dtype=np.float64) if quantiles else None
    codes = np.stack([encode_text(text) for text in table["insert"].to_pylist()])
    neighbours = hamming.nearest(codes, codes, same=True)[1] if len(codes) > 1 else np.empty(0, np.int64)
    trained = table["nearest_distance"].to_numpy() if "nearest_distance" in table.column_names else None
    found = {**agreement(table), **({"random_mae": random["mae"]} if is_number(random.get("mae")) else {})}
    by_target = error_by_target(table, sample)
    numbers = {
        "agreement": found,
        "by_target": by_target,
        "nearest_design": _quantiles(neighbours),
        "nearest_training": None if trained is None else _quantiles(trained),
        "gc": _quantiles(np.isin(codes, (1, 2)).mean(axis=1)),
    }
    drawn = {
        "hexbin": pictures.target_and_score(table, found),
        "error_by_target": pictures.error_by_target(table, by_target),
        "diversity": pictures.diversity(neighbours, trained, codes.shape[1]),
    }
    page = render(table, numbers, drawn, record, name).encode(errors="backslashreplace")
    if output.suffix.lower() in PAGES:
        return [_written(output, page)]
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    files = [_written(output / "index.html", page)]
    files += [_written(output / f"{stem}.png", picture) for stem, picture in drawn.items()]
    return [*files, _written(output / "report.json", (json.dumps(numbers, indent=1) + "\n").encode())]


def designs_record(opened: Input) -> dict[str, Any]:
    """The record of the run that made a file of designs; empty where there is none.

    Raises:
        InputError: the record is damaged, or an entry of it is not of the kind that legscore writes.
    """
    source = opened.sources[0]
    record = run_record(source) or {}
    check_entries(record, ENTRIES, f"{source.path}: the record of its run")
    return record


def report_file(path: str, output: str, say: Say, given: str | None = None) -> None:
    """What `legscore report` does with a file of designs; `given`: what the user calls it.

    Raises:
        InputError: nothing in it can be shown. OutputError: the output cannot be written.
    """
    check_output(output)
    opened = open_input([path])
    for line in opened.notes:
        say(line)
    table = read_designs(path, opened)
    record = designs_record(opened)
    say(f"designs: told by their columns {shorten(list(COLUMNS), len(COLUMNS))}")
    files = write_report(table, Path(output), record, Path(given or path).name)
    numbers = agreement(table)
    if numbers["spearman"] is not None:
        say(
            f"target and score: Pearson {numbers['pearson']:.3f}, Spearman {numbers['spearman']:.3f}; error "
            f"{numbers['mae']:.2f}"
        )
    say(f"{files[0]}: {table.num_rows:,} designs, {files[0].stat().st_size / 1e6:.1f} MB")


def read_designs(path: str, opened: Input) -> pa.Table:
    """COLUMNS and what there is of OPTIONAL, numbers as numbers. InputError naming the column that does not
    hold designs."""
    names = [name for name in opened.schema.names if name in (*COLUMNS, *OPTIONAL)]
    table = read_columns(opened, names)
    if not table.num_rows:
        raise InputError(f"{path} has no rows")
    for name, kind in NUMBERS.items():
        if name in names:
            table = table.set_column(
                names.index(name), name, _numbers(table[name], kind, f"{path}: column {name!r}")
            )
    for name in ("target", "score", *(name for name in ("check_score", "nearest_distance") if name in names)):
        if table[name].null_count or not np.isfinite(table[name].to_numpy()).all():
            raise InputError(
                f"{path}: column {name!r} has rows without a number; designs have one in each row"
            )
    if not is_text(table["insert"].type):
        raise InputError(f"{path}: column 'insert' is {table['insert'].type}; it must hold A, C, G, T")
    inserts = table["insert"].cast(pa.string()).to_pylist()
    for i, text in enumerate(inserts):
        if not text or len(text) != len(inserts[0]) or set(text) - set("ACGT"):
            raise InputError(
                f"{path} row {i + 1}: column 'insert' must hold A, C, G, T, as many in every row; it is "
                f"{text!r}"
            )
    return table


def _numbers(column: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.ChunkedArray:
    """A column as numbers; empty texts of a CSV are nulls. Fractions are rounded to the float32 that designs
    have, so that a table in text gives the same pictures."""
    import pyarrow.compute as pc

    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.if_else(pc.equal(column, ""), None, column)
        column = column.cast(kind)
        return column.cast(pa.float32()).cast(kind) if kind == pa.float64() else column
    except pa.ArrowException as error:
        raise InputError(f"{what} must hold numbers ({first_line(error)})") from None


def check_output(output: str) -> None:
    """OutputError unless a page or a folder can be written under this name."""
    check_drawing(output)
    target = Path(output)
    if target.suffix.lower() in PAGES:
        check_writable(target)
    elif target.exists() and not target.is_dir():
        raise OutputError(
            f"{output} is a file; a report on designs is a folder, or a page whose name ends in .html"
        )
    elif target.suffix and not target.is_dir() and not output.endswith("/"):
        raise OutputError(f"{output}: name a folder, or a page that ends in .html")


def _written(path: Path, content: bytes) -> Path:
    with publishing(path) as temporary, writing(path):
        temporary.write_bytes(content)
    return path


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()} if len(values) else None

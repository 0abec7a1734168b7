"""A run for MultiQC: rows by status, rate, engine and fidelity, as custom content (`*_mqc.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legscore.errors import InputError, OutputError
from legscore.system.json_records import parse_record
from legscore.system.publish import base_of, check_writable, is_dataset, is_stream, publishing, writing

ENDING = "_mqc.json"
"""How the names end of files that MultiQC takes for custom content."""
ID = "legscore_run"
HEADERS: dict[str, dict[str, Any]] = {
    "rows": {"title": "Rows", "description": "Rows of the input", "format": "{:,.0f}"},
    "ok_share": {"title": "Scored", "description": "Rows with a score", "suffix": "%", "min": 0, "max": 100},
    "rows_per_s": {"title": "Rows/s", "description": "Rows scored in a second", "format": "{:,.1f}"},
    "seconds": {"title": "Seconds", "description": "Time of scoring", "format": "{:,.1f}"},
    "models": {"title": "Models", "description": "Models of the ensemble", "format": "{:,.0f}"},
    "engine": {"title": "Engine", "description": "What computed the scores, and its precision"},
    "effect_spearman": {
        "title": "Fidelity",
        "description": "Spearman correlation of effects with FP32, measured when the engine was built",
        "format": "{:.5f}",
        "min": 0,
        "max": 1,
    },
}
"""Columns of the table but those of statuses, as MultiQC takes them."""


def check_multiqc(path: str, *, force: bool = False) -> None:
    """OutputError unless MultiQC would find the file, and it is new, tells of a run or may be replaced."""
    if not path.endswith(ENDING):
        raise OutputError(
            f"--multiqc {path}: MultiQC finds files whose names end in {ENDING}; write run{ENDING}"
        )
    check_writable(Path(path))
    if force or not Path(path).exists():
        return
    try:
        found = parse_record(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, InputError):
        found = {}
    if found.get("id") != ID:
        raise OutputError(
            f"{path} is there already and tells of no run; choose another --multiqc, or add --force to "
            "replace it"
        )


def write_multiqc(path: str, record: Mapping[str, Any]) -> None:
    """Write what MultiQC shows of a run.

    Args:
        path: ends in ENDING. record: of the run.

    Raises:
        OutputError: the disk refuses.
    """
    with publishing(Path(path)) as temporary, writing(path):
        temporary.write_text(json.dumps(content(record), indent=1) + "\n", encoding="utf-8")


def content(record: Mapping[str, Any]) -> dict[str, Any]:
    """The custom content: one table, whose sample is the output's name without its ending."""
    statuses: dict[str, int] = dict(record["status"])
    engine, fidelity, rows = record["engine"], record.get("fidelity") or {}, record["rows"]
    name = sample_of(record["output"])
    told = {
        "rows": rows,
        "ok_share": round(100 * statuses.get("ok", 0) / rows, 3) if rows else None,
        "rows_per_s": record["rows_per_s"],
        "seconds": record["seconds"],
        "models": len(record["models"]),
        "engine": " ".join(
            str(engine[key]) for key in ("engine", "precision") if engine.get(key) not in (None, "none")
        ),
        "effect_spearman": fidelity.get("effect_spearman"),
    }
    told |= {f"status_{status}": count for status, count in statuses.items()}
    headers = HEADERS | {
        f"status_{status}": {
            "title": status,
            "description": f"Rows with status {status}",
            "format": "{:,.0f}",
            "hidden": status == "ok",
        }
        for status in statuses
    }
    shown = {key: value for key, value in told.items() if value is not None}
    return {
        "id": ID,
        "section_name": "legscore",
        "description": "Scores of DNA variants: rows by status, rate, engine and its fidelity to FP32.",
        "plot_type": "table",
        "pconfig": {"id": f"{ID}_table", "title": "legscore: runs"},
        "headers": {key: head for key, head in headers.items() if key in shown},
        "data": {name: shown},
    }


def sample_of(output: str) -> str:
    """What a run is called: its output without the ending of its format, so that `a.chr1.parquet` and
    `a.chr2.parquet` are two."""
    if is_stream(output):
        return "standard output"
    name = Path(base_of(output)).name
    return name if is_dataset(output) else Path(name.removesuffix(".gz")).stem

"""The record of the run that made a file, for those who look at scores later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.source import Source


def run_record(source: Source) -> dict[str, Any] | None:
    """From the file's schema, or from FILE.run.json; None where there is neither. InputError when it is damaged."""
    raw, beside = source.run_record, Path(f"{source.path}.run.json")
    if raw is None and beside.is_file():
        raw = beside.read_bytes()
    if raw is None:
        return None
    try:
        record = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{source.path}: the record of its run is damaged ({error})") from error
    return record if isinstance(record, dict) else None

"""What a file of scores says of the run that made it."""

from __future__ import annotations

from typing import Any

from legscore.input.read import Input
from legscore.input.source import run_record
from legscore.system.entries import NUMBER, TEXT, check_entries

ENTRIES: dict[str, Any] = {
    "legscore": TEXT,
    "models": [{"name": TEXT, "sha256": TEXT, "training": {"preset": TEXT, "metrics": {}}}],
    "engine": {"engine": TEXT, "precision": TEXT, "warning": TEXT},
    "options": {"kind": TEXT, "sequence_is": TEXT, "rc": TEXT},
    "contract": {"output": {"unit": TEXT, "floor": NUMBER}},
    "fidelity": {"reference": TEXT},
    "calibration": {"coverage": NUMBER, "sha256": TEXT},
    "variants": {},
}
"""What `legscore run` writes, as far as it is read here. Any entry may be missing or null."""


def run_metadata(opened: Input) -> dict[str, Any] | None:
    """The record of the run that made a file: from its schema, or from FILE.run.json; None where there is
    neither.

    Raises:
        InputError: the record is damaged, or an entry of it is not of the kind that legscore writes.
    """
    source = opened.sources[0]
    record = run_record(source)
    if record is None or "models" not in record:
        return None
    check_entries(record, ENTRIES, f"{source.path}: the record of its run")
    return {name: value for name, value in record.items() if value is not None}

"""What a file of scores says of the run that made it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from legscore.input.read import Input
from legscore.input.source import run_record
from legscore.system.entries import NUMBER, TEXT, check_entries
from legscore.system.small_files import parse_json

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


def circumstances(opened: Input) -> list[tuple[str, str]]:
    """When and from what a file of scores was made, as pairs of label and text: its name and date, and what
    the record beside it says of command, inputs and date."""
    source = opened.sources[0]
    facts = []
    with contextlib.suppress(OSError):  # a store, or a file that is gone by now
        found = os.stat(str(source.path))
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.st_mtime))
        facts.append(("file", f"{source.path}, {found.st_size:,} bytes, of {when}"))
    record: dict[str, Any] = {}
    for raw in (source.run_record, _beside(str(source.path))):
        with contextlib.suppress(ValueError):  # damage is told where more of it is read
            read = parse_json(raw) if raw else None
            record = read if isinstance(read, dict) and "started" in read else record
    if isinstance(command := record.get("command"), str):
        facts.append(("command", command))
    if isinstance(inputs := record.get("inputs"), list) and inputs:
        facts.append(("input", ", ".join(map(str, inputs[:6])) + (" …" if len(inputs) > 6 else "")))
    if isinstance(started := record.get("started"), str):
        facts.append(("scored", started))
    return [*facts, ("page made", time.strftime("%Y-%m-%d %H:%M"))]


def _beside(path: str) -> bytes | None:
    """The record beside a file, where there is one."""
    with contextlib.suppress(OSError), open(f"{path}.run.json", "rb") as stream:
        return stream.read()
    return None

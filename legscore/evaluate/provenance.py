"""What a file of scores says of the run that made it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from legscore.input.read import Input
from legscore.input.source import run_record
from legscore.system.entries import NUMBER, TEXT, check_entries
from legscore.system.publish import record_of
from legscore.system.small_files import parse_json

MOST_INPUTS = 6
MOST_POSITIONS = 100_000
"""Of a tile."""
Lengths = int | Mapping[str, int]
"""Of all tiles, or of some by `tile_id`."""
ENTRIES: dict[str, Any] = {
    "legscore": TEXT,
    "models": [{"name": TEXT, "sha256": TEXT, "training": {"preset": TEXT, "metrics": {}}}],
    "engine": {"engine": TEXT, "precision": TEXT, "warning": TEXT},
    "options": {"kind": TEXT, "sequence_is": TEXT, "rc": TEXT},
    "contract": {"output": {"unit": TEXT, "floor": NUMBER}},
    "fidelity": {"reference": TEXT},
    "calibration": {"coverage": NUMBER, "sha256": TEXT},
    "variants": {},
    "cascade": {"rescore": TEXT, "student": {"name": TEXT, "sha256": TEXT, "training": {}}},
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


def said_lengths(record: Mapping[str, Any] | None) -> Lengths:
    """What the record of scores of every change says of the lengths of the tiles; nothing where it says
    none."""
    made = (record or {}).get("variants")
    if not isinstance(made, dict) or made.get("saturate") is not True:
        return {}
    said = made.get("tile_lengths", made.get("length") if made.get("tiles") == "promoters" else None)
    several = said.values() if isinstance(said, dict) else [said]
    if any(type(length) is not int or not 0 < length < MOST_POSITIONS for length in several):
        return {}
    assert isinstance(said, int | dict)
    return said


def circumstances(opened: Input, given: str) -> list[tuple[str, str]]:
    """When and from what scores were made, as pairs of label and text: name, size and date of their file, and
    what its record says of command, inputs, versions and date. `given`: what the user calls the file."""
    source = opened.sources[0]
    facts = [("file", f"{given}{_stamp(opened, given)}")]
    record: dict[str, Any] = {}
    for raw in (source.run_record, _record_beside(str(source.path)), _record_beside(given)):
        with contextlib.suppress(ValueError):  # damage is told where more of it is read
            read = parse_json(raw) if raw else None
            record = read if isinstance(read, dict) and "started" in read else record
    if isinstance(command := record.get("command"), str):
        facts.append(("command", command))
    if isinstance(inputs := record.get("inputs"), list) and inputs:
        facts.append(("input", _inputs(record, inputs)))
    if isinstance(started := record.get("started"), str):
        facts.append(("scored", started))
    if versions := _versions(record):
        facts.append(("with", versions))
    return [*facts, ("page made", time.strftime("%Y-%m-%d %H:%M"))]


def _stamp(opened: Input, given: str) -> str:
    """Size and date of the file that the user named; of a pipe or a store the size that was read."""
    with contextlib.suppress(OSError):
        if os.path.isfile(given):
            found = os.stat(given)
            return _told(found.st_size, found.st_mtime_ns)
    size = sum(source.size for source in opened.sources)
    files = f", {len(opened.sources):,} files" if len(opened.sources) > 1 else ""
    newest = max(source.modified_ns for source in opened.sources) if os.path.isdir(given) else None
    return f"{files}{_told(size, newest)}"


def _told(size: object, modified_ns: object) -> str:
    told = f", {size:,} bytes" if isinstance(size, int) else ""
    if not isinstance(modified_ns, int):
        return told
    try:
        return f"{told}, of {time.strftime('%Y-%m-%d %H:%M', time.localtime(modified_ns / 1e9))}"
    except (ValueError, OverflowError, OSError):  # an edited record
        return told


def _inputs(record: Mapping[str, Any], inputs: Sequence[Any]) -> str:
    """What was scored, as a few names with the sizes and dates that the run saw."""
    asked = record.get("asked")
    read = asked.get("read") if isinstance(asked, dict) else None
    told = []
    for name in map(str, inputs[:MOST_INPUTS]):
        files = read.get(name) if isinstance(read, dict) else None
        is_one = isinstance(files, list) and len(files) == 1 and isinstance(files[0], dict)
        stamp = _told(files[0].get("size"), files[0].get("modified_ns")) if is_one else ""  # type: ignore[index]
        told.append(f"{name}{stamp}")
    return "; ".join(told) + (f"; {len(inputs) - MOST_INPUTS:,} more" if len(inputs) > MOST_INPUTS else "")


def _versions(record: Mapping[str, Any]) -> str:
    """Python and the libraries that read and wrote, as `Python 3.12.1, numpy 2.4.6`."""
    libraries = record.get("libraries")
    found = {"Python": record.get("python"), **(libraries if isinstance(libraries, dict) else {})}
    return ", ".join(f"{name} {value}" for name, value in found.items() if isinstance(value, str))


def _record_beside(output: str) -> bytes | None:
    """The record of an output, where it lies."""
    with contextlib.suppress(OSError), open(record_of(output), "rb") as stream:
        return stream.read()
    return None

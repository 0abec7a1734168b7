"""The record of the run that made a file, wherever it was left: in the schema, or beside the file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from legscore.errors import InputError
from legscore.formats import Source
from legscore.storage import Remote, open_binary


def run_record(source: Source) -> dict[str, Any] | None:
    """The record of the run that made a file: from its schema, or from FILE.run.json; None where there is neither. InputError
    when it is damaged."""
    raw: bytes | None = None
    if source.format == "Parquet":
        import pyarrow.parquet as pq

        with open_binary(source.path) as stream:
            raw = (pq.read_schema(stream).metadata or {}).get(b"legscore")
    elif source.format == "Arrow":
        with source.path.open_file() if isinstance(source.path, Remote) else pa.memory_map(str(source.path)) as mapped:
            is_file = mapped.read(6) == b"ARROW1"
            mapped.seek(0)
            reader = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
            raw = (reader.schema.metadata or {}).get(b"legscore")
    if raw is None:
        beside = f"{source.path}.run.json"
        with contextlib.suppress(FileNotFoundError):
            raw = Remote(beside).read() if isinstance(source.path, Remote) else Path(beside).read_bytes()
    if raw is None:
        return None
    try:
        record = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{source.path}: the record of its run is damaged ({error})") from error
    return record if isinstance(record, dict) else None

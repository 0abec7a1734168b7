"""What the bytes of an output depend on: the progress record of a run, compared before it goes on.

Inputs are pinned by path, size, time of modification, rows and, for Parquet, the layout of their row groups; an input that
was made for this run (from a VCF) by its content. The rest is what the output's metadata says, and the versions of the
libraries that write it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.formats import ParquetSource
from legscore.read import Input
from legscore.source import Source
from legscore.storage import Remote, open_binary

BLOCK_BYTES = 1 << 20


def pinned(
    opened: Input, metadata: Mapping[str, Any], schema: pa.Schema, output: str, format_name: str, *, made: bool
) -> dict[str, Any]:
    """The record of a run.

    Args:
        opened: input of the run.
        metadata: of the output: versions, models, engine, options.
        schema: columns of the output.
        made: the input was made for this run, anew each time, so that only its content counts.
    """
    libraries = {"pyarrow": pa.__version__, "numpy": np.__version__}
    if output.lower().endswith(".gz"):
        libraries["zlib"] = zlib.ZLIB_RUNTIME_VERSION
    paths = [source.path for source in opened.sources]
    names = [path.name if made else str(path) if isinstance(path, Remote) else os.path.abspath(path) for path in paths]
    return {
        "inputs": [{"path": name, **_of_file(source, made)} for name, source in zip(names, opened.sources, strict=True)],
        **metadata,
        "libraries": libraries,
        "output": {"format": format_name, "columns": {field.name: str(field.type) for field in schema}},
    }


def _of_file(source: Source, made: bool) -> dict[str, Any]:
    if made:
        return {"rows": source.n_rows, "sha256": _content(source)}
    return {"size": source.size, "modified_ns": source.modified_ns, **_layout(source)}


def content_of(opened: Input) -> str:
    """A hash of sizes, rows and layouts of the input's files, whatever their places, names and times: equal for copies."""
    files = [{"size": source.size, **_layout(source)} for source in opened.sources]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _layout(source: Source) -> dict[str, Any]:
    known: dict[str, Any] = {"rows": source.n_rows}
    if isinstance(source, ParquetSource):
        known["row_groups"], known["row_groups_sha256"] = source.row_groups()
    return known


def _content(source: Source) -> str:
    digest = hashlib.sha256()
    with open_binary(source.path) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

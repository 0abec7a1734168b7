"""Resume an interrupted run; report what can be resumed when this one stops."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.input.columnar import ParquetSource
from legscore.input.read import Input
from legscore.input.source import Source
from legscore.output.parts import PartFolder
from legscore.run.plan import Plan
from legscore.system.checksum import sha256_of
from legscore.system.log import RunLog, Say
from legscore.system.storage import Remote
from legscore.version import __version__


@contextlib.contextmanager
def resuming(
    plan: Plan, store: PartFolder, say: Say, log: RunLog, *, derived_input: bool, restart: bool
) -> Iterator[None]:
    """Resume an interrupted run; report what can be resumed when this one stops.

    Args:
        plan: of this run.
        store: the kept parts, which this run has locked.
        say: receives a line about the parts that are there, and about those that stay.
        log: receives the event `resume`.
        derived_input: the input was made for this run, so that only its content counts.
        restart: discard the parts that are there.

    Raises:
        OutputError: the parts belong to a run that differs.
    """
    n_parts = len(plan.numbers)
    store.begin(
        fingerprint(
            plan.opened,
            plan.metadata,
            plan.schema,
            plan.output,
            plan.format_name,
            derived_input=derived_input,
        ),
        restart=restart,
    )
    if found := len(store.numbers()):
        say(f"resume: {found:,} of {n_parts:,} parts are there ({store.where})")
        log.event("resume", parts=found)
    try:
        yield
    except BaseException:
        store.tidy()
        if kept := len(store.numbers()):
            say(f"kept: {kept:,} of {n_parts:,} parts ({store.where}); the same command goes on from there")
        raise


def start_event(plan: Plan, shard: str | None) -> dict[str, Any]:
    """What the event `start` says, beside the inputs."""
    return {
        "legscore": __version__,
        "output": plan.output,
        "rows": plan.n_rows,
        "parts": len(plan.numbers),
        "members": plan.engine.n_members,
        "engine": plan.engine.describe(),
        "shard": shard,
    }


def fingerprint(
    opened: Input,
    metadata: Mapping[str, Any],
    schema: pa.Schema,
    output: str,
    format_name: str,
    *,
    derived_input: bool,
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
    names = [
        path.name if derived_input else str(path) if isinstance(path, Remote) else os.path.abspath(path)
        for path in paths
    ]
    return {
        "inputs": [
            {"path": name, **_of_file(source, derived_input)}
            for name, source in zip(names, opened.sources, strict=True)
        ],
        **metadata,
        "libraries": libraries,
        "output": {"format": format_name, "columns": {field.name: str(field.type) for field in schema}},
    }


def _of_file(source: Source, derived_input: bool) -> dict[str, Any]:
    if derived_input:
        return {"rows": source.n_rows, "sha256": sha256_of(source.path)}
    return {"size": source.size, "modified_ns": source.modified_ns, **_layout(source)}


def content_of(opened: Input) -> str:
    """A hash of sizes, rows and layouts of the input's files, whatever their places, names and times: equal
    for copies."""
    files = [{"size": source.size, **_layout(source)} for source in opened.sources]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _layout(source: Source) -> dict[str, Any]:
    known: dict[str, Any] = {"rows": source.n_rows}
    if source.keys:
        known["keys"] = {name: value.as_py() for name, value in source.keys.items()}
    if isinstance(source, ParquetSource):
        known["row_groups"], known["row_groups_sha256"] = source.row_groups
    return known

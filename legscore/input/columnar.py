"""Opening one input file as a source of record batches, by its format; Parquet and Arrow IPC themselves.

Opening reads what is needed to check a file before any work starts: here the footer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from legscore.input.ranges import RangeReader
from legscore.input.row_groups import slices
from legscore.input.source import Source, without_first
from legscore.system.storage import Remote

RANGE_BYTES = 64 << 20
"""Of an object in a store that are kept while it is read."""


def run_metadata_of(schema: pa.Schema) -> bytes | None:
    """What `legscore run` wrote into a schema's metadata, as it stands there."""
    return (schema.metadata or {}).get(b"legscore")


def made_by(schema: pa.Schema) -> dict[str, Any]:
    """The `variants` entry of legscore's metadata, where the file has one; nothing where it is not as
    legscore writes it."""
    try:
        record = json.loads(run_metadata_of(schema) or b"{}")
    except (ValueError, RecursionError):
        return {}
    made = record.get("variants") if isinstance(record, dict) else None
    known = {"context": str, "sequence_is": str, "length": int}
    if not isinstance(made, dict) or any(
        type(made[name]) is not kind for name, kind in known.items() if name in made
    ):
        return {}
    return made


class ParquetSource(Source):
    format = "Parquet"

    def __init__(self, path: Path | Remote) -> None:
        import pyarrow.parquet as pq

        super().__init__(path)
        self._ranges = RangeReader(path, RANGE_BYTES) if isinstance(path, Remote) else None
        self._on_disk = Path(str(path))
        with pq.ParquetFile(self._file()) as file:
            if self._ranges:
                self._ranges.keep_footer(file.metadata.serialized_size + 8)
            self.schema, self.n_rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
            self.made_by, self.run_record = made_by(file.schema_arrow), run_metadata_of(file.schema_arrow)
            self.row_groups = (file.metadata.num_row_groups, self._footer_hash())
        """How many row groups the file has, and a hash of its footer: where they lie, their rows, sizes and
        statistics."""

    def _footer_hash(self) -> str:
        with self._ranges.file() if self._ranges else open(self._on_disk, "rb") as stream:
            stream.seek(-8, 2)
            size = int.from_bytes(stream.read(4), "little")
            stream.seek(-8 - size, 2)
            return hashlib.sha256(stream.read(size)).hexdigest()

    def _file(self) -> Any:
        """What pyarrow opens."""
        return self._ranges.file() if self._ranges else self.path

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._file()) as file:
            groups = list(range(file.metadata.num_row_groups))
            while groups and skip >= (passed := file.metadata.row_group(groups[0]).num_rows):
                skip -= passed
                del groups[0]
        if self._ranges:
            self._ranges.cache_bytes = max(self.slice_bytes, RANGE_BYTES)
        found = slices(self._ranges or self._on_disk, columns, rows, self.slice_bytes, groups)
        yield from map(_in_bounds, without_first(found, skip))


class ArrowSource(Source):
    format, checks_text = "Arrow", True

    def __init__(self, path: Path | Remote) -> None:
        super().__init__(path)
        with self._open() as reader:
            self.schema = reader.schema.remove_metadata()
            self.made_by, self.run_record = made_by(reader.schema), run_metadata_of(reader.schema)
        with self._open(self.schema.names[:1]) as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                self.n_rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            else:
                self.n_rows = sum(batch.num_rows for batch in reader)

    def _open(
        self, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        """A reader; from a store it fetches these columns alone, where the format lets it."""
        if isinstance(self.path, Remote):
            file, options = self.path.open_file(), None
            if columns and file.read(6) == b"ARROW1":
                options = pa.ipc.IpcReadOptions(
                    included_fields=[self.schema.get_field_index(name) for name in columns]
                )
            file.seek(0)
            is_file = file.read(6) == b"ARROW1"
            return (
                pa.ipc.open_file(file, options=options)
                if is_file
                else pa.ipc.open_stream(self.path.open_stream())
            )
        mapped = pa.memory_map(str(self.path))
        return pa.ipc.open_file(mapped) if mapped.read(6) == b"ARROW1" else pa.ipc.open_stream(str(self.path))

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        with self._open(columns) as reader:
            if isinstance(reader, pa.RecordBatchFileReader):
                found: Iterator[pa.RecordBatch] = (
                    reader.get_batch(i) for i in range(reader.num_record_batches)
                )
            else:
                found = iter(reader)
            for batch in without_first(found, skip):
                batch = batch.select(list(columns))
                for column in batch.columns:
                    if pa.types.is_dictionary(column.type):
                        column.validate(full=True)
                for start in range(0, batch.num_rows, rows):
                    yield _valid(batch.slice(start, rows))


def _in_bounds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, if its indices lie inside their dictionaries: the reader takes them from the file as they
    are."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type) and len(column) > column.null_count:
            least, most = pc.min_max(column.indices).values()
            if not 0 <= least.as_py() <= most.as_py() < len(column.dictionary):
                raise ValueError(
                    f"column {name!r} has indices beyond its dictionary of {len(column.dictionary):,}"
                )
    return batch


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, if its offsets lie inside its buffers: Arrow files are used as they lie, and would be read
    beyond their end. Slice by slice, so that not all of a mapped file is in memory; dictionaries once,
    before."""
    for column in batch.columns:
        if not pa.types.is_dictionary(column.type):
            column.validate(full=True)
    return batch

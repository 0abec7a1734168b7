"""What an input file is to those who read it, and what its readers raise."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from legscore.errors import InputError
from legscore.system.memory import SLICE_BYTES
from legscore.system.small_files import parse_json
from legscore.system.storage import Remote, stamp

LOOKS = 3
UNKNOWN_ROWS = 1 << 62
"""Rows of a stream that has not ended."""
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, zlib.error)
"""What pyarrow and gzip raise for damaged files (UnicodeDecodeError is a ValueError)."""


class Source(ABC):
    """One input file. `schema` and `n_rows` are known once it is open; `made_by` is what `legscore
    variants` left in it, `run_record` the record of the run that wrote it, `keys` columns that folders'
    names say. `not_whole` holds, where a format has no types, for each column that is not whole numbers
    throughout, the first row (from 1) and text that is none."""

    format = ""
    has_types = True
    checks_text = False
    """Whether reading refuses text that is no UTF-8."""
    slice_bytes = SLICE_BYTES
    """Bytes that a batch and the buffers behind it may take, where the format lets us choose."""

    def __init__(self, path: Path | Remote) -> None:
        self.path = path
        self.schema: pa.Schema
        self.n_rows: int
        self.made_by: dict[str, Any] = {}
        self.run_record: bytes | None = None
        self.keys: dict[str, pa.Scalar] = {}
        self.not_whole: dict[str, tuple[int, str]] = {}
        self._found = stamp(path)

    @property
    def size(self) -> int:
        """Bytes of the file when it was opened."""
        return self._found.size

    @property
    def modified_ns(self) -> int:
        return self._found.modified_ns

    def has_changed(self) -> bool:
        """Whether the file at the path is no longer the one that was opened, or has been written to.
        OSError when a store does not answer."""
        # an answer that was cut short may look like another object
        looks = LOOKS if isinstance(self.path, Remote) else 1
        try:
            return all(stamp(self.path) != self._found for _ in range(looks))
        except OSError as error:
            if isinstance(self.path, Remote) and not isinstance(error, FileNotFoundError):
                raise
            return True

    def add_keys(self, keys: Mapping[str, pa.Scalar]) -> None:
        """Add columns of one value, which the names of the file's folders say."""
        self.keys.update(keys)
        for name, value in keys.items():
            self.schema = self.schema.append(pa.field(name, value.type))

    def read(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """As `batches`, with the columns of `keys`."""
        own = [name for name in columns if name not in self.keys]
        own = own or [name for name in self.schema.names if name not in self.keys][:1]
        for batch in self.batches(own, rows, skip):
            for name, value in self.keys.items():
                if name in columns:
                    batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
            yield batch

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """Record batches of at most `rows` rows holding at least `columns`, without the first `skip` rows
        of the file."""


def without_first(batches: Iterable[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    """Batches without the first `skip` rows and without empty ones; holds none of them."""

    def rest(batch: pa.RecordBatch) -> pa.RecordBatch:
        nonlocal skip
        left = batch.slice(min(skip, batch.num_rows))
        skip -= batch.num_rows - left.num_rows
        return left

    return filter(lambda batch: batch.num_rows, map(rest, batches))


def refuse_twice(path: Path | Remote, names: Sequence[str]) -> None:
    counts = Counter(names)
    if twice := [name for name in names if counts[name] > 1]:
        raise InputError(f"{path} has the column {twice[0]!r} twice; rename one of them")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def run_record(source: Source) -> dict[str, Any] | None:
    """From the file's schema, or from FILE.run.json; None where there is neither. InputError when it is
    damaged."""
    raw, beside = source.run_record, Path(f"{source.path}.run.json")
    if raw is None and beside.is_file():
        raw = beside.read_bytes()
    if raw is None:
        return None
    try:
        record = parse_json(raw)
    except ValueError as error:
        raise InputError(f"{source.path}: the record of its run is damaged ({error})") from error
    return record if isinstance(record, dict) else None

"""Tables in memory and streams of Arrow as inputs: polars, pandas, pyarrow, DuckDB, and whatever else offers
`__arrow_c_stream__`; and columns of any common container as Arrow text.

A stream is read once, batch by batch; its length is not known before its end.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError
from legscore.input.column_types import is_text
from legscore.input.columnar import made_by, run_metadata_of
from legscore.input.read import Input
from legscore.input.source import UNKNOWN_ROWS, Source, first_line, without_first

NAME = "the table"
FRAMES = ("pandas", "polars")
"""Libraries whose frames lie in memory and may be read again; what others offer may be a stream."""


class MemorySource(Source):
    """A table in memory, which can be read again and again, or a stream, which can be read once."""

    format = "Arrow"

    def __init__(self, data: pa.Table | pa.RecordBatchReader, name: str) -> None:
        self.path: Any = name
        self.keys: dict[str, pa.Scalar] = {}
        self.made_by, self.run_record = made_by(data.schema), run_metadata_of(data.schema)
        self.schema = pa.schema([field.with_type(_without_views(field.type)) for field in data.schema])
        if twice := [name for name, n in Counter(self.schema.names).items() if n > 1]:
            raise InputError(f"{name} has the column {twice[0]!r} twice; rename one of them")
        self._table = data if isinstance(data, pa.Table) else None
        self._stream = None if isinstance(data, pa.Table) else data
        self._looked_at: deque[pa.RecordBatch] = deque()
        self.n_rows = UNKNOWN_ROWS if self._table is None else self._table.num_rows

    def has_changed(self) -> bool:
        return False

    def head(self, rows: int) -> pa.Table:
        """The first rows; they are still there for who reads the stream."""
        if self._table is not None:
            return self._table.slice(0, rows).cast(self.schema)
        while sum(batch.num_rows for batch in self._looked_at) < rows:
            batch = self._next()
            if batch is None:
                break
            self._looked_at.append(batch)
        whole = pa.Table.from_batches(self._looked_at, self._stream_schema()).slice(0, rows)
        return whole.cast(self.schema)

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        wanted = list(columns)
        schema = pa.schema([self.schema.field(name) for name in wanted])
        for batch in without_first(self._all(), skip):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows).select(wanted).cast(schema)

    def _all(self) -> Iterator[pa.RecordBatch]:
        if self._table is not None:
            yield from self._table.to_batches()
            return
        n_rows = 0
        while (batch := self._looked_at.popleft() if self._looked_at else self._next()) is not None:
            n_rows += batch.num_rows
            yield batch
        self.n_rows = n_rows

    def _stream_schema(self) -> pa.Schema:
        assert self._stream is not None
        return self._stream.schema

    def _next(self) -> pa.RecordBatch | None:
        """The next batch of the stream, None at its end. InputError for what its maker raises."""
        assert self._stream is not None
        try:
            return self._stream.read_next_batch()
        except StopIteration:
            return None
        except Exception as error:  # the stream's maker is not ours, and may raise anything
            raise InputError(f"{self.path}: reading stopped: {first_line(error)}") from error


def _without_views(kind: pa.DataType) -> pa.DataType:
    """The type with texts and bytes in one piece, of dictionaries too: for views (polars' own) Arrow lacks
    functions."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    return {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(kind), kind)


class TableInput(Input):
    """One table or stream as an input."""

    def head(self, columns: Sequence[str], rows: int) -> pa.Table:
        source = self.sources[0]
        assert isinstance(source, MemorySource)
        return source.head(rows).select(list(columns))


def table_input(data: Any, name: str = NAME) -> Input:
    """A table as an input.

    Args:
        data: what `as_table` takes.
        name: what messages call it.

    Raises:
        InputError: it is no table, or has a column twice.
    """
    table = as_table(data)
    if table is None:
        hint = " (legscore.score_file scores files)" if isinstance(data, str | os.PathLike) else ""
        raise InputError(f"{_kind(data)} is no table: pass {TABLES}{hint}")
    source = MemorySource(table, name)
    return TableInput((source,), source.schema)


TABLES = "a table of polars, pandas, pyarrow or DuckDB, or a pyarrow.RecordBatchReader"


def as_table(data: Any) -> pa.Table | pa.RecordBatchReader | None:
    """A table in memory as a pyarrow.Table, a stream as a RecordBatchReader; None for anything else.

    Args:
        data: pyarrow Table, RecordBatch, RecordBatchReader, Dataset or Scanner; a polars or pandas
            DataFrame, a DuckDB relation, or anything with `__arrow_c_stream__` or `__arrow_c_array__` that
            holds columns.

    Raises:
        InputError: a table that has to be something else first, with what.
    """
    if isinstance(data, pa.Table | pa.RecordBatchReader):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        raise InputError(
            f"{_kind(data)} is no column and no table: pass one of its values, or pyarrow.table(...) of it"
        )
    if isinstance(data, np.ndarray) and data.dtype.names:
        raise InputError("a structured array is no table here: pass pandas.DataFrame(...) of it")
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):
        raise InputError("a polars LazyFrame holds no rows yet: pass what its collect() gives")
    if hasattr(data, "scanner"):  # a pyarrow dataset
        data = data.scanner()
    try:
        if hasattr(data, "to_reader"):
            return data.to_reader()
        if hasattr(data, "__arrow_c_stream__") and not isinstance(data, pa.ChunkedArray):
            return _streamed(data)
        if hasattr(data, "__arrow_c_array__") and not isinstance(data, pa.Array):
            found = pa.array(data)
            is_rows = pa.types.is_struct(found.type)
            return pa.Table.from_batches([pa.RecordBatch.from_struct_array(found)]) if is_rows else None
    except (pa.ArrowException, ValueError, OverflowError) as error:  # pandas': a name that stands twice
        raise InputError(f"{_kind(data)} cannot be read as a table: {first_line(error)}") from error
    return None


def _streamed(data: Any) -> pa.Table | pa.RecordBatchReader | None:
    """What offers `__arrow_c_stream__`, unless it is a single column."""
    if _library(data) in FRAMES and not hasattr(data, "columns"):
        return None  # a Series
    try:
        stream = pa.RecordBatchReader.from_stream(data)
    except pa.ArrowInvalid as error:
        if "non-struct" in str(error):
            return None
        raise
    return stream.read_all() if _library(data) in FRAMES else stream


def _library(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _kind(data: Any) -> str:
    name = type(data).__name__
    if isinstance(data, Mapping):
        return "a dict" if name == "dict" else f"a {name}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def is_table(data: Any) -> bool:
    """Whether `as_table` takes it; nothing of a stream is read. InputError as it."""
    return isinstance(data, pa.RecordBatchReader) or as_table(data) is not None


def as_column(values: Any, role: str, *, text: bool = True) -> pa.Array:
    """One column of any common container as an Arrow array: texts or bytes, or int64 (uint64 as it is).

    Args:
        values: list, tuple, numpy array, Arrow array, polars or pandas Series, or any iterable with an order.
        role: the argument that it was given as, for messages.
        text: it must hold text; else it must hold whole numbers.

    Raises:
        InputError: it is a whole table, a dict, a set, a single text, or holds something else.
    """
    if isinstance(values, str | bytes | os.PathLike):
        what = (
            "sequences, not one string" if role in ("sequences", "ref", "alt") else "values, not one string"
        )
        raise InputError(f"pass a list of {what}, as {role} (for a file there is legscore.score_file)")
    if isinstance(values, int | float) or values is None:
        raise InputError(f"{role} is {values!r}: pass a list, with one value a row")
    if isinstance(values, set | frozenset):
        raise InputError(f"{role} is a set, which has no order: pass a list")
    if is_table(values):
        raise InputError(
            f"{role} is a whole table ({type(values).__name__}) where a column is meant: pass one of its "
            f"columns, "
            "or the table alone and columns={...}"
        )
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InputError(f"{role} must be one-dimensional, not of shape {values.shape}")
    try:
        array = _plain(_arrow(values))
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise InputError(f"{role} must be {'text' if text else 'whole numbers'} ({error})") from error
    kind = array.type
    if text and not is_text(kind):
        hint = "; pyarrow.Table.from_pylist(...) makes a table of rows" if pa.types.is_struct(kind) else ""
        raise InputError(f"{role} must be text (values are {kind}{hint})")
    if not text and not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"{role} must be whole numbers (values are {kind})")
    return array if text or pa.types.is_uint64(kind) else array.cast(pa.int64())


def _arrow(values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if hasattr(values, "__arrow_c_stream__") and _library(values) != "pandas":  # whose texts may be NaN
        return pa.chunked_array(values)
    if isinstance(values, np.ndarray):
        values = values if values.dtype.kind in "iu" else values.tolist()
    elif isinstance(values, Iterable) and not hasattr(values, "__array__"):
        values = list(values)
    return pa.array(values, from_pandas=True)


def _plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    kind = _without_views(array.type)
    array = array if kind == array.type else array.cast(kind)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array

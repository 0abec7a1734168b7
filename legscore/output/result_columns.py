"""Columns of the output: those kept of the input, results, statuses; NaN in a result becomes null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from legscore.rows.reduce import Results
from legscore.rows.schema import BY_NOBODY, BY_STUDENT, SCORERS, STATUSES


def result_schema(
    kept: Sequence[pa.Field],
    results: Sequence[str],
    lists: Mapping[str, int],
    varying: bool = False,
    cascaded: bool = False,
) -> pa.Schema:
    """Columns of the output: those kept, results (float32), members' values (column → members), status,
    n_count, n_members where it varies, scored_by where a student scores some rows."""
    return pa.schema(
        [
            *(pa.field(field.name, plain_type(field.type)) for field in kept),
            *(pa.field(name, pa.float32()) for name in results),
            *(pa.field(name, pa.list_(pa.float32(), members)) for name, members in lists.items()),
            pa.field("status", pa.dictionary(pa.int8(), pa.string())),
            pa.field("n_count", pa.int32()),
            *([pa.field("n_members", pa.int32())] if varying else []),
            *([pa.field("scored_by", pa.dictionary(pa.int8(), pa.string()))] if cascaded else []),
        ]
    )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type in which a carried column is written: dictionaries as their values, text views as text."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    return pa.string() if str(kind) == "string_view" else pa.binary() if str(kind) == "binary_view" else kind


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(plain_type(array.type))


def result_table(kept: pa.Table, results: Results, schema: pa.Schema) -> pa.Table:
    """One part of the output; NaN in a result becomes null."""
    arrays = [
        _whole([_plain(chunk) for chunk in column.chunks], plain_type(column.type)) for column in kept.columns
    ]
    for values in results.columns.values():
        arrays.append(_nullable(values, np.isnan(values)))
    for values in results.per_model.values():
        # null elements in lists that are there: Arrow 25 cannot read null fixed-size lists back from Parquet
        flat = values.ravel()
        arrays.append(pa.FixedSizeListArray.from_arrays(_nullable(flat, np.isnan(flat)), values.shape[1]))
    codes = pa.array(results.status_N.astype(np.int8))
    arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(STATUSES)))
    arrays.append(_nullable(results.n_count_N, results.n_count_N < 0))
    if results.n_members_N is not None:
        arrays.append(_nullable(results.n_members_N, results.n_members_N < 0))
    if results.scored_by_N is not None:
        arrays.append(_scored_by(results.scored_by_N))
    return pa.Table.from_arrays(arrays, schema=schema)


def _scored_by(scored_by_N: np.ndarray) -> pa.DictionaryArray:
    """Who scored each row, null where nobody did."""
    codes = np.where(scored_by_N == BY_STUDENT, 0, 1).astype(np.int8)
    return pa.DictionaryArray.from_arrays(_nullable(codes, scored_by_N == BY_NOBODY), pa.array(SCORERS))


def _whole(chunks: Sequence[pa.Array], kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """One newly made array, so that bytes do not show in which pieces the input was read: not where pieces
    end, nor what lay beside a slice in its bitmaps. (More text than one array holds stays in chunks.)"""
    try:
        return pa.concat_arrays([*chunks, pa.nulls(0, kind)])
    except pa.ArrowInvalid:
        return pa.chunked_array(chunks, kind).combine_chunks()


def _nullable(values: np.ndarray, null: np.ndarray) -> pa.Array:
    """Zeros lie under the nulls, as in what is read back from Parquet."""
    return pa.array(np.where(null, values.dtype.type(0), values), mask=null)

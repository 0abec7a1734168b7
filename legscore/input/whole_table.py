"""Columns of an input, whole and in memory: for commands that look at all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from legscore.errors import InputError
from legscore.input.column_types import is_text
from legscore.input.read import Input
from legscore.input.source import READ_ERRORS, first_line


def read_columns(opened: Input, columns: Sequence[str]) -> pa.Table:
    """All rows of some columns, checked value by value; dictionaries are given as their values, bytes as
    text.

    Raises:
        InputError: the file is damaged, or a column holds text that is not UTF-8.
    """
    names = list(columns)
    try:
        batches = list(opened.batches(names))
        table = pa.Table.from_batches(batches, pa.schema([opened.schema.field(name) for name in names]))
    except READ_ERRORS as error:
        raise InputError(f"{opened.name} cannot be read: {first_line(error)}") from error
    for at, name in enumerate(names):
        table = table.set_column(at, name, checked_values(table.column(name), name, opened.name))
    return table


def checked_values(values: Any, column: str, file: str) -> Any:
    """A pyarrow array or chunked array whose every value is sound: dictionaries as their values, bytes as
    text.

    Raises:
        InputError: naming the column, where text is not UTF-8 or indices point nowhere.
    """
    try:
        values.validate(full=True)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            values = values.cast(pa.large_string())
        if pa.types.is_timestamp(values.type):  # a time zone may have any name
            values = values.cast(pa.timestamp(values.type.unit))
    except pa.ArrowInvalid as error:
        what = "is not UTF-8 text" if "UTF8" in str(error) else f"is damaged ({first_line(error)})"
        raise InputError(f"{file}: column {column!r} {what}; convert it or leave it out") from None
    return values


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column holds one text, number, truth value or time per row (or nothing)."""
    if pa.types.is_dictionary(kind):
        return is_plain(kind.value_type)
    return is_text(kind) or any(
        of_kind(kind)
        for of_kind in (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_decimal128,
            pa.types.is_date,
            pa.types.is_time,
            pa.types.is_timestamp,
            pa.types.is_duration,
            pa.types.is_null,
        )
    )

"""Types of columns: which hold text, which two files may have side by side, and whether text is UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def is_text(kind: pa.DataType) -> bool:
    """Whether values are text or bytes, or all null."""
    return _is(kind, "string", "large_string", "string_view", "binary", "large_binary", "null")


def is_utf8(kind: pa.DataType) -> bool:
    """Whether values have to be UTF-8."""
    return _is(kind, "string", "large_string", "string_view")


def _is(kind: pa.DataType, *names: str) -> bool:
    # string_view: pyarrow 16 on
    return any(getattr(pa.types, f"is_{name}", lambda kind: False)(kind) for name in names)


def values_of(kind: pa.DataType) -> pa.DataType:
    """The type of the values, of dictionaries too."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type in which a column of two files can be read as one; None where they do not go together.

    Text may be stored in several ways (with offsets of 32 or 64 bits, as views, behind a dictionary), and
    a column that is null throughout has no type of its own.
    """
    if one == other or pa.types.is_null(values_of(other)):
        return one
    if pa.types.is_null(values_of(one)):
        return other
    one, other = values_of(one), values_of(other)
    if one == other:
        return one
    if is_utf8(one) and is_utf8(other):
        return pa.large_string()
    if is_text(one) and is_text(other) and not (is_utf8(one) or is_utf8(other)):
        return pa.large_binary()
    return None


def convert(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type that `common_type` found for it."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    return column.cast(kind)


def as_text(array: pa.Array) -> pa.Array:
    """Text or bytes as large_string, without a check of the encoding."""
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        array = array.cast(pa.large_binary())
        return pa.Array.from_buffers(pa.large_string(), len(array), array.buffers(), offset=array.offset)
    return array.cast(pa.large_string())


def as_clean_text(array: pa.Array) -> pa.Array:
    """Text or bytes as large_string; bytes that are no UTF-8 become U+FFFD, which is no base and no word of
    ours."""
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid:
        values = array.cast(pa.large_binary()).to_pylist()
        decoded = [None if value is None else value.decode(errors="replace") for value in values]
        return pa.array(decoded, pa.large_string())


class Utf8Check:
    """Looks at the text of batches, at each dictionary once."""

    def __init__(self) -> None:
        # kept whole: the memory of one that was let go of may be another's
        self._seen: dict[str, pa.Array] = {}

    def first_bad(self, batch: pa.RecordBatch, columns: Sequence[str]) -> tuple[str, int] | None:
        """Name of the first of these columns with text that is no UTF-8, and the row in the batch; None
        where all is well."""
        for name in columns:
            column = batch.column(name)
            text = column.dictionary if pa.types.is_dictionary(column.type) else column
            if not is_utf8(text.type):
                continue
            if text is not column:
                if name in self._seen and _is_same(self._seen[name], text):
                    continue
                self._seen[name] = text
            try:
                text.validate(full=True)
            except pa.ArrowInvalid:
                return name, _first_bad_row(convert(column, pa.large_string()) if text is column else column)
        return None


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays are the same memory."""

    def place(array: pa.Array) -> list[int]:
        buffers = [buffer.address if buffer else 0 for buffer in array.buffers()]
        return [*buffers, array.offset, len(array)]

    return place(one) == place(other)


def _first_bad_row(column: pa.Array) -> int:
    """Row of the first value that is no UTF-8; 0 where only the dictionary has one, which no row names."""
    for row in range(len(column)):
        try:
            column[row].as_py()
        except UnicodeDecodeError:
            return row
    return 0

"""Columns of an input as the roles that they play: types checked, arrays in the types that windowing
takes, and the columns that are carried into the output.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from legscore.errors import InputError, nearest, shorten
from legscore.input.column_types import as_clean_text, as_text, is_text, values_of
from legscore.input.read import Input, Part
from legscore.rows.schema import RESULT_COLUMNS, TAIL_COLUMNS, Roles


def check_types(opened: Input, roles: Roles) -> None:
    """InputError unless every role's column has a type that can play it."""
    for role, column in roles.column_of.items():
        kind = opened.schema.field(column).type
        values = values_of(kind)
        if role == "offset" and not opened.sources[0].has_types:
            for source in opened.sources:
                if column in source.not_whole:
                    row, text = source.not_whole[column]
                    raise InputError(
                        f"{source.path}: column {column!r} reads {text!r} in row {row}; offsets are whole "
                        "numbers (0-based)"
                    )
        elif role == "offset":
            if not (pa.types.is_integer(values) or pa.types.is_null(values)):
                raise InputError(
                    f"{opened.name}: column {column!r} is {kind}; offsets must be whole numbers (0-based)"
                )
        elif not is_text(values):
            raise InputError(
                f"{opened.name}: column {column!r} is {kind}; {role} must be text. Choose with --column "
                f"{role}=NAME"
            )


def role_array(part: Part, role: str, column: str) -> pa.Array:
    """A role's column in the type that `legscore.rows.window` takes: text (dictionary kept for sequences)
    or int64.

    Bytes are taken as text without a check of their encoding: what is no base shows as `invalid_base`. An
    unsigned offset too large for int64 wraps below zero and shows as `edge`.
    """
    array = part.column(column)
    if role == "offset":
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        return (
            array.cast(pa.int64(), safe=False) if pa.types.is_uint64(array.type) else array.cast(pa.int64())
        )
    if pa.types.is_dictionary(array.type):
        if role == "sequence" and not pa.types.is_null(array.type.value_type):
            return pa.DictionaryArray.from_arrays(array.indices, as_text(array.dictionary))
        array = array.dictionary_decode()
    return as_text(array) if role.endswith("sequence") else as_clean_text(array)


def choose_carried_columns(
    opened: Input,
    roles: Roles,
    keep: str,
    written: Collection[str] = (),
    results: Collection[str] | None = None,
) -> list[str]:
    """Input columns to carry into the output.

    Args:
        keep: `auto` (all but the scored sequences; those too when nothing else would identify a row),
        `all`,
            `none`, or names separated by commas.
        written: result columns beside those that every run writes.
        results: all result columns, where no run writes them.

    Raises:
        InputError: an unknown name, or one that a result column has.
    """
    names = opened.schema.names
    if keep == "auto":
        kept = [name for name in names if name not in roles.sequence_columns] or list(names)
    elif keep in ("all", "none"):
        kept = list(names) if keep == "all" else []
    else:
        kept = list(dict.fromkeys(name.strip() for name in keep.split(",") if name.strip()))
        for name in kept:
            if name not in names:
                raise InputError(
                    f"--keep: {opened.name} has no column {name!r}{nearest(name, names)}; it has "
                    f"{shorten(names)}"
                )
    if keep in ("auto", "all"):  # a status that was given goes into the one that is written
        kept = [name for name in kept if name != roles.column_of.get("status")]
    of_run = (*RESULT_COLUMNS[roles.kind.windows], *TAIL_COLUMNS, *written)
    taken = of_run if results is None else results
    per_model = "_per_model" if results is None else ()
    if clash := [name for name in kept if name in taken or name.endswith(per_model)]:
        raise InputError(
            f"{opened.name} already has the column {clash[0]!r}, which legscore writes; leave it out with "
            "--keep "
            f"{','.join(name for name in kept if name not in clash) or 'none'} or rename it"
        )
    return kept


def check_added_columns(option: str, added: Collection[str], kept: Collection[str]) -> None:
    """InputError where a column that an option adds is carried over from the input."""
    if clash := [name for name in added if name in kept]:
        raise InputError(
            f"{option} writes {', '.join(added)}; the input has {clash[0]!r}: leave it out with --keep"
        )

"""Arguments in Python, columns or a table of them, as rows to score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.arrow_stream import as_column, as_table, table_input
from legscore.input.column_types import as_clean_text, as_text
from legscore.input.read import Input
from legscore.input.roles import check_types, role_array
from legscore.input.whole_table import read_columns
from legscore.rows.reading import SNIFF_ROWS, decide_sequence_is
from legscore.rows.schema import KINDS, Roles, checked_columns, find_roles

ROLE_OF = {"sequences": "sequence", "ref": "ref_sequence", "alt": "alt_sequence"}
"""Roles whose argument has another name than theirs."""
NAME = "name"
NAME_COLUMNS = ("tile_id", "promoter", "gene", "gene_id", "id", NAME)
"""Columns that may name the sequences of a table, the first that is there."""


@dataclass(frozen=True)
class MemoryRows:
    """Rows of one kind, in memory or in a stream."""

    opened: Input
    roles: Roles
    expected: int | None = None
    """Rows of a stream, where they are known beforehand."""

    @property
    def n_rows(self) -> int | None:
        """None where it is not known."""
        return self.expected if self.opened.known_rows is None else self.opened.known_rows

    def parts(self, step: int) -> Iterator[dict[str, pa.Array]]:
        """{role: Arrow array} of up to `step` rows at a time; one without rows where there are none."""
        columns = list(dict.fromkeys(self.roles.column_of.values()))
        n = 0
        for part in self.opened.parts(columns, step):
            n += 1
            yield {role: role_array(part, role, column) for role, column in self.roles.column_of.items()}
        if not n:
            kinds = {"offset": pa.int64()}
            yield {role: pa.array([], kinds.get(role, pa.large_string())) for role in self.roles.column_of}

    def decide_sequence_is(self, contract: Contract) -> str:
        """What the sequences are, from the first 4,096."""
        column = self.roles.sequence_columns[0]
        texts = self.opened.head([column], SNIFF_ROWS).column(column).combine_chunks()
        if isinstance(texts, pa.ChunkedArray):
            texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], pa.large_string())
        texts = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
        return decide_sequence_is(as_text(texts), contract)


def rows_of(kind: str, given: Mapping[str, Any], columns: Mapping[str, str] | None) -> MemoryRows:
    """Rows from the arguments of a call.

    Args:
        kind: of rows, a key of `KINDS`.
        given: the arguments that were given, by name: columns, or a table as the first and only one.
        columns: column of a role, where a table calls it otherwise.

    Raises:
        InputError: something else than columns or a table, columns that are missing, of a wrong type, or of
            different lengths.
    """
    first, value = next(iter(given.items()))
    if not isinstance(value, str | bytes) and (table := as_table(value)) is not None:
        if len(given) > 1:
            raise InputError(
                f"{first} is a whole table ({type(value).__name__}) where a column is meant: pass one of its "
                "columns, or the table alone and columns={...}"
            )
        opened = table_input(table)
        roles = find_roles(opened.schema.names, opened.name, kind, columns)
        check_types(opened, roles)
        return MemoryRows(opened, roles)
    if columns:
        raise InputError(f"columns names the columns of a table, and {first} is {type(value).__name__}")
    arrays = _columns(kind, given)
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1:
        what = "sequences" if kind == "pair" else "rows"
        raise InputError(f"{' and '.join(given)} have different numbers of {what}: {sorted(lengths)}")
    opened = table_input(pa.table(arrays))
    return MemoryRows(opened, Roles(KINDS[kind], {role: role for role in arrays}))


def _columns(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as columns of their roles."""
    roles = {ROLE_OF.get(name, name): name for name in given}
    if missing := [role for role in KINDS[kind].needs if role not in roles]:
        arguments = {role: name for name, role in ROLE_OF.items()}
        needed = [arguments.get(role, role) for role in KINDS[kind].needs]
        raise InputError(
            f"{arguments.get(missing[0], missing[0])} is missing: give {' and '.join(needed)}, or one "
            f"table with "
            f"the columns {', '.join(KINDS[kind].needs)}"
        )
    arrays = {
        role: as_column(given[name], name, text=role != "offset")
        for role, name in roles.items()
        if not (kind == "edit" and role == "sequence" and isinstance(given[name], str))
    }
    if "sequence" not in arrays and "sequence" in roles:  # one text for all rows
        n = max((len(array) for array in arrays.values()), default=0)
        text = pa.array([given[roles["sequence"]]], pa.large_string())
        arrays["sequence"] = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), n), text)
    return arrays


def named_sequences(data: Any, columns: Mapping[str, str] | None) -> tuple[pa.Array, list[str]]:
    """Sequences, large_string [N], and what they are called: by a column of their table, else by number."""
    given = checked_columns(columns)
    column = given.pop(NAME, None)
    table = None if isinstance(data, str | bytes) else as_table(data)
    if table is None:
        if columns:
            raise InputError(f"columns names the columns of a table, and sequences is {type(data).__name__}")
        texts = as_clean_text(as_column(data, "sequences"))
        return texts, [str(row) for row in range(len(texts))]
    opened = table_input(table)
    roles = find_roles(opened.schema.names, opened.name, "sequence", given)
    check_types(opened, roles)
    if column is not None and column not in opened.schema.names:
        raise InputError(f"{opened.name} has no column {column!r}; it has {', '.join(opened.schema.names)}")
    column = column or next((name for name in NAME_COLUMNS if name in opened.schema.names), None)
    sequence = roles.column_of["sequence"]
    wanted = list(dict.fromkeys([sequence, column or sequence]))
    table = read_columns(opened, wanted)
    texts = as_clean_text(as_column(table.column(sequence), "sequences"))
    names = table.column(column).to_pylist() if column else [None] * len(texts)
    return texts, [str(row if name is None else name) for row, name in enumerate(names)]

"""A user's table as inserts of one length: whatever `legscore run` reads, where its windows are inserts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.contract import Contract
from legscore.errors import InputError, nearest
from legscore.input.column_types import is_text
from legscore.input.read import Input, Part, open_input
from legscore.input.roles import check_types, role_array
from legscore.rows.schema import ALIASES, KINDS, OK, Roles, find_roles
from legscore.rows.window import Windower
from legscore.run.settings import resolve_sequence_is
from legscore.system.log import Say

PART_ROWS = 65_536
MOST = float(np.finfo(np.float32).max)
_CHOOSE = re.compile(r"[.;] \w[^.;]* with --column .*", re.DOTALL)
"""Advice of an error about columns to choose with an option that `distill` does not have."""
VARIANT_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")


@dataclass(frozen=True)
class InputRows:
    """Rows of a table.

    Attributes:
        alt_NL, ref_NL: uint8 codes [rows, insert]. Single sequences have alt_NL alone.
        value_NV: float64 [rows, columns] of what was asked for beside them; NaN where a row has none.
    """

    alt_NL: np.ndarray
    ref_NL: np.ndarray | None
    value_NV: np.ndarray

    def __len__(self) -> int:
        return len(self.alt_NL)

    def take(self, rows_N: np.ndarray) -> InputRows:
        """Some of the rows: a mask, or numbers in any order."""
        ref = None if self.ref_NL is None else self.ref_NL[rows_N]
        return InputRows(self.alt_NL[rows_N], ref, self.value_NV[rows_N])

    @property
    def anchors(self) -> np.ndarray:
        """What a row changes: its reference, or the sequence itself."""
        return self.alt_NL if self.ref_NL is None else self.ref_NL


def read_rows(
    path: str,
    contract: Contract,
    insert: int,
    share: float,
    most: int | None,
    rng: np.random.Generator,
    say: Say,
    values: Sequence[str] = (),
    *,
    with_n: bool = False,
) -> InputRows:
    """Read a share of a table's rows, drawn at random.

    Args:
        contract: of the ensemble, whose adapters and windows the sequences may carry.
        insert: bases; rows of other lengths, and those with N, are left out and counted.
        share: of all rows. most: rows, about, however many a share would be; None for no bound.
        values: columns of numbers to read beside the sequences.
        with_n: take rows with N too.

    Raises:
        InputError: no such table or column, whole windows of genome, no usable row, or a value that is too
            large for float32.
    """
    opened = open_rows(path)
    if any(source.made_by.get("context") == "genome" for source in opened.sources):
        raise InputError(f"{path} holds windows of genome; a student reads inserts in the construct only")
    roles = roles_of(opened)
    for name in values:
        if name not in opened.schema.names:
            raise InputError(f"{path} has no column {name!r}{nearest(name, opened.schema.names)}")
    sequence_is = resolve_sequence_is(opened, roles, contract, "auto", lambda line: None)
    one_length = replace(contract, insert_min=insert, insert_max=insert)
    windower = Windower(one_length, roles.kind, sequence_is, max_n=insert if with_n else 0)
    columns = list(dict.fromkeys([*roles.column_of.values(), *values]))
    share = share if most is None else min(share, most / max(opened.n_rows, 1))
    found, drawn = [], 0
    for part in opened.parts(columns, PART_ROWS):
        rows_N = np.flatnonzero(rng.random(part.table.num_rows) < share)
        drawn += len(rows_N)
        found.append(_usable(part, rows_N, roles, windower, insert, path, values))
    say(
        f"{path}: {sum(map(len, found)):,} usable of {drawn:,} rows drawn from {opened.n_rows:,}, read as "
        f"{sequence_is}s"
    )
    if not any(map(len, found)):
        of, more = ("", "") if with_n else (" without N", ", or draw more" if drawn < opened.n_rows else "")
        raise InputError(
            f"{path}: none of {drawn:,} rows drawn has inserts of {insert} bases{of}; name their length with "
            f"--insert{more}"
        )
    refs = [one.ref_NL for one in found if one.ref_NL is not None]
    return InputRows(
        np.concatenate([one.alt_NL for one in found]),
        np.concatenate(refs) if refs else None,
        np.concatenate([one.value_NV for one in found]),
    )


def open_rows(path: str) -> Input:
    """Open a table of sequences. InputError for one of variants, with what makes rows of it."""
    if path.lower().endswith(VARIANT_ENDINGS):
        raise InputError(
            f"{path} holds variants, not sequences; make rows of it first: legscore variants {path} --fasta "
            "GENOME -o rows.parquet"
        )
    return open_input([path])


def roles_of(opened: Input) -> Roles:
    """The roles of a table's columns; of one that also fits another kind of rows the pairs are read.

    Raises:
        InputError: a column that is needed is not there, there twice, or of another type.
    """
    names = opened.schema.names
    pairs = all(any(alias in names for alias in ALIASES[role]) for role in KINDS["pair"].needs)
    try:
        roles = find_roles(names, opened.name, "pair" if pairs else None)
        check_types(opened, roles)
    except InputError as error:
        raise InputError(_CHOOSE.sub("; rename the column", str(error))) from None
    return roles


def _usable(
    part: Part,
    rows_N: np.ndarray,
    roles: Roles,
    windower: Windower,
    insert: int,
    path: str,
    values: Sequence[str],
) -> InputRows:
    """The drawn rows of a part that have a window."""
    drawn = pa.array(rows_N)
    given = {role: role_array(part, role, name).take(drawn) for role, name in roles.column_of.items()}
    windows = windower(given)
    usable = windows.status_N == OK
    end = windower.contract.length - len(windower.contract.flank3)
    inserts = windows.batch.expand()[:, end - insert : end]
    index_NK = windows.index_NKS[usable, :, 0]
    value_NV = np.empty((len(rows_N), len(values)))
    for v, name in enumerate(values):
        value_NV[:, v] = _numbers(part.column(name).take(drawn), path, name)
        beyond_N = np.isfinite(value_NV[:, v]) & (np.abs(value_NV[:, v]) > MOST)
        if beyond_N.any():
            row = int(np.argmax(beyond_N))
            raise InputError(
                f"{path}: row {part.first_row + rows_N[row] + 1:,} of column {name!r} holds "
                f"{value_NV[row, v]:.6g}; scores are float32 numbers, {MOST:.2g} at most. Correct such "
                "rows, or leave them out"
            )
    return InputRows(
        inserts[index_NK[:, -1]],
        inserts[index_NK[:, 0]] if index_NK.shape[1] == 2 else None,
        value_NV[usable],
    )


def _numbers(column: pa.Array, path: str, name: str) -> np.ndarray:
    """A column as float64, NaN where it is null or empty. InputError for text that is no number."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type) and not pa.types.is_null(column.type):
        column = pc.if_else(
            pc.is_in(pc.utf8_trim_whitespace(column), pa.array(["", "NA", "nan"])), None, column
        )
    try:
        return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: column {name!r} must hold numbers ({str(error).splitlines()[0]})"
        ) from None

"""Words that tables use: row kinds, column names and their aliases, statuses.

`pos`, `ref`, `alt` are genomic (1-based, plus strand, as in VCF); `start`, `end` are 0-based half-open. A
change inside a given sequence is `offset` (0-based, on that sequence's own strand) and `alt_base`, with an
optional, checked `ref_base`; with a column `refill` it may be a deletion or an insertion of one base
(`legscore.rows.indels`). A `status` beside pairs or edits, as `legscore variants` writes it, comes first: a
row that has one other than `ok` is not scored and keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from legscore.errors import InputError, listed, nearest

STATUSES = (
    "ok", "null_sequence", "invalid_base", "too_short", "too_long", "adapter_mismatch", "ref_mismatch",
    "ref_alt_swapped", "ref_equals_alt", "contig_missing", "edge", "unsupported_allele", "missing_genotype",
    "allele_conflict", "no_window", "mostly_n", "in_training", "nonfinite",
)  # fmt: skip
"""Every row has one; its code is its index here."""
STATUS_CODE = {name: code for code, name in enumerate(STATUSES)}
OK = STATUS_CODE["ok"]

SEQUENCE_IS = ("insert", "oligo", "window")
RC_MODES = ("construct", "insert", "none")

ALIASES: Mapping[str, tuple[str, ...]] = {
    "sequence": ("sequence", "seq"),
    "ref_sequence": ("ref_sequence", "ref_seq"),
    "alt_sequence": ("alt_sequence", "alt_seq"),
    "offset": ("offset",),
    "alt_base": ("alt_base",),
    "ref_base": ("ref_base",),
    "refill": ("refill",),
    "status": ("status",),
}


@dataclass(frozen=True)
class Kind:
    """What a row is: the columns it needs, those it may have, and how many windows it compares."""

    name: str
    needs: tuple[str, ...]
    may_have: tuple[str, ...]
    windows: int

    @property
    def sequences(self) -> tuple[str, ...]:
        return tuple(role for role in self.needs if role.endswith("sequence"))


KINDS = {
    "pair": Kind("pair", ("ref_sequence", "alt_sequence"), ("status",), 2),
    "edit": Kind("edit", ("sequence", "offset", "alt_base"), ("ref_base", "refill", "status"), 2),
    "sequence": Kind("sequence", ("sequence",), (), 1),
}
"""In order of precedence. A file that fits `pair` and one of the others is an error without --kind."""

RESULT_COLUMNS = {
    1: ("score", "score_sd"),
    2: ("ref_score", "alt_score", "effect", "effect_sd"),
}
TAIL_COLUMNS = ("status", "n_count", "n_members", "scored_by")
SCORERS = ("student", "ensemble")
"""Words of the column scored_by."""
BY_NOBODY, BY_STUDENT, BY_CHOICE, BY_NEED = range(4)
"""Who scored a row: nobody, the student, the ensemble because the row was chosen, or because the student
cannot read it."""
CODED = {"status": STATUSES, "scored_by": SCORERS}
"""Columns of words, with the words in the order of their dictionaries."""


@dataclass(frozen=True)
class Roles:
    """The kind of the rows and the input column that plays each role."""

    kind: Kind
    column_of: Mapping[str, str]

    @property
    def sequence_columns(self) -> tuple[str, ...]:
        return tuple(self.column_of[role] for role in self.kind.sequences)


def find_roles(
    names: Sequence[str], where: str, kind: str | None = None, given: Mapping[str, str] | None = None
) -> Roles:
    """Decide the row kind and the columns that it needs.

    Args:
        names: columns of the input.
        where: the input, for messages.
        kind: `pair`, `edit` or `sequence`, or None to decide from the columns.
        given: {role: column} chosen by the user (`--column sequence=dna`).

    Raises:
        InputError: columns missing, standing twice, or fitting two kinds; a role that the kind does not have.
    """
    given = checked_columns(given)
    for role, column in given.items():
        if column in ALIASES and column not in names and role in names:
            raise InputError(
                f"--column {role}={column} has role and column exchanged: --column {column}={role}"
            )
        if role not in ALIASES:
            raise InputError(
                f"--column {role}={column}: no such role{nearest(role, ALIASES)}; roles are "
                f"{', '.join(ALIASES)}"
            )
        if column not in names:
            raise InputError(
                f"{where} has no column {column!r}{nearest(column, names)}; it has {listed(column, names)}"
            )
    found = {role: _find(role, names, where, given) for role in ALIASES}
    column_of = {role: column for role, column in found.items() if column is not None}
    if kind is None:
        fits = [k for k in KINDS.values() if all(role in column_of for role in k.needs)]
        if not fits:
            raise InputError(_nothing_fits(names, where, column_of))
        if fits[0].name == "pair" and len(fits) > 1:
            raise InputError(
                f"{where} fits two kinds of rows, {fits[0].name} "
                f"({', '.join(column_of[r] for r in fits[0].needs)}) and "
                f"{fits[1].name} ({', '.join(column_of[r] for r in fits[1].needs)}); choose with --kind"
            )
        chosen = fits[0]
    else:
        chosen = KINDS[kind]
        if missing := [role for role in chosen.needs if role not in column_of]:
            raise InputError(
                f"{where} has no column {' and no column '.join(map(repr, missing))} for --kind {kind}"
                f"{nearest(missing[0], names)}; it has {listed(missing[0], names)}. Name it with --column "
                f"{missing[0]}=NAME"
            )
    roles = (*chosen.needs, *chosen.may_have)
    if idle := next((role for role in given if role not in roles), None):
        raise InputError(
            f"--column {idle}={given[idle]}: rows of kind {chosen.name} have no such role; theirs are "
            f"{', '.join(roles)}"
        )
    return Roles(chosen, {role: column_of[role] for role in roles if role in column_of})


def checked_columns(given: Mapping[str, str] | None) -> dict[str, str]:
    """Columns by role, as the argument `columns` gave them. InputError for what is no mapping."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"columns is {given!r}; it says which role has which column: {{'sequence': 'NAME'}}")
    return dict(given or {})


def _find(role: str, names: Sequence[str], where: str, given: Mapping[str, str]) -> str | None:
    if role in given:
        return given[role]
    present = [alias for alias in ALIASES[role] if alias in names]
    if len(present) > 1:
        raise InputError(
            f"{where} has both {present[0]!r} and {present[1]!r}; choose with --column {role}={present[0]}"
        )
    if present and list(names).count(present[0]) > 1:
        raise InputError(f"{where} has the column {present[0]!r} twice; rename one of them")
    return present[0] if present else None


def _nothing_fits(names: Sequence[str], where: str, column_of: Mapping[str, str]) -> str:
    wanted = "ref_sequence + alt_sequence, or sequence + offset + alt_base, or sequence"
    hint = nearest("sequence", names) or nearest("ref_sequence", names)
    more = ""
    if {"pos", "ref", "alt"} <= {name.lower() for name in names}:
        more = "; genome columns alone (pos, ref, alt) do not say which sequence the reporter held"
    elif len(names) == 1 and any(mark in names[0] for mark in ";,\t|"):
        more = "; its columns seem to be separated otherwise: .csv takes commas, .tsv takes tabs"
    elif names and not column_of and set(names[0].upper()) <= set("ACGTUN") and len(names[0]) > 3:
        more = "; it seems to have no header line: add one"
    return (
        f"{where} has no columns to score{hint}: needed are {wanted}; it has "
        f"{listed('sequence', names)}{more}. Name a column with --column sequence=NAME"
    )

"""Entries of a record that anything may have written (JSON in a file's metadata or beside it), checked by
kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legscore.errors import InputError

TEXT, NUMBER = "text", "a number"
MOST = 1e300
_NAMES = {dict: "a table of entries", list: "a list", str: "text", bool: "true or false"}


def check_entries(value: Any, kind: Any, where: str) -> None:
    """Compare a value with what it should be; null is always fine, and so are entries that `kind` does not
    name.

    Args:
        kind: TEXT, NUMBER, `[kind]` for a list whose entries are of that kind (none of them null), or a
            mapping of names to kinds.
        where: which record it is, for the message.

    Raises:
        InputError: naming the first entry that is of another kind.
    """
    if value is None:
        return
    if isinstance(kind, Mapping):
        _expect(isinstance(value, Mapping), "a table of entries", value, where)
        for name, inner in kind.items():
            check_entries(value.get(name), inner, f"{where}, {name}")
    elif isinstance(kind, list):
        _expect(isinstance(value, list), "a list", value, where)
        for at, one in enumerate(value, start=1):
            _expect(one is not None, "a value", one, f"{where}, entry {at}")
            check_entries(one, kind[0], f"{where}, entry {at}")
    else:
        _expect(isinstance(value, str) if kind == TEXT else is_number(value), kind, value, where)


def is_number(value: Any) -> bool:
    """Whether it is a number that a float holds: JSON also has NaN, and whole numbers of any size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def _expect(right: bool, kind: str, value: Any, where: str) -> None:
    if not right:
        found = _NAMES.get(type(value), repr(value)[:40])
        raise InputError(f"{where} is not as legscore writes it: {kind} is expected, not {found}")

"""--where COLUMN=VALUE, of every command that takes it."""

from __future__ import annotations

from collections.abc import Sequence

from legscore.errors import InputError


def conditions(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each `COLUMN=VALUE` as a pair. InputError for anything else."""
    found = []
    for text in texts:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise InputError(f"--where {text}: write COLUMN=VALUE, such as medium=complex")
        found.append((column, value))
    return tuple(found)

"""Errors a user can act on: each says what is wrong, where, and what to do.

The command line turns any `LegscoreError` into one line on stderr and exit code 2 (`legscore.cli`);
anything else is a defect of legscore and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class LegscoreError(Exception):
    """Base of every error that legscore raises on purpose."""

    exit_code = 2


class InputError(LegscoreError):
    """An input file or table cannot be read as asked."""


class OutputError(LegscoreError):
    """An output cannot be written."""


class ModelError(LegscoreError):
    """A checkpoint, an ensemble or an upstream file is not what it should be."""


class EngineError(LegscoreError):
    """The engine or precision asked for cannot be served, or scoring failed."""


class WrongScoresError(EngineError):
    """Scores were compared and found wrong: nothing that this run computes can be trusted, and trying again
    is no way out."""


class ClusterError(LegscoreError):
    """A cluster cannot be reached, its machines do not agree, or parts could not be scored on it."""


class LegscoreWarning(UserWarning):
    """Something that nobody asked to hear of and should know: a long measurement, a change of precision."""


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def spell_controls(text: str, keep: str = "") -> str:
    """Text that a terminal only shows: control characters, which can move its cursor, colour or retitle it,
    and those that turn the direction of writing are spelt out, as \\x1b, but those in `keep`. Names in files
    are not ours."""

    def spelt(found: re.Match[str]) -> str:
        character = found[0]
        if character in keep:
            return character
        return character.encode("unicode_escape", "backslashreplace").decode("ascii")

    return _UNSEEN.sub(spelt, text)


def printable(text: str) -> str:
    """One line that a terminal only shows: lines are joined, controls spelt out (`spell_controls`)."""
    return spell_controls(" ".join(text.splitlines()))


def shorten(names: Iterable[object], most: int = 6) -> str:
    """`a, b, c and 4 more`, for error messages."""
    listed = [str(name) for name in names]
    if len(listed) <= most:
        return ", ".join(listed)
    return ", ".join(listed[:most]) + f" and {len(listed) - most} more"


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion such as ` (did you mean "sequence"?)`, or an empty string."""
    listed = list(known)
    near = [one for one in listed if one.casefold() == name.casefold()]
    near = near or get_close_matches(name, listed, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def listed(name: str, known: Iterable[str], most: int = 12) -> str:
    """Names that there are, those first that are like the one that was asked for: whatever is left out is not
    the one that is needed. A name that holds it, or is held by it, goes before others."""
    names = [str(one) for one in known]
    asked = name.lower()

    def likeness(one: str) -> float:
        other = one.lower()
        inside = bool(asked) and bool(other) and (asked in other or other in asked)
        return inside + SequenceMatcher(None, asked, other).ratio()

    if len(names) > most:
        names.sort(key=likeness, reverse=True)
    return shorten(names, most)

"""Arguments of the Python functions are of the kind that their annotation says.

The command line reads numbers and texts itself; what comes from Python may be anything, and would fail deep
inside with words about something else, or not at all (`nan` lies within every limit, "no" is true).
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np

from legscore.errors import InputError
from legscore.input.arrow_stream import is_table
from legscore.rows.schema import checked_columns

PATH = "str | os.PathLike[str]"
PATHS = ("Paths", "Models")
TEXTS = (*PATHS, "str | Sequence[str]", "Sequence[str]")
FILES = ("inputs", "source")
"""Arguments for files whose functions say themselves which others take tables."""
MOST = 2**63
"""What a whole number stays below; seeds may be any."""


def plain_arguments(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments, with numbers of numpy as Python's and paths as texts where a text is meant.

    InputError names the first argument of another kind; TypeError is Python's own, where arguments do not fit
    the signature.
    """
    bound = signature.bind(*args, **kwargs)
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].annotation
        if not isinstance(kind, str) or (value is None and kind.endswith(" | None")):
            continue
        kind = kind.removesuffix(" | None")
        if wanted := _without_nul(name, kind, value) or _wanted(name, kind, value):
            raise InputError(f"{name} is {_shown(value)}; it must be {wanted}")
        if name == "models" and kind in PATHS and hasattr(value, "__len__") and len(value) == 0:
            raise no_models(value)
        if name == "columns":
            _check_columns(checked_columns(value))
        bound.arguments[name] = _plain(kind, value)
    return bound


def _plain(kind: str, value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, str):
        value = value.item()  # JSON and others take Python's only
    if isinstance(value, os.PathLike) and kind in ("str", "str | int"):
        return os.fspath(value)
    return float(value) if kind == "float" and not isinstance(value, int | float) else value


def _without_nul(name: str, kind: str, value: Any) -> str:
    """What a text that is handed to the system must be, where it holds what ends one there."""
    if kind == "Any" and name != "data":
        return ""
    texts = value if kind in TEXTS and isinstance(value, list | tuple | set) else [value]
    held = any("\0" in os.fspath(one) for one in texts if isinstance(one, str) or _is_path(one))
    return "without NUL characters" if held else ""


def _wanted(name: str, kind: str, value: Any) -> str:
    """What a value of this kind must be, where it is something else; empty where it is right, or has a check
    of its own."""
    is_text = isinstance(value, str) or _is_path(value)
    if kind == "str":
        return "" if is_text else "a text"
    if kind == PATH:
        return "" if is_text or _is_told_elsewhere(name, value) else "a path"
    if kind in TEXTS:
        is_right = is_text or _may_be_texts(name, kind, value)
        return (
            "" if is_right else "a path or a list of paths" if kind in PATHS else "a text or a list of texts"
        )
    if kind == "str | int":
        return "" if is_text or _is_whole(value) else "a text or a whole number"
    if kind == "int":
        is_flag = name == "singleton" and isinstance(value, bool)
        if is_flag or (_is_whole(value) and (name == "seed" or abs(value) < MOST)):
            return ""
        return "a whole number of 64 bits" if _is_whole(value) else "a whole number"
    if kind == "float":
        return "" if _is_finite(value) else "a finite number"
    return _wanted_of_others(kind, value)


def _wanted_of_others(kind: str, value: Any) -> str:
    """`_wanted` of what is neither text nor number."""
    if kind == "bool":
        is_flag = isinstance(value, bool | np.bool_) or (_is_whole(value) and value in (0, 1))
        return "" if is_flag else "True or False"
    if kind == "bool | StartProgress":
        return "" if callable(value) or not _wanted_of_others("bool", value) else "True, False or a function"
    if kind == "Say":
        return "" if callable(value) else "a function that takes a line, such as print"
    if kind == "Mapping[str, Any]":
        is_right = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        return "" if is_right else "{column: value}"
    if kind == "Mapping[str, str]":  # what is no mapping at all is told with an example
        is_right = not isinstance(value, Mapping) or all(isinstance(key, str) for key in value)
        return "" if is_right else "{role: column}, with texts for both"
    if kind == "Sequence[int]":
        return "" if _all_of(value, _is_whole) else "a list of whole numbers"
    if kind == "tuple[float, float]":
        return (
            ""
            if _all_of(value, _is_finite) and len(value) == 2
            else "two numbers, lowest first, such as (0.3, 0.5)"
        )
    if kind == "str | float | Sequence[float]":
        is_right = (
            isinstance(value, str) or _is_path(value) or _is_finite(value) or _all_of(value, _is_finite)
        )
        return "" if is_right else "a number, a list of numbers, or a text"
    return ""


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) and isinstance(value.__fspath__(), str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _all_of(value: Any, check: Any) -> bool:
    """Whether it is a list, a tuple or an array of one dimension and all of its values pass."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(map(check, value))


def _may_be_texts(name: str, kind: str, value: Any) -> bool:
    """Whether it is a list of texts or paths, or will give some: nothing is taken from a generator. Names for
    several ensembles have a check of their own, and tables where files are meant."""
    if isinstance(value, bytes | bytearray) or not isinstance(value, Iterable):
        return _is_told_elsewhere(name, value)
    if isinstance(value, Mapping):
        return kind in PATHS
    if isinstance(value, Iterator):
        return True
    if is_table(value):
        return name in FILES
    return isinstance(value, Sized) and all(isinstance(one, str) or _is_path(one) for one in value)


def _is_told_elsewhere(name: str, value: Any) -> bool:
    return name in FILES and not isinstance(value, Mapping) and is_table(value)


def no_models(value: Any) -> InputError:
    """The error where models were asked for and none are named."""
    if isinstance(value, str):
        return InputError("an empty name was given for a model; is a shell variable unset?")
    return InputError(
        "models is empty (a pattern that matched nothing?); name models, or leave the argument out for the "
        "bundled ones"
    )


def _check_columns(value: Mapping[Any, Any]) -> None:
    for key, name in value.items():
        if not isinstance(name, str):
            raise InputError(
                f"columns[{key!r}] is {_shown(name)}; it must be the name of a column, such as {str(name)!r}"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"of type {type(value).__name__}"

"""Arguments of the Python functions are of the kind that their annotation says.

The command line reads numbers and texts itself; what comes from Python may be anything, and would fail deep
inside with words about something else, or not at all (`nan` lies within every limit).
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from legscore.errors import InputError
from legscore.input.arrow_stream import is_table

PATH = "str | os.PathLike[str]"
PATHS = ("Paths", "Models")


def check_arguments(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """InputError that names the first argument of another kind; TypeError, Python's own, where arguments do
    not fit the signature."""
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].annotation
        if not isinstance(kind, str) or (value is None and kind.endswith(" | None")):
            continue
        kind = kind.removesuffix(" | None")
        if wanted := _wanted(kind, value):
            raise InputError(f"{name} is {_shown(value)}; it must be {wanted}")
        if name == "models" and kind in PATHS and hasattr(value, "__len__") and len(value) == 0:
            raise no_models(value)
        if name == "columns" and isinstance(value, Mapping):
            _check_columns(value)


def _wanted(kind: str, value: Any) -> str:
    """What a value of this kind must be, where it is something else; empty where it is right, or has a check
    of its own."""
    is_text = isinstance(value, str | os.PathLike)
    if kind == "str":
        return "" if is_text else "a text"
    if kind == PATH:
        return "" if is_text or is_table(value) else "a path"
    if kind == "str | Sequence[str]":
        return "" if is_text or _may_be_texts(value) else "a text or a list of texts"
    if kind in PATHS:
        return "" if is_text or _may_be_texts(value) else "a path or a list of paths"
    if kind == "str | int":
        return "" if is_text or isinstance(value, numbers.Integral) else "a text or a whole number"
    if kind == "int":
        return "" if isinstance(value, numbers.Integral) else "a whole number"
    if kind == "float":
        return "" if isinstance(value, numbers.Real) and math.isfinite(value) else "a finite number"
    return ""


def _may_be_texts(value: Any) -> bool:
    """Whether it is no single thing and, where it is a list, holds texts or paths; a table in memory is told
    by its own check."""
    if value is None or isinstance(value, bytes | bytearray | numbers.Number):
        return False
    return not isinstance(value, list | tuple | set) or all(isinstance(o, str | os.PathLike) for o in value)


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

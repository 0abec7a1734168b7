"""Which columns and rows of a table train, and their values checked: vectorised, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.contract import Contract
from legscore.dna.folds import SEED, folds_of_split
from legscore.errors import InputError, listed, nearest, shorten
from legscore.input.column_types import is_text
from legscore.input.read import Input, Part
from legscore.input.source import first_line
from legscore.input.whole_table import checked_values, is_plain

EXPRESSION_NAMES = ("expression", "expression_calibrated", "mean_value", "bin", "y")


@dataclass(frozen=True)
class DataOptions:
    """How to read training data; see `legscore train --help` for each. `fold_column` "hash" ignores what
    columns say."""

    sequence_column: str | None = None
    expression_column: str | None = None
    singleton_column: str | None = None
    weight_column: str | None = None
    fold_column: str | None = None
    split_column: str | None = None
    where: tuple[tuple[str, str], ...] = ()
    sequence_is: str = "auto"
    fold_on: str = "given"
    n_folds: int = 10
    out_of_range: str = "error"
    singletons: str = "whole"
    singleton_min: int = 1100


def find_columns(opened: Input, options: DataOptions) -> dict[str, str]:
    names = opened.schema.names
    hashed = options.fold_column == "hash"
    wanted: dict[str, tuple[str | None, tuple[str, ...]]] = {
        "sequence": (options.sequence_column, ("sequence", "seq")),
        "expression": (options.expression_column, EXPRESSION_NAMES),
        "singleton": (options.singleton_column, ()),
        "weight": (options.weight_column, ()),
        "split": (None if hashed else options.split_column, ()),
        "fold": (None if hashed else options.fold_column, ()),
        "rev": (None, ("rev",) if {"fold_num", "rev"} <= set(names) else ()),
    }
    found: dict[str, str] = {}
    for role, (asked, known) in wanted.items():
        if asked is not None and asked not in names:
            raise InputError(
                f"{opened.name} has no column {asked!r}{nearest(asked, names)}; it has {listed(asked, names)}"
            )
        name = asked or next((alias for alias in known if alias in names), None)
        if name is not None:
            found[role] = name
        elif known:
            raise InputError(
                f"{opened.name} has no {role} column ({', '.join(known)}); it has "
                f"{listed(role, names)}. Name it with --{role}"
            )
    for column, _ in options.where:
        if column not in names:
            raise InputError(f"{opened.name} has no column {column!r} for --where{nearest(column, names)}")
    if not hashed and "fold" not in found and "split" not in found:
        present = [name for name in ("split", "fold", "fold_num") if name in names]
        if len(present) > 1:
            raise InputError(
                f"{opened.name} has a split and a fold column; choose with --split split, --fold fold or "
                "--fold hash"
            )
        found |= {"split" if name == "split" else "fold": name for name in present}
    if ("fold" in found and "split" in found) or (hashed and options.split_column is not None):
        raise InputError("--fold and --split exclude each other")
    return found


def fold_rule(columns: dict[str, str], options: DataOptions, sequence_is: str) -> dict[str, Any]:
    for name in ("split", "fold"):
        if name in columns:
            return {"by": name, "column": columns[name]}
    rule = {"by": "mmh3", "fold_on": options.fold_on, "n_folds": options.n_folds, "seed": SEED}
    return rule | ({"sequence_is": sequence_is} if options.fold_on == "given" else {})


def chosen_rows(opened: Input, part: Part, where: tuple[tuple[str, str], ...]) -> np.ndarray:
    """Rows that every --where keeps, bool [rows]."""
    chosen = np.ones(part.table.num_rows, dtype=bool)
    for column, value in where:
        texts = checked_values(part.column(column), column, opened.name)
        if not is_plain(texts.type):
            raise InputError(f"{opened.name}: column {column!r} is {texts.type}; --where compares text")
        if not pa.types.is_string(texts.type):
            texts = texts.cast(pa.string())
        chosen &= pc.equal(texts, value).fill_null(False).to_numpy(zero_copy_only=False)
    return chosen


def split_folds(opened: Input, part: Part, column: str) -> np.ndarray:
    """Folds of a split column: train 0, validation 1, anything else -1; int16 [rows]."""
    texts = checked_values(part.column(column), column, opened.name)
    if not is_text(texts.type):
        raise InputError(
            f"{opened.name}: split column {column!r} is {texts.type}; it must hold text such as train "
            "and valid"
        )
    return folds_of_split(texts)


def numbers(opened: Input, part: Part, column: str) -> np.ndarray:
    """A column as float64 [rows], null as NaN; InputError for text."""
    array = checked_values(part.column(column), column, opened.name)
    if is_text(array.type):  # CSV columns are text
        try:
            array = array.cast(pa.float64())
        except pa.ArrowException as error:
            raise InputError(
                f"{opened.name}: column {column!r} must hold numbers ({first_line(error)})"
            ) from None
    if not (
        pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)
    ):
        raise InputError(f"{opened.name}: column {column!r} is {array.type}; it must hold numbers")
    # whole numbers beyond 2^53 are rounded
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def in_range(
    expression: np.ndarray,
    usable: np.ndarray,
    contract: Contract,
    options: DataOptions,
    first_row: int,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Expressions after --out-of-range, and which of them are inside the bins."""
    low, high = contract.output.min, contract.output.max
    if low is None or high is None:
        return expression, np.ones(len(expression), dtype=bool)
    with np.errstate(invalid="ignore"):
        inside = (expression >= low) & (expression <= high)
    outside = np.flatnonzero(usable & ~inside)
    if not len(outside) or options.out_of_range == "drop":
        return expression, inside
    if options.out_of_range == "clip":
        return np.clip(expression, low, high), np.ones(len(expression), dtype=bool)
    rows = shorten([f"{first_row + row + 1:,} ({expression[row]:g})" for row in outside], 3)
    raise InputError(
        f"{name}: expression outside {low:g}..{high:g} in rows {rows}; pass --out-of-range clip or drop"
    )

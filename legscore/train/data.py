"""A table of measured sequences → windows as codes, expressions, folds: what training draws from.

Windows are uint8 codes [N, L], in memory up to `MEMORY_BYTES`, memory-mapped above (30 million yeast windows are
4.5 GB). Everything is vectorised, part by part; the checks are those of scoring (`legscore.window`), so that adapters are
verified and windows padded from the construct in one place only.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.contract import BASES, Contract
from legscore.errors import InputError, nearest, shorten
from legscore.formats import first_line
from legscore.read import Input, Part, open_input, role_array
from legscore.schema import KINDS, OK, STATUSES
from legscore.sequences import text_to_codes
from legscore.train.folds import folds_of_rows
from legscore.window import SNIFF_ROWS, Windower, decide_sequence_is

MEMORY_BYTES = 2 << 30
PART_ROWS = 65_536
LETTERS = np.frombuffer((BASES + "N").encode(), dtype=np.uint8)
EXPRESSION_NAMES = ("expression", "expression_calibrated", "mean_value", "bin", "y")


@dataclass(frozen=True)
class DataOptions:
    """How to read training data; see `legscore train --help` for each."""

    sequence_column: str | None = None
    expression_column: str | None = None
    singleton_column: str | None = None
    weight_column: str | None = None
    fold_column: str | None = None
    sequence_is: str = "auto"
    fold_on: str = "given"
    n_folds: int = 10
    out_of_range: str = "error"


@dataclass(frozen=True)
class TrainingData:
    """N measured windows.

    Attributes:
        codes_NL: uint8 [N, L].
        expression_N: float32 [N].
        singleton_N: bool [N], observed once.
        fold_N: int16 [N].
        weight_N: float64 [N] sampling weights, or None for equal ones.
        sha256: of all of it, kept in every checkpoint.
        report: counts worth saying: rows read, dropped by reason, duplicates.
    """

    codes_NL: np.ndarray
    expression_N: np.ndarray
    singleton_N: np.ndarray
    fold_N: np.ndarray
    weight_N: np.ndarray | None
    sha256: str
    report: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.expression_N)


def read_training_data(path: str | Path, contract: Contract, options: DataOptions, scratch: Path | None = None) -> TrainingData:
    """Read, check, window, hash and fold a table.

    Args:
        path: Parquet, Arrow, CSV, TSV (also .gz), directory or pattern; a text file without a header line is read as the
            challenge's `sequence<TAB>expression`.
        contract: flanks, adapters and length of the windows.
        scratch: folder for the memory-mapped file of large sets (the system's temporary folder by default).

    Raises:
        InputError: columns missing or of a wrong type, expressions that are no numbers or outside the bins.
    """
    opened = _open(path)
    columns = _columns(opened, options)
    sequence_is = options.sequence_is
    if sequence_is == "auto":
        head = opened.head([columns["sequence"]], SNIFF_ROWS)
        sequence_is = decide_sequence_is(role_array(Part(0, 0, head), "ref_sequence", columns["sequence"]), contract)
    windower = Windower(contract, KINDS["sequence"], sequence_is)
    store = _codes_store(opened.n_rows, contract.length, scratch)
    filled, digest = 0, hashlib.sha256()
    kept: dict[str, list[np.ndarray]] = {name: [] for name in ("expression", "singleton", "fold", "weight")}
    report = {"rows": opened.n_rows}
    for part in opened.parts(tuple(dict.fromkeys(columns.values())), PART_ROWS):
        sequences = text_to_codes(role_array(part, "ref_sequence", columns["sequence"]))
        status = windower.fit(sequences)
        for code, count in zip(*np.unique(status[status != OK], return_counts=True), strict=True):
            report[STATUSES[code]] = report.get(STATUSES[code], 0) + int(count)
        expression = _numbers(opened, part, columns["expression"])
        usable = np.isfinite(expression)
        _count(report, "nonfinite_expression", ~usable & (status == OK))
        expression, inside = _in_range(expression, usable & (status == OK), contract, options, part.first_row, opened.name)
        _count(report, "out_of_range", usable & (status == OK) & ~inside)
        rows = np.flatnonzero((status == OK) & usable & inside)
        codes = windower.build(sequences, rows)
        store[filled : filled + len(rows)] = codes
        filled += len(rows)
        digest.update(np.ascontiguousarray(codes))
        kept["expression"].append(expression[rows].astype(np.float32))
        if "singleton" in columns:
            kept["singleton"].append(_numbers(opened, part, columns["singleton"])[rows] != 0)
        else:
            kept["singleton"].append(expression[rows] == np.round(expression[rows]))
        if "weight" in columns:
            kept["weight"].append(_numbers(opened, part, columns["weight"])[rows])
        if "fold" in columns:
            folds = _numbers(opened, part, columns["fold"])[rows]
            if not (np.isfinite(folds).all() and (folds == np.round(folds)).all() and (np.abs(folds) < 32_768).all()):
                raise InputError(f"{opened.name}: column {columns['fold']!r} must hold whole fold numbers in every row")
            kept["fold"].append(folds.astype(np.int16))
        elif options.fold_on == "padded":
            kept["fold"].append(folds_of_rows(LETTERS[codes], options.n_folds).astype(np.int16))
        else:
            kept["fold"].append(_folds_as_given(sequences, rows, options.n_folds))
    if not filled:
        raise InputError(f"{opened.name}: no row is usable for training ({report})")
    arrays = {name: np.concatenate(values) for name, values in kept.items() if values}
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    weight = arrays.get("weight")
    if weight is not None and not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError(f"{opened.name}: column {columns['weight']!r} must hold weights of at least 0, not all 0")
    codes_NL = store[:filled]
    report["used"] = filled
    return TrainingData(codes_NL, arrays["expression"], arrays["singleton"], arrays["fold"], weight, digest.hexdigest(), report)


def _open(path: str | Path) -> Input:
    opened = open_input([path])
    first, *rest = opened.schema.names
    if opened.sources[0].format in ("CSV", "TSV") and len(rest) == 1 and set(first.upper()) <= set("ACGTUN") and len(first) > 3:
        return open_input([path], names=("sequence", "expression"))
    return opened


def _columns(opened: Input, options: DataOptions) -> dict[str, str]:
    names = opened.schema.names
    wanted = {
        "sequence": (options.sequence_column, ("sequence", "seq")),
        "expression": (options.expression_column, EXPRESSION_NAMES),
        "singleton": (options.singleton_column, ()),
        "weight": (options.weight_column, ()),
        "fold": (options.fold_column, ()),
    }
    found: dict[str, str] = {}
    for role, (asked, known) in wanted.items():
        if asked is not None and asked not in names:
            raise InputError(f"{opened.name} has no column {asked!r}{nearest(asked, names)}; it has {shorten(names)}")
        name = asked or next((alias for alias in known if alias in names), None)
        if name is not None:
            found[role] = name
        elif known:
            raise InputError(
                f"{opened.name} has no {role} column ({', '.join(known)}); it has {shorten(names)}. Name it with --{role}"
            )
    return found


def _numbers(opened: Input, part: Part, column: str) -> np.ndarray:
    """A column as float64 [rows], null as NaN; InputError for text."""
    array = part.column(column)
    if pa.types.is_string(array.type):  # CSV columns are text
        try:
            array = array.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise InputError(f"{opened.name}: column {column!r} must hold numbers ({first_line(error)})") from None
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
        raise InputError(f"{opened.name}: column {column!r} is {array.type}; it must hold numbers")
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _in_range(
    expression: np.ndarray, usable: np.ndarray, contract: Contract, options: DataOptions, first_row: int, name: str
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
    rows = shorten([f"{first_row + row} ({expression[row]:g})" for row in outside], 3)
    raise InputError(f"{name}: expression outside {low:g}..{high:g} in rows {rows}; pass --out-of-range clip or drop")


def _count(report: dict[str, int], name: str, where: np.ndarray) -> None:
    if count := int(np.count_nonzero(where)):
        report[name] = report.get(name, 0) + count


def _folds_as_given(sequences: Any, rows: np.ndarray, n_folds: int) -> np.ndarray:
    """Folds from the sequences as given (upper case), hashed length by length."""
    folds = np.empty(len(rows), dtype=np.int16)
    lengths = sequences.length[rows]
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length)
        folds[group] = folds_of_rows(LETTERS[sequences.gather(rows[group], 0, int(length))], n_folds)
    return folds


def _codes_store(rows: int, length: int, scratch: Path | None) -> np.ndarray:
    if rows * length <= MEMORY_BYTES:
        return np.empty((rows, length), dtype=np.uint8)
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (lives as long as the map)
    return np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, length))

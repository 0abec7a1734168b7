"""A table of measured sequences → windows as codes, expressions, folds: what training draws from.

Windows are uint8 codes [N, L], in memory up to `MEMORY_BYTES`, memory-mapped above (30 million yeast windows
are 4.5 GB). Everything is vectorised, part by part; the checks are those of scoring (`legscore.rows.window`),
so that adapters are verified and windows padded from the construct in one place only.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.codes import hash_rows, text_to_codes
from legscore.dna.contract import Contract
from legscore.dna.folds import LETTERS, folds_as_given, folds_of_rows
from legscore.errors import InputError, OutputError
from legscore.input.read import Input, Part, open_input, role_array
from legscore.rows.schema import KINDS, OK, STATUSES
from legscore.rows.window import SNIFF_ROWS, Windower, decide_sequence_is
from legscore.train.columns import (
    DataOptions,
    chosen_rows,
    find_columns,
    fold_rule,
    in_range,
    numbers,
    split_folds,
)

MEMORY_BYTES = 2 << 30
PART_ROWS = 65_536
NOT_CHOSEN = 254
"""Stands in for a status where a row is left out on purpose."""


@dataclass(frozen=True)
class TrainingData:
    """N measured windows.

    Attributes:
        codes_NL: uint8 [N, L].
        expression_N: float32 [N].
        singleton_N: bool [N], observed once.
        fold_N: int16 [N].
        weight_N: float64 [N] sampling weights, or None for equal ones.
        folds: the rule that made the folds, kept in every checkpoint: by `mmh3` (with fold_on, n_folds,
            seed), `fold` or `split` (with the column; train is fold 0, validation fold 1).
        sha256: of all of it, kept in every checkpoint.
        report: counts worth saying: rows read, dropped by reason, duplicate windows.
    """

    codes_NL: np.ndarray
    expression_N: np.ndarray
    singleton_N: np.ndarray
    fold_N: np.ndarray
    weight_N: np.ndarray | None
    folds: dict[str, Any]
    sha256: str
    report: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.expression_N)


def read_training_data(
    path: str | Path, contract: Contract, options: DataOptions, scratch: Path | None = None
) -> TrainingData:
    """Read, check, window, hash and fold a table.

    Args:
        path: Parquet, Arrow, CSV, TSV (also .gz), directory or pattern; a text file without a header line is
            read as the challenge's `sequence<TAB>expression`.
        contract: flanks, adapters and length of the windows.
        scratch: folder for the memory-mapped file of large sets (the system's temporary folder by default).

    Raises:
        InputError: columns missing or of a wrong type, expressions that are no numbers or outside the bins.
    """
    opened = _open(path)
    columns = find_columns(opened, options)
    sequence_is = options.sequence_is
    if sequence_is == "auto":
        head = opened.head([columns["sequence"]], SNIFF_ROWS)
        sequence_is = decide_sequence_is(
            role_array(Part(0, 0, head), "ref_sequence", columns["sequence"]), contract
        )
    windower = Windower(contract, KINDS["sequence"], sequence_is)
    store = _codes_store(opened.n_rows, contract.length, scratch)
    filled, digest = 0, hashlib.sha256()
    kept: dict[str, list[np.ndarray]] = {
        name: [] for name in ("expression", "singleton", "fold", "weight", "hash")
    }
    report = {"rows": opened.n_rows}
    wanted = tuple(dict.fromkeys([*columns.values(), *(name for name, _ in options.where)]))
    for part in opened.parts(wanted, PART_ROWS):
        sequences = text_to_codes(role_array(part, "ref_sequence", columns["sequence"]))
        status = windower.fit(sequences)
        chosen = chosen_rows(opened, part, options.where)
        _count(report, "left_out_by_where", ~chosen)
        folds = None
        if "split" in columns:
            folds = split_folds(opened, part, columns["split"])
            _count(report, "in_no_split", chosen & (folds < 0))
            chosen &= folds >= 0
        status = np.where(chosen, status, NOT_CHOSEN)
        for code, count in enumerate(np.bincount(status[chosen & (status != OK)])):
            if count:
                report[STATUSES[code]] = report.get(STATUSES[code], 0) + int(count)
        if "rev" in columns:
            reverse = numbers(opened, part, columns["rev"]) != 0
            _count(report, "reverse_copies_left_out", reverse & (status == OK))
            status = np.where(reverse, NOT_CHOSEN, status)
        expression = numbers(opened, part, columns["expression"])
        whole = expression == np.round(expression)  # before --out-of-range clip makes whole numbers
        usable = np.isfinite(expression)
        _count(report, "nonfinite_expression", ~usable & (status == OK))
        expression, inside = in_range(
            expression, usable & (status == OK), contract, options, part.first_row, opened.name
        )
        _count(report, "out_of_range", usable & (status == OK) & ~inside)
        rows = np.flatnonzero((status == OK) & usable & inside)
        codes = windower.build(sequences, rows)
        store[filled : filled + len(rows)] = codes
        filled += len(rows)
        digest.update(np.ascontiguousarray(codes))
        kept["expression"].append(expression[rows].astype(np.float32))
        if "singleton" in columns:
            kept["singleton"].append(numbers(opened, part, columns["singleton"])[rows] != 0)
        else:
            kept["singleton"].append(whole[rows])
        if "weight" in columns:
            kept["weight"].append(numbers(opened, part, columns["weight"])[rows])
        kept["hash"].append(hash_rows(codes))
        if folds is not None:
            kept["fold"].append(folds[rows])
        elif "fold" in columns:
            folds = numbers(opened, part, columns["fold"])[rows]
            if not (
                np.isfinite(folds).all()
                and (folds == np.round(folds)).all()
                and (folds >= 0).all()
                and (folds < 32_768).all()
            ):
                raise InputError(
                    f"{opened.name}: column {columns['fold']!r} must hold whole fold numbers, 0 or more, in "
                    "every row"
                )
            kept["fold"].append(folds.astype(np.int16))
        elif options.fold_on == "padded":
            kept["fold"].append(folds_of_rows(LETTERS[codes], options.n_folds).astype(np.int16))
        else:
            kept["fold"].append(folds_as_given(sequences, rows, options.n_folds))
    if not filled:
        raise InputError(f"{opened.name}: no row is usable for training ({report})")
    arrays = {name: np.concatenate(values) for name, values in kept.items() if values}
    # numpy sorts 64-bit numbers three times faster than it finds distinct ones
    hashes = np.sort(arrays.pop("hash"))
    report["duplicate_windows"] = int(np.count_nonzero(hashes[1:] == hashes[:-1]))
    if "singleton" not in columns and options.singletons == "frequency":
        arrays["singleton"] = frequent_values(arrays["expression"], options.singleton_min)
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    weight = arrays.get("weight")
    if weight is not None and not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError(
            f"{opened.name}: column {columns['weight']!r} must hold weights of at least 0, not all 0"
        )
    codes_NL = store[:filled]
    report["singletons"] = int(arrays["singleton"].sum())
    report["used"] = filled
    return TrainingData(
        codes_NL,
        arrays["expression"],
        arrays["singleton"],
        arrays["fold"],
        weight,
        fold_rule(columns, options, sequence_is),
        digest.hexdigest(),
        report,
    )


def frequent_values(expression_N: np.ndarray, least: int) -> np.ndarray:
    """The published code's other singleton rule (`threshold1100`): expression values that occur at least
    `least` times.

    It counts values, not reads. Returns bool [N].
    """
    _, inverse, counts = np.unique(expression_N, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] >= least)


def _open(path: str | Path) -> Input:
    opened = open_input([path])
    first, *rest = opened.schema.names
    if (
        opened.sources[0].format in ("CSV", "TSV")
        and len(rest) == 1
        and set(first.upper()) <= set("ACGTUN")
        and len(first) > 3
    ):
        return open_input([path], names=("sequence", "expression"))
    return opened


def _count(report: dict[str, int], name: str, where: np.ndarray) -> None:
    if count := int(np.count_nonzero(where)):
        report[name] = report.get(name, 0) + count


def _codes_store(rows: int, length: int, scratch: Path | None) -> np.ndarray:
    if rows * length <= MEMORY_BYTES:
        return np.empty((rows, length), dtype=np.uint8)
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (lives as long as the map)
    try:
        # a disk that fills later would end the process with SIGBUS
        os.posix_fallocate(file.fileno(), 0, rows * length)
    except OSError as error:
        raise OutputError(
            f"{scratch or tempfile.gettempdir()} has no room for {rows * length / 2**30:.1f} GiB of "
            f"windows: {error.strerror}"
        ) from None
    return np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, length))

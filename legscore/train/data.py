"""Read a table of measured sequences into windows, expressions and folds: what training draws from.

Windows are uint8 codes [N, L], in memory up to `MEMORY_BYTES`, memory-mapped above (30 million yeast windows
are 4.5 GB). Everything is vectorised, part by part; the checks are those of scoring
(`legscore.rows.reading`), so that adapters are verified and windows padded from the construct in one place
only.
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
from legscore.input.read import Input, Part, open_input
from legscore.input.roles import role_array
from legscore.rows.reading import SNIFF_ROWS, Reading, decide_sequence_is
from legscore.rows.schema import OK, STATUSES
from legscore.system.log import Say
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
MOST_FOLDS = 32_768
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
    path: str | Path,
    contract: Contract,
    options: DataOptions,
    scratch: Path | None = None,
    say: Say = lambda line: None,
) -> TrainingData:
    """Read, check, window, hash and fold a table.

    Args:
        path: Parquet, Arrow, CSV, TSV (also .gz), directory or pattern; a text file without a header line is
            read as the challenge's `sequence<TAB>expression`.
        contract: flanks, adapters and length of the windows.
        scratch: folder for the memory-mapped file of large sets (the system's temporary folder by default).
        say: receives one line for whatever a folder or pattern leaves out.

    Raises:
        InputError: columns missing or of a wrong type, expressions that are no numbers or outside the bins.
    """
    opened = _open(path)
    for line in opened.notes:
        say(line)
    columns = find_columns(opened, options)
    sequence_is = options.sequence_is
    if sequence_is == "auto":
        head = opened.head([columns["sequence"]], SNIFF_ROWS)
        sequence_is = decide_sequence_is(
            role_array(Part(0, 0, head), "ref_sequence", columns["sequence"]), contract
        )
    reading = Reading(contract, sequence_is)
    collected = _Collector(opened, columns, options, reading, scratch)
    wanted = tuple(dict.fromkeys([*columns.values(), *(name for name, _ in options.where)]))
    for part in opened.parts(wanted, PART_ROWS):
        collected.add(part)
    return collected.finish(fold_rule(columns, options, sequence_is))


class _Collector:
    """Usable rows of a table's parts, windowed, hashed and folded; counts of those left out."""

    def __init__(
        self,
        opened: Input,
        columns: dict[str, str],
        options: DataOptions,
        reading: Reading,
        scratch: Path | None,
    ) -> None:
        self.opened, self.columns, self.options, self.reading = opened, columns, options, reading
        self.store = _codes_store(opened.n_rows, reading.contract.length, scratch)
        self.filled, self.digest = 0, hashlib.sha256()
        self.kept: dict[str, list[np.ndarray]] = {
            name: [] for name in ("expression", "singleton", "fold", "weight", "hash")
        }
        self.report = {"rows": opened.n_rows}

    def add(self, part: Part) -> None:
        """The usable rows of a part."""
        opened, columns = self.opened, self.columns
        sequences = text_to_codes(role_array(part, "ref_sequence", columns["sequence"]))
        status, split_fold = self._choose(part, self.reading.fit(sequences))
        expression = numbers(opened, part, columns["expression"])
        whole = expression == np.round(expression)  # before --out-of-range clip makes whole numbers
        usable = np.isfinite(expression)
        _count(self.report, "nonfinite_expression", ~usable & (status == OK))
        expression, inside = in_range(
            expression,
            usable & (status == OK),
            self.reading.contract,
            self.options,
            part.first_row,
            opened.name,
        )
        _count(self.report, "out_of_range", usable & (status == OK) & ~inside)
        rows = np.flatnonzero((status == OK) & usable & inside)
        codes = self.reading.build(sequences, rows)
        self.store[self.filled : self.filled + len(rows)] = codes
        self.filled += len(rows)
        self.digest.update(np.ascontiguousarray(codes))
        kept = self.kept
        kept["expression"].append(expression[rows].astype(np.float32))
        if "singleton" in columns:
            kept["singleton"].append(numbers(opened, part, columns["singleton"])[rows] != 0)
        else:
            kept["singleton"].append(whole[rows])
        if "weight" in columns:
            kept["weight"].append(numbers(opened, part, columns["weight"])[rows])
        kept["hash"].append(hash_rows(codes))
        if split_fold is not None:
            kept["fold"].append(split_fold[rows])
        elif "fold" in columns:
            kept["fold"].append(self._given_folds(part, rows))
        elif self.options.fold_on == "padded":
            kept["fold"].append(folds_of_rows(LETTERS[codes], self.options.n_folds).astype(np.int16))
        else:
            kept["fold"].append(folds_as_given(sequences, rows, self.options.n_folds))

    def _choose(self, part: Part, status: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Statuses [rows] with NOT_CHOSEN where --where, the split or `rev` leave a row out; folds of the
        split."""
        chosen = chosen_rows(self.opened, part, self.options.where)
        _count(self.report, "left_out_by_where", ~chosen)
        folds = None
        if "split" in self.columns:
            folds = split_folds(self.opened, part, self.columns["split"])
            _count(self.report, "in_no_split", chosen & (folds < 0))
            chosen &= folds >= 0
        status = np.where(chosen, status, NOT_CHOSEN)
        for code, count in enumerate(np.bincount(status[chosen & (status != OK)])):
            if count:
                self.report[STATUSES[code]] = self.report.get(STATUSES[code], 0) + int(count)
        if "rev" in self.columns:
            reverse = numbers(self.opened, part, self.columns["rev"]) != 0
            _count(self.report, "reverse_copies_left_out", reverse & (status == OK))
            status = np.where(reverse, NOT_CHOSEN, status)
        return status, folds

    def _given_folds(self, part: Part, rows: np.ndarray) -> np.ndarray:
        column = self.columns["fold"]
        folds = numbers(self.opened, part, column)[rows]
        whole = np.isfinite(folds) & (folds == np.round(folds)) & (folds >= 0) & (folds < MOST_FOLDS)
        if not whole.all():
            raise InputError(
                f"{self.opened.name}: column {column!r} must hold whole fold numbers, 0 or more (below "
                f"{MOST_FOLDS:,}), in every row"
            )
        return folds.astype(np.int16)

    def finish(self, folds: dict[str, Any]) -> TrainingData:
        """All rows together. InputError when there is none, or for weights that cannot be."""
        opened, options, report = self.opened, self.options, self.report
        if not self.filled:
            raise InputError(f"{opened.name}: no row is usable for training ({report})")
        arrays = {name: np.concatenate(values) for name, values in self.kept.items() if values}
        # numpy sorts 64-bit numbers three times faster than it finds distinct ones
        hashes = np.sort(arrays.pop("hash"))
        report["duplicate_windows"] = int(np.count_nonzero(hashes[1:] == hashes[:-1]))
        if "singleton" not in self.columns and options.singletons == "frequency":
            arrays["singleton"] = frequent_values(arrays["expression"], options.singleton_min)
        for name in sorted(arrays):
            self.digest.update(np.ascontiguousarray(arrays[name]))
        weight = arrays.get("weight")
        if weight is not None and not (
            np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0
        ):
            raise InputError(
                f"{opened.name}: column {self.columns['weight']!r} must hold weights of at least 0, not all 0"
            )
        report["singletons"] = int(arrays["singleton"].sum())
        report["used"] = self.filled
        return TrainingData(
            self.store[: self.filled],
            arrays["expression"],
            arrays["singleton"],
            arrays["fold"],
            weight,
            folds,
            self.digest.hexdigest(),
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

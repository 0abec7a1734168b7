"""Rows → windows: what the network reads for each row, a status for each row, equal windows of a part once.

Everything is vectorised. Expected: at least 1 million rows a second and core (`bench/window.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.batch import Batch, join
from legscore.dna.codes import count_n, text_to_codes, unique_rows
from legscore.dna.contract import COMPLEMENT, N_CODE, Contract
from legscore.errors import InputError, shorten
from legscore.rows.edits import Edits
from legscore.rows.indels import are_indels, changed, joined
from legscore.rows.reading import Reading
from legscore.rows.schema import KINDS, OK, STATUS_CODE, STATUSES, Kind


def given_status(columns: Mapping[str, pa.Array], n: int) -> np.ndarray:
    """The statuses that the rows came with, uint8 [n]; OK where they came with none. InputError for an
    unknown one."""
    if "status" not in columns:
        return np.full(n, OK, dtype=np.uint8)
    texts = columns["status"]
    codes = pc.index_in(texts, value_set=pa.array(STATUSES, texts.type))
    unknown = texts.filter(pc.and_(texts.is_valid(), codes.is_null()))
    if len(unknown):
        reads = unknown[0].as_buffer().to_pybytes().decode(errors="backslashreplace")
        raise InputError(
            f"column 'status' reads {reads!r}, which is no status of legscore "
            f"({shorten(STATUSES, 3)}); "
            "rename the column or leave it out"
        )
    return pc.fill_null(codes, OK).to_numpy(zero_copy_only=False).astype(np.uint8)


@dataclass(frozen=True)
class Windows:
    """What a part asks of the engine, and which scored window belongs to which row.

    Attributes:
        batch: the distinct windows.
        index_NKS: int32 [rows, kind.windows, strands], scored window of each row (reference first for pairs
            and edits; a second strand only with --rc insert); -1 where the row is not ok.
        status_N: uint8 [rows], codes of `schema.STATUSES`.
        n_count_N: int32 [rows], N's in the row's window (the larger count of two), -1 without a window.
        n_asked: windows that would have been scored without deduplication.
    """

    batch: Batch
    index_NKS: np.ndarray
    status_N: np.ndarray
    n_count_N: np.ndarray
    n_asked: int


class Windower:
    """Turns the columns of a part into `Windows`, by one contract and one reading of the sequences."""

    def __init__(
        self,
        contract: Contract,
        kind: Kind,
        sequence_is: str,
        rc: str = "construct",
        max_n: int | None = None,
    ):
        self.reading = Reading(contract, sequence_is)
        self.contract, self.kind, self.sequence_is, self.max_n = contract, kind, sequence_is, max_n
        self.insert_strands = rc == "insert"

    def __call__(self, columns: Mapping[str, pa.Array]) -> Windows:
        """columns: {role: Arrow array}, all of one length."""
        if self.kind.name == "edit":
            indel = are_indels(columns)
            return self._with_indels(columns, indel) if indel.any() else self._edits(columns)
        given = [text_to_codes(columns[role]) for role in self.kind.sequences]
        status = given_status(columns, len(given[0]))
        for sequences in given:
            status = np.where(status == OK, self.reading.fit(sequences), status)
        rows = np.flatnonzero(status == OK)
        codes = [self.reading.build(sequences, rows) for sequences in given]
        if len(codes) == 2:
            same = (codes[0] == codes[1]).all(axis=1)
            status[rows[same]] = STATUS_CODE["ref_equals_alt"]
            if same.any():
                rows, codes = rows[~same], [c[~same] for c in codes]
        counts = [count_n(c) for c in codes]
        mostly = [
            self.reading.is_mostly_n(sequences, rows, count, c)
            for sequences, count, c in zip(given, counts, codes, strict=True)
        ]
        rows, keep, n_count = self._limit_n(rows, np.max(counts, axis=0), np.any(mostly, axis=0), status)
        if not keep.all():
            codes = [c[keep] for c in codes]
        if self.insert_strands:
            flipped = [self.reading.build(sequences, rows, flip=True) for sequences in given]
            codes = [c for pair in zip(codes, flipped, strict=True) for c in pair]
        stacked = codes[0] if len(codes) == 1 else np.concatenate(codes)
        first, inverse = unique_rows(stacked)
        index = np.full((len(status), len(codes)), -1, dtype=np.int32)
        index[rows] = inverse.reshape(len(codes), len(rows)).T
        index_NKS = index.reshape(len(status), self.kind.windows, len(codes) // self.kind.windows)
        distinct = stacked if len(first) == len(stacked) else stacked[first]
        return Windows(Batch(distinct), index_NKS, status, n_count, len(stacked))

    def _limit_n(
        self, rows: np.ndarray, counts: np.ndarray, mostly: np.ndarray, status: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take out rows with too many N's: those of `mostly`, or with --max-n those that have more.

        Returns:
            Rows left, mask over the old ones, and n_count of every row (-1 without a window).
        """
        n_count = np.full(len(status), -1, dtype=np.int32)
        n_count[rows] = counts
        keep = ~mostly if self.max_n is None else counts <= self.max_n
        status[rows[~keep]] = STATUS_CODE["mostly_n" if self.max_n is None else "invalid_base"]
        return rows[keep], keep, n_count

    def _edits(self, columns: Mapping[str, pa.Array]) -> Windows:
        """Rows that change one base of a sequence: each sequence becomes one window, each change one edit."""
        edits = Edits.of(columns)
        sequences, which, alt = edits.sequences, edits.which_N, edits.alt_N
        status = edits.check(
            given_status(columns, len(which)),
            self.reading.fit(sequences),
            *self.reading.around,
            columns.get("ref_base"),
        )
        rows = np.flatnonzero(status == OK)
        used, base_of_row = np.unique(which[rows], return_inverse=True)
        codes = self.reading.build(sequences, used)
        # of the window with the change; the base that goes is no N where an N comes
        unknown = count_n(codes)
        counts = unknown[base_of_row] + (alt[rows] == N_CODE)
        mostly = np.zeros(len(rows), dtype=bool)
        if self.reading.may_be_mostly_n(unknown + 1):
            mostly = 2 * counts > self.reading.own_bases(sequences, used, unknown + 1, codes)[base_of_row]
        rows, keep, n_count = self._limit_n(rows, counts.astype(np.int32), mostly, status)
        base_of_row = base_of_row[keep]
        # equal windows may hold inserts of other lengths, which turn round differently
        if self.insert_strands:
            first = window_of_base = np.arange(len(codes))
        else:
            first, window_of_base = unique_rows(codes)
        window = window_of_base[base_of_row]
        length = sequences.length[which[rows]]
        place = edits.offset_N[rows] + self.reading.shift(length)
        parts = [self._edit_batch(codes[first], window, place, alt[rows])]
        if self.insert_strands:
            flipped = self.reading.build(sequences, used[first], flip=True)
            begin, end = self.reading.insert_bounds(length)
            parts.append(self._edit_batch(flipped, window, begin + end - 1 - place, COMPLEMENT[alt[rows]]))
        index = np.full((len(which), 2, len(parts)), -1, dtype=np.int32)
        batch = join([batch for batch, _ in parts])
        plain_before, edits_before = 0, len(batch.codes_WL)
        for s, (part, edit_of_row) in enumerate(parts):
            index[rows, 0, s] = window + plain_before
            index[rows, 1, s] = edit_of_row + edits_before
            plain_before += len(part.codes_WL)
            edits_before += len(part.window_E)
        return Windows(batch, index, status, n_count, 2 * len(rows) * len(parts))

    def _with_indels(self, columns: Mapping[str, pa.Array], indel_N: np.ndarray) -> Windows:
        """Rows of which some delete or insert a base: those as pairs of sequences, the others as edits."""
        edits, rows = np.flatnonzero(~indel_N), np.flatnonzero(indel_N)
        some = {role: column.take(pa.array(rows)) for role, column in columns.items()}
        ref, alt, trouble = changed(some, *self.reading.around)
        pairs = Windower(
            self.contract,
            KINDS["pair"],
            self.sequence_is,
            "insert" if self.insert_strands else "construct",
            self.max_n,
        )
        given = {
            "ref_sequence": ref,
            "alt_sequence": alt,
            **({"status": some["status"]} if "status" in some else {}),
        }
        two = pairs(given)
        same = (two.status_N == STATUS_CODE["ref_equals_alt"]) & (trouble != OK)
        one = self._edits({role: column.take(pa.array(edits)) for role, column in columns.items()})
        batch, ours, theirs = joined(one.batch, two.batch)
        index = np.full((len(indel_N), *one.index_NKS.shape[1:]), -1, dtype=np.int32)
        status, n_count = np.empty(len(indel_N), dtype=np.uint8), np.empty(len(indel_N), dtype=np.int32)
        for part, at, number in ((one, edits, ours), (two, rows, theirs)):
            index[at] = np.where(part.index_NKS < 0, -1, number[part.index_NKS]) if len(number) else -1
            status[at], n_count[at] = part.status_N, part.n_count_N
        status[rows[same]] = trouble[same]
        return Windows(batch, index, status, n_count, one.n_asked + two.n_asked)

    def _edit_batch(
        self, codes: np.ndarray, window: np.ndarray, place: np.ndarray, base: np.ndarray
    ) -> tuple[Batch, np.ndarray]:
        """Distinct edits and, for each row, its edit."""
        key = (window.astype(np.int64) * self.contract.length + place) * 5 + base
        _, first, edit_of_row = np.unique(key, return_index=True, return_inverse=True)
        batch = Batch(
            codes, window[first].astype(np.int32), place[first].astype(np.int16), base[first].astype(np.uint8)
        )
        return batch, edit_of_row

"""Rows → windows: what the network reads for each row, a status for each row, equal windows of a part once.

Everything is vectorised: rows are gathered by length (at most insert_max groups), never one by one. Expected:
at least 1 million rows a second and core (`bench/window.py`). `Contract.window` is the readable twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.batch import Batch, join
from legscore.dna.codes import Sequences, count_n, encode_text, text_to_codes, unique_rows
from legscore.dna.contract import COMPLEMENT, INVALID_CODE, N_CODE, Contract, reverse_complement
from legscore.errors import InputError, shorten
from legscore.rows.edits import Edits
from legscore.rows.indels import are_indels, changed, joined
from legscore.rows.schema import KINDS, OK, SEQUENCE_IS, STATUS_CODE, STATUSES, Kind

SNIFF_ROWS = 4096
"""Rows that decide what the sequences of an input are."""


def decide_sequence_is(texts: pa.Array, contract: Contract) -> str:
    """What the sequences of an input are, from its first rows: `oligo` when at least half carry both
    adapters, else `window` when at least half have the window's length, else `insert`."""
    sequences = text_to_codes(texts)
    rows = np.flatnonzero(~sequences.is_null & (sequences.length > 0))
    if not len(rows):
        return "insert"
    oligo = _carries_adapters(sequences, rows, contract)
    if 2 * np.count_nonzero(oligo) >= len(rows):
        return "oligo"
    if 2 * np.count_nonzero(sequences.length[rows] == contract.length) >= len(rows):
        return "window"
    return "insert"


def _carries_adapters(sequences: Sequences, rows: np.ndarray, contract: Contract) -> np.ndarray:
    """bool [len(rows)]: long enough for both adapters and an insert, and carrying both."""
    five, three = encode_text(contract.adapter5), encode_text(contract.adapter3)
    length = sequences.length[rows]
    fits = np.flatnonzero(length >= len(five) + len(three) + contract.insert_min)
    carries = np.zeros(len(rows), dtype=bool)
    if len(five) + len(three):
        fits = fits[sequences.matches(rows[fits], 0, five)]
        carries[fits] = sequences.matches(rows[fits], length[fits] - len(three), three)
    return carries


def insert_lengths(codes_NL: np.ndarray, contract: Contract) -> np.ndarray:
    """Bases of the insert in each window, int64 [N]: the whole window where the construct's flanks are not
    around one.

    Where several lengths are possible it is the shortest.
    """
    five, three = encode_text(contract.flank5), encode_text(contract.flank3)
    end = contract.length - len(three)
    lengths = np.full(len(codes_NL), contract.length, dtype=np.int64)
    ends_so = (codes_NL[:, end:] == three).all(axis=1)
    for length in range(min(contract.insert_max, end), max(contract.insert_min, end - len(five)) - 1, -1):
        begins_so = (codes_NL[:, : end - length] == five[len(five) - (end - length) :]).all(axis=1)
        lengths[ends_so & begins_so] = length
    return lengths


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
        if sequence_is not in SEQUENCE_IS:
            raise ValueError(f"sequence_is is {sequence_is!r}; known are {', '.join(SEQUENCE_IS)}")
        self.contract, self.kind, self.sequence_is, self.max_n = contract, kind, sequence_is, max_n
        self.insert_strands = rc == "insert"
        self.five, self.three = encode_text(contract.adapter5), encode_text(contract.adapter3)
        self.flank5, self.flank3 = encode_text(contract.flank5), encode_text(contract.flank3)
        oligo = sequence_is == "oligo"
        self._around = (len(self.five), len(self.three)) if oligo else (0, 0)
        """Bases of each sequence before and after its insert."""
        self._n_adapters = sum(self._around)

    def __call__(self, columns: Mapping[str, pa.Array]) -> Windows:
        """columns: {role: Arrow array}, all of one length."""
        if self.kind.name == "edit":
            indel = are_indels(columns)
            return self._with_indels(columns, indel) if indel.any() else self._edits(columns)
        given = [text_to_codes(columns[role]) for role in self.kind.sequences]
        status = given_status(columns, len(given[0]))
        for sequences in given:
            status = np.where(status == OK, self.fit(sequences), status)
        rows = np.flatnonzero(status == OK)
        codes = [self.build(sequences, rows) for sequences in given]
        if len(codes) == 2:
            same = (codes[0] == codes[1]).all(axis=1)
            status[rows[same]] = STATUS_CODE["ref_equals_alt"]
            if same.any():
                rows, codes = rows[~same], [c[~same] for c in codes]
        counts = [count_n(c) for c in codes]
        mostly = [
            self._is_mostly_n(sequences, rows, count, c)
            for sequences, count, c in zip(given, counts, codes, strict=True)
        ]
        rows, keep, n_count = self._limit_n(rows, np.max(counts, axis=0), np.any(mostly, axis=0), status)
        if not keep.all():
            codes = [c[keep] for c in codes]
        if self.insert_strands:
            flipped = [self.build(sequences, rows, flip=True) for sequences in given]
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

    def _may_be_mostly_n(self, counts: np.ndarray) -> bool:
        """Whether the shortest sequence with the most of these N's would be more than half N."""
        return len(counts) > 0 and 2 * int(counts.max()) > self.contract.insert_min

    def _is_mostly_n(
        self, sequences: Sequences, rows: np.ndarray, counts: np.ndarray, codes: np.ndarray
    ) -> np.ndarray:
        """Whether more than half of each row's own bases are N, bool [len(rows)]."""
        if not self._may_be_mostly_n(counts):
            return np.zeros(len(rows), dtype=bool)
        return 2 * counts > self._own_bases(sequences, rows, counts, codes)

    def _own_bases(
        self, sequences: Sequences, rows: np.ndarray, counts: np.ndarray, codes: np.ndarray
    ) -> np.ndarray:
        """Bases of sequences that are not the construct's, int64 [len(rows)].

        Args:
            counts: N's that each may have at most; where no insert is mostly N with them, the window's length
                will do.
            codes: their windows, uint8 [len(rows), length].
        """
        if self.sequence_is != "window":
            return sequences.length[rows] - self._n_adapters
        own = np.full(len(rows), self.contract.length, dtype=np.int64)
        few = np.flatnonzero(2 * counts > self.contract.insert_min)
        if len(few):
            own[few] = insert_lengths(codes[few], self.contract)
        return own

    def fit(self, sequences: Sequences) -> np.ndarray:
        """Status of each sequence, uint8 [N]: null, letters, length, adapters, in that order."""
        contract, length = self.contract, sequences.length
        if self.sequence_is == "window":
            shortest = longest = contract.length
        else:
            extra = self._n_adapters
            shortest, longest = contract.insert_min + extra, contract.insert_max + extra
        status = np.full(len(sequences), OK, dtype=np.uint8)
        status[length > longest] = STATUS_CODE["too_long"]
        status[length < shortest] = STATUS_CODE["too_short"]
        if len(sequences.flat) and sequences.flat.max() == INVALID_CODE:
            bad = np.flatnonzero(sequences.flat == INVALID_CODE)
            starts = sequences.start
            owners = np.searchsorted(starts, bad, side="right") - 1
            status[owners] = STATUS_CODE["invalid_base"]
        status[sequences.is_null | sequences.read_as_missing()] = STATUS_CODE["null_sequence"]
        if self.sequence_is != "window" and len(self.five) + len(self.three):
            rows = np.flatnonzero(status == OK)
            carries = _carries_adapters(sequences, rows, contract)
            # an insert that carries both adapters is an oligo in disguise: scoring it as an insert would be
            # wrong
            wrong = ~carries if self.sequence_is == "oligo" else carries
            status[rows[wrong]] = STATUS_CODE["adapter_mismatch"]
        return status

    def build(self, sequences: Sequences, rows: np.ndarray, *, flip: bool = False) -> np.ndarray:
        """Windows of `rows` (which fit), uint8 [len(rows), length]; `flip` reverse-complements the insert in
        place."""
        contract = self.contract
        if self.sequence_is == "window":
            return np.ascontiguousarray(sequences.gather(rows, 0, contract.length))
        skip, _ = self._around
        inserts = sequences.length[rows] - self._n_adapters
        codes = np.empty((len(rows), contract.length), dtype=np.uint8)
        end = contract.length - len(self.flank3)
        codes[:, end:] = self.flank3
        widths = np.unique(inserts)
        for width in widths:
            group = slice(None) if len(widths) == 1 else np.flatnonzero(inserts == width)
            insert = sequences.gather(rows[group], skip, int(width))
            begin = end - int(width)
            codes[group, begin:end] = reverse_complement(insert) if flip else insert
            codes[group, :begin] = self.flank5[len(self.flank5) - begin :]
        return codes

    def _edits(self, columns: Mapping[str, pa.Array]) -> Windows:
        """Rows that change one base of a sequence: each sequence becomes one window, each change one edit."""
        edits = Edits.of(columns)
        sequences, which, alt = edits.sequences, edits.which_N, edits.alt_N
        status = edits.check(
            given_status(columns, len(which)), self.fit(sequences), *self._around, columns.get("ref_base")
        )
        rows = np.flatnonzero(status == OK)
        used, base_of_row = np.unique(which[rows], return_inverse=True)
        codes = self.build(sequences, used)
        # of the window with the change; the base that goes is no N where an N comes
        unknown = count_n(codes)
        counts = unknown[base_of_row] + (alt[rows] == N_CODE)
        mostly = np.zeros(len(rows), dtype=bool)
        if self._may_be_mostly_n(unknown + 1):
            mostly = 2 * counts > self._own_bases(sequences, used, unknown + 1, codes)[base_of_row]
        rows, keep, n_count = self._limit_n(rows, counts.astype(np.int32), mostly, status)
        base_of_row = base_of_row[keep]
        # equal windows may hold inserts of other lengths, which turn round differently
        if self.insert_strands:
            first = window_of_base = np.arange(len(codes))
        else:
            first, window_of_base = unique_rows(codes)
        window = window_of_base[base_of_row]
        length = sequences.length[which[rows]]
        place = edits.offset_N[rows] + self._shift(length)
        parts = [self._edit_batch(codes[first], window, place, alt[rows])]
        if self.insert_strands:
            flipped = self.build(sequences, used[first], flip=True)
            begin, end = self._insert_bounds(length)
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
        ref, alt, trouble = changed(some, *self._around)
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

    def _shift(self, length: np.ndarray) -> np.ndarray:
        """What to add to an offset in the given sequence to get its place in the window."""
        if self.sequence_is == "window":
            return np.zeros(len(length), dtype=np.int64)
        begin, _ = self._insert_bounds(length)
        return begin - self._around[0]

    def _insert_bounds(self, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Begin and end of the insert in the window, for sequences of these lengths."""
        end = np.full(len(length), self.contract.length - len(self.flank3), dtype=np.int64)
        return end - (length - self._n_adapters), end

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

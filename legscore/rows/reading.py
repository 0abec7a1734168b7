"""Sequences → windows: what those of an input are, which fit the contract, what the network reads for each.

Everything is vectorised: sequences are gathered by length (at most insert_max groups), never one by one.
`Contract.window` is the readable twin.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from legscore.dna.codes import Sequences, encode_text, text_to_codes
from legscore.dna.contract import INVALID_CODE, Contract, reverse_complement
from legscore.rows.schema import OK, SEQUENCE_IS, STATUS_CODE

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


class Reading:
    """How the sequences of an input are read: by one contract, as inserts, oligos or windows.

    Attributes:
        around: bases of each sequence before and after its insert.
    """

    def __init__(self, contract: Contract, sequence_is: str) -> None:
        if sequence_is not in SEQUENCE_IS:
            raise ValueError(f"sequence_is is {sequence_is!r}; known are {', '.join(SEQUENCE_IS)}")
        self.contract, self.sequence_is = contract, sequence_is
        self.five, self.three = encode_text(contract.adapter5), encode_text(contract.adapter3)
        self.flank5, self.flank3 = encode_text(contract.flank5), encode_text(contract.flank3)
        self.around = (len(self.five), len(self.three)) if sequence_is == "oligo" else (0, 0)
        self._n_adapters = sum(self.around)

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
        skip, _ = self.around
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

    def may_be_mostly_n(self, counts: np.ndarray) -> bool:
        """Whether the shortest sequence with the most of these N's would be more than half N."""
        return len(counts) > 0 and 2 * int(counts.max()) > self.contract.insert_min

    def is_mostly_n(
        self, sequences: Sequences, rows: np.ndarray, counts: np.ndarray, codes: np.ndarray
    ) -> np.ndarray:
        """Whether more than half of each row's own bases are N, bool [len(rows)]."""
        if not self.may_be_mostly_n(counts):
            return np.zeros(len(rows), dtype=bool)
        return 2 * counts > self.own_bases(sequences, rows, counts, codes)

    def own_bases(
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

    def shift(self, length: np.ndarray) -> np.ndarray:
        """What to add to an offset in the given sequence to get its place in the window."""
        if self.sequence_is == "window":
            return np.zeros(len(length), dtype=np.int64)
        begin, _ = self.insert_bounds(length)
        return begin - self.around[0]

    def insert_bounds(self, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Begin and end of the insert in the window, for sequences of these lengths."""
        end = np.full(len(length), self.contract.length - len(self.flank3), dtype=np.int64)
        return end - (length - self._n_adapters), end

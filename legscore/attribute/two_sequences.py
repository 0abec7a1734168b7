"""Rows of pairs or edits as the two sequences that they compare, base by base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from legscore.dna.codes import Sequences, text_to_codes
from legscore.dna.contract import INVALID_CODE, N_CODE
from legscore.rows.edits import Edits
from legscore.rows.indels import are_indels, changed
from legscore.rows.schema import OK, STATUS_CODE, Kind
from legscore.rows.window import given_status

LONGEST = 1000
"""Bases of a sequence that is scanned; a longer one is `too_long`."""


@dataclass(frozen=True)
class TwoSequences:
    """Two sequences of each of R rows.

    Attributes:
        row_R: int64, numbers of the rows, which are those that are `ok`.
        codes_SRL: uint8 [2, R, longest], reference and alternative, A,G,C,T,N = 0..4; all end in the last
            column, with N's before shorter ones.
        length_SR: int64 [2, R], bases of each.
        status_N: uint8, of all N rows.
    """

    row_R: np.ndarray
    codes_SRL: np.ndarray
    length_SR: np.ndarray
    status_N: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, pa.Array], kind: Kind) -> TwoSequences:
        """Of the columns of a part, {role: Arrow array}."""
        if kind.name == "pair":
            return cls._of_pairs(columns["ref_sequence"], columns["alt_sequence"], columns)
        indel = are_indels(columns)
        if not indel.any():
            return cls._of_edits(columns)
        edits, rows = np.flatnonzero(~indel), np.flatnonzero(indel)
        some = {role: column.take(pa.array(rows)) for role, column in columns.items()}
        ref, alt, trouble = changed(some, 0, 0)
        two = cls._of_pairs(ref, alt, some, trouble)
        one = cls._of_edits({role: column.take(pa.array(edits)) for role, column in columns.items()})
        status = np.empty(len(indel), dtype=np.uint8)
        status[edits], status[rows] = one.status_N, two.status_N
        width = max(one.codes_SRL.shape[2], two.codes_SRL.shape[2])
        codes = np.concatenate([one._widened(width), two._widened(width)], axis=1)
        lengths = np.concatenate([one.length_SR, two.length_SR], axis=1)
        row_R = np.concatenate([edits[one.row_R], rows[two.row_R]])
        order = np.argsort(row_R)
        return cls(row_R[order], codes[:, order], lengths[:, order], status)

    def _widened(self, width: int) -> np.ndarray:
        more = width - self.codes_SRL.shape[2]
        return np.pad(self.codes_SRL, ((0, 0), (0, 0), (more, 0)), constant_values=N_CODE)

    @classmethod
    def _of_pairs(
        cls, ref: pa.Array, alt: pa.Array, columns: Mapping[str, pa.Array], trouble: np.ndarray | None = None
    ) -> TwoSequences:
        """Of texts. `trouble`: statuses of rows whose change cannot be made, uint8 [N]."""
        given = [text_to_codes(ref), text_to_codes(alt)]
        status = given_status(columns, len(ref))
        for sequences in given:
            status = np.where(status == OK, _fit(sequences), status)
        if trouble is not None:
            status = np.where(status == OK, trouble, status)
        rows = np.flatnonzero(status == OK)
        lengths = np.array([sequences.length[rows] for sequences in given])
        width = int(lengths.max(initial=0))
        codes = np.array([_ending_together(sequences, rows, width) for sequences in given])
        same = (codes[0] == codes[1]).all(axis=1) & (lengths[0] == lengths[1])
        status[rows[same]] = STATUS_CODE["ref_equals_alt"]
        return cls(rows[~same], codes[:, ~same], lengths[:, ~same], status)

    @classmethod
    def _of_edits(cls, columns: Mapping[str, pa.Array]) -> TwoSequences:
        edits = Edits.of(columns)
        sequences, which = edits.sequences, edits.which_N
        status = edits.check(
            given_status(columns, len(which)), _fit(sequences), 0, 0, columns.get("ref_base")
        )
        rows = np.flatnonzero(status == OK)
        length = sequences.length[which[rows]]
        width = int(length.max(initial=0))
        ref = _ending_together(sequences, which[rows], width)
        alt = ref.copy()
        alt[np.arange(len(rows)), width - length + edits.offset_N[rows]] = edits.alt_N[rows]
        return cls(rows, np.array([ref, alt]), np.array([length, length]), status)


def _fit(sequences: Sequences) -> np.ndarray:
    """Status of each sequence, uint8: null, letters, length, in that order."""
    status = np.full(len(sequences), OK, dtype=np.uint8)
    status[sequences.length > LONGEST] = STATUS_CODE["too_long"]
    status[sequences.length == 0] = STATUS_CODE["too_short"]
    bad = np.flatnonzero(sequences.flat == INVALID_CODE)
    status[np.searchsorted(sequences.start, bad, side="right") - 1] = STATUS_CODE["invalid_base"]
    status[sequences.is_null | sequences.read_as_missing()] = STATUS_CODE["null_sequence"]
    return status


def _ending_together(sequences: Sequences, rows: np.ndarray, width: int) -> np.ndarray:
    """Codes of `rows`, uint8 [len(rows), width], each at the end of its row; N before it."""
    if not len(rows):
        return np.empty((0, width), dtype=np.uint8)
    start = sequences.start[rows][:, None]
    at = start + sequences.length[rows][:, None] - width + np.arange(width)
    codes = sequences.flat[np.maximum(at, start)]
    codes[at < start] = N_CODE
    return np.asarray(codes)

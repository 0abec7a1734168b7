"""Rows of `sequence` + `offset` + `alt_base` that replace one base: what they ask for, and whether it can be
done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from legscore.dna.codes import Sequences, single_bases, text_to_codes
from legscore.dna.contract import INVALID_CODE, N_CODE
from legscore.rows.schema import OK, STATUS_CODE


@dataclass(frozen=True)
class Edits:
    """N rows that replace a base.

    Attributes:
        sequences: the distinct sequences.
        which_N: int64, sequence of each row (0 where it is null).
        offset_N: int64, place in the sequence (0 where it is null).
        alt_N, alt_trouble_N: codes and trouble of the new base, as `single_bases` gives them.
        is_null_N: bool, a sequence, an offset or a base is missing.
    """

    sequences: Sequences
    which_N: np.ndarray
    offset_N: np.ndarray
    alt_N: np.ndarray
    alt_trouble_N: np.ndarray
    is_null_N: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, pa.Array]) -> Edits:
        """From the columns of a part, {role: Arrow array}."""
        encoded = columns["sequence"]
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        offset, alt = columns["offset"], columns["alt_base"]
        alt_N, alt_trouble_N = single_bases(alt)
        null = [_numbers(array.is_null()) for array in (encoded, offset, alt)]
        return cls(
            text_to_codes(encoded.dictionary),
            _numbers(encoded.indices.fill_null(0)).astype(np.int64),
            _numbers(offset.fill_null(0)).astype(np.int64),
            alt_N,
            alt_trouble_N,
            null[0] | null[1] | null[2],
        )

    def check(
        self, status: np.ndarray, fits_S: np.ndarray, head: int, tail: int, ref_base: pa.Array | None
    ) -> np.ndarray:
        """The status of each row, uint8 [N].

        Args:
            status: what the rows came with, uint8 [N].
            fits_S: status of each distinct sequence, uint8.
            head, tail: bases of every sequence around the insert, which no row may change.
            ref_base: the bases that the rows say are there, or None.
        """
        status = status.copy()

        def mark(where: np.ndarray, name: str) -> None:
            status[where & (status == OK)] = STATUS_CODE[name]

        mark(self.is_null_N, "null_sequence")
        length = np.zeros(len(status), dtype=np.int64)
        if len(self.sequences):
            status = np.where(status == OK, fits_S[self.which_N], status)
            length = self.sequences.length[self.which_N]
        offset = self.offset_N
        mark(self.alt_trouble_N == INVALID_CODE, "invalid_base")
        mark(self.alt_trouble_N == 1, "unsupported_allele")
        mark((offset < 0) | (offset >= length), "edge")
        if head or tail:
            mark((offset < head) | (offset >= length - tail), "adapter_mismatch")
        good = np.flatnonzero(status == OK)
        present = np.full(len(status), N_CODE, dtype=np.uint8)
        present[good] = self.sequences.flat[self.sequences.start[self.which_N[good]] + offset[good]]
        if ref_base is not None:
            ref, ref_trouble = single_bases(ref_base)
            differs = ~_numbers(ref_base.is_null()) & ((ref != present) | (ref_trouble != 0))
            mark(differs & (self.alt_N == present), "ref_alt_swapped")
            mark(differs, "ref_mismatch")
        mark(self.alt_N == present, "ref_equals_alt")
        return status


def _numbers(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))

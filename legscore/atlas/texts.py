"""REF and ALT of changes of one base, as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError
from legscore.variants.saturate import TEXTS as UNSORTED

TEXTS = sorted(UNSORTED)
"""All texts of one or two letters A, C, G, T, N, in alphabetical order: equal numbers, equal texts, and
numbers sort as texts do."""
_NUMBER = {text: number for number, text in enumerate(TEXTS)}
LENGTH = np.array([len(text) for text in TEXTS])
FIRST_BASE, LAST_BASE = (
    np.array(["ACGT".find(text[place]) for text in TEXTS], dtype=np.int64) for place in (0, -1)
)
"""Number of a text's first and last letter among A, C, G, T; -1 for N."""
REPLACED, DELETED, INSERTED = 0, 4, 5
CODES = 9
"""Changes that may begin at a base: replaced by A, C, G, T (0 to 3), deleted (4), A, C, G, T inserted before
it (5 to 8)."""


def text_numbers(texts: pa.Array) -> np.ndarray:
    """Numbers into TEXTS, int64. InputError for a text that is none."""
    values = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    found = pc.index_in(values.cast(pa.string()), pa.array(TEXTS))
    if found.null_count:
        raise InputError(f"an atlas holds changes of one base; {values.filter(found.is_null())[0]} is none")
    numbers = found.to_numpy().astype(np.int64)
    if not pa.types.is_dictionary(texts.type):
        return numbers
    return numbers[texts.indices.to_numpy(zero_copy_only=False)]  # type: ignore[no-any-return]


def changed_place(pos_R: np.ndarray, ref_R: np.ndarray, alt_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where changes begin (int64, 0-based) and what they do (one of CODES), from POS, REF and ALT as
    `legscore variants` writes them.

    A deletion or insertion is written from the base before it; a deletion of a contig's first base from
    that base, with the base behind it.
    """
    n_ref, n_alt = LENGTH[ref_R], LENGTH[alt_R]
    if (n_ref == n_alt).all():
        return pos_R - 1, LAST_BASE[alt_R]
    deletes, inserts = n_ref > n_alt, n_alt > n_ref
    code = np.where(deletes, DELETED, LAST_BASE[alt_R] + np.where(inserts, INSERTED, REPLACED))
    kept_first = FIRST_BASE[ref_R] == FIRST_BASE[alt_R]
    run = FIRST_BASE[ref_R] == LAST_BASE[ref_R]  # of a run of equal bases the first is deleted
    at_start = deletes & (pos_R == 1) & (~kept_first | run)
    start = np.where((deletes | inserts) & ~at_start, pos_R, pos_R - 1)
    return start, code

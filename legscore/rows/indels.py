"""Deletions and insertions of one base in rows of `sequence` + `offset` + `alt_base`, for tables that have a
column `refill`.

`alt_base` is then a base (replaced), `-` (the base at `offset` is deleted) or `+A` (an A is inserted before
the base at `offset`, strictly inside the insert). `refill` says what keeps the insert's length: `5G` lets a G
in at the 5' end and `3G` at the 3' end (deletions), `5` and `3` drop the base at that end (insertions); with
`none` the length changes and the construct moves along. It is null beside replaced bases. `legscore variants
--saturate-indels` writes such tables. They hold each sequence once per batch; the changed sequences are made
here, a part at a time, vectorised.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.batch import Batch
from legscore.dna.codes import Sequences, single_bases, text_to_codes, unique_rows
from legscore.rows.schema import OK, STATUS_CODE

DELETED, INSERTED = "-", "+"
NOWHERE = 1 << 40
"""A place behind the end of every sequence."""
BLOCK_ROWS = 1024
"""Rows made at a time: numbers for each letter of all rows of a part would take 70 MiB."""
_LETTERS = np.arange(256, dtype=np.uint8)


def are_indels(columns: Mapping[str, pa.Array]) -> np.ndarray:
    """bool [N]: rows that delete or insert; none without the column `refill`."""
    alt = columns["alt_base"]
    if "refill" not in columns:
        return np.zeros(len(alt), dtype=bool)
    found = pc.or_(pc.equal(alt, DELETED), pc.starts_with(alt, INSERTED))
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False))


def changed(columns: Mapping[str, pa.Array], head: int, tail: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """What rows that delete or insert compare.

    Args:
        columns: roles of such rows only, as `legscore.rows.window` takes them.
        head, tail: letters of every sequence around the insert (the adapters of oligos).

    Returns:
        Sequences as given and as changed, texts [N]; and a status, uint8 [N]. Where it is not ok the second
        is the first.
    """
    given = columns["sequence"]
    ref = (given.dictionary_decode() if pa.types.is_dictionary(given.type) else given).cast(pa.large_string())
    letters = text_to_codes(ref, _LETTERS)
    alt, refill = columns["alt_base"], pc.fill_null(columns["refill"], "").cast(pa.large_string())
    deletes = np.asarray(pc.equal(alt, DELETED).to_numpy(zero_copy_only=False))
    offset = pc.fill_null(columns["offset"], -1).to_numpy(zero_copy_only=False).astype(np.int64)
    end = letters.length - tail
    side, fill = pc.utf8_slice_codeunits(refill, 0, 1), pc.utf8_slice_codeunits(refill, 1)
    five, three, free = (
        np.asarray(pc.equal(text, word).to_numpy(zero_copy_only=False))
        for text, word in (
            (side, "5"),
            (side, "3"),
            (refill, "none"),
        )
    )
    bare = np.asarray(pc.equal(pc.binary_length(fill), 0).to_numpy(zero_copy_only=False))
    added, wrong_added = _letter(pc.utf8_slice_codeunits(alt, 1))
    filled, wrong_fill = _letter(fill)

    status = np.full(len(ref), OK, dtype=np.uint8)

    def mark(where: np.ndarray, name: str) -> None:
        status[where & (status == OK)] = STATUS_CODE[name]

    mark(letters.is_null | columns["offset"].is_null().to_numpy(zero_copy_only=False), "null_sequence")
    mark(columns["refill"].is_null().to_numpy(zero_copy_only=False), "null_sequence")
    mark(~deletes & wrong_added, "invalid_base")
    mark(~(five | three | free), "invalid_base")
    mark(~free & np.where(deletes, wrong_fill, ~bare), "invalid_base")
    mark((offset < 0) | (offset >= letters.length), "edge")
    mark((offset < head) | (offset >= end), "adapter_mismatch")
    mark(~deletes & (offset == head), "edge")
    if "ref_base" in columns:
        stated = ~columns["ref_base"].is_null().to_numpy(zero_copy_only=False)
        mark(stated & ~deletes, "ref_mismatch")
        rows = np.flatnonzero(stated & (status == OK))
        codes, (says, wrong) = (
            text_to_codes(ref.take(pa.array(rows))),
            single_bases(columns["ref_base"].take(pa.array(rows))),
        )
        reads = codes.flat[codes.start + offset[rows]]
        status[rows[(says != reads) | (wrong != 0)]] = STATUS_CODE["ref_mismatch"]

    good = status == OK
    gone = np.where(deletes, offset, np.where(five, head, np.where(three, end - 1, NOWHERE)))
    place = np.where(~deletes, offset, np.where(five, head, np.where(three, end, NOWHERE)))
    base = np.where(deletes, filled, added)
    return ref, _rebuilt(letters, np.where(good, gone, NOWHERE), np.where(good, place, NOWHERE), base), status


def _letter(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The letter of one-letter texts, uint8 [N], and bool [N]: whether it is no base."""
    _, why = single_bases(texts)
    letters = text_to_codes(texts, _LETTERS)
    found = np.full(len(letters), ord("N"), dtype=np.uint8)
    rows = np.flatnonzero(why == 0)
    found[rows] = letters.flat[letters.start[rows]]
    return found, why != 0


def _rebuilt(letters: Sequences, gone: np.ndarray, place: np.ndarray, base: np.ndarray) -> pa.Array:
    """Texts without the letter at `gone`, and with `base` before the letter that was at `place`; NOWHERE
    leaves one out."""
    gains, loses = place < NOWHERE, gone < NOWHERE
    length = letters.length + gains - loses
    bounds = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    flat = np.empty(int(bounds[-1]), dtype=np.uint8)
    new = place - (gone < place) * loses
    for first in range(0, len(length), BLOCK_ROWS):
        rows = np.arange(first, min(first + BLOCK_ROWS, len(length)))
        row = np.repeat(rows, length[rows])
        at = np.arange(bounds[first], bounds[rows[-1] + 1]) - bounds[row]
        kept = at - (at > new[row])
        source = letters.start[row] + kept + (kept >= gone[row])
        mine = at == new[row]
        block = letters.flat[np.minimum(source, max(len(letters.flat) - 1, 0))]
        block[mine] = base[row[mine]]
        flat[bounds[first] : bounds[rows[-1] + 1]] = block
    return pa.Array.from_buffers(
        pa.large_string(), len(length), [None, pa.py_buffer(bounds), pa.py_buffer(flat)]
    )


def joined(one: Batch, other: Batch) -> tuple[Batch, np.ndarray, np.ndarray]:
    """Two batches as one, equal windows once.

    Returns:
        The batch, and for every scored window of `one` and of `other` its number there, int32.
    """
    codes = np.concatenate([one.codes_WL, other.codes_WL])
    first, inverse = unique_rows(codes)
    split, n = len(one.codes_WL), len(first)
    batch = Batch(
        codes[first],
        np.concatenate([inverse[one.window_E], inverse[split + other.window_E]]).astype(np.int32),
        np.concatenate([one.offset_E, other.offset_E]),
        np.concatenate([one.base_E, other.base_E]),
    )
    ours = np.concatenate([inverse[:split], n + np.arange(len(one.window_E))])
    theirs = np.concatenate([inverse[split:], n + len(one.window_E) + np.arange(len(other.window_E))])
    return batch, ours.astype(np.int32), theirs.astype(np.int32)

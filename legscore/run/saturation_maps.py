"""Every single-base change of sequences in memory: rows of edits, made as they are scored, and their maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from legscore.run.memory_results import BASES, Effects, SaturationMaps

TOGETHER = 64
"""Sequences whose changes are made at once."""
SCHEMA = pa.schema(
    {
        "sequence": pa.dictionary(pa.int32(), pa.large_string()),
        "offset": pa.int64(),
        "alt_base": pa.dictionary(pa.int8(), pa.large_string()),
    }
)


def changes_of(texts: pa.Array, rows: np.ndarray) -> pa.RecordBatchReader:
    """Each position of each sequence changed to A, C, G and T, in this order (to itself, too: such rows are
    `ref_equals_alt`).

    Args:
        texts: sequences, large_string [N]; rows: those to take, int [R].
    """
    bases = pa.array(list(BASES), pa.large_string())

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), TOGETHER):
            some = texts.take(pa.array(rows[start : start + TOGETHER]))
            length = np.array([len(text) for text in some.to_pylist()], dtype=np.int64)
            which = np.repeat(np.arange(len(length), dtype=np.int32), 4 * length)
            offset = np.concatenate([np.repeat(np.arange(n), 4) for n in length])
            base = np.tile(np.arange(4, dtype=np.int8), int(length.sum()))
            yield pa.record_batch(
                [
                    pa.DictionaryArray.from_arrays(pa.array(which), some),
                    pa.array(offset),
                    pa.DictionaryArray.from_arrays(pa.array(base), bases),
                ],
                schema=SCHEMA,
            )

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def maps_of(
    texts: pa.Array, names: Sequence[str], status: np.ndarray, ref_score: np.ndarray, changes: Effects | None
) -> SaturationMaps:
    """The maps of N sequences.

    Args:
        texts: large_string [N]. names: what they are called.
        status: text [N]. ref_score: float32 [N].
        changes: effects of `changes_of` the sequences whose status is ok; None where there are none.
    """
    sequences = np.array(["" if text is None else text for text in texts.to_pylist()], dtype=object)
    longest = max((len(text) for text in sequences), default=0)
    effect = np.full((len(sequences), len(BASES), longest), np.nan, dtype=np.float32)
    spread = effect.copy()
    at = 0
    for row in np.flatnonzero(status == "ok"):
        assert changes is not None
        length = len(sequences[row])
        block = slice(at, at + 4 * length)
        at = block.stop
        effect[row, :, :length] = changes.effect[block].reshape(length, 4).T
        spread[row, :, :length] = changes.effect_sd[block].reshape(length, 4).T
    return SaturationMaps(np.array(names, dtype=object), sequences, status, ref_score, effect, spread)

"""Every single-base change of sequences in memory: rows of edits, made as they are scored, and their maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.rows.schema import OK, STATUSES
from legscore.run.memory_results import BASES, Effects, SaturationMaps
from legscore.run.memory_rows import rows_of
from legscore.run.row_scorer import RowScorer, statuses

TOGETHER = 64
"""Sequences whose changes are made at once."""
SCHEMA = pa.schema(
    {
        "sequence": pa.dictionary(pa.int32(), pa.large_string()),
        "offset": pa.int64(),
        "alt_base": pa.dictionary(pa.int8(), pa.large_string()),
    }
)


def saturation_of(
    scorer: RowScorer, texts: pa.Array, names: Sequence[str], sequence_is: str, invalid: str
) -> SaturationMaps:
    """Score N sequences, and every change of those that have a score.

    Args:
        texts: large_string [N]. names: what they are called.
        sequence_is: as of `Ensemble.saturate`. invalid: too.
    """
    rows = rows_of("sequence", {"sequences": texts}, None)
    sequence_is = scorer.sequence_is(rows, sequence_is, invalid)
    results = scorer.results(rows, sequence_is, invalid)
    status, score = statuses(results), np.concatenate([r.columns["score"] for r in results])
    good = np.flatnonzero(status == STATUSES[OK])
    changes = None
    if len(good):
        edits = rows_of("edit", {"sequences": changes_of(texts, good)}, None)
        bases = pc.sum(pc.binary_length(texts.take(pa.array(good)))).as_py()
        changes = scorer.effects(replace(edits, expected=len(BASES) * bases), sequence_is, "nan")
    return maps_of(texts, names, status, score, changes)


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
    for row in np.flatnonzero(status == STATUSES[OK]):
        assert changes is not None
        length = len(sequences[row])
        block = slice(at, at + 4 * length)
        at = block.stop
        effect[row, :, :length] = changes.effect[block].reshape(length, 4).T
        spread[row, :, :length] = changes.effect_sd[block].reshape(length, 4).T
    return SaturationMaps(np.array(names, dtype=object), sequences, status, ref_score, effect, spread)

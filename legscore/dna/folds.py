"""Folds as published: `mmh3.hash(sequence, seed, signed=False) % n_folds`, seed 42.

The DREAM code hashes the sequence as given, the optimised code the window after padding to 150 (`fold_on`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.codes import Sequences
from legscore.dna.contract import BASES

SEED = 42
N_FOLDS = 10
LETTERS = np.frombuffer((BASES + "N").encode(), dtype=np.uint8)
"""Code → letter."""


def folds_of_rows(bytes_NL: np.ndarray, n_folds: int = N_FOLDS, seed: int = SEED) -> np.ndarray:
    """Fold of each key, uint8 [N].

    Args:
        bytes_NL: uint8 [N, L], the bytes of N keys of one length.
    """
    from mmh3 import hash as murmur

    n, length = bytes_NL.shape
    text = bytes_NL.tobytes()
    keys = (text[i * length : (i + 1) * length] for i in range(n))
    hashes = np.fromiter((murmur(key, seed, False) for key in keys), dtype=np.uint32, count=n)
    return (hashes % np.uint32(n_folds)).astype(np.uint8)


def folds_as_given(
    sequences: Sequences,
    rows: np.ndarray,
    n_folds: int,
    *,
    before: str = "",
    after: str = "",
    trim5: int = 0,
    trim3: int = 0,
) -> np.ndarray:
    """Folds of the sequences as given (in upper case), int16 [len(rows)], hashed length by length.

    Args:
        before, after: text put around each sequence first (an insert becomes the oligo that training saw).
        trim5, trim3: bases taken off each end first (the other way round).
    """
    folds = np.empty(len(rows), dtype=np.int16)
    lengths = sequences.length[rows]
    five, three = (np.frombuffer(text.encode(), dtype=np.uint8) for text in (before, after))
    for length in np.flatnonzero(np.bincount(lengths)):
        group = np.flatnonzero(lengths == length)
        inner = LETTERS[sequences.gather(rows[group], trim5, int(length) - trim5 - trim3)]
        ends = [np.broadcast_to(end, (len(group), len(end))) for end in (five, three)]
        folds[group] = folds_of_rows(np.concatenate([ends[0], inner, ends[1]], axis=1), n_folds)
    return folds


def folds_of_split(texts: pa.Array) -> np.ndarray:
    """Folds of a split column: train 0, validation (valid, validation, val) 1, anything else -1; int16
    [rows]."""
    lower = pc.utf8_lower(texts)
    folds = np.full(len(texts), -1, dtype=np.int16)
    for fold, names in enumerate((("train",), ("valid", "validation", "val"))):
        folds[pc.is_in(lower, pa.array(names, lower.type)).to_numpy(zero_copy_only=False)] = fold
    return folds


def went_on_apart(training: Mapping[str, Any], folds: Collection[int]) -> bool:
    """Whether a training record shows that no checkpoint which the training went on from saw rows of these of
    its folds. True where it began from nothing."""
    rule, start = training.get("folds"), training.get("from")
    while start is not None:
        kept = start.get("folds_held_out") if isinstance(start, Mapping) else None
        if not isinstance(kept, list) or start.get("folds") != rule:
            return False
        if any(fold not in kept for fold in folds):
            return False
        start = start.get("from")
    return True

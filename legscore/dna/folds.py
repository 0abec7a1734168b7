"""Folds as published: `mmh3.hash(sequence, seed, signed=False) % n_folds`, seed 42, vectorised.

The DREAM code hashes the sequence as given, the optimised code the window after padding to 150 (`fold_on`).
mmh3 has no call for many keys, so MurmurHash3 x86 32-bit (Austin Appleby, public domain) is computed here on
columns of 4-byte words, for all sequences of one length at once; tests compare it with mmh3.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.codes import Sequences
from legscore.dna.contract import BASES

SEED = 42
N_FOLDS = 10
LETTERS = np.frombuffer((BASES + "N").encode(), dtype=np.uint8)
"""Code → letter."""
C1, C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)


def _rotate(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


def murmur3_32(bytes_NL: np.ndarray, seed: int = SEED) -> np.ndarray:
    """MurmurHash3 x86 32-bit of each row.

    Args:
        bytes_NL: uint8 [N, L], the bytes of N keys of one length.

    Returns:
        uint32 [N], equal to `mmh3.hash(key, seed, signed=False)`.
    """
    n, length = bytes_NL.shape
    h = np.full(n, seed, dtype=np.uint32)
    whole = length // 4
    words_NI = np.ascontiguousarray(bytes_NL[:, : 4 * whole]).view("<u4")
    for word in words_NI.T:
        h = _rotate(h ^ (_rotate(word * C1, 15) * C2), 13) * np.uint32(5) + np.uint32(0xE6546B64)
    tail = bytes_NL[:, 4 * whole :]
    if tail.shape[1]:
        word = np.zeros(n, dtype=np.uint32)
        for i in range(tail.shape[1]):
            word |= tail[:, i].astype(np.uint32) << np.uint32(8 * i)
        h ^= _rotate(word * C1, 15) * C2
    h ^= np.uint32(length)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def folds_of_rows(bytes_NL: np.ndarray, n_folds: int = N_FOLDS, seed: int = SEED) -> np.ndarray:
    """Fold of each row of equal-length keys, uint8 [N]."""
    return (murmur3_32(bytes_NL, seed) % np.uint32(n_folds)).astype(np.uint8)


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

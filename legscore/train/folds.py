"""Folds as published: `mmh3.hash(sequence, seed, signed=False) % n_folds`, seed 42, vectorised.

The DREAM code hashes the sequence as given, the optimised code the window after padding to 150 (`fold_on`). mmh3 has no
call for many keys, so MurmurHash3 x86 32-bit (Austin Appleby, public domain) is computed here on columns of 4-byte words,
for all sequences of one length at once; tests compare it with mmh3.
"""

from __future__ import annotations

import numpy as np

SEED = 42
N_FOLDS = 10
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
    for i in range(whole):
        word = np.ascontiguousarray(bytes_NL[:, 4 * i : 4 * i + 4]).view("<u4").ravel()
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

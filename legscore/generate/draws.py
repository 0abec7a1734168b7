"""Random numbers of the mutate–denoise loop: functions of (seed of the design, step, place), not of a stream.

A design's numbers so depend on its own seed alone: not on its neighbours, the batch, or how many designs
there are, and the same numbers can be made on any device (`legscore.generate.torch_denoiser` has the torch
twin). The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), applied twice.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

PERMUTATIONS = np.array(sorted(permutations(range(4))), dtype=np.int64)
"""int64 [24, 4]: the orders of four channels; the first leaves them as they are."""
START_STEP = 0
"""The step whose numbers make the random start."""
_WEYL, _MUL_1, _MUL_2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_DRAWN_FROM = 1 << 19
"""Places from here on draw bases."""
GRAIN = 1 << 24
"""Drawn numbers have 24 bits, which float32 holds exactly."""
_PLACES = 1 << 20
"""Places a step may use."""


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * _MUL_1
    x = (x ^ (x >> np.uint64(27))) * _MUL_2
    return x ^ (x >> np.uint64(31))


def below(seed_N: np.ndarray, step: int, first: int, count: int, limit: int) -> np.ndarray:
    """Whole numbers 0..limit-1, int64 [N, count], for places first..first+count-1 of a step.

    Args:
        seed_N: int64 [N], a seed for each design.
    """
    with np.errstate(over="ignore"):
        key_N = _mix(seed_N.astype(np.uint64) * _WEYL + _WEYL)
        place_K = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(step * _PLACES)) * _WEYL
        mixed_NK = _mix(key_N[:, None] ^ _mix(place_K)[None, :])
    return ((mixed_NK >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def start_codes(seed_N: np.ndarray, length: int) -> np.ndarray:
    """Random sequences, uint8 [N, length]."""
    return below(seed_N, START_STEP, 0, length, 4).astype(np.uint8)


def shuffles(seed_N: np.ndarray, step: int, n_mutations: int, length: int) -> np.ndarray:
    """How the four channel values of each position are permuted in a step, uint8 [N, length]: rows of
    PERMUTATIONS, 0 where none of the `n_mutations` positions drawn with replacement lies. Steps count from
    1."""
    site_NK = below(seed_N, step, length, n_mutations, length)
    order_NL = below(seed_N, step, 0, length, len(PERMUTATIONS)).astype(np.uint8)
    hit_NL = np.zeros(order_NL.shape, dtype=bool)
    hit_NL[np.arange(len(seed_N))[:, None], site_NK] = True
    return np.where(hit_NL, order_NL, np.uint8(0))


def drawn(seed_N: np.ndarray, step: int, probability_N4L: np.ndarray) -> np.ndarray:
    """One base for each position from its probabilities, as float32 [N, 4, L] of 0 and 1."""
    length = probability_N4L.shape[2]
    level_NL = below(seed_N, step, _DRAWN_FROM, length, GRAIN).astype(np.float32) / np.float32(GRAIN)
    edges_N3L = np.cumsum(probability_N4L[:, :3], axis=1, dtype=np.float32)
    codes_NL = (level_NL[:, None] >= edges_N3L).sum(axis=1)
    return (codes_NL[:, None] == np.arange(4)[None, :, None]).astype(np.float32)

"""Hamming distances between many sequences of one length, as matrix products of one-hot codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 2048


def _one_hot(codes_NL: np.ndarray) -> np.ndarray:
    """float32 [N, 4·L]."""
    return (
        (codes_NL[:, :, None] == np.arange(4, dtype=np.uint8)).reshape(len(codes_NL), -1).astype(np.float32)
    )


def distances(a_NL: np.ndarray, b_KL: np.ndarray) -> np.ndarray:
    """Distances [N, K] of two sets; codes 0..3."""
    return a_NL.shape[1] - np.rint(_one_hot(a_NL) @ _one_hot(b_KL).T).astype(np.int64)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK))


def nearest(a_NL: np.ndarray, b_KL: np.ndarray, *, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `b` for each of `a`: its row int64 [N] and distance int64 [N].

    Args:
        same: a and b are one set: a sequence is not its own neighbour.
    """
    row = np.full(len(a_NL), -1, dtype=np.int64)
    least = np.full(len(a_NL), a_NL.shape[1] + 1, dtype=np.int64)
    for mine in _blocks(len(a_NL)):
        for theirs in _blocks(len(b_KL)):
            found = distances(a_NL[mine], b_KL[theirs])
            if same:
                at = np.arange(mine.start, mine.stop)
                inside = (at >= theirs.start) & (at < theirs.stop)
                found[np.flatnonzero(inside), at[inside] - theirs.start] = a_NL.shape[1] + 1
            best = found.argmin(axis=1)
            value = found[np.arange(len(best)), best]
            closer = value < least[mine]
            row[mine] = np.where(closer, best + theirs.start, row[mine])
            least[mine] = np.where(closer, value, least[mine])
    return row, least


def spread_out(codes_KL: np.ndarray, chosen_CL: np.ndarray, least: int) -> np.ndarray:
    """Which of K candidates are at least `least` away from everything chosen so far, bool [K]."""
    if least < 1 or not len(chosen_CL):
        return np.ones(len(codes_KL), dtype=bool)
    return np.asarray((distances(codes_KL, chosen_CL) >= least).all(axis=1))

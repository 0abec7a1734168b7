"""Random mutations of sequences, without memory: what a generator learns to undo, and what the mutation curve
measures.

Each mutation hits a position drawn with replacement, so that a site may be hit again and may come back to
what it was.

- `draw4`, as in the published code: the site gets one of the four bases, the present one included (a quarter
  of the mutations changes nothing).
- `sub3`, as the paper words it: the site gets one of the three other bases.

An N stays N. This is numpy's version; `legscore.train.mutate` is torch's, on the device that trains.
"""

from __future__ import annotations

import numpy as np

from legscore.dna.contract import N_CODE

MUTATIONS = ("draw4", "sub3")


def mutated(codes_NL: np.ndarray, n_mutations: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Sequences after `n_mutations` more mutations each, uint8 [N, L]; mutating again continues the same
    process.

    Of `draw4` only the last draw at a site matters, and of `sub3` only the sum of its steps modulo 4, so that
    the order of a sequence's mutations need not be kept.
    """
    if kind not in MUTATIONS:
        raise ValueError(f"mutation is {kind!r}; known are {', '.join(MUTATIONS)}")
    n, length = codes_NL.shape
    site = rng.integers(0, length, (n, n_mutations)) + np.arange(n)[:, None] * length
    if kind == "draw4":
        hit_NL = np.bincount(site.ravel(), minlength=n * length).reshape(n, length) > 0
        changed = np.where(hit_NL, rng.integers(0, 4, (n, length), dtype=np.uint8), codes_NL)
    else:
        steps = rng.integers(1, 4, site.shape)
        moved = np.bincount(site.ravel(), weights=steps.ravel(), minlength=n * length).reshape(n, length)
        changed = ((codes_NL + moved.astype(np.int64)) % 4).astype(np.uint8)
    return np.where(codes_NL == N_CODE, np.uint8(N_CODE), changed)

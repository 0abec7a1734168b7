"""A share of the user's own rows: most to train on, some held out, and nothing of these in training."""

from __future__ import annotations

import numpy as np

from legscore.distill.check_rows import CheckRows, of_rows
from legscore.distill.drawn_groups import with_changes
from legscore.distill.input_rows import InputRows
from legscore.distill.options import WINDOWS_A_GROUP
from legscore.dna.codes import unique_rows

HELD_OUT = 0.2
"""Of the rows that are labelled, held out for the figures: all rows of some references."""


def hold_out(rows: InputRows, rng: np.random.Generator) -> tuple[InputRows, CheckRows | None]:
    """Rows to train on, and those held out; none are, where all rows change the same insert."""
    _, anchor_N = unique_rows(rows.anchors)
    order = rng.permutation(int(anchor_N.max()) + 1)
    ends = np.cumsum(np.bincount(anchor_N)[order])
    chosen = order[: int(np.searchsorted(ends, HELD_OUT * len(rows))) + 1]
    if len(chosen) >= len(order):
        return rows, None
    held_N = np.isin(anchor_N, chosen)
    return rows.take(~held_N), of_rows("own", rows.take(held_N))


def groups_of(rows: InputRows, rng: np.random.Generator) -> np.ndarray:
    """Groups of four windows, uint8 [groups, 4, insert]: a reference and three rows that change it.

    Where it has fewer, and for single sequences, drawn changes take their places.
    """
    first, anchor_N = unique_rows(rows.anchors)
    if rows.ref_NL is None:
        return with_changes(rows.alt_NL[first], rng)
    order = np.argsort(anchor_N, kind="stable")
    counts = np.bincount(anchor_N)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    changes = WINDOWS_A_GROUP - 1
    groups_A = -(-counts // changes)
    group_N = np.repeat(np.cumsum(groups_A) - groups_A, counts) + place // changes
    made = with_changes(np.repeat(rows.ref_NL[first], groups_A, axis=0), rng)
    made[group_N, 1 + place % changes] = rows.alt_NL[order]
    return made

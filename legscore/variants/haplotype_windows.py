"""Several changes of one haplotype → the tile as they make it.

What `windows` does for one allele in each of many rows, here for one haplotype with several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from legscore.variants.genome import COMPLEMENT
from legscore.variants.windows import anchored_place

Change = tuple[int, int, bytes]
"""contig[start:end] becomes the letters."""


def oriented(letters: np.ndarray, minus: bool) -> str:
    """Letters as text in the tile's own direction."""
    return (COMPLEMENT[letters[::-1]] if minus else letters).tobytes().decode("ascii")


def paired(change: Change, from_right: bool) -> np.ndarray:
    """For each inserted letter the replaced base that it stands for, int64; -1 for those beyond them."""
    start, end, letters = change
    origin = np.full(len(letters), -1, dtype=np.int64)
    n = min(len(letters), end - start)
    if n:
        origin[len(letters) - n if from_right else 0 :][:n] = (
            np.arange(end - n, end) if from_right else np.arange(start, start + n)
        )
    return origin


def refill(
    contig: np.ndarray, changes: Sequence[Change], start: int, end: int, minus: bool, anchor: str
) -> str | None:
    """The tile after several changes, of its own length, as `windows.refilled` makes it after one.

    Args:
        contig: uint8 letters.
        changes: sorted, none overlapping another.
        start, end, minus: the tile, 0-based half-open, and whether its strand is minus.
        anchor: which base of the tile stays (`windows.ANCHORS`).

    Returns:
        Letters 5'→3'; None where the tile would leave the contig.
    """
    length = end - start
    place, side = anchored_place(anchor, length, np.array([minus]))
    from_right, wanted = bool(side[0]), start + int(place[0])
    reach = length + sum(e - s for s, e, _ in changes) + 1
    low = max(0, min(start, changes[0][0]) - reach)
    high = min(len(contig), max(end, changes[-1][1]) + reach)
    letters: list[np.ndarray] = []
    origin: list[np.ndarray] = []
    at = low
    for s, e, added in [*changes, (high, high, b"")]:
        letters += [contig[at:s], np.frombuffer(added, dtype=np.uint8)]
        origin += [np.arange(at, s), paired((s, e, added), from_right)]
        at = e
    text, base = np.concatenate(letters), np.concatenate(origin)
    kept = np.flatnonzero((base >= wanted) if from_right else (base >= 0) & (base <= wanted))
    if not len(kept):
        return None
    first = int(kept[0] if from_right else kept[-1]) - int(place[0])
    if first < 0 or first + length > len(text):
        return None
    return oriented(text[first : first + length], minus)


def construct(contig: np.ndarray, changes: Sequence[Change], start: int, end: int, minus: bool) -> str:
    """The insert after several changes, its length changed, as `windows.constructed` makes it after one."""
    pieces: list[np.ndarray] = []
    at = start
    for s, e, added in changes:
        over_left, over_right = s < start, e > end
        from_right = over_left and not (over_right and not minus)
        origin = paired((s, e, added), from_right)
        spare = not over_left if from_right else not over_right
        inside = ((origin >= start) & (origin < end)) | ((origin < 0) & spare)
        pieces += [contig[at : max(s, at)], np.frombuffer(added, dtype=np.uint8)[inside]]
        at = max(at, e)
    pieces.append(contig[at : max(end, at)] if at < end else contig[:0])
    return oriented(np.concatenate(pieces), minus)

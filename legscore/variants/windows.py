"""Alleles in tiles → the sequences that are compared: the tile as it is in the genome, and as the allele
makes it.

With `refill` the alternate contig is cut to the tile's length from the anchored base; the genome fills the
far end. With `construct` the insert keeps its two ends and changes its length, as in an assay whose flanks
are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.dna.contract import reverse_complement
from legscore.variants.alleles import Changes, spread
from legscore.variants.genome import COMPLEMENT

ANCHORS = ("3", "5", "center")
INDELS = ("refill", "construct")


@dataclass(frozen=True)
class Ragged:
    """Texts of letters: row r is flat[start_R[r] : start_R[r] + length_R[r]]. `edge_R` marks rows that leave
    the contig, whose letters mean nothing."""

    flat: np.ndarray
    start_R: np.ndarray
    length_R: np.ndarray
    edge_R: np.ndarray


def tile_letters(contig: np.ndarray, start_R: np.ndarray, length: int, minus_R: np.ndarray) -> np.ndarray:
    """Letters of tiles of one length in their own 5'→3' direction, uint8 [rows, length]. All must lie in the
    contig."""
    letters = contig[start_R[:, None] + np.arange(length)]
    letters[minus_R] = reverse_complement(letters[minus_R], COMPLEMENT)
    return letters


def anchored_place(anchor: str, length: int, minus_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The anchored base of each tile: its index from the tile's left end (int64), and whether the anchored
    side is the right one (bool). `center` holds the base at index ⌊length/2⌋ of the 5'→3' direction and gives
    way towards 3'."""
    index = {"3": length - 1, "5": 0, "center": length // 2}[anchor]
    from_left = np.where(minus_R, length - 1 - index, index)
    return from_left, np.asarray(minus_R == (anchor == "5"))


def refilled(
    contig: np.ndarray,
    changes: Changes,
    tile_start_R: np.ndarray,
    length: int,
    minus_R: np.ndarray,
    anchor: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate tiles of one length, uint8 [rows, length], and which leave the contig, bool [rows].

    `changes` has one allele per row. The anchored base keeps its index in the tile. A replaced base counts as
    kept when the inserted letters, paired with the replaced ones from the anchored side, have one for it;
    where the anchored base is deleted, the next kept base further on that side takes its place.
    """
    start, end, n = changes.start_A, changes.end_A, changes.n_A
    grown = n - (end - start)
    place, right = anchored_place(anchor, length, minus_R)
    base = tile_start_R + place
    paired_right, paired_left = end - 1 - base, base - start
    inside = (base >= start) & (base < end)
    in_alt = np.where(base < start, base, base + grown)
    in_alt = np.where(inside & right, np.where(paired_right < n, start + n - 1 - paired_right, start), in_alt)
    in_alt = np.where(inside & ~right, np.where(paired_left < n, start + paired_left, start + n - 1), in_alt)
    first = in_alt - place
    edge = (first < 0) | (first + length > len(contig) + grown)
    at = first[:, None] + np.arange(length)
    before = at < start[:, None]
    added = ~before & (at < (start + n)[:, None])
    source = np.where(before, at, at - grown[:, None])
    letters = contig[np.clip(source, 0, len(contig) - 1)]
    letters[added] = changes.inserted[((changes.at_A - start)[:, None] + at)[added]]
    letters[minus_R] = reverse_complement(letters[minus_R], COMPLEMENT)
    return letters, edge


def substituted(
    reference: np.ndarray, changes: Changes, tile_start_R: np.ndarray, minus_R: np.ndarray
) -> np.ndarray:
    """Alternate tiles for single-base changes inside them: the fast path of `refilled`. `reference` is 5'→3',
    uint8 [rows, L]."""
    letters = reference.copy()
    place = changes.start_A - tile_start_R
    base = changes.inserted[changes.at_A]
    place = np.where(minus_R, reference.shape[1] - 1 - place, place)
    letters[np.arange(len(letters)), place] = np.where(minus_R, COMPLEMENT[base], base)
    return letters


def constructed(
    contig: np.ndarray, changes: Changes, start_R: np.ndarray, end_R: np.ndarray, minus_R: np.ndarray
) -> Ragged:
    """Alternate inserts of changed length.

    Of an allele that crosses an end of the tile, the part inside counts: replaced and inserted letters are
    paired from the side that lies inside (from 5' when the allele covers the whole tile).
    """
    start, end, n = changes.start_A, changes.end_A, changes.n_A
    left = np.maximum(np.minimum(start, end_R) - start_R, 0)
    right = np.maximum(end_R - np.maximum(end, start_R), 0)
    off_left, off_right = np.maximum(start_R - start, 0), np.maximum(end - end_R, 0)
    from_left = (off_right > 0) & ((off_left == 0) | ~minus_R)
    from_right = (off_left > 0) & ~from_left
    low = np.where(from_left, off_left, np.where(from_right, n - (end - start_R), 0))
    high = np.where(from_left, end_R - start, np.where(from_right, n - off_right, n))
    low, high = np.clip(low, 0, n), np.clip(high, 0, n)
    added = np.maximum(high - low, 0)
    length = left + added + right
    row, place = spread(length)
    place = np.where(minus_R[row], length[row] - 1 - place, place)
    in_left, in_added = place < left[row], place < (left + added)[row]
    source = np.where(
        in_left, start_R[row] + place, np.maximum(end, start_R)[row] + place - (left + added)[row]
    )
    letters = contig[np.clip(source, 0, len(contig) - 1)]
    mine = ~in_left & in_added
    letters[mine] = changes.inserted[(changes.at_A + low - left)[row][mine] + place[mine]]
    turned = minus_R[row]
    letters[turned] = COMPLEMENT[letters[turned]]
    return Ragged(letters, np.cumsum(length) - length, length, np.zeros(len(length), dtype=bool))

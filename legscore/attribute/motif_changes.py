"""Which hits of motifs a row's change makes and breaks.

A hit is a word whose p-value is at most a bound. It is broken where the reference has it and the
alternative has none at the same place, and made the other way round. Only words that differ are looked at.
Of sequences of different lengths a place is counted from either end, and the better word counts. A hit whose
very bases stand at another place of the other sequence, as after an insertion, is neither made nor broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legscore.attribute.motif_scores import MotifScores, block_numbers, scores_at
from legscore.attribute.two_sequences import TwoSequences

BROKEN, MADE = 0, 1
"""The sequence that has the hit: reference or alternative."""
_KNOWN = -1_000_000
"""Scores below have an unknown base, or lie outside of a sequence."""


@dataclass(frozen=True)
class MotifChanges:
    """H hits made or broken, by row, p-value, motif, strand, offset.

    Attributes:
        row_H: int64, number of the row. side_H: BROKEN or MADE. motif_H, strand_H: numbers of both.
        offset_H: int64, where the word begins in the sequence that has it, from 0.
        change_H: float64, score in the alternative minus score in the reference, in units; NaN where one of
            them has no word of known bases there.
        p_H: float64, p-value of the hit.
    """

    row_H: np.ndarray
    side_H: np.ndarray
    motif_H: np.ndarray
    strand_H: np.ndarray
    offset_H: np.ndarray
    change_H: np.ndarray
    p_H: np.ndarray


def motif_changes(two: TwoSequences, motifs: Sequence[MotifScores], most_p: float) -> MotifChanges:
    """Hits at a p-value of at most `most_p` that rows make and break."""
    codes_SRL = two.codes_SRL
    numbers_SRL = [block_numbers(codes_RL) for codes_RL in codes_SRL]
    differ = codes_SRL[0] != codes_SRL[1]
    before = np.zeros((len(differ), differ.shape[1] + 1), dtype=np.int16)
    np.cumsum(differ, axis=1, out=before[:, 1:])
    places: dict[int, np.ndarray] = {}
    found = []
    for m, motif in enumerate(motifs):
        width, bound = len(motif), motif.bound(most_p)
        if width > differ.shape[1]:
            continue
        if width not in places:
            touched = before[:, width:] != before[:, :-width]
            row, column = np.nonzero(touched)
            places[width] = row * differ.shape[1] + column
        for strand, table in enumerate(motif.tables):
            scores_SP = [scores_at(numbers, table, places[width]) for numbers in numbers_SRL]
            hits = [
                _lacking(two, numbers_SRL, table, width, places[width], scores_SP, side, bound)
                for side in (BROKEN, MADE)
            ]
            kept = _not_moved(codes_SRL, width, hits) if all(len(one[0]) for one in hits) else [None, None]
            for side, (place, score, other), keep in zip((BROKEN, MADE), hits, kept, strict=True):
                chosen = slice(None) if keep is None else keep
                found.append((m, strand, side, place[chosen], score[chosen], other[chosen]))
    return _as_columns(two, motifs, found)


Hits = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places (row × L + column), scores, and those in the other sequence, of some hits."""


def _lacking(
    two: TwoSequences,
    numbers_SRL: Sequence[np.ndarray],
    table: np.ndarray,
    width: int,
    place_P: np.ndarray,
    scores_SP: Sequence[np.ndarray],
    side: int,
    bound: int,
) -> Hits:
    """Hits of one sequence without one at the same place of the other."""
    here, there = scores_SP[side], scores_SP[1 - side]
    found = np.flatnonzero((here >= bound) & (there < bound))
    place, score, other = place_P[found], here[found], there[found]
    row, column = np.divmod(place, two.codes_SRL.shape[2])
    shift = two.length_SR[side][row] - two.length_SR[1 - side][row]
    from_start = column + shift  # the same place, counted from the beginnings
    moved = np.flatnonzero((shift != 0) & (from_start >= 0) & (from_start + width <= two.codes_SRL.shape[2]))
    again = scores_at(numbers_SRL[1 - side], table, place[moved] + shift[moved])
    other[moved] = np.maximum(other[moved], again)
    lacks = other < bound
    return place[lacks], score[lacks], other[lacks]


def _not_moved(codes_SRL: np.ndarray, width: int, hits: Sequence[Hits]) -> list[np.ndarray]:
    """Which hits of either sequence the other one has nowhere: each cancels one with the same bases."""
    places = [place for place, _, _ in hits]
    length = codes_SRL.shape[2]
    words = [
        codes_SRL[side].reshape(-1)[place[:, None] + np.arange(width)] for side, place in enumerate(places)
    ]
    _, word = np.unique(np.concatenate(words), axis=0, return_inverse=True)
    both = np.concatenate(places)
    key = (both // length) * len(both) + word.reshape(-1)
    n = len(places[0])
    ranked = []
    for part in (slice(None, n), slice(n, None)):  # the last of a word goes with the last one there
        order = np.lexsort((-both[part], key[part]))
        ordered = key[part][order]
        rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        named = np.empty(len(ordered), dtype=np.int64)
        named[order] = ordered * (len(both) + 1) + rank
        ranked.append(named)
    return [~np.isin(ranked[0], ranked[1]), ~np.isin(ranked[1], ranked[0])]


def _as_columns(
    two: TwoSequences,
    motifs: Sequence[MotifScores],
    found: Sequence[tuple[int, int, int, np.ndarray, np.ndarray, np.ndarray]],
) -> MotifChanges:
    """All hits, in order."""
    length = two.codes_SRL.shape[2]
    rows, sides, numbers, strands, offsets, changes, chances = ([np.empty(0, np.int64)] for _ in range(7))
    for m, strand, side, place, score, other in found:
        at, column = np.divmod(place, length)
        rows.append(at)
        sides.append(np.full(len(at), side))
        numbers.append(np.full(len(at), m))
        strands.append(np.full(len(at), strand))
        offsets.append(column - (length - two.length_SR[side][at]))
        change = (score - other.astype(np.float64)) * (1 if side == MADE else -1)
        changes.append(np.where(other > _KNOWN, change, np.nan))
        chances.append(motifs[m].p_of(score))
    row, side_H, motif, strand_H, offset, change_H, p = map(
        np.concatenate, (rows, sides, numbers, strands, offsets, changes, chances)
    )
    order = np.lexsort((offset, strand_H, motif, p, row))
    picked = [values[order] for values in (side_H, motif, strand_H, offset, change_H, p)]
    return MotifChanges(two.row_R[row[order]], *picked)

"""Alleles at their places → their sequences, statuses and offsets: a piece of a table of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from legscore.rows.schema import OK, STATUS_CODE
from legscore.variants.alleles import Changes
from legscore.variants.options import BuildOptions
from legscore.variants.output import fixed_texts, ragged_texts
from legscore.variants.places import Places
from legscore.variants.windows import constructed, refilled, substituted, tile_letters


@dataclass(frozen=True)
class Piece:
    """Some rows: allele of the block, status, offset, tile (row of the tiles' frame, or -1), sequences (null
    without)."""

    allele_R: np.ndarray
    status_R: np.ndarray
    offset_R: np.ndarray
    tile_R: np.ndarray
    places: Places | None
    ref: pa.Array
    alt: pa.Array


def placed_status(changes: Changes, places: Places) -> np.ndarray:
    """Status codes of alleles in tiles, uint8 [rows], before any sequence is built: that of the allele, or
    `edge` where the tile leaves its contig."""
    late = (changes.status_A == OK) | (changes.status_A == STATUS_CODE["unsupported_allele"])
    return np.where(places.edge_R & late, STATUS_CODE["edge"], changes.status_A).astype(np.uint8)


def placed_offset(changes: Changes, places: Places) -> np.ndarray:
    """Where changes begin from the 5' end of their tiles, int64 [rows], from 0."""
    first, last = changes.start_A, np.maximum(changes.end_A, changes.start_A)
    return np.maximum(np.where(places.minus_R, places.end_R - last, first - places.start_R), 0)


def placed(
    contig: np.ndarray, rows: np.ndarray, changes: Changes, places: Places, options: BuildOptions
) -> Piece:
    """Sequences of alleles in tiles.

    Args:
        rows: of the block, by allele of `places`. changes: one allele for each of `places`.
    """
    n = len(places)
    status = placed_status(changes, places)
    ref_text: list[tuple[np.ndarray, pa.Array]] = []
    alt_text: list[tuple[np.ndarray, pa.Array]] = []
    lengths = places.end_R - places.start_R
    single = (changes.end_A - changes.start_A == 1) & (changes.n_A == 1)
    for length in np.unique(lengths):
        here = np.flatnonzero((lengths == length) & ~places.edge_R)
        letters = tile_letters(contig, places.start_R[here], int(length), places.minus_R[here])
        ref_text.append((here, fixed_texts(letters)))
        good = status[here] == OK
        easy = good & single[here]
        picked = here[easy]
        alt = substituted(letters[easy], changes.take(picked), places.start_R[picked], places.minus_R[picked])
        alt_text.append((picked, fixed_texts(alt)))
        hard = here[good & ~single[here]]
        if not len(hard):
            continue
        some, minus = changes.take(hard), places.minus_R[hard]
        if options.indel == "construct":
            made = constructed(contig, some, places.start_R[hard], places.end_R[hard], minus)
            alt_text.append((hard, ragged_texts(made.flat, made.length_R)))
        else:
            alt, edge = refilled(contig, some, places.start_R[hard], int(length), minus, options.anchor)
            status[hard[edge]] = STATUS_CODE["edge"]
            alt_text.append((hard[~edge], fixed_texts(alt[~edge])))
    return Piece(
        rows[places.allele_R],
        status,
        placed_offset(changes, places),
        places.tile_R,
        places,
        scattered(n, ref_text),
        scattered(n, alt_text),
    )


def scattered(n: int, texts: list[tuple[np.ndarray, pa.Array]]) -> pa.Array:
    """Texts at their rows, null elsewhere."""
    index = np.full(n, -1, dtype=np.int64)
    before = 0
    for rows, _ in texts:
        index[rows] = before + np.arange(len(rows))
        before += len(rows)
    if not before:
        return pa.nulls(n, pa.large_string())
    return pa.concat_arrays([array for _, array in texts]).take(pa.array(index, mask=index < 0))

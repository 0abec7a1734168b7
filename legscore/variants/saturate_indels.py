"""Every deletion and insertion of one base in tiles, each different change once.

Changes are left-aligned on the plus strand, as `alleles` aligns those of a VCF, and lie in the tiles that a
VCF's would: a deletion where its base is inside, an insertion strictly between two bases of the tile. So of a
run of equal bases only the first is deleted, and a base is inserted only before the run that it would
lengthen. `refill` follows --anchor and --indel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.rows.schema import OK, STATUS_CODE
from legscore.variants.alleles import FIRST
from legscore.variants.genome import COMPLEMENT

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
ALT_BASES = ["A", "C", "G", "T", "-", "+A", "+C", "+G", "+T"]
DELETED, INSERTED = 4, 5
LETTERS = "ACGTNRYSWKMBDHV"
REFILLS = ["none", "5", "3", *(f"{side}{letter}" for side in "53" for letter in LETTERS)]
_NUMBER = np.zeros(256, dtype=np.int64)
for _i, _letter in enumerate(LETTERS):
    _NUMBER[ord(_letter)] = _i


@dataclass(frozen=True)
class Indels:
    """Rows: tile (number among those given), offset and alt_base and refill in the tile's own direction
    (ALT_BASES, REFILLS; -1 for null); pos, ref and alt as a VCF writes them (letters uint8 [rows, 2] and
    [rows, 2], 0 where shorter); status codes."""

    tile_R: np.ndarray
    offset_R: np.ndarray
    alt_base_R: np.ndarray
    refill_R: np.ndarray
    pos_R: np.ndarray
    ref_R2: np.ndarray
    alt_R2: np.ndarray
    status_R: np.ndarray


def indels(
    contig: np.ndarray, start_T: np.ndarray, length: int, minus_T: np.ndarray, anchor: str, indel: str
) -> Indels:
    """All rows of tiles of one length that lie in the contig, by tile, then deletions, then insertions, by
    position."""
    place_TL = start_T[:, None] + np.arange(length)
    here_TL, before_TL = contig[place_TL], contig[np.maximum(place_TL - 1, 0)]
    known = np.zeros(256, dtype=bool)
    known[BASES] = True
    first = known[here_TL] & ((here_TL != before_TL) | (place_TL == 0))
    tile_d, at_d = np.nonzero(first)
    new = (before_TL[:, :, None] != BASES) & (np.arange(length) > 0)[None, :, None]
    tile_i, at_i, base_i = np.nonzero(new)
    deletes = np.concatenate([np.ones(len(tile_d), dtype=bool), np.zeros(len(tile_i), dtype=bool)])
    tile, at = np.concatenate([tile_d, tile_i]), np.concatenate([at_d, at_i])
    base = np.concatenate([np.zeros(len(tile_d), dtype=np.int64), base_i])
    minus, place = minus_T[tile], start_T[tile] + at
    offset = np.where(minus, np.where(deletes, length - 1 - at, length - at), at)
    alt_base = np.where(deletes, DELETED, INSERTED + np.where(minus, 3 - base, base))
    refill, status = np.full(len(tile), REFILLS.index("none")), np.full(len(tile), OK, dtype=np.uint8)
    if indel != "construct":
        refill, status = _refill(contig, start_T[tile], length, minus, deletes, offset, anchor)
    at_start = deletes & (place == 0)
    anchor_base = FIRST[contig[np.maximum(place - 1, 0)]]
    ref, alt = np.zeros((len(tile), 2), dtype=np.uint8), np.zeros((len(tile), 2), dtype=np.uint8)
    ref[:, 0] = np.where(at_start, contig[place], anchor_base)
    after = FIRST[contig[np.minimum(place + 1, len(contig) - 1)]]
    ref[:, 1] = np.where(deletes, np.where(at_start, after, contig[place]), 0)
    alt[:, 0] = np.where(at_start, after, anchor_base)
    alt[:, 1] = np.where(deletes, 0, BASES[base])
    pos = np.where(at_start, 1, place)
    order = np.lexsort((base, offset, tile))
    values = (tile, offset, alt_base, refill, pos, ref, alt, status)
    return Indels(*(value[order] for value in values))


def _refill(
    contig: np.ndarray,
    start: np.ndarray,
    length: int,
    minus: np.ndarray,
    deletes: np.ndarray,
    offset: np.ndarray,
    anchor: str,
) -> tuple[np.ndarray, np.ndarray]:
    """How each row's insert keeps its length, as numbers into REFILLS (-1 where the contig ends), and
    statuses. Bases come and go at the end away from the base that --anchor keeps."""
    held = {"3": length - 1, "5": 0, "center": length // 2}[anchor]
    at_five = np.where(deletes, offset < held, offset <= held) | (
        deletes & (offset == held) & (anchor == "5")
    )
    left = at_five != minus
    beyond = np.where(left, start - 1, start + length)
    off = deletes & ((beyond < 0) | (beyond >= len(contig)))
    letter = contig[np.clip(beyond, 0, len(contig) - 1)]
    letter = np.where(minus, COMPLEMENT[letter], letter)
    filled = 3 + np.where(at_five, 0, len(LETTERS)) + _NUMBER[letter]
    refill = np.where(off, -1, np.where(deletes, filled, np.where(at_five, 1, 2)))
    return refill, np.where(off, STATUS_CODE["edge"], OK).astype(np.uint8)

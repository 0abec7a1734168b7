"""Stretches of contigs: which file of an atlas a change belongs to, and which of them a shard makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from legscore.atlas.contents import stretch_bases
from legscore.output.shards import Shard


def first_positions(frame: pl.DataFrame) -> np.ndarray:
    """The first position, 0-based, that a change of each tile may have: a deletion of a tile's first base is
    written from the base before it."""
    return np.maximum(frame["start"].to_numpy() - 1, 0)


@dataclass(frozen=True)
class Stretches:
    """Stretches of one or more contigs, in order: number of the contig (in the genome's order) and of the
    stretch on it."""

    contig_S: np.ndarray
    number_S: np.ndarray

    def __len__(self) -> int:
        return len(self.number_S)

    def slice(self, part: range) -> Stretches:
        return Stretches(
            self.contig_S[part.start : part.stop],
            self.number_S[part.start : part.stop],
        )

    def hold(self, contig: int, stretch_R: np.ndarray) -> np.ndarray:
        """bool [rows]: whether each stretch of a contig is among these."""
        return np.isin(stretch_R, self.number_S[self.contig_S == contig])

    def touched_by(self, contig_T: np.ndarray, frame: pl.DataFrame) -> np.ndarray:
        """bool [tiles]: whether a change of each tile may lie in one of these."""
        first, last = (
            first_positions(frame) // stretch_bases(),
            (frame["end"].to_numpy() - 1) // stretch_bases(),
        )
        touched = np.zeros(len(frame), dtype=bool)
        for contig, number in zip(self.contig_S, self.number_S, strict=True):
            touched |= (contig_T == contig) & (first <= number) & (number <= last)
        return touched


def stretches_of(contig_T: np.ndarray, frame: pl.DataFrame) -> Stretches:
    """All stretches that changes of tiles may lie in; tiles that leave their contig have none.

    Args:
        contig_T: number of each tile's contig. frame: of the tiles.
    """
    inside = ~frame["edge"].to_numpy()
    first = (first_positions(frame) // stretch_bases())[inside]
    last = ((frame["end"].to_numpy() - 1) // stretch_bases())[inside]
    pairs = {
        (int(contig), number)
        for contig, one, other in np.unique(
            np.stack([contig_T[inside], first, last], axis=1), axis=0
        ).tolist()
        for number in range(one, other + 1)
    }
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Stretches(found[:, 0], found[:, 1])


def shard_of(stretches: Stretches, shard: Shard | None) -> Stretches:
    """Those that a shard makes: about equally many, in order; all of them without one."""
    return stretches if shard is None else stretches.slice(shard.parts(len(stretches)))

"""Where alleles are scored: in the tiles they overlap, or in a tile made around each (`centered`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.variants.alleles import Changes
from legscore.variants.intervals import Intervals
from legscore.variants.options import Setting
from legscore.variants.output import coded

LABELS = ("tile_id", "gene", "gene_name", "strand", "tss_source", "overlaps_cds", "shared_with")


def label_columns(frame: pl.DataFrame) -> dict[str, pa.Array]:
    """LABELS of tiles as Arrow arrays: overlaps_cds bool, the others text."""
    columns = {name: frame[name].to_arrow() for name in LABELS}
    return {
        name: column if name == "overlaps_cds" else column.cast(pa.string())
        for name, column in columns.items()
    }


@dataclass(frozen=True)
class Places:
    """Rows of one contig: allele, tile's start and end (0-based half-open), strand, whether the tile leaves
    the contig, and the tile's row in the frame (-1 for tiles made around an allele without a gene)."""

    allele_R: np.ndarray
    start_R: np.ndarray
    end_R: np.ndarray
    minus_R: np.ndarray
    edge_R: np.ndarray
    tile_R: np.ndarray
    contig: str

    def __len__(self) -> int:
        return len(self.allele_R)

    def slice(self, begin: int, end: int) -> Places:
        return self.take(slice(begin, end))

    def take(self, rows: Any) -> Places:
        """Those rows (numbers or a slice), in that order."""
        return Places(
            self.allele_R[rows],
            self.start_R[rows],
            self.end_R[rows],
            self.minus_R[rows],
            self.edge_R[rows],
            self.tile_R[rows],
            self.contig,
        )


class Placer:
    """Finds places for the alleles of a contig, and the labels of the rows."""

    def __init__(self, setting: Setting) -> None:
        self._options, self._genome = setting.options, setting.genome
        self._columns: dict[str, pa.Array] = {}
        if setting.tiles is None:
            return
        frame = setting.tiles.frame
        self._start, self._end = frame["start"].to_numpy(), frame["end"].to_numpy()
        self._minus, self._edge = frame["strand"].to_numpy() == "-", frame["edge"].to_numpy()
        self._rows = setting.tiles.by_contig()
        self._intervals = {
            name: Intervals(self._start[rows], self._end[rows]) for name, rows in self._rows.items()
        }
        self._columns = label_columns(frame)

    def __call__(self, contig: str, changes: Changes) -> Places:
        if self._options.centered:
            return self._around(contig, changes)
        nothing = np.empty(0, dtype=np.int64)
        if contig not in self._rows:
            return Places(
                nothing, nothing, nothing, nothing.astype(bool), nothing.astype(bool), nothing, contig
            )
        allele, tile = self._intervals[contig].overlapping(changes.start_A, changes.end_A)
        placed = changes.start_A[allele] >= 0  # a tile may begin before its contig, an allele may not
        allele, tile = allele[placed], self._rows[contig][tile[placed]]
        return Places(
            allele, self._start[tile], self._end[tile], self._minus[tile], self._edge[tile], tile, contig
        )

    def _around(self, contig: str, changes: Changes) -> Places:
        """A tile around each allele: its first changed base (in the 5'→3' direction) has index ⌊length/2⌋."""
        options, n = self._options, len(changes.status_A)
        length = options.tile_length
        nearest = np.full(n, -1, dtype=np.int64)
        minus = np.full(n, options.orientation == "-")
        if options.orientation == "gene" and contig in self._rows:
            rows = self._rows[contig]
            middle = (self._start[rows] + self._end[rows]) // 2
            order = np.argsort(middle, kind="stable")
            middle, rows = middle[order], rows[order]
            right = np.clip(np.searchsorted(middle, changes.start_A), 0, len(middle) - 1)
            left = np.maximum(right - 1, 0)
            closer = np.abs(middle[left] - changes.start_A) <= np.abs(middle[right] - changes.start_A)
            nearest = rows[np.where(closer, left, right)]
            minus = self._minus[nearest]
        start = np.where(
            minus,
            changes.end_A - 1 - (length - 1 - length // 2),
            changes.start_A - length // 2,
        )
        end = start + length
        edge = (start < 0) | (end > self._genome.lengths[contig])
        return Places(np.arange(n), start, end, minus, edge, nearest, contig)

    def labels(
        self, tile_R: np.ndarray, pieces: list[tuple[Places | None, int]], order: np.ndarray
    ) -> dict[str, pa.Array]:
        """Columns that name a row's tile and gene."""
        if not self._options.centered:
            return {name: self.label(name, tile_R) for name in LABELS}
        names: list[str | None] = []
        strands: list[str | None] = []
        for places, n in pieces:
            if places is None:
                names += [None] * n
                strands += [None] * n
                continue
            signs = np.where(places.minus_R, "-", "+")
            names += [
                f"{places.contig}:{a}-{b}({s})"
                for a, b, s in zip(places.start_R, places.end_R, signs, strict=True)
            ]
            strands += signs.tolist()
        sort = pa.array(order)
        own = {
            "tile_id": pa.array(names, pa.string()).take(sort),
            "strand": pa.array(strands, pa.string()).take(sort),
        }
        columns = {name: array.dictionary_encode() for name, array in own.items()}
        for name in LABELS:
            if name not in columns:
                known = name in ("gene", "gene_name") and self._columns
                columns[name] = self.label(name, tile_R if known else np.full(len(tile_R), -1))
        return columns

    def label(self, name: str, tile_R: np.ndarray) -> pa.Array:
        """One column of the tiles, for rows of these tiles (null where there is none)."""
        if name == "overlaps_cds":
            mask = tile_R < 0
            values = self._columns.get(name)
            if values is None or mask.all():
                return pa.nulls(len(tile_R), pa.bool_())
            return values.take(pa.array(np.where(mask, 0, tile_R), mask=mask))
        return coded(tile_R, self._columns.get(name, pa.nulls(1, pa.string())))

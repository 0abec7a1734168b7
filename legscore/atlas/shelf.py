"""The scores of an atlas in memory: files are read when a change in them is asked for, checked, and held as
long as there is room.

Changes are found without searching: each tile has a place for everything that may happen at each of its bases
(`legscore.atlas.texts.CODES`), which holds the number of a row, or -1.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from legscore.atlas.contents import Contents, score_file_name
from legscore.atlas.scaled import COLUMNS, Scale
from legscore.atlas.texts import CODES, changed_place, text_numbers
from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.rows.schema import STATUSES

HELD_BYTES = 1 << 28


@dataclass(frozen=True)
class Answers:
    """What an atlas has of changes in tiles.

    Attributes:
        found_R: bool [rows].
        status_R: uint8 codes; scores: {column: float32, NaN without one}; n_count_R: int32, -1 without a
            window. They mean nothing where nothing was found.
    """

    found_R: np.ndarray
    status_R: np.ndarray
    scores: dict[str, np.ndarray]
    n_count_R: np.ndarray

    @classmethod
    def none(cls, n: int) -> Answers:
        """Nothing was found."""
        return cls(
            np.zeros(n, dtype=bool),
            np.zeros(n, dtype=np.uint8),
            {name: np.full(n, np.nan, dtype=np.float32) for name in COLUMNS},
            np.full(n, -1, dtype=np.int32),
        )

    def put(self, rows: np.ndarray, found: np.ndarray, held: _Held) -> None:
        """Take rows `found` of a file as the answers to `rows`."""
        self.found_R[rows] = True
        self.status_R[rows], self.n_count_R[rows] = held.status[found], held.n_count[found]
        for name in COLUMNS:
            self.scores[name][rows] = held.scores[name][found]


@dataclass(frozen=True)
class _Held:
    """A file of scores: `row_of` by place (int32, -1 for none), `base_of` tile number - `first_tile`."""

    first_tile: int
    base_of: np.ndarray
    row_of: np.ndarray
    status: np.ndarray
    scores: dict[str, np.ndarray]
    n_count: np.ndarray

    @property
    def nbytes(self) -> int:
        arrays = (self.base_of, self.row_of, self.status, self.n_count, *self.scores.values())
        return sum(array.nbytes for array in arrays)


class Shelf:
    """Finds changes in the files of an atlas."""

    def __init__(self, contents: Contents, tiles: pa.Table) -> None:
        """tiles: `tiles.parquet`."""
        self._contents = contents
        self._scale = Scale(contents.manifest["numbers"].get("factor", {}))
        self._start, self._end = tiles["start"].to_numpy(), tiles["end"].to_numpy()
        self._tile_ids = tiles["tile_id"].combine_chunks().cast(pa.string())
        self._number = {name: number for number, name in enumerate(contents.manifest["genome"])}
        self._stretch = int(contents.manifest["stretch_bases"])
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def ask(self, contig: str, tile_R: np.ndarray, start_R: np.ndarray, code_R: np.ndarray) -> Answers:
        """What the atlas has of changes on one contig.

        Args:
            contig: as the manifest names it.
            tile_R: row of the tiles. start_R: where the change begins, int64, 0-based.
            code_R: what it does, one of CODES; -1 for what no atlas holds.
        """
        answers = Answers.none(len(tile_R))
        rows = np.flatnonzero(
            (code_R >= 0) & (start_R >= self._start[tile_R]) & (start_R < self._end[tile_R])
        )
        if not len(rows):
            return answers
        anchored = code_R[rows] >= 4
        stretch_R = np.maximum(start_R[rows] - anchored, 0) // self._stretch
        for stretch in np.flatnonzero(np.bincount(stretch_R)):
            name = score_file_name(self._number[contig], int(stretch) * self._stretch)
            if name not in self._contents.files:
                continue
            held = self._open(name)
            some = rows[stretch_R == stretch]
            tile = tile_R[some] - held.first_tile
            known = (tile >= 0) & (tile < len(held.base_of))
            some, tile = some[known], tile[known]
            some, tile = some[held.base_of[tile] >= 0], tile[held.base_of[tile] >= 0]
            place = held.base_of[tile] + (start_R[some] - self._start[tile_R[some]]) * CODES + code_R[some]
            found = held.row_of[place]
            answers.put(some[found >= 0], found[found >= 0], held)
        return answers

    def _open(self, name: str) -> _Held:
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        content = self._contents.read(name)
        try:
            held = self._read(content)
        except (*READ_ERRORS, KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"{self._contents.folder / name} is not as an atlas holds scores ({first_line(error)}); "
                "build it again"
            ) from error
        self._held[name] = held
        while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > HELD_BYTES:
            self._held.popitem(last=False)
        return held

    def _read(self, content: bytes) -> _Held:
        texts, shown = ["ref", "alt", "tile_id", "status"], self._scale.names()
        file = pq.ParquetFile(
            pa.BufferReader(content), read_dictionary=texts, page_checksum_verification=True
        )
        table = file.read(["pos", *texts, *shown, "n_count"], use_threads=False).unify_dictionaries()
        table = table.combine_chunks()
        coded = {name: table[name].chunk(0) for name in texts} if table.num_rows else {}
        tile = self._tiles(coded["tile_id"])
        start, code = changed_place(
            table["pos"].to_numpy(), text_numbers(coded["ref"]), text_numbers(coded["alt"])
        )
        first, last = int(tile.min()), int(tile.max())
        used = np.zeros(last - first + 1, dtype=bool)
        used[tile - first] = True
        size = np.where(used, (self._end - self._start)[first : last + 1], 0) * CODES
        base_of = np.where(used, np.cumsum(size) - size, -1)
        row_of = np.full(int(size.sum()), -1, dtype=np.int32)
        row_of[base_of[tile - first] + (start - self._start[tile]) * CODES + code] = np.arange(len(tile))
        status = pc.index_in(coded["status"].dictionary, pa.array(STATUSES)).to_numpy(zero_copy_only=False)
        return _Held(
            first,
            base_of,
            row_of,
            status[coded["status"].indices.to_numpy()].astype(np.uint8),
            {name: self._scores(name, table[column]) for name, column in zip(COLUMNS, shown, strict=True)},
            pc.fill_null(table["n_count"], -1).to_numpy().astype(np.int32),
        )

    def _scores(self, name: str, column: pa.ChunkedArray) -> np.ndarray:
        """A column of scores, float32, NaN where null."""
        if not self._scale:
            return column.to_numpy().astype(np.float32)  # type: ignore[no-any-return]
        values = self._scale.decode(name, pc.fill_null(column, 0).to_numpy())
        values[column.is_null().to_numpy()] = np.nan
        return values

    def _tiles(self, ids: pa.DictionaryArray) -> np.ndarray:
        """Row of the tiles for each row of a file."""
        found = pc.index_in(ids.dictionary.cast(pa.string()), self._tile_ids)
        if found.null_count:
            raise ValueError(f"no tile is called {ids.dictionary.filter(found.is_null())[0]}")
        return found.to_numpy().astype(np.int64)[ids.indices.to_numpy()]  # type: ignore[no-any-return]

"""Rows as `FoundRows` makes them → rows of the output: what the atlas has, misses scored, ranks, statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.atlas.background_of import ranked_settings
from legscore.atlas.contents import Contents
from legscore.atlas.found_rows import FIELDS, FOUND, HIT, MISS, N_COUNT, TILE
from legscore.atlas.misses import MissScorer
from legscore.atlas.options import LookupOptions
from legscore.atlas.scaled import COLUMNS
from legscore.output.result_columns import result_schema, result_table
from legscore.rows.reduce import Results
from legscore.rows.schema import OK, RESULT_COLUMNS, STATUS_CODE, STATUSES
from legscore.run.background import COLUMNS as RANKS
from legscore.run.background import Background, chosen_background
from legscore.variants.build import PAIR

LOOKUP = "lookup"
WORDS = ("hit", "miss", *STATUSES)
"""What the column LOOKUP holds."""
UNSCORED = (*STATUSES, "miss")
"""Statuses where misses are not scored."""
EFFECTS = RESULT_COLUMNS[2]


def added(options: LookupOptions) -> tuple[str, ...]:
    """Columns of the output beside those of scores, which an input's of the same name make room for."""
    return (LOOKUP, *(RANKS if options.background is not None else ()))


@dataclass(frozen=True)
class Ranks:
    """A background, the class of each tile in it, and what the output says of it."""

    background: Background
    class_T2: np.ndarray
    said: dict[str, Any]

    @classmethod
    def of(cls, options: LookupOptions, contents: Contents, tiles: pa.Table) -> Ranks | None:
        """Of --background; None without one. LegscoreError where it is not the atlas's models'."""
        manifest = contents.manifest
        hashes = [str(model["sha256"]) for model in manifest["models"]]
        settings = ranked_settings(manifest)
        background, said = chosen_background(options.background, hashes, settings, (), 2)
        if background is None:
            return None
        away, gc = tiles["distance"], pc.fill_null(tiles["gc"], float("nan")).to_numpy()
        distance = np.ma.MaskedArray(pc.fill_null(away, 0).to_numpy(), mask=away.is_null().to_numpy())
        return cls(background, background.classes(distance, gc), said)

    def columns(self, effect_N: np.ndarray, tile_N: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of ranks of rows in tiles (-1 for none, whose effects are NaN)."""
        return self.background.ranks(effect_N, self.class_T2[tile_N])


class Answer:
    """Turns rows as `FoundRows` makes them into rows of the output. `schema` is theirs."""

    def __init__(
        self, schema: pa.Schema, ref_score_T: np.ndarray, scorer: MissScorer | None, ranks: Ranks | None
    ) -> None:
        internal = {field.name for field in (*FIELDS, *PAIR)} | {"status"}
        self._kept = [field.name for field in schema if field.name not in internal]
        self._ref_score_T, self._scorer, self._ranks = ref_score_T, scorer, ranks
        results = [*EFFECTS, *(RANKS if ranks is not None else ())]
        plain = result_schema([schema.field(name) for name in self._kept], results, {})
        self._plain = plain
        self.schema = plain.append(pa.field(LOOKUP, pa.dictionary(pa.int8(), pa.string())))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows of the output, in the order of the table."""
        found = table[FOUND].to_numpy()
        status = _codes(table["status"])
        results = self._of_atlas(table, found, status)
        missed = np.flatnonzero((found == MISS) & (status == OK))
        words: tuple[str, ...] = UNSCORED
        if self._scorer is not None:
            words = STATUSES
            if len(missed):
                self._score(table, missed, results)
        else:
            results.status_N[missed] = len(STATUSES)
        if self._ranks is not None:
            results.columns.update(self._ranks.columns(results.columns["effect"], table[TILE].to_numpy()))
        made = result_table(table.select(self._kept), _known(results), self._plain)
        if self._scorer is None:
            place = made.schema.get_field_index("status")
            coded = pa.DictionaryArray.from_arrays(
                pa.array(results.status_N.astype(np.int8)), pa.array(words)
            )
            made = made.set_column(place, made.schema.field(place), coded)
        hit = (found == HIT) & (results.status_N == OK)
        word = np.where(
            hit, 0, np.where(found == MISS, 1, 2 + np.minimum(results.status_N, len(STATUSES) - 1))
        )
        said = pa.DictionaryArray.from_arrays(pa.array(word.astype(np.int8)), pa.array(WORDS))
        return made.append_column(self.schema.field(LOOKUP), said)

    def _of_atlas(self, table: pa.Table, found: np.ndarray, status: np.ndarray) -> Results:
        """Results of the rows that the atlas has; none for others."""
        hit = (found == HIT) & (status == OK)
        tile = table[TILE].to_numpy()
        columns = {"ref_score": np.full(len(found), np.nan, dtype=np.float32)}
        columns["ref_score"][hit] = self._ref_score_T[tile[hit]]
        for name in COLUMNS:
            columns[name] = np.where(hit, table[f"_{name}"].to_numpy(), np.float32(np.nan))
        return Results(
            {name: columns[name] for name in EFFECTS}, {}, status, table[N_COUNT].to_numpy().copy()
        )

    def _score(self, table: pa.Table, missed: np.ndarray, results: Results) -> None:
        """Score misses, and put what comes into `results`."""
        assert self._scorer is not None
        take = pa.array(missed)
        some = table.select([field.name for field in PAIR]).take(take).combine_chunks()
        scored = self._scorer(*(some[field.name].chunk(0) for field in PAIR))
        for name, values in scored.columns.items():
            results.columns[name][missed] = values
        results.status_N[missed], results.n_count_N[missed] = scored.status_N, scored.n_count_N


def _known(results: Results) -> Results:
    """Results with statuses that `result_table` knows; that of an unscored miss is put in place
    afterwards."""
    status = np.where(results.status_N >= len(STATUSES), OK, results.status_N).astype(np.uint8)
    return Results(results.columns, {}, status, results.n_count_N)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Status codes of a column of texts, uint8."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
    if not len(array):
        return np.empty(0, dtype=np.uint8)
    of_word = np.array([STATUS_CODE[word] for word in array.dictionary.to_pylist()], dtype=np.uint8)
    return of_word[array.indices.to_numpy()]  # type: ignore[no-any-return]

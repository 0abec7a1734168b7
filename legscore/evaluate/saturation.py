"""Saturated tiles in a table of scores: for each promoter the effect of every change at every position.

A tile is the rows that share the values of the tile column (`tile_id`, else `promoter`, `gene`, `gene_id`,
`id`, whichever makes every (offset, alt_base) stand once) and, where the table has them, contig and strand.
The base that is there is the one to which a position is not changed, where all three changes are there;
elsewhere `ref_base`, or `ref` turned to the tile's strand, says it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from legscore.errors import InputError, nearest, shorten
from legscore.evaluate.provenance import MOST_POSITIONS, Lengths, said_lengths
from legscore.evaluate.tables import Selection, Tables
from legscore.evaluate.values import numbers

BASES = "ACGT"
TILE_COLUMNS = ("tile_id", "promoter", "gene", "gene_id", "id")
NEEDED = ("offset", "alt_base", "effect")
PLACE = ("chrom", "strand")
"""Where a tile lies: a gene's name may stand on two contigs (PAR genes, copies), so these are part of its
key."""
LEAST_POSITIONS = 10
"""Tiles with changes at fewer positions are no saturation."""
_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


@dataclass(frozen=True)
class Place:
    """Where a tile lies: the position (1-based) of offset 0, and 1 or -1, what each further offset adds."""

    chrom: str
    first: int
    step: int


@dataclass(frozen=True)
class Tile:
    """One promoter.

    Attributes:
        title: for people. sequence: 5' → 3' as scored, `.` where the base is not known.
        place: on the genome; None where the table does not say it.
        effect_BL: float [4, length], changed to A, C, G, T; NaN where there is no score.
    """

    name: str
    title: str
    sequence: str
    effect_BL: np.ndarray
    place: Place | None = None

    @property
    def importance(self) -> np.ndarray:
        """Minus the mean effect of the changes at each position, float [length]; NaN where there is none."""
        counts = np.isfinite(self.effect_BL).sum(axis=0)
        sums = np.nansum(self.effect_BL, axis=0)
        return np.where(counts > 0, -sums / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True)
class Saturation:
    """All tiles of a table, as arrays over the rows of changes.

    Attributes:
        names_T: values of the tile column. titles_T: the same with gene names. places_T: where tiles lie.
        length_T: positions. effect_TBL: float32 [tiles, 4, longest], NaN padded. base_TL: int8 index in
            BASES, -1 unknown.
        column: the tile column.
        n_sparse: further tiles, with changes at too few positions.
    """

    names_T: list[str]
    titles_T: list[str]
    places_T: list[Place | None]
    length_T: np.ndarray
    effect_TBL: np.ndarray
    base_TL: np.ndarray
    column: str
    n_sparse: int = 0

    def __len__(self) -> int:
        return len(self.names_T)

    def tile(self, index: int) -> Tile:
        length = int(self.length_T[index])
        sequence = "".join(BASES[b] if b >= 0 else "." for b in self.base_TL[index, :length])
        effect_BL = self.effect_TBL[index, :, :length]
        return Tile(self.names_T[index], self.titles_T[index], sequence, effect_BL, self.places_T[index])

    def find(self, name: str) -> Tile:
        """A tile by its name or by its title's gene name; InputError with the nearest names."""
        hits = [i for i, known in enumerate(self.names_T) if known == name]
        hits = hits or [
            i
            for i, title in enumerate(self.titles_T)
            if name in title.replace("(", " ").replace(")", " ").split()
        ]
        if len(hits) == 1:
            return self.tile(hits[0])
        if hits:
            raise InputError(
                f"--promoter {name}: {len(hits)} tiles have this name: "
                f"{shorten([self.names_T[i] for i in hits])}"
            )
        raise InputError(
            f"--promoter {name}: no such {self.column}{nearest(name, self.names_T)}; there are "
            f"{shorten(self.names_T)}"
        )


def wanted_columns(names: Iterable[str]) -> list[str]:
    """Columns of a table that saturated tiles are read from; empty where the table has none."""
    there = set(names)
    if not set(NEEDED) <= there or not there & set(TILE_COLUMNS):
        return []
    return [n for n in (*NEEDED, *TILE_COLUMNS, *PLACE, "pos", "gene_name", "ref", "ref_base") if n in there]


def saturation(
    frame: pl.DataFrame, column: str | None = None, lengths: Lengths = MappingProxyType({})
) -> Saturation | None:
    """Tiles of a frame of scores with `wanted_columns`, None where no column makes any.

    Args:
        frame: one row per change; rows without an effect are left out.
        column: the tile column, None to choose.
        lengths: of the tiles, where that is said (`said_lengths`); else a tile ends with its last change.
    """
    scored = frame.filter(
        pl.col("effect").is_finite() & pl.col("offset").is_not_null() & pl.col("alt_base").is_not_null()
    )
    place = pl.col("offset").cast(pl.Float64)
    scored = scored.filter(place.is_finite() & (place == place.round()))
    scored = scored.with_columns(
        pl.col("offset").cast(pl.Int64, strict=False),
        pl.col("alt_base").cast(pl.String).str.to_uppercase().replace("U", "T"),
    ).filter(
        pl.col("alt_base").is_in(list(BASES)) & (pl.col("offset") >= 0) & (pl.col("offset") < MOST_POSITIONS)
    )
    for name in [column] if column else [c for c in TILE_COLUMNS if c in scored.columns]:
        rows = scored.filter(pl.col(name).is_not_null())
        if not len(rows):
            continue
        key = [name, *(place for place in PLACE if place in rows.columns and place != name)]
        twice = rows.select(pl.struct(*key, "offset", "alt_base").is_duplicated().any()).item()
        if twice and not column:
            continue
        if twice:
            raise InputError(
                f"{name}: a change (offset, alt_base) stands twice in a tile; another column tells "
                "tiles apart"
            )
        if (found := _tiles(rows, key, lengths)) is not None:
            return found
    return None


def _tiles(rows: pl.DataFrame, key: list[str], lengths: Lengths) -> Saturation | None:
    column = key[0]
    named = "gene_name" in rows.columns and column != "gene_name"
    about = [pl.col("offset").n_unique().alias("#n"), (pl.col("offset").max() + 1).alias("#length")]
    about += [pl.col("gene_name").cast(pl.String).first().alias("#gene")] if named else []
    positions = rows.group_by(key, maintain_order=True).agg(about)
    if isinstance(lengths, int):
        positions = positions.with_columns(pl.max_horizontal("#length", pl.lit(lengths)))
    elif lengths and column == "tile_id":
        said = (
            positions[column]
            .cast(pl.String)
            .replace_strict(list(lengths), list(lengths.values()), default=None, return_dtype=pl.Int64)
        )
        positions = positions.with_columns(pl.max_horizontal("#length", said))
    tiles = positions.filter(
        (pl.col("#n") >= LEAST_POSITIONS) & (2 * pl.col("#n") >= pl.col("#length"))
    ).with_row_index("#tile")
    if not len(tiles):
        return None
    rows = rows.join(tiles.select(*key, "#tile"), on=key, how="inner", nulls_equal=True)
    tile, offset = rows["#tile"].to_numpy(), rows["offset"].to_numpy()
    alt = _codes(rows["alt_base"])
    length = tiles["#length"].to_numpy()
    effect = np.full((len(tiles), 4, int(length.max())), np.nan, dtype=np.float32)
    effect[tile, alt, offset] = rows["effect"].to_numpy()
    base = np.full((len(tiles), int(length.max())), -1, dtype=np.int8)
    if "ref_base" in rows.columns:
        known = _codes(rows["ref_base"].cast(pl.String).str.to_uppercase())
        base[tile[known >= 0], offset[known >= 0]] = known[known >= 0]
    elif "ref" in rows.columns and "strand" in rows.columns:
        known = _codes(rows["ref"].cast(pl.String).str.to_uppercase())
        turned = _codes(rows["ref"].cast(pl.String).str.to_uppercase().replace(_COMPLEMENT))
        known = np.where(rows["strand"].cast(pl.String).fill_null("+").to_numpy() == "-", turned, known)
        base[tile[known >= 0], offset[known >= 0]] = known[known >= 0]
    there = np.isfinite(effect)
    only = there.sum(axis=1) == 3
    base[only] = np.argmin(there, axis=1)[only]
    names = _names(tiles, key)
    genes = tiles["#gene"].to_list() if "#gene" in tiles.columns else [None] * len(names)
    titles = [
        f"{name} ({gene})" if gene and gene != name else name for name, gene in zip(names, genes, strict=True)
    ]
    places, n_sparse = _places(rows, len(names)), len(positions) - len(tiles)
    return Saturation(names, titles, places, length, effect, base, column, n_sparse)


def _places(rows: pl.DataFrame, n_tiles: int) -> list[Place | None]:
    """Where each tile lies, where `chrom` and `pos` of all its rows say one place."""
    if not {"chrom", "pos"} <= set(rows.columns):
        return [None] * n_tiles
    pos = pl.col("pos").cast(pl.String).cast(pl.Int64, strict=False)
    plus, minus = pos - pl.col("offset"), pos + pl.col("offset")
    found = rows.group_by("#tile").agg(
        pl.col("chrom").cast(pl.String).first(),
        (pl.col("chrom").cast(pl.String).n_unique() == 1).alias("#one"),
        *(side.first().alias(f"#{name}") for name, side in (("plus", plus), ("minus", minus))),
        *((side.n_unique() == 1).alias(f"#{name}_fits") for name, side in (("plus", plus), ("minus", minus))),
    )
    places: list[Place | None] = [None] * n_tiles
    for row in found.iter_rows(named=True):
        for name, step in (("plus", 1), ("minus", -1)):
            if row["#one"] and row["chrom"] and row[f"#{name}_fits"] and row[f"#{name}"] is not None:
                places[row["#tile"]] = Place(row["chrom"], row[f"#{name}"], step)
    return places


def _names(tiles: pl.DataFrame, key: list[str]) -> list[str]:
    """The tile column as text; where a name stands more than once, with contig and strand."""
    names: list[str] = tiles[key[0]].cast(pl.String).to_list()
    many = {name for name, count in Counter(names).items() if count > 1}
    places = [tiles[place].cast(pl.String).fill_null("?").to_list() for place in key[1:]]
    return [
        f"{name} on {' '.join(place)}" if place and name in many else name
        for name, *place in zip(names, *places, strict=True)
    ]


def _codes(letters: pl.Series) -> np.ndarray:
    """Index in BASES, -1 for anything else; int8 [rows]."""
    numbers = letters.replace_strict(list(BASES), list(range(4)), default=-1, return_dtype=pl.Int8)
    return numbers.fill_null(-1).to_numpy()


def read_saturation(path: str, column: str | None = None) -> Saturation:
    """Saturated tiles of a file of scores. InputError where there are none, with what they need."""
    return select_saturation(Tables([path]), column)[0]


def select_saturation(
    tables: Tables, column: str | None = None, effect: str = "effect"
) -> tuple[Saturation, Selection]:
    """As `read_saturation`, of a table that is open; with the rows that were taken. `effect`: the column of
    effects."""
    table = tables.all[0]
    if effect != "effect" and effect not in table.columns:
        raise InputError(
            f"--effect {effect}: {table.name} has no such column{nearest(effect, table.columns)}"
        )
    if column and column not in table.columns:
        raise InputError(
            f"--tile-column {column}: {table.name} has no such column{nearest(column, table.columns)}"
        )
    there = [name for name in table.columns if name != "effect"]
    there += ["effect"] if effect in table.columns else []
    names = dict.fromkeys([*wanted_columns(there), *([column] if column else [])])
    if not set(NEEDED) <= set(names):
        raise InputError(
            f"{table.name} has no saturated promoters: they need the columns {', '.join(NEEDED)} and one "
            "that names the tile; "
            f"it has {shorten(table.columns, 12)}"
        )
    read = dict.fromkeys((effect if name == "effect" else name for name in names), "--tile-column")
    selection = tables.select(read)
    frame = selection.frame.rename({effect: "effect"})
    frame = frame.with_columns(
        pl.Series(n, numbers(frame[n], "column", n), nan_to_null=True) for n in ("offset", "effect")
    )
    found = saturation(frame, column, said_lengths(table.metadata()))
    if found is None:
        tried = f"none of {shorten([c for c in TILE_COLUMNS if c in table.columns])} names"
        tried, what = (f"{column} does not name", "another column") if column else (tried, "the column")
        raise InputError(
            f"{table.name} has no saturated promoter: {tried} tiles with changes at {LEAST_POSITIONS} or "
            f"more positions, each once; name {what} with --tile-column"
        )
    return found, selection

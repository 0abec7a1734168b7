"""Tiles → the table of their changes that is scored: as `legscore variants --saturate` makes it, each row
with the number of its tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from legscore.atlas.contents import stretch_bases
from legscore.atlas.stretches import Stretches
from legscore.variants.options import Setting
from legscore.variants.output import dictionary, open_table
from legscore.variants.saturate import Saturated, saturated
from legscore.variants.tiles import Tiles
from legscore.version import __version__

TILE = "tile"
"""Column: row of a tile in `tiles.parquet`."""
SCHEMA = pa.schema(
    [
        pa.field(TILE, pa.int32()),
        pa.field("pos", pa.int64()),
        pa.field("ref", dictionary()),
        pa.field("alt", dictionary()),
        pa.field("offset", pa.int64()),
        pa.field("sequence", dictionary(pa.large_string())),
        pa.field("alt_base", dictionary()),
        pa.field("status", dictionary()),
    ]
)
WITH_INDELS = SCHEMA.append(pa.field("refill", dictionary()))
KEPT = (TILE, "pos", "ref", "alt")
"""Columns that stand beside the scores."""


def contig_numbers(frame: pl.DataFrame, contigs: Mapping[str, Any]) -> np.ndarray:
    """Number of each tile's contig, int64 [tiles]."""
    order = {name: number for number, name in enumerate(contigs)}
    return np.array([order[name] for name in frame["chrom"].to_list()], dtype=np.int64)


def write_changes(
    setting: Setting, wanted: Stretches, path: Path, *, indels: bool, counts: Saturated
) -> dict[str, Any]:
    """Write the changes of tiles that lie in the wanted stretches, by tile.

    Args:
        setting: the genome and all tiles. counts: counts what is made.

    Returns:
        What the table's metadata says of how it was made.
    """
    assert setting.tiles is not None
    frame = setting.tiles.frame
    contigs = contig_numbers(frame, setting.genome.lengths)
    used = wanted.touched_by(contigs, frame) & ~frame["edge"].to_numpy()
    chosen = frame.filter(pl.Series(used))
    some = replace(setting, tiles=Tiles(chosen, ()))
    number = dict(zip(chosen["tile_id"].to_list(), np.flatnonzero(used).tolist(), strict=True))
    order = {name: place for place, name in enumerate(setting.genome.lengths)}
    made_by = {
        "sequence_is": "insert",
        "saturate": True,
        "saturate_indels": indels,
        **setting.options.described(),
        "contigs": dict(setting.genome.lengths),
    }
    schema = WITH_INDELS if indels else SCHEMA
    with open_table(str(path), schema, {"legscore": __version__, "variants": made_by}) as write:
        for table in saturated(some, counts, with_indels=indels):
            if not len(table):  # of tiles that lie in N
                continue
            write(_chosen(table, number, order, wanted).select(schema.names).cast(schema))
    return made_by


def _chosen(
    table: pa.Table, number: Mapping[str, int], order: Mapping[str, int], wanted: Stretches
) -> pa.Table:
    """The rows of one batch, of one contig, that lie in the wanted stretches, with TILE."""
    ids = table["tile_id"].combine_chunks()
    ids = ids.chunk(0) if isinstance(ids, pa.ChunkedArray) else ids
    of_id = np.array([number[name] for name in ids.dictionary.to_pylist()], dtype=np.int32)
    tiles = of_id[ids.indices.to_numpy(zero_copy_only=False)]
    table = table.append_column(TILE, pa.array(tiles))
    contig = order[table["chrom"][0].as_py()]
    inside = wanted.hold(contig, (table["pos"].to_numpy() - 1) // stretch_bases())
    return table if inside.all() else table.filter(pa.array(inside))


def scored_batches(scored: Path, rows: int = 1 << 16) -> Iterator[dict[str, np.ndarray]]:
    """The scored changes, piece by piece in their order, as arrays by column: `ref` and `alt` as numbers into
    TEXTS, scores as float32 (NaN without one), `status` as codes, `n_count` -1 without a window."""
    import pyarrow.parquet as pq

    from legscore.atlas.texts import text_numbers
    from legscore.rows.schema import STATUSES

    names = [*KEPT, "ref_score", "alt_score", "effect", "effect_sd", "status", "n_count"]
    with pq.ParquetFile(scored) as file:
        for batch in file.iter_batches(batch_size=rows, columns=names):
            found = {}
            for name in names:
                column = batch.column(name)
                if name in ("ref", "alt"):
                    found[name] = text_numbers(column)
                elif name == "status":
                    text = pa.array(STATUSES)
                    found[name] = pc.index_in(column.cast(pa.string()), text).to_numpy().astype(np.uint8)
                elif name == "n_count":
                    found[name] = pc.fill_null(column, -1).to_numpy()
                else:
                    found[name] = column.to_numpy(zero_copy_only=False)
            yield found

"""An atlas → the background that effects are ranked against: all single-base changes, by class of tile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from legscore.atlas.contents import SCORES, Contents, open_contents
from legscore.atlas.fitting import read_tiles
from legscore.atlas.scaled import Scale
from legscore.dna.contract import Contract
from legscore.errors import InputError, OutputError
from legscore.run.background import UNKNOWN, Background, settings_of
from legscore.system.log import Say
from legscore.system.overwrite import PARQUET, check_files, check_outside
from legscore.system.storage import is_remote

GC_CLASSES = 5
MOST_DISTANCES = 8
"""Tiles are told apart by every distance where there are so few; by as many classes of equal size where
more."""


def write_background(
    atlas: str, output: str, *, force: bool = False, say: Say = lambda line: None
) -> Background:
    """Build a background from all single-base changes of an atlas, and write it.

    Args:
        atlas: its folder. output: Parquet file to write.
        force: replace an output that is there.
        say: receives a line about each class.

    Raises:
        LegscoreError: the atlas is damaged or has no scores, or the file cannot be written.
    """
    if is_remote(output) or not output.lower().endswith(PARQUET):
        raise OutputError(f"-o {output}: a background is one Parquet file on a disk; name it FILE.parquet")
    check_outside(output, atlas, "the atlas")
    contents = open_contents(atlas)
    check_files({"-o": output}, [contents.folder / name for name in contents.files], force=force)
    found = background_of(contents)
    found.save(Path(output))
    for (distance, gc), effects in sorted(found.effects.items()):
        where = "" if not found.distance_edges and distance == UNKNOWN else f"distance class {distance}, "
        say(f"{where}GC class {gc}: {found.tiles[distance, gc]:,} tiles, {len(effects):,} changes")
    say(f"output: {output} ({found.n_changes:,} effects in {len(found.effects):,} classes)")
    return found


def background_of(contents: Contents, tiles_used: np.ndarray | None = None) -> Background:
    """The background of an atlas.

    Args:
        tiles_used: bool [tiles]: only these; all when None.
    """
    tiles, manifest = read_tiles(contents), contents.manifest
    used = ~tiles["edge"].to_numpy() & tiles["ref_score"].is_valid().to_numpy()
    used &= tiles["gc"].is_valid().to_numpy()
    if tiles_used is not None:
        used &= tiles_used
    if not used.any():
        raise InputError(
            f"the atlas {contents.folder} has no tile with scores; there is nothing to rank against"
        )
    away, known = pc.fill_null(tiles["distance"], 0).to_numpy(), tiles["distance"].is_valid().to_numpy()
    distance = np.ma.MaskedArray(away, mask=~known)
    gc = pc.fill_null(tiles["gc"], 0.0).to_numpy()
    settings = ranked_settings(manifest)
    empty = Background(
        tuple(str(model["sha256"]) for model in manifest["models"]),
        settings,
        tuple(_distance_edges(away[used & known])),
        tuple(_edges(gc[used], GC_CLASSES)),
        {},
    )
    class_T2 = np.stack(
        [
            np.where(known, np.searchsorted(empty.distance_edges, distance.filled(0), side="right"), UNKNOWN),
            np.searchsorted(empty.gc_edges, gc, side="right"),
        ],
        axis=1,
    )
    held: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for tile, effect in _effects(contents, tiles):
        keep = used[tile]
        tile, effect = tile[keep], effect[keep]
        for d, g in np.unique(class_T2[tile], axis=0) if len(tile) else ():
            held[int(d), int(g)].append(effect[(class_T2[tile] == (d, g)).all(axis=1)])
    effects = {key: np.sort(np.concatenate(values)) for key, values in sorted(held.items())}
    counts = {key: int((used & (class_T2 == key).all(axis=1)).sum()) for key in effects}
    return Background(empty.models, settings, empty.distance_edges, empty.gc_edges, effects, counts)


def ranked_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`settings_of` of the scores of an atlas."""
    options, engine = manifest["options"], str(manifest["engine"].get("engine"))
    contract = Contract.from_json(manifest["contract"])
    return settings_of(contract, options["rc"], options["singleton"], engine)


def _distance_edges(distance: np.ndarray) -> list[float]:
    distinct = np.unique(distance)
    if len(distinct) <= MOST_DISTANCES:
        return [float(edge) for edge in (distinct[1:] + distinct[:-1]) / 2]
    return _edges(distance, MOST_DISTANCES)


def _edges(values: np.ndarray, n: int) -> list[float]:
    """Limits between `n` classes of about equally many values."""
    return [float(edge) for edge in np.unique(np.quantile(values, np.arange(1, n) / n))]


def _effects(contents: Contents, tiles: pa.Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tile and effect (float32) of the single-base changes with a score, file by file."""
    scale, ids = Scale(contents.manifest["numbers"].get("factor", {})), tiles["tile_id"].combine_chunks()
    column = "effect_scaled" if scale else "effect"
    names: list[Any] = ["ref", "alt", "tile_id", column]
    for name in sorted(name for name in contents.files if name.startswith(f"{SCORES}/")):
        table = pq.read_table(pa.BufferReader(contents.read(name)), columns=names, use_threads=False)
        single = pc.and_(pc.equal(pc.utf8_length(table["ref"]), 1), pc.equal(pc.utf8_length(table["alt"]), 1))
        table = table.filter(pc.and_(single, table[column].is_valid()))
        tile = pc.index_in(table["tile_id"].cast(ids.type), ids).to_numpy()
        values = table[column].to_numpy()
        yield tile, scale.decode("effect", values) if scale else values

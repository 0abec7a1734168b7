"""Scores → the folder of an atlas: tiles, files of scores, an indexed text, and the manifest that names
them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.atlas.contents import FORMAT, MANIFEST, SCORES, TILES, described, stretch_bases
from legscore.atlas.indexed import write_indexed
from legscore.atlas.options import AtlasRequest
from legscore.atlas.partition import ScoreFiles
from legscore.atlas.scaled import Scale, scale_of
from legscore.atlas.stretches import Stretches
from legscore.atlas.tile_changes import contig_numbers
from legscore.dna.contract import Contract
from legscore.output.write import METADATA_KEY
from legscore.rows.schema import STATUSES
from legscore.run.background import distances
from legscore.system.checksum import sha256_of
from legscore.system.json_records import sealed
from legscore.system.publish import writing
from legscore.variants.genome import Genome
from legscore.variants.make import tile_table
from legscore.variants.options import Setting

SCORED_BY = ("legscore", "models", "contract", "engine", "fidelity", "options")
"""Entries of a run's record that define its scores."""
COUNTED = ("files", "rows", "status", "bytes", "bytes_per_million_rows", "shard")
"""Entries of a manifest that shards of one atlas have of their own (and the largest error of numbers)."""


def fill_folder(
    made: Path,
    request: AtlasRequest,
    setting: Setting,
    wanted: Stretches,
    record: Mapping[str, Any],
    scored: Path,
) -> dict[str, Any]:
    """Write an atlas into an empty folder; its manifest, which comes last.

    Args:
        wanted: stretches that this atlas, or shard of one, holds.
        record: of the run that scored; `scored` holds its scores.
    """
    assert setting.tiles is not None
    frame = setting.tiles.frame
    scale = scale_of(Contract.from_json(record["contract"])) if request.numbers == "int16" else Scale({})
    defining = {name: record[name] for name in SCORED_BY} | {"variants": record["variants"]}
    with writing(made):
        (made / SCORES).mkdir()
    files = ScoreFiles(made, frame, contig_numbers(frame, setting.genome.lengths), scale)
    files.write_all(scored, wanted, {**defining, "atlas": {"factor": dict(scale.factor)}})
    files.sync()
    write_tiles(made / TILES, tiles_of(setting, record["variants"], files.ref_score_T))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        **defining,
        "genome": genome_digests(setting.genome),
        "read": _read(request),
        "indels": request.indels,
        "numbers": {"dtype": request.numbers},
        "tabix": request.tabix,
        "stretch_bases": stretch_bases(),
        "tiles": len(frame),
        "tiles_at_edges": int(frame["edge"].sum()),
        "status": {name: files.by_status[name] for name in STATUSES if files.by_status[name]},
        "files": files.files,
        "shard": None,
    }
    if scale:
        manifest["numbers"] |= {"factor": dict(scale.factor), "largest_error": files.largest_error}
    if request.wanted is not None:
        manifest["shard"] = {"index": request.wanted.index, "of": request.wanted.of}
    return finish_folder(made, manifest)


def finish_folder(made: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write what a folder with tiles and scores lacks: an indexed text, where that was asked for and the
    folder is no shard, sizes, and the manifest. The manifest as it is then."""
    files = manifest["files"]
    manifest["rows"] = sum(known["rows"] for known in files.values() if "rows" in known)
    size = sum(known["bytes"] for known in files.values() if "rows" in known)
    files[TILES] = described(made / TILES)
    if manifest["tabix"] is not None and manifest["shard"] is None:
        for path in write_indexed(made, manifest):
            files[path.name] = described(path)
    manifest["bytes"] = sum(known["bytes"] for known in files.values())
    manifest["bytes_per_million_rows"] = round(size / manifest["rows"] * 1e6) if manifest["rows"] else None
    path = made / MANIFEST
    with writing(path):
        path.write_text(sealed(json.loads(json.dumps(manifest))))
    return manifest


def genome_digests(genome: Genome) -> dict[str, Any]:
    """Contig → bases and SHA-256 of its letters, in the genome's order."""
    return {
        name: {"bases": bases, "sha256": digest_of(genome.contig(name))}
        for name, bases in genome.lengths.items()
    }


def digest_of(letters: np.ndarray) -> str:
    """SHA-256 of a contig's letters (uint8, upper case)."""
    return hashlib.sha256(letters.tobytes()).hexdigest()


def _read(request: AtlasRequest) -> dict[str, str]:
    """Option → SHA-256 of the file that said where the tiles are."""
    named = {
        "promoters": request.build.promoters,
        "tiles": request.build.regions_bed,
        "tss": request.build.tss,
    }
    return {name: sha256_of(Path(path)) for name, path in named.items() if path is not None}


def tiles_of(setting: Setting, made_by: Mapping[str, Any], ref_score_T: np.ndarray) -> pa.Table:
    """The tiles with `edge`, `distance` (bases from a tile's 3' end to its start, null where there is none),
    `gc` (share of G and C among its A, C, G, T; null where it has none), and `ref_score`."""
    assert setting.tiles is not None
    frame, sequences = setting.tiles.frame, tile_table(setting)["sequence"].to_pylist()
    away = distances(frame["tile_id"].to_arrow(), made_by)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    table = table.append_column("distance", pa.array(away.filled(0), mask=np.ma.getmaskarray(away)))
    table = table.append_column("gc", pa.array([_gc(text) for text in sequences], pa.float64()))
    none = np.isnan(ref_score_T)
    return table.append_column("ref_score", pa.array(np.where(none, np.float32(0), ref_score_T), mask=none))


def _gc(text: str | None) -> float | None:
    if text is None:
        return None
    strong, weak = text.count("G") + text.count("C"), text.count("A") + text.count("T")
    return strong / (strong + weak) if strong + weak else None


def write_tiles(path: Path, table: pa.Table) -> None:
    """Write `tiles.parquet`."""
    with writing(path):
        kept = {key: value for key, value in (table.schema.metadata or {}).items() if key == METADATA_KEY}
        pq.write_table(
            table.replace_schema_metadata(kept or None), path, compression="zstd", write_page_checksum=True
        )

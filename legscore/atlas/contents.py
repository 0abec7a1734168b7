"""What an atlas is on a disk: a folder with a manifest that names every file and its checksum.

    ATLAS/manifest.json                  models, engine, genome, options, files; sealed with a checksum
    ATLAS/tiles.parquet                  a row for each tile, with its reference score
    ATLAS/scores/0001-000000000000.parquet
                                         the changes of one stretch of one contig: contig's number in the
                                         manifest, first position (0-based) of the stretch
    ATLAS/atlas.vcf.gz, atlas.tsv.gz     with --tabix, and an index beside it

Paths in the manifest are relative, so that the folder can be moved. Nothing in it depends on when, where or
in how many pieces it was made. Files are read whole and compared with their checksums before anything in them
counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.system.checksum import sha256_of
from legscore.system.json_records import is_sealed, parse_record
from legscore.system.storage import reason

FORMAT = "legscore-atlas-1"
MANIFEST, TILES, SCORES = "manifest.json", "tiles.parquet", "scores"
STRETCH_BASES = 1 << 18
"""Positions of a contig that share a file: the changes of a densely tiled one, with insertions and deletions,
then take about a hundred megabytes in memory."""
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "legscore": str, "models": list, "contract": dict, "engine": dict, "options": dict, "variants": dict,
    "genome": dict, "indels": bool, "numbers": dict, "stretch_bases": int, "rows": int, "files": dict,
}  # fmt: skip
"""Entries of a manifest that are used, and their types."""


def stretch_bases() -> int:
    """STRETCH_BASES, of atlases that are built."""
    return STRETCH_BASES


def score_file_name(contig: int, first: int) -> str:
    """Name of the file of a stretch, relative to the atlas, by contig (from 0) and first position."""
    return f"{SCORES}/{contig + 1:04d}-{first:012d}.parquet"


def described(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: bytes and SHA-256."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


@dataclass(frozen=True)
class Contents:
    """An atlas that was opened: where it lies, what its manifest says, and the SHA-256 of the manifest, which
    stands for all of it."""

    folder: Path
    manifest: Mapping[str, Any]
    sha256: str

    @property
    def files(self) -> Mapping[str, Any]:
        return self.manifest["files"]  # type: ignore[no-any-return]

    def read(self, name: str) -> bytes:
        """The bytes of a file that the manifest names. InputError unless they are those that it was made
        with."""
        path, known = self.folder / name, self.files.get(name)
        if not isinstance(known, dict):
            raise InputError(f"{self.folder / MANIFEST} names no file {name}; build the atlas again")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {reason(error)}; it is part of the atlas") from error
        if len(content) != known.get("bytes"):
            raise InputError(
                f"{path} has {len(content):,} bytes instead of {known.get('bytes')}: it was cut short or "
                "changed; copy the atlas again, or build it anew"
            )
        if hashlib.sha256(content).hexdigest() != known.get("sha256"):
            raise InputError(
                f"{path} is damaged or was changed: its SHA-256 is not that of the manifest; copy the atlas "
                "again, or build it anew"
            )
        return content


def open_contents(folder: str | Path, *, piece: bool = False) -> Contents:
    """Open an atlas; `piece`: also what one shard of a build made.

    Raises:
        InputError: there is none, it is not complete, or its manifest was changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "is not there"
        raise InputError(f"atlas {folder} {what}; legscore atlas build makes one")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no atlas: it has no {MANIFEST}. An interrupted build has none yet: give its "
            "command again"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    try:
        manifest = parse_record(content)
    except ValueError as error:
        raise InputError(f"{path} is no manifest of an atlas: {error}") from None
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{path}: its format is {manifest.get('format')!r}, this legscore reads {FORMAT!r}; build the "
            "atlas again"
        )
    if not is_sealed(manifest):
        raise InputError(f"{path} was changed after it was written; copy the atlas again, or build it anew")
    if lacking := [name for name, kind in NEEDED.items() if not isinstance(manifest.get(name), kind)]:
        raise InputError(f"{path} says nothing of {', '.join(lacking)}; build the atlas again")
    if manifest.get("shard") is not None and not piece:
        shard = manifest["shard"]
        raise InputError(
            f"{folder} is shard {shard.get('index')} of {shard.get('of')} of an atlas; join all of them with "
            "legscore atlas merge"
        )
    return Contents(folder, manifest, hashlib.sha256(content).hexdigest())

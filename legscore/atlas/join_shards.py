"""Shards of an atlas → the atlas: `legscore atlas merge`. Its files are those that one build would have
made."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.atlas.contents import MANIFEST, SCORES, Contents, open_contents
from legscore.atlas.earlier import check_replaced, check_whole
from legscore.atlas.fill import COUNTED, TILES, finish_folder, write_tiles
from legscore.atlas.fitting import read_tiles
from legscore.atlas.make_atlas import closing, publish
from legscore.errors import InputError, OutputError
from legscore.output.parts import FILES, PartFolder
from legscore.rows.schema import STATUSES
from legscore.run.finished import checksums_of, finished_record, read_for
from legscore.system.json_records import SEAL, difference, fingerprint_of, sealed
from legscore.system.log import Say
from legscore.system.overwrite import check_apart, check_outside
from legscore.system.publish import check_output, is_stream, sync_folder, write_record, writing, written_by
from legscore.system.storage import is_remote
from legscore.variants.genome_run import working_folder


def join_shards(
    shards: Sequence[str], output: str, *, force: bool = False, say: Say = lambda line: None
) -> dict[str, Any]:
    """Join all shards of an atlas.

    Args:
        shards: folders that legscore atlas build --shard made, in any order.
        output: folder of the atlas.
        force: replace an output that is there already.
        say: receives lines about the atlas.

    Returns:
        The record, also in OUTPUT.run.json.

    Raises:
        InputError: not shards, not all of one atlas, or damaged. OutputError: the atlas cannot be written.
    """
    if is_remote(output) or is_stream(output):
        raise OutputError(f"-o {output}: an atlas is a folder on a disk; name one")
    output = f"{output.rstrip('/')}/"
    check_apart({"-o": written_by(output)}, [str(Path(name) / MANIFEST) for name in shards], [])
    for name in shards:
        check_outside(output, name, "the shard")
    check_output(output)
    pieces = checked_shards([open_contents(name, piece=True) for name in shards])
    asked = read_for(str(piece.folder / MANIFEST) for piece in pieces)
    with working_folder(output, True) as room:
        store, run = PartFolder(room), fingerprint_of(asked)
        done = finished_record(output, [output], asked, store, force=force, run=run, needed={"rows": int})
        if done is not None:
            check_whole(output)
            say(f"{output}: already finished; --force joins the shards again")
            return done
        check_replaced(output)
        made = room / FILES
        with writing(output):
            if made.exists():
                shutil.rmtree(made)
            (made / SCORES).mkdir(parents=True)
        manifest = finish_folder(made, _joined(pieces, made))
        publish(made, output, store, run)
        record = {
            "command": None,
            "inputs": [str(name) for name in shards],
            "output": output,
            "rows": manifest["rows"],
            "asked": asked,
            "output_files": checksums_of([output]),
        }
        write_record(output, sealed(record))
    for line in closing(output, manifest):
        say(line)
    return record


def checked_shards(pieces: list[Contents]) -> list[Contents]:
    """All shards of one atlas, in order. InputError where they are not."""
    for piece in pieces:
        if not isinstance(piece.manifest.get("shard"), dict):
            raise InputError(f"{piece.folder} is a whole atlas, no shard of one; leave it out")
    pieces = sorted(pieces, key=lambda piece: int(piece.manifest["shard"]["index"]))
    first = pieces[0]
    for piece in pieces:
        if found := difference(_shared(first), _shared(piece), words=("is", "here")):
            raise InputError(f"{first.folder} and {piece.folder} are shards of atlases that differ: {found}")
    of, there = (
        int(first.manifest["shard"]["of"]),
        [int(piece.manifest["shard"]["index"]) for piece in pieces],
    )
    for index, count in Counter(there).items():
        if count > 1:
            raise InputError(f"shard {index} of {of} is given {count} times; give each once")
    if lacking := [str(index) for index in range(1, of + 1) if index not in there]:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise InputError(f"shards are missing: {', '.join(lacking[:3])}{more} of {of}")
    return pieces


def _shared(piece: Contents) -> dict[str, Any]:
    """What shards of one atlas have in common."""
    manifest = {name: value for name, value in piece.manifest.items() if name not in (*COUNTED, SEAL)}
    numbers = {name: value for name, value in manifest["numbers"].items() if name != "largest_error"}
    return {**manifest, "numbers": numbers, "of": piece.manifest["shard"].get("of")}


def _joined(pieces: Sequence[Contents], made: Path) -> dict[str, Any]:
    """Copy the files of scores and join the tiles; the manifest, but for what `finish_folder` adds."""
    manifest: dict[str, Any] = json.loads(json.dumps({**pieces[0].manifest, "shard": None}))
    del manifest[SEAL]
    files: dict[str, Any] = {}
    by_status: Counter[str] = Counter()
    errors: dict[str, float] = {}
    for piece in pieces:
        for name in sorted(name for name in piece.files if name.startswith(f"{SCORES}/")):
            content = piece.read(name)
            with writing(made / name):
                (made / name).write_bytes(content)
            files[name] = dict(piece.files[name])
        by_status.update(piece.manifest["status"])
        for name, error in piece.manifest["numbers"].get("largest_error", {}).items():
            errors[name] = max(errors.get(name, 0.0), error)
    sync_folder(made / SCORES)
    manifest["files"] = dict(sorted(files.items()))
    manifest["status"] = {name: by_status[name] for name in STATUSES if by_status[name]}
    if errors:
        manifest["numbers"]["largest_error"] = errors
    write_tiles(made / TILES, _tiles(pieces))
    return manifest


def _tiles(pieces: Sequence[Contents]) -> pa.Table:
    """The tiles, each with its reference score from whichever shard has it."""
    tables = [read_tiles(piece) for piece in pieces]
    score = np.full(tables[0].num_rows, np.nan, dtype=np.float32)
    for table in tables:
        here = table["ref_score"].to_numpy()
        score = np.where(np.isnan(score), here, score).astype(np.float32)
    none = np.isnan(score)
    place = tables[0].schema.get_field_index("ref_score")
    return tables[0].set_column(place, "ref_score", pa.array(np.where(none, np.float32(0), score), mask=none))

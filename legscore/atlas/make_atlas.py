"""THE PAGE of building an atlas: tiles → changes → scores → files of an atlas, put in place as one folder.

    tiles → table of changes → an ordinary run (resumable, on Ray) → stretches → manifest → the folder's name

Everything lies in ATLAS.parts until it is complete. An interrupted build makes the table again, compares it
with what was scored, takes the scores that are there and goes on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from legscore.atlas.earlier import check_replaced, check_whole
from legscore.atlas.fill import fill_folder
from legscore.atlas.options import AtlasRequest
from legscore.atlas.stretches import Stretches, shard_of, stretches_of
from legscore.atlas.tile_changes import KEPT, contig_numbers, write_changes
from legscore.errors import InputError
from legscore.output.parts import FILES, REPLACED, STAGED, PartFolder
from legscore.run.finished import checksums_of, earlier_output, finished_record
from legscore.run.job import score
from legscore.run.options import Options, Staging
from legscore.system.checksum import checksum_of
from legscore.system.json_records import fingerprint_of, sealed
from legscore.system.log import RunLog, Say, StartProgress
from legscore.system.overwrite import check_apart
from legscore.system.publish import (
    base_of,
    check_moves,
    check_output,
    sync_folder,
    write_record,
    writing,
    written_by,
)
from legscore.system.resources import folder
from legscore.system.storage import check_same, stamp
from legscore.variants.genome_run import StartWorkers, fit_to_model, working_folder
from legscore.variants.options import Setting, prepare
from legscore.variants.organism import check_organism, check_tile_length, contract_of
from legscore.variants.saturate import Saturated


@dataclass(frozen=True)
class Staged:
    """What is scored for an atlas, and what the files are made of afterwards."""

    setting: Setting
    wanted: Stretches
    made_by: dict[str, Any]
    job: Options
    staging: Staging


def build_atlas(
    request: AtlasRequest,
    *,
    say: Say = lambda line: None,
    progress: StartProgress | None = None,
    log: RunLog | None = None,
    start_workers: StartWorkers = lambda options, staging, log: contextlib.nullcontext(),
) -> tuple[dict[str, Any], list[str]]:
    """Build an atlas, or resume a build that was interrupted.

    Args:
        request: what to build.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows done.
        log: receives events and warnings; by default warnings go to `say`.
        start_workers: starts other processes that score.

    Returns:
        The build's record, also in ATLAS.run.json, and lines about the atlas.

    Raises:
        LegscoreError: what was asked for does not go together, or went wrong.
    """
    request = checked(request)
    log = log or RunLog(say=say)
    output, asked = request.run.output, request.asked()
    with working_folder(output, request.run.restart) as room:
        store, run = PartFolder(room), fingerprint_of(asked)
        done = finished_record(output, [output], asked, store, force=request.run.force, run=run)
        if done is not None:
            check_whole(output)
            return done, []
        check_replaced(output)
        check_moves(room, output)
        check_organism(request.run, request.build, log)
        staged = stage(request, room, asked, say, log)
        with start_workers(staged.job, staged.staging, log) as workers:
            record = score(staged.job, staged.staging, say=say, progress=progress, log=log, workers=workers)
        made = room / FILES
        if made.exists():
            shutil.rmtree(made)
        with writing(output):
            made.mkdir()
        manifest = fill_folder(made, request, staged.setting, staged.wanted, record, Path(staged.job.output))
        publish(made, output, store, run)
        record |= {"output": output, "asked": asked, "output_files": checksums_of([output])}
        record |= {"atlas": {name: manifest[name] for name in ("rows", "bytes", "bytes_per_million_rows")}}
        write_record(output, sealed(record))
    return record, closing(output, manifest)


def checked(request: AtlasRequest) -> AtlasRequest:
    """The request with the name of a folder as output. LegscoreError where something in it cannot be."""
    output = request.run.output
    if output and not output.endswith("/"):
        request = replace(request, run=replace(request.run, output=f"{output}/"))
        if os.path.lexists(output) and not os.path.isdir(output):
            raise InputError(f"{output} is a file, and an atlas is a folder; choose another -o")
    output = request.run.output
    check_apart(
        {"-o": written_by(output)},
        request.files,
        request.run.models or [folder("bundled")],
        earlier_output(output, force=request.run.force),
    )
    check_output(output)
    return request


def stage(request: AtlasRequest, room: Path, asked: dict[str, Any], say: Say, log: RunLog) -> Staged:
    """Make the tiles and write the table of their changes into `room`."""
    contract = contract_of(request.run)
    say(f"models of: {contract.describe_origin()}")
    build = fit_to_model(request.build, contract)
    check_tile_length(build, contract, log)
    stamps = {path: stamp(Path(path)) for path in build.files() if os.path.isfile(path)}
    setting = prepare(build, say)
    assert setting.tiles is not None
    frame = setting.tiles.frame
    every = stretches_of(contig_numbers(frame, setting.genome.lengths), frame)
    wanted = shard_of(every, request.wanted)
    if request.wanted is not None:
        say(
            f"shard: {request.wanted.index} of {request.wanted.of}, {len(wanted):,} of {len(every):,} "
            "stretches"
        )
    table, counts = room / "_changes.parquet", Saturated()
    made_by = write_changes(setting, wanted, table, indels=request.indels, counts=counts)
    for path, before in stamps.items():
        check_same(Path(path), before)
    for line in counts.lines():
        say(line)
    job = replace(
        request.run,
        inputs=[str(table)],
        output=str(room / "_scored.parquet"),
        keep=",".join(KEPT),
        force=True,
        columns={},
    )
    staging = Staging(
        command=request.command,
        shown_inputs=request.build.files(),
        derived_input=True,
        parts=str(room / STAGED),
        asked=asked,
    )
    return Staged(setting, wanted, made_by, job, staging)


@contextlib.contextmanager
def staged_only(request: AtlasRequest, say: Say, log: RunLog) -> Iterator[Staged]:
    """What a build would score, made in a private folder: for --dry-run."""
    request = checked(request)
    check_organism(request.run, request.build, log)
    with tempfile.TemporaryDirectory(prefix="legscore-") as room:
        yield stage(request, Path(room), {}, say, log)


def publish(made: Path, output: str, store: PartFolder, run: bytes) -> None:
    """Give the complete folder its name; an earlier one, which --force replaces, makes room first."""
    target, replaced = Path(os.path.realpath(base_of(output))), store.folder / REPLACED
    check_replaced(output)
    for path in sorted(path for path in made.iterdir() if path.is_file()):
        store.note(f"output-{path.name}", checksum_of(path), run)
    with writing(output):
        sync_folder(made)
        if replaced.exists():
            shutil.rmtree(replaced)
        if target.is_dir():
            os.rename(target, replaced)
        os.rename(made, target)
        sync_folder(target.parent)


def closing(output: str, manifest: dict[str, Any]) -> list[str]:
    """Lines about a finished atlas."""
    million = manifest["bytes_per_million_rows"]
    size = f"; {million / 1e6:,.1f} MB a million" if million else ""
    lines = [
        f"atlas: {output} ({manifest['rows']:,} changes in {manifest['tiles']:,} tiles, "
        f"{manifest['bytes'] / 1e6:,.1f} MB{size})"
    ]
    for name, error in manifest["numbers"].get("largest_error", {}).items():
        lines.append(f"int16: {name} × {manifest['numbers']['factor'][name]:.3g}, largest error {error:.3g}")
    if manifest["shard"] is not None:
        lines.append("this is one shard; legscore atlas merge joins all of them")
    return lines

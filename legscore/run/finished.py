"""Outputs that are there already: finished as asked, ours but cut short at the very end, or something else.

Nothing is replaced unsaid. The record beside an output holds what was asked for and the checksum of every
file that was written: where both fit, there is nothing to do. A run that ends between giving the output its
name and writing the record leaves a note of the checksum among its kept parts, so that the same command goes
on. Everything else that has the output's name stays, unless --force is given; but scores that took less than
a minute make room for the scores of other files, since their record says how to make them again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legscore.errors import OutputError
from legscore.model.model_names import locate_models
from legscore.output.parts import SUFFIX, PartFolder, parts_folder
from legscore.run.options import Options
from legscore.system.checksum import Checksum, checksum_of
from legscore.system.json_records import difference, is_sealed, parse_record
from legscore.system.log import Say
from legscore.system.overwrite import CHECKPOINTS, PARQUET, files_named, is_there, lies_in
from legscore.system.publish import base_of, is_stream, record_of, writing
from legscore.system.resources import folder
from legscore.system.storage import Remote, is_remote, reason, stamp
from legscore.version import __version__

NOT_COMPARED = ("inputs", "output", "models", "force", "restart", "memory")
"""Options that do not define the output, or of whose files more is compared than the names."""
QUICK_S = 60.0
"""Scores that took less to make are made again at no loss, where their record says how."""
ADVICE = "choose another -o, or add --force to replace it"
NEEDED: dict[str, Any] = {
    "rows": int,
    "rows_resumed": int,
    "status": dict,
    "rows_per_s": (int, float),
    "output": str,
}
"""What is told of a run from its record."""


def own_outputs(output: str) -> list[str]:
    """Files and folders that a run to `output` writes. They are never its input, so that the output of an
    interrupted or finished run may lie in a folder of inputs."""
    if is_stream(output):
        return []
    return [base_of(output), f"{base_of(output)}{SUFFIX}", record_of(output)]


def earlier_output(output: str, *, force: bool) -> list[str]:
    """What a run left under this output's name, which is no input of the next one even where it lies in a
    folder of inputs: the record names every file of it, with its size, or, where nothing is forced, kept
    parts lie beside it. Empty where there is none, and in stores."""
    if is_stream(output) or is_remote(output) or not is_there(output):
        return []
    try:
        record = read_record(output) or {}
    except OutputError:
        record = {}
    noted = record.get("output_files")
    named = noted if isinstance(noted, dict) else {}
    known = {(name, found.size) for name, one in named.items() if (found := Checksum.from_json(one))}
    ours = all((path.name, stamp(path).size) in known for path in _files_in(output))
    return own_outputs(output) if ours or (not force and parts_folder(output).is_dir()) else []


def asked_of(
    options: Options, files: Iterable[str] = (), more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a run was asked for: its options, the models' checksums, size and time of all else that it reads.

    Args:
        options: of the run.
        files: what is read beside the input and the models.
        more: what else was asked for (how a VCF becomes rows).
    """
    read = dict.fromkeys(str(place) for place in (*options.inputs, *files) if place)
    read |= dict.fromkeys(
        place for place in (options.calibration, options.background, options.recipe) if place
    )
    said = {name: value for name, value in asdict(options).items() if name not in NOT_COMPARED}
    models = [str(place) for place in locate_models(options.models)] or [str(folder("bundled"))]
    students = map(str, locate_models([options.student])) if options.student else ()
    asked = {
        "legscore": __version__,
        "read": {place: _stamps(place, own_outputs(options.output)) for place in read},
        "models": [found for place in (*models, *students) for found in _checksums(place)],
        "options": {**said, **(more or {})},
    }
    return parse_record(json.dumps(asked, default=list))


def read_for(files: Iterable[str]) -> dict[str, Any]:
    """What a command was asked for whose output depends on files alone."""
    return {"legscore": __version__, "read": {str(place): _stamps(str(place)) for place in files}}


def _checksums(place: str) -> list[dict[str, Any]]:
    """Checksums of the checkpoints that a name stands for; those that cannot be read are told when they are
    opened."""
    with contextlib.suppress(OSError):
        return [checksum_of(path).to_json() for path in files_named(place, CHECKPOINTS)]
    return []


def _stamps(place: str, own: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Size and time of the files that a name stands for; none where it is no file's.

    Args:
        own: what the run writes itself, and does not read in a folder.
    """
    found, skipped = [], [os.path.abspath(path) for path in own if not is_remote(path)]
    for path in files_named(place, PARQUET):
        if isinstance(path, Path) and any(lies_in(os.path.abspath(path), one) for one in skipped):
            continue
        try:
            seen = stamp(path)
        except OSError:
            continue
        name = str(path) if isinstance(path, Remote) else os.path.abspath(path)
        found.append({"path": name, "size": seen.size, "modified_ns": seen.modified_ns})
    return found


def finished_record(
    output: str,
    files: Sequence[str],
    asked: Mapping[str, Any],
    store: PartFolder | None,
    *,
    force: bool,
    run: bytes | None = None,
    needed: Mapping[str, Any] = NEEDED,
    on_replace: Say | None = None,
) -> dict[str, Any] | None:
    """The record of a finished output, where it is what is asked for now.

    Args:
        output: its name.
        files: those that it consists of: itself, or its tracks.
        asked: what is asked for now (`asked_of`).
        store: the kept parts of this output, which this process holds; None where nothing is kept.
        force: replace whatever is there.
        run: fingerprint under which notes were left in `store`; that of its record where None.
        needed: entries of the record that are told, and their types.
        on_replace: takes a line where quickly made scores of other files are replaced; where None, none are.

    Returns:
        The record, with `already_finished`; None when the output is to be written.

    Raises:
        OutputError: something else has the name.
    """
    there = [name for name in files if is_there(name)]
    if force or not there or (store is not None and was_cut_short(there, store, run)):
        return None
    record = read_record(output)
    if record is None or not isinstance(record.get("asked"), dict):
        raise OutputError(f"{there[0]} is there already; {ADVICE}")
    with writing(output):
        fits = record.get("output_files") == checksums_of(files)
    if not fits:
        raise OutputError(f"{there[0]} is there already and not what {record_of(output)} says; {ADVICE}")
    if found := difference(record["asked"], asked):
        if on_replace is not None and not output.endswith("/") and _is_of_other_files(record, asked):
            on_replace(f"replacing {output}, quickly made scores of other files: {found}")
            return None
        raise OutputError(f"{there[0]} is the output of a run that differs from this one: {found}; {ADVICE}")
    if any(not isinstance(record.get(name), kind) for name, kind in needed.items()):
        raise OutputError(f"{there[0]} is there already, and {record_of(output)} is no run's; {ADVICE}")
    return {**record, "already_finished": True}


def _is_of_other_files(record: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a finished output, quickly made, holds the scores of files of other names."""
    seconds, read = record.get("seconds"), record["asked"].get("read")
    quick = isinstance(seconds, int | float) and 0 <= seconds < QUICK_S
    return quick and isinstance(read, dict) and set(read) != set(asked["read"])


def read_record(output: str) -> dict[str, Any] | None:
    """The record of an output that is there; None when it has none. OutputError when it cannot be read, or
    is not as it was written."""
    place = record_of(output)
    try:
        record = parse_record(Remote(place).read() if is_remote(place) else Path(place).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{output} is there already, and {place} cannot be read ({reason(error)}); {ADVICE}"
        ) from None
    if not is_sealed(record):
        raise OutputError(f"{output} is there already, and {place} is not as a run wrote it; {ADVICE}")
    return record


def checksums_of(files: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Checksums by the names of files; of folders, of the files in them. OSError when one cannot be read."""
    return {path.name: checksum_of(path).to_json() for name in files for path in _files_in(name)}


def was_cut_short(there: Sequence[str], store: PartFolder, run: bytes | None = None) -> bool:
    """Whether all that is there was written by the interrupted run whose parts are kept. In a store, files of
    a folder are looked at by name only: each is read when it is taken."""
    if run is None and not store.is_begun():
        return False
    for name in there:
        for path in _files_in(name):
            noted = store.noted(f"output-{path.name}", run)
            if noted is None:
                return False
            if isinstance(path, Remote) and name.endswith("/"):
                continue
            with writing(name):
                if stamp(path).size != noted.size or checksum_of(path) != noted:
                    return False
    return True


def _files_in(output: str) -> list[Path | Remote]:
    """The file of this name, or the files of a folder, sorted."""
    if not output.endswith("/"):
        return [Remote(output) if is_remote(output) else Path(output)]
    if is_remote(output):
        return [Remote(output).child(name) for name in sorted(Remote(output).names())]
    return [path for path in sorted(Path(output).iterdir()) if path.is_file()]

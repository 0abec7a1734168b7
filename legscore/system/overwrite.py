"""What may be written over: never something that is read, and what is there already only when asked to.

Outputs are compared with inputs by the identity of files, not by their names: links, other spellings of a
path, patterns and folders all lead to the same file. In object stores normalised addresses are compared.
Called before anything is opened for writing, so that what is refused is as it was.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from legscore.errors import OutputError
from legscore.system.publish import check_writable, writing
from legscore.system.storage import Remote, is_remote, listing

Place = str | Path | object | None
RECORD = ".run.json"
COMPANIONS = (".fai", ".gzi", ".tbi", ".csi", RECORD)
"""What may be read beside a file: indices of genomes and VCFs, the record of a table."""
PARQUET = (".parquet", ".pq", ".parq")
CHECKPOINTS = (".safetensors",)
PARQUET_MAGIC = b"PAR1"
WILDCARDS = re.compile(r"[*?\[]")


def check_apart(
    outputs: Mapping[str, Iterable[Place] | Place],
    inputs: Iterable[Place],
    models: Iterable[Place] = (),
    own: Iterable[Place] = (),
) -> None:
    """Refuse outputs that are inputs, and two outputs in one file.

    Args:
        outputs: what is written, by the option that names it (`{"-o": [scores, record], "--log-json": log}`).
            A name that ends in a slash is a folder. None, "" and "-" count for nothing.
        inputs: whatever is read: tables, models, genome, annotation, calibration, recipes, lists; as a user
            names them, so also patterns and folders (of Parquet files). Files that may be read beside them
            are added (COMPANIONS).
        models: checkpoints, and folders of them.
        own: what an earlier run left under the outputs' names; it is no input where a folder or a pattern
            alone names it.

    Raises:
        OutputError: an output is an input or holds one, or two outputs are the same file.
    """
    reads = [place for place in map(_text, inputs) if place]
    local = _LocalFiles([os.path.realpath(place) for place in map(_text, own) if place])
    for place in reads:
        if not is_remote(place):
            local.add(place, PARQUET)
    for place in filter(None, map(_text, models)):
        local.add(place, CHECKPOINTS)
    local.check_streams()
    remote = [_address(place) for place in reads if is_remote(place)]
    written: dict[object, str] = {}
    _check_beside(outputs)
    for option, places in outputs.items():
        several = places if isinstance(places, (list, tuple, set)) else [places]
        for place in filter(None, map(_text, several)):
            if is_remote(place):
                clash = _remote_clash(_address(place), remote)
                same: object = _address(place)
            else:
                clash, same = local.clash(place), identity(place)
            if clash is not None:
                raise OutputError(f"{place} is both input and output{clash}; choose another {option}")
            if same is not None and same in written:
                raise OutputError(
                    f"{place} would be written twice, by {written[same]} and {option}; choose another name"
                )
            if same is not None:
                written[same] = option


def _check_beside(outputs: Mapping[str, Iterable[Place] | Place]) -> None:
    """OutputError where one output lies in the folder that another is: that is replaced as a whole."""
    named = [
        (option, place)
        for option, places in outputs.items()
        for place in filter(None, map(_text, places if isinstance(places, (list, tuple, set)) else [places]))
        if not is_remote(place)
    ]
    for option, place in named:
        path = os.path.realpath(place)
        for _, folder in named:
            if folder.endswith("/") and folder != place and lies_in(path, os.path.realpath(folder)):
                raise OutputError(
                    f"{place} lies in {folder}, the folder of another output; choose another {option}"
                )


def _text(place: Place) -> str:
    text = "" if place is None else str(place)
    return "" if text == "-" else text


class _LocalFiles:
    """The files of this machine that are read. `own`: real paths that a folder or a pattern does not mean."""

    def __init__(self, own: Sequence[str] = ()) -> None:
        self._files: dict[object, str] = {}
        self._paths: list[str] = []
        self._own = own

    def add(self, place: str, endings: tuple[str, ...]) -> None:
        """A path or a pattern; in folders, the files with one of `endings`."""
        for path in _matches(place):
            if path != place and self._is_own(path):
                continue
            if os.path.isdir(path):
                self._paths.append(os.path.realpath(path))
                for inside in _files_below(path, endings):
                    if not self._is_own(inside):
                        self._add(inside)
            else:
                for suffix in ("", *COMPANIONS):
                    self._add(path + suffix)

    def _is_own(self, path: str) -> bool:
        return any(lies_in(os.path.realpath(path), one) for one in self._own)

    def _add(self, path: str) -> None:
        found = identity(path)
        if found is not None:
            self._files[found] = path
            self._paths.append(os.path.realpath(path))

    def check_streams(self) -> None:
        """OutputError where standard output or error goes into a file that is read (`>> input.csv`)."""
        for number, name, sign in ((1, "standard output", ">"), (2, "standard error", "2>")):
            try:
                found = os.fstat(number)
            except OSError:  # closed
                continue
            if stat.S_ISREG(found.st_mode) and (path := self._files.get((found.st_dev, found.st_ino))):
                raise OutputError(
                    f"{path} is both input and output: {name} goes there; choose another {sign}"
                )

    def clash(self, output: str) -> str | None:
        """Why an output is an input, in words that follow `is both input and output`; None: it is none."""
        path = os.path.realpath(output)
        if output.endswith("/") or os.path.isdir(path):
            inside = next((read for read in self._paths if lies_in(read, path)), None)
            return None if inside is None else f" ({inside} lies in it)"
        found = identity(output)
        if found is None or found not in self._files:
            return None
        name = self._files[found]
        return "" if name == output else f" (it is {name})"


def _matches(place: str) -> list[str]:
    """The paths that an input names: itself, or what fits a pattern."""
    if os.path.lexists(place) or not WILDCARDS.search(place):
        return [place]
    return glob.glob(place, recursive=True)


def files_named(place: str, endings: tuple[str, ...]) -> list[Path | Remote]:
    """The files that a name, a pattern or an address stands for; of folders, those with one of `endings` (for
    PARQUET, those that begin as Parquet does too). Empty where it names nothing."""
    if is_remote(place):
        try:
            return list(listing(place)[1])
        except OSError:
            return []
    found: list[Path | Remote] = []
    for path in sorted(_matches(place)):
        if os.path.isdir(path):
            found += [Path(inside) for inside in sorted(_files_below(path, endings))]
        elif os.path.exists(path):
            found.append(Path(path))
    return found


def _files_below(folder: str, endings: tuple[str, ...]) -> Iterator[str]:
    """The files of a folder that are read; Parquet is known by its content too."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = os.path.join(where, name)
            if name.lower().endswith(endings) or (endings == PARQUET and _is_parquet(path)):
                yield path


def _is_parquet(path: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            return stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except OSError:
        return False


def identity(path: str) -> object:
    """Device and inode of a regular file or folder, the path of one that is not there; None for devices and
    pipes, which may be read and written."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return found.st_dev, found.st_ino
    return None


def named_twice(places: Iterable[str | Path | Remote]) -> str | None:
    """The first of some files that another of them is too, by whatever name: `b`, or `b (it is a)` where the
    names differ; None where each is there once. Addresses in stores are compared as they are written."""
    seen: dict[object, str] = {}
    for place in places:
        name = str(place)
        found = name if isinstance(place, Remote) or is_remote(name) else identity(name)
        if found is None:
            continue
        if found in seen:
            return name if seen[found] == name else f"{name} (it is {seen[found]})"
        seen[found] = name
    return None


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder's own or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def check_outside(output: str, folder: str | Path, what: str) -> None:
    """OutputError where an output on a disk lies in a folder that is read as a whole, `what` in words."""
    if lies_in(os.path.realpath(output), os.path.realpath(folder)):
        raise OutputError(f"{output} lies in {what} {folder}; choose another -o")


def _address(uri: str) -> str:
    """One spelling of an address in a store: scheme in lower case, no empty or `.` steps."""
    scheme, _, key = uri.partition("://")
    steps = [step for step in key.split("/") if step not in ("", ".")]
    return f"{scheme.lower().replace('gcs', 'gs')}://{'/'.join(steps)}"


def _remote_clash(output: str, inputs: Iterable[str]) -> str | None:
    for read in inputs:
        if read == output:
            return ""
        if WILDCARDS.search(read) and fnmatch.fnmatchcase(output, read):
            return f" (it fits {read})"
        if output.startswith(f"{read}/"):
            return f" (it lies in {read})"
        if read.startswith(f"{output}/"):
            return f" ({read} lies in it)"
    return None


def check_free(outputs: Mapping[str, Iterable[Place] | Place], *, force: bool) -> None:
    """Refuse to replace what is there already: a regular file, or a folder that is not empty.

    Devices, pipes and sockets are free: they are written to. Records (`.run.json`) are not asked about: one
    without its output says nothing.

    Args:
        outputs: what will be replaced, by the option that names it. None, "" and "-" count for nothing.
        force: replace it all the same.

    Raises:
        OutputError: something is there, or the store cannot be asked.
    """
    for option, places in outputs.items():
        several = places if isinstance(places, (list, tuple, set)) else [places]
        for place in filter(None, map(_text, several)):
            if not (force or place.endswith(RECORD)) and is_there(place):
                raise OutputError(
                    f"{place} is there already; choose another {option}, or add --force to replace it"
                )


def check_outputs(
    outputs: Mapping[str, Iterable[Place] | Place],
    inputs: Iterable[Place],
    models: Iterable[Place] = (),
    *,
    force: bool,
) -> None:
    """`check_apart`, then `check_free`: what every command asks before it opens anything for writing."""
    check_apart(outputs, inputs, models)
    check_free(outputs, force=force)


def check_files(
    outputs: Mapping[str, str | Path | None],
    inputs: Iterable[Place],
    models: Iterable[Place] = (),
    *,
    force: bool,
) -> None:
    """`check_outputs` of files on a disk, and whether each can be written."""
    check_apart(outputs, inputs, models)
    for place in filter(None, map(_text, outputs.values())):
        check_writable(Path(place))
    check_free(outputs, force=force)


def is_there(output: str) -> bool:
    """Whether a regular file or a folder that is not empty has this name, on a disk or in a store.

    Raises:
        OutputError: the disk or the store cannot be asked.
    """
    with writing(output):
        if is_remote(output):
            found = Remote(output)
            return bool(found.names()) if output.endswith("/") else found.is_file()
        try:
            mode = os.stat(output).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        return bool(os.listdir(output)) if stat.S_ISDIR(mode) else stat.S_ISREG(mode)

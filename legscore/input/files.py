"""Paths, folders and patterns → the files of an input, on a disk or in a store.

A folder stands for the Parquet files in it and below, known by their names or their first bytes. What
other tools put beside their data is left out, and said: every name that begins with `_` or `.`
(`_temporary/`, `_SUCCESS`, `.ipynb_checkpoints/`), copies and half-written files (`x.parquet~`,
`x.parquet.tmp`), and what is no Parquet; so is a link of either kind to what is read already. Names of
folders that read `key=value`, as Hive and Spark write them, are a column of the rows below, whether the
folder, a pattern, or the file itself was named.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from legscore.errors import InputError
from legscore.system.overwrite import identity, named_twice
from legscore.system.storage import Remote, is_remote, listing, open_binary, reason

PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
PARQUET_MAGIC = (b"PAR1", b"PARE")
"""The first bytes of a Parquet file, and of one whose footer is encrypted."""
HIDDEN = ("_", ".")
UNFINISHED = re.compile(
    r"(~|\.(tmp|temp|bak|old|orig|part|partial|crdownload|download|inprogress|swp))$|^#.*#$", re.IGNORECASE
)
"""Names of what an editor, a download or a writer keeps beside the file itself."""
SYSTEM_FOLDERS = ("lost+found", "$recycle.bin", "system volume information", "@eadir")
NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
KEPT_VERSIONS = {
    "Delta": re.compile(r"(^|/)_delta_log(/|$)"),
    "Hudi": re.compile(r"(^|/)\.hoodie(/|$)"),
    "Iceberg": re.compile(r"(^|/)metadata/[^/]*\.metadata\.json$"),
}
"""Tables whose folders hold files of earlier versions too, and what else lies there."""
WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFile:
    """A file to read, and the columns that the names of its folders say: name → text, or None for null."""

    path: Path | Remote
    keys: tuple[tuple[str, str | None], ...] = ()


Entry = tuple[PurePosixPath, "Path | Remote"]
"""The place of a file or folder below the one that was named, and itself."""


@dataclass(frozen=True)
class FoundFiles:
    """Files in the order to read, and lines about what was left out."""

    files: tuple[InputFile, ...]
    notes: tuple[str, ...]


def find_files(paths: Sequence[str | Path], own_outputs: Sequence[str | Path] = ()) -> FoundFiles:
    """The files that paths, folders and patterns (`*`, `?`, `[`, `**`) stand for.

    Args:
        paths: in the order to read; files of a folder or pattern are sorted by name.
        own_outputs: files and folders that this very run writes; they are no input, wherever they lie.

    Raises:
        InputError: nothing is there, it cannot be read, or a file would be read twice.
    """
    files: list[InputFile] = []
    notes: list[str] = []
    skip = {os.path.abspath(path) if not is_remote(path) else str(path).rstrip("/") for path in own_outputs}
    for path in paths:
        try:
            found = _expand(path, skip)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {reason(error)}") from error
        files += found.files
        notes += found.notes
    if twice := named_twice(file.path for file in files):
        raise InputError(f"{twice} is named twice: every row of it would count twice; name it once")
    return FoundFiles(tuple(files), tuple(notes))


def _expand(given: str | Path, skip: Collection[str]) -> FoundFiles:
    """What one path stands for. OSError when a folder or a store cannot be read."""
    if is_remote(given):
        prefix, objects = listing(str(given))
        if prefix is None:
            return FoundFiles(tuple(map(InputFile, objects)), ())
        inside: list[Entry] = [
            (PurePosixPath(found.uri[len(prefix.uri) :].lstrip("/")), found) for found in objects
        ]
        return _chosen(str(given), inside, skip, is_folder=WILDCARD.search(str(given)) is None)
    text, path = str(given), Path(given)
    if not text or text == "-":
        raise InputError(f"{text!r} is no input; name a file (streams are not read: an input is read twice)")
    if path.is_dir():
        partitions = _partitions(path)
        below: list[Entry] = [(partitions / place, file) for place, file in _below(path, path, skip)]
        return _chosen(text, below, skip, is_folder=True)
    if path.exists():
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; streams are not read: write it to a file first")
        return FoundFiles((InputFile(path, _keys(_partitions(path.parent) / path.name)),), ())
    if not WILDCARD.search(text):
        raise InputError(f"{path}: no such file or directory")
    return _matching(text, skip)


def _matching(pattern: str, skip: Collection[str]) -> FoundFiles:
    """The files that a pattern fits; where it fits folders alone, what is in them."""
    base = Path(*itertools.takewhile(lambda part: not WILDCARD.search(part), Path(pattern).parts))
    matches = list(map(Path, sorted(glob.glob(pattern, recursive=True))))
    if not matches:
        raise InputError(f"{pattern}: no file matches this pattern")
    partitions = _partitions(base)
    if files := [match for match in matches if not match.is_dir()]:
        found: list[Entry] = [(partitions / _place(file, base), file) for file in files]
        return _chosen(pattern, found, skip, is_folder=False)
    below = {path: place for folder in matches for place, path in _below(folder, base, skip)}
    return _chosen(
        pattern, [(partitions / place, path) for path, place in below.items()], skip, is_folder=True
    )


def _partitions(folder: Path) -> PurePosixPath:
    """The last steps of a folder's name that read key=value: what a shell makes of `d/chrom=*`."""
    steps = itertools.takewhile(lambda step: step.find("=") > 0, reversed(folder.parts))
    return PurePosixPath(*reversed(list(steps)))


def _place(path: Path, base: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(base).as_posix())


def _below(folder: Path, base: Path, skip: Collection[str]) -> list[Entry]:
    """Everything in a folder and below, sorted, by its place below `base`; folders that are left out
    stand for what is in them."""
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder, onerror=refuse):
        entered = []
        for name in folders:
            place = Path(here, name)
            if os.path.abspath(place) in skip:
                continue
            # a link may lead back here, and what it leads to may be read already
            if name.startswith(HIDDEN) or place.is_symlink():
                found.append(place)
            else:
                entered.append(name)
        folders[:] = entered
        found += [Path(here, name) for name in files]
    return [(_place(path, base), path) for path in sorted(found)]


def _chosen(given: str, inside: list[Entry], skip: Collection[str], *, is_folder: bool) -> FoundFiles:
    """The files among these entries.

    Args:
        given: the folder or pattern, for messages.
        inside: each entry and its place below the folder, or below what stands before a pattern's first
            wildcard.
        is_folder: take Parquet files only.
    """
    files: list[InputFile] = []
    left_out: list[str] = []
    wanted = () if is_folder else Path(given).parts
    taken: list[Entry] = []
    for place, path in inside:
        if _is_below(str(path) if isinstance(path, Remote) else os.path.abspath(path), skip):
            continue
        if (
            any(_is_hidden(part, wanted) for part in place.parts)
            or (isinstance(path, Path) and not path.is_file())
            or (is_folder and (_is_leftover(place) or not _is_parquet(path)))
        ):
            left_out.append(str(path))
        else:
            taken.append((place, path))
    is_link = {path for _, path in taken if isinstance(path, Path) and path.is_symlink()}
    same = {path: identity(str(path)) for _, path in taken if isinstance(path, Path)}
    themselves = {found for path, found in same.items() if path not in is_link}
    seen: set[object] = set()
    for place, path in taken:
        if isinstance(path, Path):
            if same[path] in seen or (path in is_link and same[path] in themselves):
                left_out.append(str(path))
                continue
            seen.add(same[path])
        files.append(InputFile(path, _keys(place)))
    what = "directory" if is_folder else "pattern"
    if not files:
        there = f"; it has {left_out[0]}" if left_out else ""
        raise InputError(f"{given}: no Parquet file in this {what}{there}")
    notes = []
    if left_out:
        notes.append(
            f"{given}: {len(left_out):,} left out (hidden by _ or ., a link, a copy, or no Parquet); the "
            f"first is {left_out[0]}"
        )
    notes += [
        f"{given}: {kind} table, of which files of earlier versions are read too; export it first"
        for kind, pattern in KEPT_VERSIONS.items()
        if any(pattern.search(entry) for entry in left_out)
    ]
    return FoundFiles(tuple(files), tuple(notes))


def _is_leftover(place: PurePosixPath) -> bool:
    """Whether a file is a copy, unfinished, or lies in a folder that a system keeps for itself."""
    return UNFINISHED.search(place.name) is not None or any(
        part.lower() in SYSTEM_FOLDERS for part in place.parts[:-1]
    )


def _is_hidden(name: str, wanted: Collection[str]) -> bool:
    """Whether a file's or folder's name says that it is no data, unless one of these names asks for it."""
    if not name.startswith(HIDDEN) or name in wanted:
        return False
    return not any(part.startswith(name[0]) and WILDCARD.search(part) for part in wanted)


def _is_below(path: str, skip: Collection[str]) -> bool:
    return any(path == own or path.startswith(f"{own}/") for own in skip)


def _is_parquet(path: Path | Remote) -> bool:
    if path.name.lower().endswith(PARQUET_ENDINGS):
        return True
    with open_binary(path) as stream:
        return bytes(stream.read(4)) in PARQUET_MAGIC


def _keys(place: PurePosixPath) -> tuple[tuple[str, str | None], ...]:
    """What the names of folders say, of the form key=value, percent-encoded. InputError for a key twice."""
    keys: dict[str, str | None] = {}
    for part in place.parts[:-1]:
        name, equals, value = part.partition("=")
        if not equals or not name:
            continue
        if (name := unquote(name)) in keys:
            raise InputError(f"{place}: two folders say what {name!r} is; rename one of them")
        keys[name] = None if value == NULL_KEY else unquote(value)
    return tuple(keys.items())

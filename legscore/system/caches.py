"""Caches: plans, kernel timings, compiled kernels, fidelity records. One user's own, private, rebuilt when
damaged.

A plan and a compiled kernel are executable code. So they are read from the cache folder only, which must
belong to the user (or to root) and which nobody else may write to; it is made with mode 700. Nothing is
looked up beside models or in the working directory; LEGSCORE_CACHE, which the user sets, moves the folder.
Work that several processes want is done once: the others wait on a kernel lock, which a kill releases.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from legscore.errors import OutputError
from legscore.system.lock import take_lock
from legscore.system.publish import writing
from legscore.system.resources import cache_folder

KINDS = ("plans", "timing", "kernels", "networks", "fidelity")
"""Folders of the cache."""
LOCK = ".lock"


def private(folder: Path) -> Path:
    """The folder, made with mode 700 (and what is missing above it), or made so where it is the user's own.

    Raises:
        OutputError: it belongs to someone else, others may write to it, or it cannot be made.
    """
    with writing(folder):
        for one in (*reversed(folder.parents), folder):
            if not one.exists():
                one.mkdir(mode=0o700, exist_ok=True)
    check_private(folder)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 and folder.stat().st_uid == os.geteuid():
        with contextlib.suppress(OSError):  # a file system without modes; writing by others was refused above
            folder.chmod(0o700)
    return folder


def check_private(folder: Path) -> None:
    """OutputError when someone else may have put files into the folder, or into the one that it lies in."""
    if not hasattr(os, "geteuid"):
        return
    for one in (folder, folder.parent):
        try:
            found = one.stat()
        except OSError:
            continue
        if found.st_uid not in (os.geteuid(), 0):
            raise OutputError(
                f"the cache folder {one} belongs to another user (id {found.st_uid}); what lies there could "
                "run code. Choose one "
                "of your own with LEGSCORE_CACHE"
            )
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if shared and (one == folder or not found.st_mode & stat.S_ISVTX):
            raise OutputError(
                f"others may write to the cache folder {one}; what lies there could run code. Remove it, or "
                "take the right "
                f"away (chmod go-w {one}), or choose another with LEGSCORE_CACHE"
            )


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock file beside `path`; `waiting` is called once when another process has it. Where the
    system has no locks, work may be done twice. OutputError when the folder cannot be written."""
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = take_lock(path.with_name(f"{path.name}{LOCK}"), waiting)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@dataclass(frozen=True)
class Entry:
    """A file of the cache."""

    kind: str
    path: Path
    nbytes: int
    modified: float


def entries(kinds: Sequence[str] = KINDS) -> list[Entry]:
    """What is in the cache, oldest first within a kind; locks and files half written are left out."""
    found = []
    for kind in kinds:
        folder = cache_folder(kind)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not path.name.endswith(LOCK) and not path.name.startswith("."):
                now = path.stat()
                found.append(Entry(kind, path, now.st_size, now.st_mtime))
    return sorted(found, key=lambda entry: (KINDS.index(entry.kind), entry.modified, entry.path.name))


def clear(kinds: Sequence[str] = KINDS) -> list[Entry]:
    """Remove every entry; an entry that is being made is waited for. Runs that use one keep it until they
    end."""
    removed = entries(kinds)
    for entry in removed:
        lock = entry.path.with_name(f"{entry.path.name}{LOCK}")
        with locked(entry.path), writing(entry.path):
            entry.path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    return removed

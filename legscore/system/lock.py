"""Kernel locks (flock): one kind for all that must not be done twice at a time.

A lock ends with its process, however that ends, and is never judged by a file being there. `take_lock` is the
primitive; `locked_folder` holds a folder for one run. What its lock file says (who has it) is only
for the message to the second run.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from legscore.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "lock"


def has_locks() -> bool:
    """Whether this system knows flock."""
    return fcntl is not None


def take_lock(path: Path, waiting: Callable[[], object] | None = None) -> int | None:
    """Lock the file at `path`, made where it is missing, until the returned descriptor is closed.

    A lock counts only while its file is still at `path`: its last holder may have removed it between opening
    and locking, and then it is made and locked again. Where the system has no flock, nothing is locked.

    Args:
        waiting: wait for a lock that another process holds, after calling this once; None: do not wait.

    Returns:
        The descriptor, or None when another process holds the lock.

    Raises:
        OSError: the file cannot be opened, or the file system has no locks.
    """
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not has_locks():
                return handle
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    os.close(handle)
                    return None
                if not told:
                    waiting()
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextlib.contextmanager
def locked_folder(folder: Path, output: str, *, mode: int = 0o777) -> Iterator[Path]:
    """Hold `folder`, made if it is not there; at the end the lock file goes, and the folder if nothing else
    is in it.

    Args:
        folder: where a run keeps what it has done.
        output: the output it is for, for messages.
        mode: with which the folder is made.

    Raises:
        OutputError: another run holds it (which one is said), or the file system refuses folder or lock.
    """
    if not has_locks():
        raise OutputError(
            "runs that can be resumed need flock, which this system lacks; write to standard output (-o -)"
        )
    path = folder / LOCK_NAME
    handle = _lock_in(path, output, mode)
    try:
        os.ftruncate(handle, 0)
        who = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its description is missing
            os.write(handle, json.dumps(who).encode())
        yield folder
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: what was done stays
            folder.rmdir()
        os.close(handle)


def _lock_in(path: Path, output: str, mode: int) -> int:
    while True:
        try:
            path.parent.mkdir(mode=mode, parents=True, exist_ok=True)
            handle = take_lock(path)
        except FileNotFoundError:  # its last holder took the folder away between two of our steps: again
            continue
        except OSError as error:
            raise OutputError(
                f"{path} cannot be locked: {error.strerror or error}; choose another folder for -o"
            ) from error
        if handle is None:
            raise OutputError(
                f"{output} is being written by {_holder(path)}; wait for it, or choose another -o"
            )
        return handle


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_bytes()[:4096])
        return f"process {int(who['pid'])} on {who['host']} (since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"

"""One run at a time for an output: a folder that a run holds with a kernel lock.

The lock is flock's: it ends with its process, however that ends, and is never judged by a file being there.
What the lock file holds (who has it) is only for the message to the second run.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from legscore.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "lock"


@contextlib.contextmanager
def locked_folder(folder: Path, output: str) -> Iterator[Path]:
    """Hold `folder`, made if it is not there; at the end the lock file goes, and the folder if nothing else
    is in it.

    Args:
        folder: where a run keeps what it has done.
        output: the output it is for, for messages.

    Raises:
        OutputError: another run holds it (which one is said), or the file system refuses folder or lock.
    """
    if fcntl is None:
        raise OutputError(
            "runs that can be resumed need flock, which this system lacks; write to standard output (-o -)"
        )
    path = folder / LOCK_NAME
    handle = _locked(path, output)
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


def _locked(path: Path, output: str) -> int:
    while True:
        handle = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:  # its last holder took the folder away between two of our steps: again
            pass
        except BlockingIOError:
            held = _holder(handle)
            os.close(handle)
            raise OutputError(
                f"{output} is being written by {held}; wait for it, or choose another -o"
            ) from None
        except OSError as error:
            if handle >= 0:
                os.close(handle)
            raise OutputError(
                f"{path} cannot be locked: {error.strerror or error}; choose another folder for -o"
            ) from error
        if handle >= 0:
            os.close(handle)


def _holder(handle: int) -> str:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"process {int(who['pid'])} on {who['host']} (since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"

"""Build aside, publish by rename: a file at its final path is always complete.

Nothing is ever written in place. A temporary name lies in the same folder (so that the rename stays on one file
system), starts with a dot and carries the process id; it is removed when the writing fails.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from legscore.errors import OutputError


def check_writable(path: Path) -> None:
    """OutputError unless a file can be created at `path`; called before any work starts."""
    folder = path.parent
    if path.is_dir():
        raise OutputError(f"{path} is a directory; name a file")
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} does not exist; create it or choose another -o")
    try:
        probe = _aside(path, "probe")
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _aside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is synced to disk and renamed to `path`."""
    temporary = _aside(path, "part")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

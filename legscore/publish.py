"""Build aside, publish by rename: a file at its final path is always complete.

Nothing is ever written in place. A temporary name lies in the same folder (so that the rename stays on one file
system), starts with a dot, carries the process id and a token; it is removed when the writing fails.
"""

from __future__ import annotations

import contextlib
import os
import secrets
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
    # the token keeps threads apart, and containers that share a folder and are all process 1
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.{what}")


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn a refusal of the operating system or of Arrow into an OutputError that names `path`; a broken pipe passes."""
    import pyarrow as pa

    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"{path} cannot be written: {(reason.splitlines() or [type(error).__name__])[0]}") from error


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is synced to disk and renamed to `path`.

    Whatever the body raises passes, and the temporary file is removed; wrap the body's own writes in `writing`.
    """
    path = Path(os.path.realpath(path))  # through links, to the file that they stand for
    temporary = _aside(path, "part")
    try:
        yield temporary
        with writing(path):
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise

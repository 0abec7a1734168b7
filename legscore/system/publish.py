"""Build aside, publish by rename: a file at its final path is always complete.

Nothing is ever written in place. A temporary name lies in the same folder (so that the rename stays on one
file system), starts with a dot, carries the process id and a token; it is removed when the writing fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from legscore.errors import OutputError
from legscore.system.storage import Remote, is_remote, reason


def base_of(output: str) -> str:
    """An output's name, of a folder of files without its slash: what `.run.json` and `.parts` are appended
    to."""
    return output.rstrip("/") or "/"


def record_of(output: str) -> str:
    """Where the record of an output lies."""
    return f"{base_of(output)}.run.json"


def written_by(output: str) -> list[str]:
    """The names that are written for an output: its own and its record's; none for standard output."""
    return [] if output in ("", "-") else [output, record_of(output)]


def check_output(output: str) -> None:
    """OutputError unless `output` and its record can be written, on a disk or in a store; called before any
    work starts."""
    if not is_remote(output):
        if not output.endswith("/"):
            check_writable(Path(output))
        check_writable(Path(record_of(output)))
        return
    probe = Remote(f"{base_of(output)}.{secrets.token_hex(4)}.probe")
    with writing(output):
        probe.put(b"")
        probe.delete()


def write_record(output: str, text: str) -> None:
    """Write `text` beside the output, whole. OutputError when disk or store refuse."""
    target = record_of(output)
    if is_remote(output):
        with writing(target):
            Remote(target).put(text.encode())
        return
    with publishing(Path(target)) as temporary, writing(target):
        temporary.write_text(text)


@contextlib.contextmanager
def publishing_to(output: str, aside: Path | None = None) -> Iterator[Path]:
    """As `publishing`, to a disk or a store: there what was written aside is uploaded, which puts it in
    place."""
    if not is_remote(output):
        with publishing(Path(output), aside) as temporary:
            yield temporary
        return
    temporary = aside or Path(tempfile.gettempdir()) / f"legscore.{os.getpid()}.{secrets.token_hex(4)}.part"
    try:
        yield temporary
        with writing(output):
            Remote(output).upload(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """OutputError unless a file can be created at `path`; called before any work starts."""
    folder = path.parent
    if path.is_dir():
        raise OutputError(
            f"{path} is a directory; name a file, or write {path}/ for a folder of Parquet files"
        )
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} does not exist; create it or choose another -o")
    try:
        probe = _aside(path, "probe")
        probe.touch(exist_ok=False)
        # who holds the output's lock may have taken it for litter (`remove_stale`)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _aside(path: Path, what: str) -> Path:
    # the token keeps threads apart, and containers that share a folder and are all process 1
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.{what}")


def sync_folder(folder: Path) -> None:
    """Make what was renamed or made in a folder survive a loss of power, where the file system knows how."""
    # some (CIFS, FUSE) refuse to open or sync a folder; the rename itself is done
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn a refusal of the operating system or of Arrow into an OutputError that names `path`; a broken pipe
    passes."""
    import pyarrow as pa

    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path} cannot be written: {reason(error)}") from error


def remove_stale(*paths: Path | str) -> None:
    """Remove temporary files that killed processes left beside these outputs. Only for who holds the outputs'
    lock."""
    for path in map(Path, paths):
        path = Path(os.path.realpath(path))
        stale = re.compile(re.escape(f".{path.name}.") + r"\d+\.[0-9a-f]{8}\.(part|probe)")
        for entry in path.parent.glob(".*"):
            if stale.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # litter; what matters is reported where it matters
                    entry.unlink()


@contextlib.contextmanager
def publishing(path: Path, aside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`, or `aside` on the same file system; on a clean exit it is synced
    to disk and renamed to `path`, and the rename is synced too.

    Whatever the body raises passes, and the temporary file is removed; wrap the body's own writes in
    `writing`.
    """
    path = Path(os.path.realpath(path))  # through links, to the file that they stand for
    temporary = aside or _aside(path, "part")
    try:
        yield temporary
        with writing(path):
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise


def is_dataset(output: str) -> bool:
    """Whether an output is a folder of files: its name ends in a slash."""
    return output.endswith("/")

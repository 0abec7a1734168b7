"""Build aside, publish by rename: a file at its final path is always complete.

Nothing is ever written in place. A temporary name lies in the same folder (so that the rename stays on one
file system), starts with a dot, carries the process id and a token; it is removed when the writing fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from legscore.errors import OutputError
from legscore.system.storage import Remote, is_remote, reason

Complete = Callable[[Path], object]
"""Takes the file that was written aside when it is complete and not yet in place."""


def base_of(output: str) -> str:
    """An output's name, of a folder of files without its slash: what `.run.json` and `.parts` are appended
    to."""
    return output.rstrip("/") or "/"


def record_of(output: str) -> str:
    """Where the record of an output lies."""
    return f"{base_of(output)}.run.json"


def is_stream(output: str) -> bool:
    """Whether an output is written as it comes, and neither replaced nor recorded: `-`, a device, a pipe or a
    socket."""
    if output == "-" or is_remote(output):
        return output == "-"
    try:
        mode = os.stat(output).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def written_by(output: str) -> list[str]:
    """The names that are written for an output: its own and its record's; none for a stream."""
    return [] if output == "" or is_stream(output) else [output, record_of(output)]


@contextlib.contextmanager
def _closed(stream: BinaryIO, output: str) -> Iterator[BinaryIO]:
    """Closes a stream at the end. That writes what is left, which the device may refuse a second time: the
    error to report is the first, which names the output."""
    try:
        yield stream
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        raise
    with writing(output):
        stream.close()


@contextlib.contextmanager
def open_stream(output: str) -> Iterator[BinaryIO]:
    """Standard output, a device, a pipe or a socket for writing bytes. OutputError when it refuses."""
    if output == "-":
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        yield sys.stdout.buffer
        return
    with contextlib.ExitStack() as stack:
        with writing(output):
            if stat.S_ISSOCK(os.stat(output).st_mode):
                import socket

                end = stack.enter_context(socket.socket(socket.AF_UNIX))
                end.connect(output)
                stream: BinaryIO = stack.enter_context(_closed(end.makefile("wb"), output))
            else:
                stream = stack.enter_context(_closed(open(output, "wb"), output))  # noqa: SIM115
        yield stream
        with writing(output):
            stream.flush()


def check_output(output: str) -> None:
    """OutputError unless `output` and its record can be written, on a disk or in a store; called before any
    work starts."""
    if is_stream(output):
        return
    if not is_remote(output):
        if output.endswith("/"):
            _check_replaceable(Path(os.path.realpath(base_of(output))))
        else:
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
def publishing_to(
    output: str, aside: Path | None = None, complete: Complete = lambda path: None
) -> Iterator[Path]:
    """As `publishing`, to a disk or a store: there what was written aside is uploaded, which puts it in
    place."""
    if not is_remote(output):
        with publishing(Path(output), aside, complete) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="legscore-") as private:
        temporary = aside or Path(private) / "output"
        try:
            yield temporary
            complete(temporary)
            with writing(output):
                Remote(output).upload(temporary)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """OutputError unless a file can be created and renamed to `path`; called before any work starts."""
    if is_stream(str(path)):
        return
    folder = path.parent
    if path.is_dir():
        raise OutputError(
            f"{path} is a directory; name a file, or write {path}/ for a folder of Parquet files"
        )
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} does not exist; create it or choose another -o")
    try:
        probe, renamed = _aside(path, "probe"), _aside(path, "probe")
        probe.touch(exist_ok=False)
        # who holds the output's lock may have taken it for litter (`remove_stale`)
        with contextlib.suppress(FileNotFoundError):
            os.replace(probe, renamed)
        renamed.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    _check_replaceable(Path(os.path.realpath(path)))


def _check_replaceable(path: Path) -> None:
    """OutputError where a rename to `path` would be refused because of what is there."""
    if is_mount_point(path):
        raise OutputError(
            f"{path} is a mount point, which cannot be replaced; mount its folder instead, or choose another "
            "name"
        )
    with contextlib.suppress(FileNotFoundError):
        found, folder = path.lstat(), path.parent.stat()
        owners = (found.st_uid, folder.st_uid)
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, *owners):
            raise OutputError(
                f"{path} belongs to another user, and {path.parent} lets only its owner replace it; choose "
                "another name"
            )


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at `path`, a folder or (in containers) a file."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            points = [line.split()[4] for line in mounts]
    except OSError:  # not Linux
        return os.path.ismount(path)
    octal = re.compile(r"\\([0-7]{3})")
    return str(path) in (octal.sub(lambda found: chr(int(found[1], 8)), point) for point in points)


def check_moves(folder: Path, output: str) -> None:
    """OutputError unless a file in `folder` can be renamed to be `output`: on another disk it cannot."""
    target = Path(os.path.realpath(base_of(output)))
    probe, renamed = _aside(folder / "output", "probe"), _aside(target, "probe")
    try:
        probe.touch(exist_ok=False)
        os.replace(probe, renamed)
    except OSError as error:
        raise OutputError(
            f"what is written in {folder} cannot be moved to {target}: {error.strerror or error}; both "
            "must be folders of one disk"
        ) from error
    finally:
        for left in (probe, renamed):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


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
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        # what Arrow raises can only be told from others where Arrow is loaded; engines run without it
        arrow = sys.modules.get("pyarrow")
        if not isinstance(error, (OSError, *([arrow.ArrowException] if arrow else []))):
            raise
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
def publishing(
    path: Path, aside: Path | None = None, complete: Complete = lambda path: None
) -> Iterator[Path]:
    """Yield a temporary path beside `path`, or `aside` on the same file system; on a clean exit it is synced
    to disk and renamed to `path`, and the rename is synced too. `complete` is called with the temporary path
    between both.

    Whatever the body raises passes, and the temporary file is removed; wrap the body's own writes in
    `writing`.
    """
    if is_stream(str(path)):
        with tempfile.TemporaryDirectory(prefix="legscore-") as private, open_stream(str(path)) as stream:
            yield Path(private) / path.name
            with writing(path), open(Path(private) / path.name, "rb") as made:
                shutil.copyfileobj(made, stream)
        return
    path = Path(os.path.realpath(path))  # through links, to the file that they stand for
    temporary = aside or _aside(path, "part")
    try:
        yield temporary
        with writing(path), open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        complete(temporary)
        with writing(path):
            os.replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise


def is_dataset(output: str) -> bool:
    """Whether an output is a folder of files: its name ends in a slash."""
    return output.endswith("/")

"""Object stores through pyarrow.fs: `s3://bucket/key` and `gs://bucket/key`, where a path may stand.

Credentials and endpoint come from the usual environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS). Lost
connections are tried again by the client. An object appears under its name when it is complete: small ones
are put in one request, large ones are built on this machine and uploaded in one go (an upload that is cut
short is never completed).
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError

REMOTE = re.compile(r"(s3|gs|gcs)://", re.IGNORECASE)
ATTEMPTS = 8
CONNECT_S, REQUEST_S = 10.0, 60.0
AWS_TEXT = re.compile(
    r"AWS Error ([A-Z_]+|\[.*?\]) ?(?:\(HTTP status (\d+)\) )?during (\w+) operation(?: \(HTTP status "
    r"\d+\))?: (.*)"
)
ENVIRONMENT = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "STORAGE_EMULATOR_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
)  # fmt: skip
"""What a worker on another machine is given too, so that it reaches what the driver reaches."""


def is_remote(path: object) -> bool:
    """Whether a path names an object in a store."""
    return REMOTE.match(str(path)) is not None


def environment() -> dict[str, str]:
    """The variables of ENVIRONMENT that are set."""
    return {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}


@dataclass(frozen=True)
class Remote:
    """An object, or a prefix of several. `str` is its URI."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def scheme(self) -> str:
        return self.uri.partition("://")[0].lower()

    @property
    def key(self) -> str:
        """Bucket and key, as pyarrow takes them."""
        return self.uri.partition("://")[2].strip("/")

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    def child(self, name: str) -> Remote:
        return Remote(f"{self.uri.rstrip('/')}/{name}")

    @property
    def filesystem(self) -> Any:
        """The pyarrow.fs.FileSystem that has it. OSError when the client cannot be made."""
        return _filesystem(self.scheme, tuple(sorted(environment().items())))

    def info(self) -> Any:
        """pyarrow.fs.FileInfo. OSError when the store refuses."""
        return _with_length(lambda: self.filesystem.get_file_info(self.key), lambda info: info.size)

    def is_file(self) -> bool:
        """Whether there is an object of this name. OSError when the store refuses."""
        from pyarrow import fs

        return bool(self.info().type == fs.FileType.File)

    def open_file(self) -> Any:
        """For reading anywhere in it; every read is one ranged request."""
        return _with_length(lambda: self.filesystem.open_input_file(self.key), lambda file: file.size())

    def open_stream(self) -> Any:
        """For reading from the beginning; unpacked where the name says that it is packed."""
        return self.filesystem.open_input_stream(self.key)

    def read(self) -> bytes:
        """All of a small object. FileNotFoundError when it is not there."""
        with self.filesystem.open_input_stream(self.key, compression=None) as stream:
            return bytes(stream.read())

    def put(self, content: bytes) -> None:
        """Write a small object, at once and whole."""
        with self.filesystem.open_output_stream(self.key, compression=None) as stream:
            stream.write(content)

    def upload(self, source: Path) -> None:
        """Write a file of this machine under this name. OSError when the store refuses or holds another
        number of bytes."""
        from pyarrow import fs

        fs.copy_files(str(source), self.key, fs.LocalFileSystem(), self.filesystem, chunk_size=8 << 20)
        size = os.path.getsize(source)
        if (found := self.info().size) != size:
            raise OSError(f"{self.uri} has {found} bytes after {size} were sent")

    def delete(self) -> None:
        """Delete it where it is there."""
        try:
            self.filesystem.delete_file(self.key)
        except FileNotFoundError:
            return

    def names(self) -> list[str]:
        """Names of the objects directly below this prefix."""
        from pyarrow import fs

        found = self.filesystem.get_file_info(fs.FileSelector(self.key, allow_not_found=True))
        return [entry.base_name for entry in found if entry.type == fs.FileType.File]

    def names_below(self) -> list[str]:
        """Names of all objects below this prefix, with `/` where they lie deeper."""
        from pyarrow import fs

        selector = fs.FileSelector(self.key, allow_not_found=True, recursive=True)
        found = self.filesystem.get_file_info(selector)
        return [entry.path.removeprefix(f"{self.key}/") for entry in found if entry.type == fs.FileType.File]

    def delete_below(self) -> None:
        """Delete all objects below this prefix."""
        try:
            self.filesystem.delete_dir(self.key)
        except FileNotFoundError:
            return


def _with_length(ask: Callable[[], Any], length: Callable[[Any], int | None]) -> Any:
    """An answer about an object, asked for again when it has no length: answers that are cut short after
    their first line are taken for ones without."""
    answer = ask()
    for _ in range(ATTEMPTS - 1):
        if length(answer) != 0:
            break
        answer = ask()
    return answer


@functools.lru_cache(maxsize=4)
def _filesystem(scheme: str, known: tuple[tuple[str, str], ...]) -> Any:
    from pyarrow import fs

    given: Mapping[str, str] = dict(known)
    if scheme == "s3":
        more: dict[str, Any] = {}
        if endpoint := given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL"):
            protocol, _, host = endpoint.rpartition("://")
            more = {"scheme": protocol or "https", "endpoint_override": host.rstrip("/")}
        if region := given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION"):
            more["region"] = region
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        return fs.S3FileSystem(
            connect_timeout=CONNECT_S, request_timeout=REQUEST_S, retry_strategy=retries, **more
        )
    from datetime import timedelta

    more = {"retry_time_limit": timedelta(seconds=REQUEST_S)}
    if endpoint := given.get("STORAGE_EMULATOR_HOST"):
        protocol, _, host = endpoint.rpartition("://")
        more |= {"scheme": protocol or "http", "endpoint_override": host.rstrip("/"), "anonymous": True}
    return fs.GcsFileSystem(**more)


@dataclass(frozen=True)
class Stamp:
    """What tells that a file is still the one that was opened."""

    size: int
    modified_ns: int
    place: tuple[int, ...] = ()


def stamp(path: Path | Remote) -> Stamp:
    """Size, time of modification and, on a disk, device and inode. OSError when it is not there or the
    store refuses."""
    if isinstance(path, Remote):
        from pyarrow import fs

        info = path.info()
        if info.type != fs.FileType.File:
            raise FileNotFoundError(2, "No such object", str(path))
        return Stamp(info.size, info.mtime_ns or 0)
    found = os.stat(path)
    return Stamp(found.st_size, found.st_mtime_ns, (found.st_dev, found.st_ino))


def check_same(path: str | Path, before: Stamp) -> None:
    """InputError unless a file on a disk is still the one of which `before` was taken, unchanged."""
    try:
        same = stamp(Path(path)) == before
    except OSError:
        same = False
    if not same:
        raise InputError(f"{path} changed while it was in use; let it be whole and still, then run again")


def open_binary(path: Path | Remote) -> Any:
    """A file for reading bytes, wherever it is."""
    return path.open_file() if isinstance(path, Remote) else open(path, "rb")


def listing(uri: str) -> tuple[Remote | None, list[Remote]]:
    """What a URI stands for: the object itself, what fits a pattern (`*`, `?`, `[`), or all below a prefix.

    Returns:
        What the objects lie below (the prefix, or what stands before a pattern's first wildcard; None for
        the object itself), and the objects, sorted.

    Raises:
        FileNotFoundError: nothing is there.
        OSError: the store refuses.
    """
    from pyarrow import fs

    remote = Remote(uri)
    fixed = re.split(r"[*?\[]", uri)[0]
    if fixed != uri:
        base = Remote(fixed.rpartition("/")[0])
        selector = fs.FileSelector(base.key, recursive=True, allow_not_found=True)
        found = base.filesystem.get_file_info(selector)
        found = [entry for entry in found if fnmatch.fnmatchcase(entry.path, remote.key)]
    else:
        base = remote
        info = remote.info()
        if info.type == fs.FileType.File:
            return None, [remote]
        found = (
            remote.filesystem.get_file_info(fs.FileSelector(remote.key, recursive=True))
            if info.type == fs.FileType.Directory
            else []
        )
    keys = sorted(entry.path for entry in found if entry.type == fs.FileType.File)
    if not keys:
        raise FileNotFoundError(2, "No such object", uri)
    return Remote(f"{remote.scheme}://{base.key}"), [Remote(f"{remote.scheme}://{key}") for key in keys]


def reason(error: BaseException) -> str:
    """Why a store or a disk refused, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if found := AWS_TEXT.search(text):
        code, status = found[1], found[2]
        if (
            code in ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
            or status == "403"
            or "403" in text
        ):
            return "access was refused; check AWS_ACCESS_KEY_ID and the rights of this user on the bucket"
        if code == "NETWORK_CONNECTION":
            return (
                f"the store at {os.environ.get('AWS_ENDPOINT_URL', 'its address')} does not answer "
                f"({found[3]})"
            )
        if code in ("NO_SUCH_BUCKET", "NO_SUCH_KEY"):
            return "no such bucket" if code == "NO_SUCH_BUCKET" else "no such object"
        return f"{code} during {found[3]}: {found[4][:160]}"
    return (str(error).splitlines() or [type(error).__name__])[0][:240]

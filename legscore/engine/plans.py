"""Plans (engines compiled for one GPU and TensorRT version) in a cache, and the timing cache that builds
share.

A plan's file name is the hash of everything it depends on. The file holds a checksum of all that follows it,
that key, facts measured at the build, and the plan. Files are published by rename. A plan that is damaged or
that TensorRT does not take is built again, once. Locks are the kernel's: of two processes that need the same
plan one builds, and a kill releases the lock.

A plan is executable code: the cache folder is private (`legscore.system.caches`), and plans are read from
nowhere else.

OpenVINO's networks are mapped instead of read: they use weights where they lie in the file, and the pages
that were only needed to load them are given back. So files are never changed in place, and a plan begins on a
page.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from legscore.errors import EngineError
from legscore.system.caches import check_private, locked, private
from legscore.system.log import Say
from legscore.system.publish import publishing, writing

MAGIC = b"legscore plan 3\n"
CHECK_BYTES = 65
"""The checksum, 64 digits and a line end."""
PAGE_BYTES = 4096
Engine = TypeVar("Engine")


@dataclass(frozen=True)
class Stored:
    """A plan's bytes, read or mapped, and what was learnt when it was built (`scratch`: bytes of device
    memory a pass needs)."""

    plan: bytes | memoryview
    facts: dict[str, Any]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.plan).hexdigest()

    def leave_pages(self) -> None:
        """Give the pages of a mapped plan back to the system; what is touched again is taken from the file
        again."""
        mapping = self.plan.obj if isinstance(self.plan, memoryview) else None
        if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def plan_key(
    gpu: dict[str, Any], tensorrt: str, graph_sha256: str, build: dict[str, Any], rewrite: str
) -> dict[str, Any]:
    """Everything that decides whether a plan fits.

    Args:
        gpu: name, compute capability, number of multiprocessors, driver branch.
        tensorrt: full version, build number included.
        graph_sha256: of the ONNX graph (without its weights where they are set later).
        build: the recipe's settings that reach the builder, and the batch.
        rewrite: versions of the graph rewrites.
    """
    return {"gpu": gpu, "tensorrt": tensorrt, "graph": graph_sha256, "build": build, "rewrite": rewrite}


def digest(key: dict[str, Any]) -> str:
    """Name of a key's file in this format: the same in every process, whatever the order of the entries."""
    return hashlib.sha256(
        MAGIC + json.dumps(key, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()[:40]


class PlanCache:
    """Plans by key in `folder`, read or `mapped`; `say` receives one line for each thing out of the
    ordinary."""

    def __init__(
        self, folder: Path, say: Say = lambda line: None, word: str = "plan", mapped: bool = False
    ) -> None:
        self.folder, self.say, self.word, self.mapped = folder, say, word, mapped

    def path(self, key: dict[str, Any]) -> Path:
        return self.folder / f"{digest(key)}.plan"

    def has(self, key: dict[str, Any]) -> bool:
        """Whether a file is there (it may still turn out to be bad)."""
        return self.path(key).is_file()

    def read(self, key: dict[str, Any]) -> Stored | None:
        """The plan of a key, or None where there is none or its file is damaged. OutputError when the folder
        is not private."""
        check_private(self.folder)
        try:
            data = self._content(self.path(key))
        except OSError:
            return None
        start = len(MAGIC) + CHECK_BYTES
        end = data.find(b"\n", start)
        if data[: len(MAGIC)] != MAGIC or end < 0:
            return None
        whole = memoryview(data)
        if data[len(MAGIC) : start] != _checksum(whole[start:]):
            return None
        try:
            header = json.loads(data[start:end])
            facts, fits = dict(header["facts"]), header["key"] == key
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        plan = data[end + 1 :] if isinstance(data, bytes) else whole[end + 1 :]
        return Stored(plan, facts) if fits else None

    def _content(self, path: Path) -> bytes | mmap.mmap:
        with open(path, "rb") as file:
            if self.mapped:
                # a file system that maps nothing; an empty file
                with contextlib.suppress(OSError, ValueError):
                    # OpenVINO takes nothing read-only
                    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            return file.read()

    def write(self, key: dict[str, Any], stored: Stored) -> None:
        """Keep a plan, in a private folder. OutputError when that cannot be."""
        header = json.dumps({"key": key, "facts": stored.facts}).encode()
        before = len(MAGIC) + CHECK_BYTES + len(header) + 1
        header += b" " * (-before % PAGE_BYTES) + b"\n"
        path = private(self.folder) / self.path(key).name
        with publishing(path) as temporary, writing(path), open(temporary, "wb") as file:
            for piece in (MAGIC, _checksum(header, stored.plan), header, stored.plan):
                file.write(piece)

    def obtain(
        self, key: dict[str, Any], build: Callable[[], Stored], load: Callable[[Stored], Engine | None]
    ) -> tuple[Stored, Engine]:
        """The plan of a key, loaded; built when it is missing, and once more when what is there does not
        load.

        Args:
            build: makes the plan; what it raises passes, and nothing is kept then.
            load: opens a plan, or returns None when the plan is not taken.

        Raises:
            EngineError: a plan just built does not load.
        """
        refused = None
        stored = self.read(key)
        if stored is not None:
            loaded = load(stored)
            if loaded is not None:
                return stored, loaded
            refused = stored.sha256
        path = private(self.folder) / self.path(key).name
        with locked(path, lambda: self.say(f"{self.word}: another process is building it; waiting")):
            stored = self.read(key)  # another process may have built it in the meantime
            if stored is not None and stored.sha256 != refused:
                loaded = load(stored)
                if loaded is not None:
                    return stored, loaded
            stored = None  # what is mapped cannot be removed on Windows
            if path.exists():
                self.say(f"{self.word}: {path.name} does not load; building it again")
                path.unlink(missing_ok=True)
            self.write(key, build())
            stored = self.read(key)
            loaded = None if stored is None else load(stored)
            if stored is None or loaded is None:
                path.unlink(missing_ok=True)
                raise EngineError(
                    f"a {self.word} just built does not load; another TensorRT, OpenVINO or driver may be "
                    "installed beside it"
                )
            return stored, loaded


def _checksum(*pieces: bytes | memoryview) -> bytes:
    """CHECK_BYTES that stand for all of these together."""
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest().encode() + b"\n"


class TimingCache:
    """TensorRT's kernel timings, one file for all builds with one version on one kind of GPU."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """The timings, or nothing. OutputError when the folder is not private: TensorRT keeps compiled
        kernels in them."""
        check_private(self.path.parent)
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def merge(self, ours: bytes, combine: Callable[[bytes, bytes], bytes]) -> None:
        """Publish our timings together with what others wrote in the meantime; `combine(theirs, ours)` joins
        two."""
        private(self.path.parent)
        with locked(self.path):
            theirs = self.read()
            with publishing(self.path) as temporary, writing(self.path):
                temporary.write_bytes(combine(theirs, ours) if theirs else ours)

"""Plans (engines compiled for one GPU and TensorRT version) in a cache, and the timing cache that builds share.

A plan's file name is the hash of everything it depends on; the file also holds that key, facts measured at the build,
and a checksum. Files are published by rename. A plan that is damaged or that TensorRT does not take is built again,
once. Locks are the kernel's: of two processes that need the same plan one builds, and a kill releases the lock.

A plan is executable code: the cache folder is private (`legscore.caches`), and plans are read from nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from legscore.caches import check_private, locked, private
from legscore.errors import EngineError
from legscore.publish import publishing, writing

MAGIC = b"legscore plan 1\n"
Engine = TypeVar("Engine")


@dataclass(frozen=True)
class Stored:
    """A plan's bytes and what was learnt when it was built (`scratch`: bytes of device memory a pass needs)."""

    plan: bytes
    facts: dict[str, Any]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.plan).hexdigest()


def plan_key(gpu: dict[str, Any], tensorrt: str, graph_sha256: str, build: dict[str, Any], rewrite: str) -> dict[str, Any]:
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
    """Name of a key's file: the same in every process, whatever the order of the entries."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:40]


class PlanCache:
    """Plans by key in `folder`; `say` receives one line for each thing out of the ordinary."""

    def __init__(self, folder: Path, say: Callable[[str], object] = lambda line: None, word: str = "plan") -> None:
        self.folder, self.say, self.word = folder, say, word

    def path(self, key: dict[str, Any]) -> Path:
        return self.folder / f"{digest(key)}.plan"

    def has(self, key: dict[str, Any]) -> bool:
        """Whether a file is there (it may still turn out to be bad)."""
        return self.path(key).is_file()

    def read(self, key: dict[str, Any]) -> Stored | None:
        """The plan of a key, or None where there is none or its file is damaged. OutputError when the folder is not private."""
        check_private(self.folder)
        try:
            data = self.path(key).read_bytes()
        except OSError:
            return None
        head, newline, plan = data.removeprefix(MAGIC).partition(b"\n")
        try:
            header = json.loads(head)
            stored = Stored(plan, dict(header["facts"]))
            good = data.startswith(MAGIC) and newline and header["key"] == key and header["sha256"] == stored.sha256
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return stored if good else None

    def write(self, key: dict[str, Any], stored: Stored) -> None:
        header = json.dumps({"key": key, "facts": stored.facts, "sha256": stored.sha256}).encode()
        path = private(self.folder) / self.path(key).name
        with publishing(path) as temporary, writing(path):
            temporary.write_bytes(MAGIC + header + b"\n" + stored.plan)

    def obtain(
        self, key: dict[str, Any], build: Callable[[], Stored], load: Callable[[Stored], Engine | None]
    ) -> tuple[Stored, Engine]:
        """The plan of a key, loaded; built when it is missing, and once more when what is there does not load.

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
            if path.exists():
                self.say(f"{self.word}: {path.name} does not load; building it again")
                path.unlink(missing_ok=True)
            stored = build()
            loaded = load(stored)
            if loaded is None:
                raise EngineError(
                    f"a {self.word} just built does not load; another TensorRT, OpenVINO or driver may be installed beside it"
                )
            self.write(key, stored)
            return stored, loaded


class TimingCache:
    """TensorRT's kernel timings, one file for all builds with one version on one kind of GPU."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """The timings, or nothing. OutputError when the folder is not private: TensorRT keeps compiled kernels in them."""
        check_private(self.path.parent)
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def merge(self, ours: bytes, combine: Callable[[bytes, bytes], bytes]) -> None:
        """Publish our timings together with what others wrote in the meantime; `combine(theirs, ours)` joins two."""
        private(self.path.parent)
        with locked(self.path):
            theirs = self.read()
            with publishing(self.path) as temporary, writing(self.path):
                temporary.write_bytes(combine(theirs, ours) if theirs else ours)

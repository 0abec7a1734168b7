"""Compiled OpenVINO networks in the user's cache: reading one takes a third of the time of building it.

A file holds a network of up to `joined` members (7.7 MB a member), named by the hash of all it depends on;
`plans.py` keeps, checks and locks it as it does GPU plans. The folder stays below 4 GB: networks unused for
longest go first. Where nothing can be kept (a home that cannot be written) networks are compiled every time,
and that is said.

Files are mapped: loading makes no copies, and the pages of weights that OpenVINO has arranged anew for its
convolutions are given back (`bench/ensemble.py` shows what a member takes).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.engine.plans import PlanCache, Stored
from legscore.errors import OutputError
from legscore.system.log import Say

LIMIT_BYTES = 4 << 30


class Networks:
    """Takes networks from `folder`, or compiles them; `say` is told where a network cannot be kept."""

    def __init__(self, core: Any, settings: Any, key: dict[str, Any], folder: Path | None, say: Say) -> None:
        self.core, self.settings, self.key, self.say = core, settings, key, say
        self.in_use: list[Stored] = []
        """Files whose weights the networks use, held for as long as these live."""
        self.cache = PlanCache(folder, say, "network", mapped=True) if folder else None
        self._told = False

    def obtain(self, sha256s: Sequence[str], make: Callable[[], Any]) -> Any:
        """A compiled network of the members with these file hashes; `make` lowers them to an OpenVINO
        model."""
        if self.cache is None or not all(sha256s):
            return self.core.compile_model(make(), "CPU", self.settings)
        key = self.key | {"models": list(sha256s)}
        try:
            stored, compiled = self.cache.obtain(key, lambda: self._built(make), self._loaded)
        except OutputError as error:
            self.say(f"network: not kept for the next run ({error})")
            return self.core.compile_model(make(), "CPU", self.settings)
        stored.leave_pages()
        self.in_use.append(stored)
        with contextlib.suppress(OSError):  # when it was last used; only the order of clearing depends on it
            os.utime(self.cache.path(key))
        return compiled

    def _built(self, make: Callable[[], Any]) -> Stored:
        if not self._told:
            self.say("networks: compiling the models for this CPU, once; later runs take what is kept")
            self._told = True
        blob = self.core.compile_model(make(), "CPU", self.settings).export_model().getbuffer()
        assert self.cache is not None
        clear_oldest(self.cache.folder, LIMIT_BYTES - len(blob))
        return Stored(blob, {})

    def _loaded(self, stored: Stored) -> Any | None:
        import openvino

        try:
            # weights stay where they are: nothing is copied
            blob = openvino.Tensor(np.frombuffer(stored.plan, np.uint8), shared_memory=True)
            return self.core.import_model(blob, "CPU", self.settings)
        except RuntimeError:
            # OpenVINO says so when it does not take a blob; the cache then reports and builds it again
            return None


def clear_oldest(folder: Path, limit_bytes: int) -> None:
    """Remove the networks unused for longest until at most `limit_bytes` are left."""
    kept = []
    with contextlib.suppress(OSError):  # no folder yet; or another process clears too
        for path in folder.glob("*.plan"):
            state = path.stat()
            kept.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= limit_bytes:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size

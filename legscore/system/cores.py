"""Cores of one machine shared out among the actors on it: Ray counts CPUs but pins nothing, and an engine
takes every core that its process may run on.

An actor holds a kernel lock (flock) for each of its cores in a folder of this machine and runs on those cores
alone. A lock ends with its process, so that the actor that takes a killed one's place gets its cores.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from legscore.system.lock import has_locks, take_lock
from legscore.system.temporary import private_temporary


def cores_folder() -> Path:
    """Where this user's locks lie on this machine. OutputError when no private folder can be made."""
    return private_temporary(f"legscore-cores-{os.getuid()}")


def take_cores(n: int, folder: Path | None = None) -> list[int]:
    """Run this process and the threads it will start on n cores that no other actor here has, for as long as
    it lives.

    Returns:
        The cores. Where fewer are free (Ray was told of more CPUs than there are), taken ones are shared;
        where the system knows neither locks nor affinity, an empty list.
    """
    if not has_locks() or not hasattr(os, "sched_setaffinity"):
        return []
    folder = folder or cores_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own: list[int] = []
    shared: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        if len(own) == n:
            break
        handle = take_lock(folder / str(core))  # held open until the process ends
        (shared if handle is None else own).append(core)
    chosen = (own + shared)[:n]
    with contextlib.suppress(OSError):  # a sandbox that forbids it: the cores are then the system's to share
        os.sched_setaffinity(0, chosen)
    return chosen


def usable_cores() -> int:
    """Cores this process may run on (affinity respected, as in containers)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""How many threads a process computes with, and cores of one machine shared out among the actors on it: Ray
counts CPUs but pins nothing.

An actor holds a kernel lock (flock) for each of its cores in a folder of this machine and runs on those cores
alone. A lock ends with its process, so that the actor that takes a killed one's place gets its cores.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from pathlib import Path

from legscore.errors import LegscoreError
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


MOST_THREADS = 256
"""Threads that may be asked for on any machine; on one of more than 64 cores, `THREADS_PER_CORE` for each."""
THREADS_PER_CORE = 4


def most_threads() -> int:
    """Threads that may be asked for here: each has buffers of its own, and more than cores bring nothing."""
    return max(MOST_THREADS, THREADS_PER_CORE * (os.cpu_count() or 1))


_told: tuple[int, str] | None = None
"""What `use_threads` was told."""


def use_threads(n: int, why: str = "asked for") -> None:
    """Have this process compute with n threads, whatever else would follow from the machine; `why` is told.

    Libraries that are loaded later follow the environment; pyarrow, where it is loaded, is told.
    """
    global _told
    _told = (n, why)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(n)
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.set_cpu_count(n)


def usable_cores() -> int:
    """Threads that this process may compute with. LegscoreError when LEGSCORE_THREADS is no number."""
    return threads_and_why()[0]


def threads_and_why() -> tuple[int, str]:
    """How many threads this process may compute with, and what says so.

    What it was told goes first (--threads), then LEGSCORE_THREADS. Else it is the least of the cores that the
    process may run on, the quota of its control groups (as of containers) and SLURM_CPUS_PER_TASK.

    Raises:
        LegscoreError: LEGSCORE_THREADS is no number of threads, or more than `most_threads`.
    """
    if _told is not None:
        return _told
    if asked := os.environ.get("LEGSCORE_THREADS", "").strip():
        # what has more digits than any limit is not made a number: Python refuses thousands of them
        if not asked.isdecimal() or len(asked) > 18 or not 1 <= int(asked) <= most_threads():
            raise LegscoreError(
                f"LEGSCORE_THREADS is {asked!r}; it must be a number of threads, 1 to "
                f"{most_threads():,} on this machine"
            )
        return int(asked), "LEGSCORE_THREADS"
    bounds = {"cores that it may run on": allowed_cores()}
    if (quota := quota_cores()) is not None:
        bounds["quota of its control group"] = quota
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal() and int(slurm):
        bounds["SLURM_CPUS_PER_TASK"] = int(slurm)
    why = min(bounds, key=lambda name: bounds[name])
    return bounds[why], why


def allowed_cores() -> int:
    """Cores that the system lets this process run on (its affinity)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota_cores(root: Path = Path("/")) -> int | None:
    """Cores' worth of time that this process's control groups allow, rounded up; None without a quota.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):  # not Linux
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            folders = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        else:
            continue
        inner = path.strip("/")
        for folder in folders:
            # a group above may allow less; in a container the path may be that of the machine outside
            for group in (Path(inner), *Path(inner).parents) if inner else (Path(),):
                found.append(_quota_of(root / folder / group))
    quotas = [quota for quota in found if quota is not None]
    return max(1, math.ceil(min(quotas))) if quotas else None


def _quota_of(group: Path) -> float | None:
    """Cores' worth of time that one control group allows, of version 2 or 1."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # no such group, or "max": no quota
        return None

"""Connect to Ray, started on this machine or found elsewhere; what goes wrong is told in one line.

Ray is told to keep quiet: no dashboard, no logs of actors on our terminal, no usage statistics.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from legscore.cluster.options import INSTALL, ClusterOptions
from legscore.errors import ClusterError
from legscore.system.cores import usable_cores

STORE_BYTES = 100 << 20
"""Of a Ray started here: a few numbers a part travel, nothing else."""
PROBE_S = 10.0
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""The empty frame with which both sides of an HTTP/2 connection begin, as Ray's do."""
REGISTER_S = 300
"""Seconds for Ray's processes to start on a busy machine, instead of 60."""


@contextlib.contextmanager
def connected(options: ClusterOptions) -> Iterator[Any]:
    """Yield the module `ray`, connected; disconnected at the end, and ended if it was started here.

    Raises:
        ClusterError: Ray is not installed, the address is wrong or unreachable, versions differ, or actors
            can never fit.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", str(REGISTER_S))
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f"--ray needs Ray, which cannot be imported here ({error}): {INSTALL}") from error
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "include_dashboard": False,
    }
    if options.address == "local":
        cores = usable_cores()
        wanted = (options.workers or 1) * options.num_cpus
        if wanted > cores:
            raise ClusterError(
                f"--ray local: {options.workers or 1} workers × {options.num_cpus} cores are more than the "
                f"{cores} of this "
                "machine; ask for fewer with --workers or --num-cpus"
            )
        n_cpus = wanted if options.workers else cores
        start = {"address": "local", "num_cpus": n_cpus, "object_store_memory": STORE_BYTES, **quiet}
    else:
        _check_address(options.address)
        start = {
            "address": options.address,
            **{name: quiet[name] for name in ("log_to_driver", "logging_level")},
        }
    with contextlib.ExitStack() as stack:
        try:
            with _without_ray_messages():
                ray.init(**start)
        except ConnectionError as error:
            if options.address == "auto":
                line = (
                    "--ray auto: this machine is part of no running cluster; name one as HOST:PORT, or "
                    "use --ray local"
                )
                raise ClusterError(line) from error
            raise ClusterError(
                f"--ray {options.address}: no Ray cluster answers there ({_first(error)}); one with token "
                "authentication needs "
                "RAY_AUTH_MODE=token and its token here too"
            ) from error
        except Exception as error:
            # Ray raises all kinds: other versions of Ray or Python, a start that takes too long
            raise ClusterError(f"--ray {options.address}: {_first(error)}") from error
        stack.callback(ray.shutdown)
        yield ray


@contextlib.contextmanager
def _without_ray_messages() -> Iterator[None]:
    """Ray's core writes a line for each of its attempts to connect to standard error, past Python; the
    exception says what matters."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _check_address(address: str) -> None:
    """ClusterError unless it is `auto` or somebody listens there: Ray itself tries for a minute and then ends
    the process."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise ClusterError(
            f"--ray {address}: the driver must be part of the cluster; run this command on one of its "
            "machines with --ray auto, "
            "or through `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClusterError(f"--ray {address}: write local, auto or HOST:PORT (6379 is Ray's usual port)")
    try:
        with socket.create_connection((host, int(port)), timeout=PROBE_S) as probe:
            answer = b"" if os.environ.get("RAY_USE_TLS", "0") in ("0", "false") else SETTINGS
            if not answer:  # Ray itself waits for minutes where something else listens
                probe.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
                answer = probe.recv(len(SETTINGS))
    except OSError as error:
        raise ClusterError(
            f"--ray {address} cannot be reached ({error.strerror or error}); is the cluster running, and "
            "the port open?"
        ) from error
    if answer[3:4] != SETTINGS[3:4]:
        raise ClusterError(
            f"--ray {address}: something else than Ray listens there; 6379 is Ray's usual port"
        )


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] if lines else type(error).__name__


def capacity(ray: Any, options: ClusterOptions, *, free: bool = False) -> int:
    """Actors that fit the cluster's CPUs and GPUs: all of them, or those that are free."""
    found = ray.available_resources() if free else ray.cluster_resources()
    fits = [int(found.get("CPU", 0.0) // options.num_cpus)]
    if options.num_gpus:
        fits.append(int(found.get("GPU", 0.0) // options.num_gpus))
    return min(fits)

"""What `--ray` takes, and which other options of a run do not go with it. Needs no Ray."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from legscore.errors import ClusterError

INSTALL = "pip install 'legscore[ray]'"
RETRIES = 3
"""Times that a part is scored again after a fault (a killed process, no memory, an engine that fails) before
it is given up."""


@dataclass(frozen=True)
class ClusterOptions:
    """Where Ray runs and what each of its actors gets.

    Attributes:
        address: `local` starts Ray on this machine for this run, `auto` finds the cluster that this machine
            is part of, HOST:PORT is one.
        workers: actors; as many as fit the cluster, and more when it grows, where None.
        num_cpus: cores of each; num_gpus: GPUs of each.
        retries: of a part after faults.
    """

    address: str
    workers: int | None = None
    num_cpus: int = 1
    num_gpus: float = 0.0
    retries: int = RETRIES


def check_goes_with(given: Mapping[str, Any], shuffles: int) -> None:
    """ClusterError for options of `legscore run` that a run on Ray cannot serve, or when Ray is not
    installed."""
    if given["output"] == "-":
        raise ClusterError(
            "--ray keeps parts beside the output; standard output has none: name a file with -o"
        )
    if shuffles:
        raise ClusterError("--shuffle-null makes two passes in one process; run it without --ray")
    if given["device"] is not None:
        raise ClusterError(
            f"--device {given['device']}: on a cluster Ray hands out the GPUs; use --num-gpus instead"
        )
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(f"--ray needs Ray, which is not installed here: {INSTALL}")

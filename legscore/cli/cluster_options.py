"""Options of `legscore run` for Ray; what serves them is imported only when they are given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from legscore.cli.effects import refuse_given
from legscore.cli.numbers import Finite
from legscore.errors import LegscoreError

if TYPE_CHECKING:
    from legscore.cluster.drive import Cluster
    from legscore.cluster.options import ClusterOptions
    from legscore.run.options import Options, Staging
    from legscore.system.log import RunLog

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """Add --ray and what goes with it."""
    every = (
        click.option(
            "--ray",
            metavar="auto|local|HOST:PORT",
            help="Score on Ray: on the cluster that this machine is part of, on one started here for this "
            "run, or on one at an address.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            show_default="as many as fit, also while the cluster grows",
            help="Workers on Ray.",
        ),
        click.option(
            "--num-cpus",
            type=click.IntRange(1),
            metavar="N",
            show_default="1",
            help="Cores of each worker.",
        ),
        click.option(
            "--num-gpus",
            type=Finite(0, min_open=True),
            metavar="N",
            show_default="0",
            help="GPUs of each worker.",
        ),
    )
    for option in reversed(every):
        command = option(command)
    return command


def cluster_settings(given: Mapping[str, Any]) -> ClusterOptions | None:
    """The cluster that a command's options ask for; None where --ray was not given.

    Raises:
        LegscoreError: they do not go together.
    """
    names = ("workers", "num_cpus", "num_gpus")
    rest = {name: given[name] for name in names if given[name] is not None}
    if given["ray"] is None:
        if rest:
            raise LegscoreError(
                f"--{next(iter(rest)).replace('_', '-')} is about workers on Ray; give --ray too"
            )
        return None
    refuse_given(("threads",), "workers on Ray compute with the cores of --num-cpus")
    from legscore.cluster.options import ClusterOptions, check_goes_with

    check_goes_with(given, given["shuffle_null"] or 0)
    return ClusterOptions(given["ray"], **rest)


def workers_lines(record: Mapping[str, Any]) -> list[str]:
    """The closing table of a run on Ray, from its record; nothing for others."""
    if "cluster" not in record:
        return []
    from legscore.cluster.table import closing_table

    return closing_table(record["cluster"])


@contextlib.contextmanager
def on_cluster(
    options: ClusterOptions | None, job: Options, staging: Staging, log: RunLog
) -> Iterator[Cluster | None]:
    """What scores the parts, or None for this process."""
    if options is None:
        yield None
        return
    from legscore.cluster.drive import Cluster

    with Cluster(options, job, staging, log) as cluster:
        yield cluster

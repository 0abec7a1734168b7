"""Options about what a command writes and says, and with how many threads: -o, --force, -q, -v, --threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from legscore.errors import printable

if TYPE_CHECKING:
    from legscore.system.log import Say


def _set_threads(context: click.Context, parameter: click.Parameter, threads: int | None) -> None:
    """Have this process, and libraries that are loaded later, compute with so many threads."""
    if threads is not None:
        from legscore.system.cores import most_threads, use_threads

        if threads > (most := most_threads()):
            raise click.BadParameter(f"{threads} is more than the {most} that this machine takes.")
        use_threads(threads)


def speaker(quiet: bool, verbose: bool = False) -> Say:
    """What says lines on standard error: none with `quiet`, details with `verbose` alone."""
    from legscore.system.log import Detail

    def say(line: str) -> None:
        if not quiet and (verbose or not isinstance(line, Detail)):
            click.echo(printable(line), err=True)

    return say


def output_option(help: str, *, metavar: str = "OUT") -> Any:
    """-o, --output: what a command cannot do without."""
    return click.option("-o", "--output", required=True, type=click.Path(), metavar=metavar, help=help)


background_option = click.option(
    "--background",
    type=click.Path(),
    metavar="FILE",
    help="Add percentile and rank of each effect among all changes of promoters like its own, from a file "
    "that legscore atlas background made.",
)
force_option = click.option(
    "--force", is_flag=True, help="Replace an output that is there already, which is refused otherwise."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Say every decision: strands, contract, training, fidelity, checks. The record keeps them anyway.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    callback=_set_threads,
    expose_value=False,
    is_eager=True,
    show_default="LEGSCORE_THREADS, or the cores that affinity, control groups and Slurm allow",
    help="Threads to compute with.",
)

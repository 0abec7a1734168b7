"""Options that answer what a PyTorch file does not show: of import, and of models pull."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from legscore.cli.numbers import Finite

Command = TypeVar("Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--config",
        type=click.Path(),
        metavar="JSON",
        show_default="for a set, the nearest to each file",
        help="The training's own settings: params.json (optimised LegNet) or config.json (human_legnet).",
    ),
    click.option(
        "--final-activation",
        type=click.Choice(["silu", "none"]),
        help="Activation between the head's 1×1 convolution and the mean.",
    ),
    click.option(
        "--concat-order",
        type=click.Choice(["fx,x", "x,fx"]),
        help="Which half of the residual concatenation comes first.",
    ),
    click.option(
        "--fifth-channel",
        type=click.Choice(["is_reverse", "is_singleton"]),
        help="Meaning of the fifth of five input channels.",
    ),
    click.option(
        "--alphabet",
        metavar="ORDER",
        help="Order of the base channels: AGCT in the published code, ACGT in some re-trained copies.",
    ),
    click.option("--n-value", type=Finite(), help="What base channels hold at an N: 0.25 or 0."),
    click.option("--pool-sizes", metavar="N,N,...", help="Max-pooling after each block (human_legnet)."),
    click.option("--rc-trained/--no-rc-trained", default=None, help="Whether training saw both strands."),
    click.option(
        "--floor",
        type=Finite(),
        help="Lowest score that means something (complex medium about 4, defined about 2.5).",
    ),
    click.option("--unit", help="What the score is, when it is not the published assay's."),
    click.option("--organism", help="Species that was measured, when it is not the published assay's."),
    click.option("--medium", help="What its cells grew in, or the cell line: 'complex medium (YPD)', K562."),
    click.option("--assay", help="The experiment, when it is not the published one."),
    click.option("--flank5", help="Fixed DNA before the insert."),
    click.option("--flank3", help="Fixed DNA after the insert."),
    click.option("--adapter5", help="The end of flank5 that an oligo carries."),
    click.option("--adapter3", help="The start of flank3 that an oligo carries."),
    click.option("--length", type=int, help="Bases that the model reads."),
    click.option("--insert-min", type=int, help="Shortest insert."),
    click.option("--insert-max", type=int, help="Longest insert."),
    click.option("--entry", metavar="NAME", help="Entry of the file that holds the network, such as ema."),
)


def import_options(command: Command) -> Command:
    """Decorate a command with the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

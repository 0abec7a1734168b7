"""Options about models and engines that commands share: -m, --engine, --precision, --device, --rc,
--singleton."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from legscore.cli.effects import not_empty
from legscore.engine.names import ENGINES, PRECISION_CHOICES
from legscore.rows.schema import RC_MODES

F = TypeVar("F", bound=Callable[..., Any])


def model_option(help: str, *, default: str | None = "bundled, a demonstration ensemble for yeast") -> Any:
    """-m, --model: repeatable, in every command that takes models; `--models` is what bench called it."""
    return click.option(
        "-m",
        "--model",
        "--models",
        "models",
        multiple=True,
        type=click.Path(),
        metavar="MODELS",
        show_default=default,
        help=help,
    )


rc_option = click.option(
    "--rc",
    type=click.Choice(RC_MODES),
    show_default="construct, for models trained on both strands",
    help="What is turned around for the second strand: the whole construct, the insert alone, or nothing.",
)
singleton_option = click.option(
    "--singleton",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="Value of the input is_singleton, of models that have it.",
)


def device_option(help: str = "NVIDIA GPUs to use, by number; several share the work.") -> Any:
    """--device: numbers of GPUs, also as PyTorch writes them (cuda:1)."""
    return click.option(
        "--device",
        metavar="N|N,N|all",
        show_default="0",
        callback=_number_of_gpu,
        help=help,
    )


def engine_options(engines: tuple[str, ...] = ENGINES) -> Callable[[F], F]:
    """--engine and --precision."""

    def add(command: F) -> F:
        for option in (
            click.option(
                "--precision",
                type=click.Choice(PRECISION_CHOICES),
                default="auto",
                show_default="auto, the fastest that is close enough to fp32",
                help="Precision of the computation.",
            ),
            click.option(
                "--engine",
                type=click.Choice(engines),
                default="auto",
                show_default="auto, what suits this machine",
                help="What computes the scores."
                + (" null writes zeros, to try the rest out." if "null" in engines else ""),
            ),
        ):
            command = option(command)
        return command

    return add


def _number_of_gpu(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The number alone of a GPU as PyTorch calls it. LegscoreError for an empty text."""
    not_empty(context, parameter, text)
    return None if text is None else re.sub(r"\bcuda:(?=\d)", "", text)

"""Refuse options that were given but would have no effect, and values that are empty."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click
from click.core import ParameterSource

from legscore.cli.sections import FORMER
from legscore.errors import LegscoreError

MOST = 1 << 62
"""Numbers from here on do not fit sums of 64 bits."""
MAY_BE_EMPTY = {"flank5", "flank3", "adapter5", "adapter3"}
"""Options whose empty text says something: no DNA."""


def refuse_given(names: Collection[str], why: str) -> None:
    """LegscoreError for an option of the command under way that was given though it has no effect here.

    Args:
        names: of parameters, as the command's function takes them. why: in a few words, after the option's
            name.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise LegscoreError(f"{parameter.opts[0]} has no effect here: {why}")


def refuse_others(names: Collection[str], why: str) -> None:
    """LegscoreError for an option that was given and is none of `names`, the only ones that have an effect
    here."""
    every = {parameter.name or "" for parameter in click.get_current_context().command.params}
    refuse_given(every - set(names), why)


def refuse_empty_values(command: click.Command) -> None:
    """Have a command, and those below it, refuse values without a letter: what a shell leaves of a variable
    that is not set. They would mean the same as no option at all, or the folder where the command runs."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            refuse_empty_values(inner)
    for parameter in command.params:
        if parameter.callback is None and parameter.name not in MAY_BE_EMPTY:
            parameter.callback = not_empty


def not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The value as it is. LegscoreError where it, or one of several, is an empty text or a number that
    nothing here counts to."""
    several = value if isinstance(value, tuple) else (value,)
    for one in several:
        if isinstance(one, int) and abs(one) >= MOST:
            raise LegscoreError(f"{max(parameter.opts, key=len)} {one}: the number is too large")
    if any(isinstance(one, str) and not one.strip() for one in several):
        option = isinstance(parameter, click.Option)
        shown = [name for name in parameter.opts if name not in FORMER]
        name = max(shown, key=len) if option else parameter.human_readable_name.strip("[].")
        raise LegscoreError(f"{name}: an empty name was given; is a shell variable unset?")
    return value

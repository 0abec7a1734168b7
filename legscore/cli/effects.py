"""Refuse options that were given but would have no effect."""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource

from legscore.errors import LegscoreError


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

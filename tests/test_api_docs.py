"""Docstrings of the API say what the commands take: every choice of an option, and the same of an argument wherever
it means the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import click
import pytest

import legscore
from legscore.cli import cli

COMMAND_OF: dict[Callable[..., Any], str] = {
    legscore.score_file: "run", legscore.score_genome: "run", legscore.score_table: "run",
    legscore.load_ensemble: "run", legscore.Ensemble.score_table: "run", legscore.build_variants: "variants",
    legscore.evaluate_predictions: "evaluate", legscore.calibrate_effects: "evaluate",
    legscore.design_sequences: "design", legscore.mutation_curve: "design", legscore.import_model: "import",
    legscore.lookup_variants: "lookup",
}  # fmt: skip
OPTION_OF = {"format": "format_"}
"""Arguments whose option has another name."""
NOT_TAKEN = {
    (legscore.score_file, "format"): {"vcf", "bcf"},
    (legscore.design_sequences, "rc"): {"insert"},
    (legscore.mutation_curve, "rc"): {"insert"},
}
"""Choices of an option that a function of its command does not take."""


def told(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each argument, on one line."""
    doc = inspect.getdoc(function) or ""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.M | re.S)
    assert found, f"{function.__qualname__} has no Args"
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", found[1], re.M | re.S)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("function", COMMAND_OF, ids=lambda function: function.__qualname__)
def test_every_choice_of_an_option_is_told(function: Callable[..., Any]) -> None:
    command = cli.get_command(click.Context(cli), COMMAND_OF[function])
    assert command is not None
    choices = {
        option.name: option.type.choices for option in command.params if isinstance(option.type, click.Choice)
    }
    walked = 0
    for name, text in told(function).items():
        wanted = set(choices.get(OPTION_OF.get(name, name), ())) - NOT_TAKEN.get((function, name), set())
        said = {*re.findall(r"[\w-]+", text), *re.findall(r"`([^`]+)`", text)}
        assert wanted <= said, f"{name}: {sorted(wanted - said)} untold"
        assert not said & NOT_TAKEN.get((function, name), set()), f"{name} tells what is not taken"
        walked += bool(wanted)
    assert walked or function in (legscore.evaluate_predictions, legscore.calibrate_effects)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (legscore.score_file, legscore.score_genome, {"output", "format"}),
        (legscore.score_genome, legscore.build_variants, {"source", "output", "length", "force"}),
        (
            legscore.score_table, legscore.score_file,
            {"keep", "per_model", "memory", "verify", "part_rows", "progress", "columns", "models"},
        ),
        (legscore.score_table, legscore.load_ensemble, {"models", "progress"}),
        (legscore.score_table, legscore.Ensemble.score_table, {"data", "sequence_is"}),
        (legscore.design_sequences, legscore.mutation_curve, {"output", "models", "seed", "start"}),
        (legscore.score_file, legscore.design_sequences, {"output", "models", "rc", "keep", "device", "force",
                                                          "say", "progress"}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)  # fmt: skip
def test_what_means_the_same_reads_the_same(
    one: Callable[..., Any], other: Callable[..., Any], differ: set[str]
) -> None:
    by_one, by_other = told(one), told(other)
    common = by_one.keys() & by_other.keys()
    assert {name for name in common if by_one[name] != by_other[name]} == differ

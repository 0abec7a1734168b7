"""Values that say nothing are refused by every option of every command, and values that say 0 are heard."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line

from legscore.cli import COMMANDS
from legscore.cli.effects import MAY_BE_EMPTY

Cli = Callable[..., Ran]


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, (module, _) in COMMANDS.items():
        command = importlib.import_module(module).command
        if isinstance(command, click.Group):
            yield from (((name, inner), command.commands[inner]) for inner in command.commands)
        else:
            yield (name,), command


TEXTS = [
    (words, parameter)
    for words, command in commands()
    for parameter in command.params
    if isinstance(parameter.type, (click.Path, type(click.STRING))) and parameter.name not in MAY_BE_EMPTY
]


def test_every_text_is_asked_for() -> None:
    assert len(TEXTS) > 90
    assert {words[0] for words, _ in TEXTS} == set(COMMANDS) - {"doctor", "cache", "completion"}


@pytest.mark.parametrize(
    ("words", "parameter"), TEXTS, ids=[" ".join((*words, str(p.name))) for words, p in TEXTS]
)
def test_an_empty_value_is_refused(words: tuple[str, ...], parameter: click.Parameter, cli: Cli) -> None:
    is_option = isinstance(parameter, click.Option)
    name = next((opt for opt in parameter.opts if opt.startswith("--")), parameter.opts[0])
    for empty in ("", " "):
        ran = cli(*words, *([name] if is_option else []), empty)
        one_line(ran, "an empty name was given; is a shell variable unset?")
        assert not is_option or name in ran.err


def tiles(world: Path, cli: Cli, *options: object) -> list[tuple[str, int]]:
    """Gene and start of each tile of gene A."""
    out = world / "o.parquet"
    words = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", "--length", 20, *options)
    ran = cli("variants", *words, "-o", out, "--force")
    assert ran.code == 0, ran.err
    rows = pq.read_table(out).to_pylist()
    return [(row["tss_source"], row["start"]) for row in rows if row["gene"] == "A"]


def test_no_bases_are_a_number_of_bases(world: Path, cli: Cli) -> None:
    """0 is not the same as nothing: starts at the ATG itself, and tiles downstream of the start alone."""
    codon = tiles(world, cli, "--assume-utr", 0, "--upstream", 20)
    assert {source for source, _ in codon} == {"assumed 0 from ATG"}
    assert codon != tiles(world, cli, "--upstream", 20)
    down = tiles(world, cli, "--upstream", 0, "--downstream", 20)
    assert len(down) == 1
    assert down != tiles(world, cli, "--downstream", 20)


@pytest.mark.parametrize("number", [10**20, 2**62])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--part-rows"), "--part-rows {}: the number is too large"),
        (("design", "--max-homopolymer"), "--max-homopolymer {}: the number is too large"),
        (("evaluate", "--bootstrap"), "--bootstrap {}: the number is too large"),
        (("variants", "--upstream"), "--upstream {}: the number is too large"),
        (("train", "--seed"), "--seed {}: the number is too large"),
    ],
)
def test_numbers_that_nothing_counts_to(cli: Cli, words: tuple[str, str], message: str, number: int) -> None:
    one_line(cli(*words, number), message.format(number))


@pytest.mark.parametrize("option", ["--length", "--upstream", "--downstream", "--assume-utr"])
def test_tiles_that_no_memory_holds(world: Path, cli: Cli, option: str) -> None:
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", "-o", world / "o.parquet")
    one_line(cli("variants", *given, option, 2**32), f"{2**32}; it must be 10,000,000 bases or less")

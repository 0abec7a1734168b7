"""Numbers that are none (`nan`, `inf`) and arguments of another kind are refused in one line, by every command
and every function."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest
from conftest import Ran, one_line
from test_empty_values import commands

import legscore
from legscore.cli.numbers import Finite
from legscore.errors import InputError, LegscoreError
from legscore.run.options import MOST_SHIFTS, parse_shifts

Cli = Callable[..., Ran]
NUMBERS = [
    (words, parameter)
    for words, command in commands()
    for parameter in command.params
    if isinstance(parameter.type, click.types.FloatParamType)
]


def test_every_number_is_asked_for() -> None:
    assert len(NUMBERS) > 20
    assert all(isinstance(parameter.type, Finite) for _, parameter in NUMBERS)


@pytest.mark.parametrize(
    ("words", "parameter"), NUMBERS, ids=[" ".join((*words, str(p.name))) for words, p in NUMBERS]
)
def test_what_is_no_number_is_refused(words: tuple[str, ...], parameter: click.Parameter, cli: Cli) -> None:
    for text in ("nan", "inf", "-inf"):
        one_line(cli(*words, f"{parameter.opts[0]}={text}"), parameter.opts[0], text)


def functions() -> list[tuple[str, Callable[..., Any]]]:
    """All public functions that are commands in Python."""
    found = [(name, getattr(legscore, name)) for name in legscore.__all__]
    return [(name, it) for name, it in found if inspect.isfunction(it) and hasattr(it, "__wrapped__")]


OF_KINDS: dict[str, tuple[Any, ...]] = {
    "str": (3, b"x", ["x"]), "str | None": (3, b"x", ["x"]),
    "int": (1.5, "1", None), "int | None": (1.5, "1"),
    "float": (float("nan"), float("inf"), "1", None), "float | None": (float("nan"), float("-inf"), "1"),
    "str | os.PathLike[str]": (3, ["x"], None), "str | os.PathLike[str] | None": (3, ["x"]),
    "str | int | None": (1.5, ["x"]), "str | Sequence[str]": (3, b"x", [1]),
    "Paths": (3, b"x", [1], None), "Paths | None": (3, b"x", [1]), "Models | None": (3, b"x", [1]),
}  # fmt: skip
"""Annotation → values of another kind."""
CALLS = [(name, function) for name, function in functions()]


@pytest.mark.parametrize(("name", "function"), CALLS, ids=[name for name, _ in CALLS])
def test_arguments_of_another_kind_are_refused(name: str, function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    needed = {one.name: "x" for one in parameters.values() if one.default is inspect.Parameter.empty}
    asked = 0
    for parameter in parameters.values():
        for value in OF_KINDS.get(str(parameter.annotation), ()):
            with pytest.raises(LegscoreError, match=f"{parameter.name} is .*; it must be a") as refused:
                function(**{**needed, parameter.name: value})
            assert type(refused.value) is InputError
            asked += 1
    assert asked >= 2


def test_numpy_numbers_and_paths_are_right(tmp_path: Path) -> None:
    table = pa.table({"sequence": ["ACGT" * 20]})
    scored = legscore.score_table(
        table, engine="null", max_n=np.int64(3), verify=np.float32(0), part_rows=np.int32(4), say=print
    )
    assert scored.read_all().num_rows == 1
    out = tmp_path / "o.csv"
    (tmp_path / "in.csv").write_text("sequence\nACGT\n")
    assert legscore.score_file(Path(tmp_path / "in.csv"), out, engine="null")["rows"] == 1
    assert os.path.getsize(out) > 0


@pytest.mark.parametrize("empty", [[], (), {}, ""])
def test_no_models_are_not_the_bundled_ones(empty: Any, tmp_path: Path) -> None:
    """`glob` that matched nothing: never plausible scores of other models."""
    message = "an empty name was given" if empty == "" else "models is empty .a pattern that matched nothing"
    for call in (
        lambda: legscore.load_ensemble(empty, engine="null"),
        lambda: legscore.score_file("in.csv", tmp_path / "o.csv", models=empty, engine="null"),
        lambda: legscore.score_table(pa.table({"sequence": ["A"]}), models=empty, engine="null"),
        lambda: legscore.score_genome("in.vcf", tmp_path / "o.csv", fasta="g.fa", models=empty),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_models_from_a_generator(tmp_path: Path, toy_models: Path) -> None:
    """`Path.glob` gives one."""
    with legscore.load_ensemble(toy_models.glob("*.safetensors"), engine="null") as ensemble:  # type: ignore[arg-type]
        assert len(ensemble.score(["ACGT" * 20])) == 1
    table = pa.table({"sequence": ["ACGT"]})
    with pytest.raises(InputError, match="models is empty"):
        legscore.load_ensemble(tmp_path.glob("*.safetensors"), engine="null")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="models is empty"):
        legscore.score_table(table, models=tmp_path.glob("*.safetensors"), engine="null")  # type: ignore[arg-type]


def test_columns_are_named_by_texts() -> None:
    with pytest.raises(
        InputError, match=r"columns\['sequence'\] is 0; it must be the name of a column, such as '0'"
    ):
        legscore.score_table(pa.table({"0": ["ACGT"]}), engine="null", columns={"sequence": 0})  # type: ignore[dict-item]


def test_a_range_of_shifts_is_judged_before_it_is_made() -> None:
    """Of a thousand million numbers as of 65."""
    assert len(parse_shifts(f"0:{MOST_SHIFTS - 1}:1")) == MOST_SHIFTS
    for text in (f"0:{MOST_SHIFTS}:1", "0:1000000000000000000000:1", "-1000000000:0:1"):
        with pytest.raises(LegscoreError, match="at most 64 shifts, of at most 1,000 bases each"):
            parse_shifts(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bootstrap": -1}, "bootstrap is -1; it must be from 0"), ({"bootstrap": 10**12}, "bootstrap"), ({"seed": -1}, "seed"),
        ({"confidence": 2.0}, "confidence"), ({"confidence": 0.0}, "confidence"),
        ({"noise_sd": 0.0, "variant": True}, "noise_sd"), ({"noise_sd": 1.0, "noise_z": -1.0}, "noise_z"),
    ],
)  # fmt: skip
def test_an_evaluation_out_of_its_limits(given: dict[str, Any], message: str) -> None:
    pytest.importorskip("polars")
    table = pa.table({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]})
    with pytest.raises(InputError, match=message):
        legscore.evaluate_predictions(table, truths="a", predictions="b", **given)

"""Arguments of Python functions of another kind than their annotation: errors that name them, no tracebacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import random_dna

import legscore
from legscore.errors import InputError, LegscoreError
from legscore.run.python_kinds import plain_arguments

TABLE = pa.table({"sequence": ["ACGT" * 20, "TTGA" * 20]})
FUNCTIONS = [
    *(one for name in legscore.__all__ if inspect.isfunction(one := getattr(legscore, name))),
    *(
        getattr(legscore.Ensemble, name)
        for name in ("score", "effects", "score_edits", "saturate", "score_table")
    ),
]
ODD: list[Any] = [
    b"ab", 1j, object(), TABLE, lambda *a, **k: None, {1: "a"}, [None], np.array([1.5, 2]), "a\0b", 2**70,
]  # fmt: skip
"""Of a kind that few arguments take."""
TAKE_ANY = ("Any", "SaturationMap")
"""What has checks of its own."""


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_odd_values_of_every_argument_are_errors_that_name_it(function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    needed = {
        one.name: TABLE if one.annotation == "Any" else "a"
        for one in signature.parameters.values()
        if one.default is one.empty
    }
    for name, parameter in signature.parameters.items():
        if name in ("self", "seed") or parameter.annotation.removesuffix(" | None") in TAKE_ANY:
            continue
        refused = 0
        for value in ODD:
            told = ""
            try:
                plain_arguments(signature, (), {**needed, name: value})
            except InputError as error:
                told = str(error)
            assert not told or told.startswith((f"{name} is ", f"{name}[")), told
            refused += bool(told)
        assert refused >= len(ODD) - 3, f"{function.__name__}({name}: {parameter.annotation})"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows_at_once": -1}, "rows_at_once is -1; it must be 1 or more"),
        ({"rows_at_once": True}, "rows_at_once is True; it must be a whole number"),
        ({"singleton": 3}, "singleton is 3; known are 0, 1"),
        ({"progress": "no"}, "progress is 'no'; it must be True or False"),
        ({"allow_duplicates": "no"}, "allow_duplicates is 'no'; it must be True or False"),
        ({"say": "print"}, "say is 'print'; it must be a function that takes a line, such as print"),
        ({"models": TABLE}, "models is of type Table; it must be a path or a list of paths"),
        ({"models": "a\0b"}, r"models is 'a\\x00b'; it must be without NUL characters"),
    ],
)
def test_loading_refuses_odd_values(toy_model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LegscoreError, match=f"^{message}"):
        legscore.load_ensemble(**{"models": toy_model, "engine": "null", **options})


def test_numbers_and_lists_of_numpy_are_taken(toy_models: Path, tmp_path: Path) -> None:
    paths = np.array([str(path) for path in sorted(toy_models.iterdir())])
    with legscore.load_ensemble(paths, engine="null", rows_at_once=np.int64(2)) as ensemble:
        assert len(ensemble) == 3
        scored = ensemble.score_table(
            TABLE, part_rows=np.int64(1), max_n=np.int32(3), per_model=np.bool_(True)
        )
        assert scored.read_all().num_rows == 2
    (tmp_path / "s.csv").write_text("sequence\n" + "ACGT" * 20 + "\n")
    record = legscore.score_file(
        tmp_path / "s.csv", tmp_path / "o.parquet", models=paths, engine="null", verify=np.float32(0)
    )
    assert record["rows"] == 1


def test_what_holds_nothing_is_named(tmp_path: Path) -> None:
    for call, message in (
        (lambda: legscore.import_model([], tmp_path / "m.safetensors"), "files is empty"),
        (lambda: legscore.evaluate_predictions([], truths="a"), "data is empty"),
        (
            lambda: legscore.evaluate_predictions(TABLE, truths="a", where=["a"]),
            "where is ['a']; it must be {col",
        ),
        (lambda: legscore.mutation_curve("s.csv", "o.csv", kind="no"), "kind is 'no'; known are draw4, sub3"),
        (lambda: legscore.mutation_curve("s.csv", "o.csv", seed=-1), "seed is -1; it must be 0 or more"),
        (lambda: legscore.build_variants(TABLE, "o.csv", fasta="g.fa"), "source is a table in memory"),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert message in str(raised.value)


@pytest.mark.parametrize("made", ["view", "bytes", "runs", "categories", "enum"])
def test_columns_of_newer_types(toy_model: Path, made: str) -> None:
    texts = [random_dna(np.random.default_rng(seed), 80) for seed in range(3)]
    if made in ("view", "bytes", "runs"):
        plain = pa.array(texts)
        column: Any = {
            "view": lambda: plain.cast(pa.string_view()),
            "bytes": lambda: plain.cast(pa.binary()).cast(pa.binary_view()),
            "runs": lambda: pc.run_end_encode(plain),
        }[made]()
    else:
        polars = pytest.importorskip("polars")
        column = polars.Series(
            texts, dtype=polars.Categorical if made == "categories" else polars.Enum(texts)
        )
    with legscore.load_ensemble(toy_model, engine="openvino", precision="fp32") as ensemble:
        assert (ensemble.score(column) == ensemble.score(texts)).all()


def test_values_that_arrow_cannot_hold_are_told(toy_model: Path) -> None:
    pandas = pytest.importorskip("pandas")
    twice = pandas.DataFrame([["ACGT", "ACGT"]], columns=["sequence", "sequence"])
    with legscore.load_ensemble(toy_model, engine="null") as ensemble:
        for call, message in (
            (lambda: ensemble.score(["\ud800"]), "sequences must be text"),
            (lambda: ensemble.score_edits("ACGT" * 20, [2**64], ["A"]), "offset must be whole numbers"),
            (lambda: ensemble.score(twice), "Duplicate column names found"),
        ):
            with pytest.raises(InputError, match=message):
                call()
        far = ensemble.score_edits("ACGT" * 20, np.array([2**64 - 1], "u8"), ["A"], invalid="nan")
        assert far.status.tolist() == ["edge"]


def test_maps_are_taken_like_a_list(toy_model: Path) -> None:
    table = pa.table({"sequence": ["ACGT" * 20] * 3, "name": ["a", None, "c"]})
    with legscore.load_ensemble(toy_model, engine="null") as ensemble:
        maps = ensemble.saturate(table)
    assert maps.names.tolist() == ["a", "1", "c"], "what has no name has its number"
    assert [one.name for one in maps[1:]] == ["1", "c"]
    assert len(maps[:2].to_arrow()) == 2 * 80 * 3
    assert maps[np.int64(-1)].name == "c"
    assert maps[0] != maps[1]
    assert len({maps[0], maps, ensemble}) == 3
    for odd in (None, "0", 1.0):
        with pytest.raises(TypeError):
            maps[odd]  # type: ignore[call-overload]

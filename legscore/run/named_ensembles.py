"""Several ensembles in one pass: `-m complex=dir1 -m defined=dir2`.

Rows are read and windowed once; every ensemble scores the same windows. Each has its own columns, which bear
its name, and the difference between the first and each other one is that of their columns: the very numbers
that two runs and a subtraction would give. A row in which any ensemble's score is not finite has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from legscore.dna.contract import Contract
from legscore.errors import LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.rows.reduce import Results, reduce_scores
from legscore.rows.schema import OK, RESULT_COLUMNS, STATUS_CODE, TAIL_COLUMNS
from legscore.rows.window import Windows
from legscore.system.log import Detail, Say

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
WINDOW_FIELDS = ("length", "flank5", "flank3", "adapter5", "adapter3", "insert_min", "insert_max")
"""What windows are made by, of a contract."""
OTHERS = ("effect_low", "effect_high", "p", "q", *TAIL_COLUMNS)
"""Columns of other meaning, beside RESULT_COLUMNS."""
VALUE = {1: "score", 2: "effect"}
"""What is compared between ensembles, by the number of windows of a row."""


@dataclass(frozen=True)
class NamedEnsemble:
    """One of several: its members are `start` to `stop` (exclusive) of all members; `unit` of its scores."""

    name: str
    start: int
    stop: int
    unit: str

    def __len__(self) -> int:
        return self.stop - self.start


def split_models(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of `-m` and the names of their ensembles; no names where none is written as NAME=PATH.

    A text that is a path as it stands is one, whatever it holds.

    Raises:
        LegscoreError: only some have names.
    """
    pairs = [name_and_path(text) for text in given]
    names = tuple(name for name, _ in pairs if name is not None)
    if names and len(names) < len(pairs):
        bare = next(path for name, path in pairs if name is None)
        raise LegscoreError(
            f"-m {bare}: other ensembles have names; write NAME={bare}, or leave the names out for one "
            "ensemble"
        )
    return tuple(path for _, path in pairs), names


def name_and_path(text: str) -> tuple[str | None, str]:
    """What `-m` names: the name of an ensemble, None where it bears none, and a path."""
    name, equals, path = text.partition("=")
    if not equals or os.path.lexists(text) or "/" in name or "\\" in name:
        return None, text
    return name, path


def models_of(given: Mapping[str, str | os.PathLike[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As `split_models`, from Python: {name: path}."""
    for name, path in given.items():
        if not isinstance(path, str | os.PathLike):
            raise LegscoreError(f"models[{name!r}] is {path!r}; each ensemble is one folder or checkpoint")
    return tuple(os.fspath(path) for path in given.values()), tuple(map(str, given))


def check_unnamed(given: Sequence[str], why: str) -> None:
    """LegscoreError where one of the models is written as NAME=PATH; `why` names are not wanted."""
    for text in map(os.fspath, given):
        name, path = name_and_path(text)
        if name is not None:
            raise LegscoreError(f"-m {text}: {why}; give -m {path} alone")


def check_names(names: Sequence[str], models: Sequence[str]) -> None:
    """LegscoreError unless the names can stand in columns, each once, for two ensembles or more."""
    for name, path in zip(names, models, strict=True):
        if not NAME.fullmatch(name):
            raise LegscoreError(
                f"-m {name}={path}: names of ensembles go into names of columns: letters, digits and _, "
                "a letter first"
            )
        if not path:
            raise LegscoreError(f"-m {name}=: no model is named; is a shell variable unset?")
        if names.count(name) > 1:
            raise LegscoreError(f"-m {name}={path}: two ensembles have the name {name}; give each its own")
    if len(names) < 2:
        raise LegscoreError(
            f"-m {names[0]}={models[0]}: names tell several ensembles apart, and this is one; leave the name "
            "out, or name another one too"
        )
    for windows in RESULT_COLUMNS:
        columns = [*named_columns(names, windows), *(named_lists(names, windows))]
        known = {*RESULT_COLUMNS[1], *RESULT_COLUMNS[2], *OTHERS}
        known |= {f"{column}_per_model" for column in known}
        clash = next((one for one in columns if one in known or columns.count(one) > 1), None)
        if clash:
            raise LegscoreError(
                f"-m: with the names {', '.join(names)} the column {clash} would have two meanings; choose "
                "other names"
            )


def column_of(column: str, name: str) -> str:
    """The column of an ensemble: `effect_complex`, `effect_complex_sd`, `effect_complex_per_model`."""
    stem, ending = re.fullmatch(r"(.*?)((?:_sd|_per_model)?)", column).groups()  # type: ignore[union-attr]
    return f"{stem}_{name}{ending}"


def difference_of(first: str, other: str, windows: int) -> str:
    """The column of a difference: `effect_complex_minus_defined`."""
    return f"{VALUE[windows]}_{first}_minus_{other}"


def named_columns(names: Sequence[str], windows: int, compared: Sequence[str] | None = None) -> list[str]:
    """Result columns of rows of so many windows: those of each ensemble, then the differences.

    Args:
        names: of the ensembles. compared: those that are subtracted from the first; all others when None.
    """
    own = [column_of(column, name) for name in names for column in RESULT_COLUMNS[windows]]
    others = names[1:] if compared is None else compared
    return own + [difference_of(names[0], other, windows) for other in others]


def named_lists(names: Sequence[str], windows: int) -> list[str]:
    """Columns of members' values."""
    values = [column for column in RESULT_COLUMNS[windows] if not column.endswith("_sd")]
    return [column_of(f"{column}_per_model", name) for name in names for column in values]


def open_named(
    models: Sequence[str], names: Sequence[str], allow_duplicates: bool, say: Say
) -> tuple[list[Checkpoint], tuple[NamedEnsemble, ...]]:
    """Load the ensembles; all members, ensemble after ensemble, and which of them are whose.

    Raises:
        ModelError: they do not read the same windows, or two are the same.
    """
    members: list[Checkpoint] = []
    found: list[NamedEnsemble] = []
    for name, path in zip(names, models, strict=True):
        say(Detail(f"ensemble {name}: {path}"))
        mine = open_members([path], allow_duplicates, say)
        start = len(members)
        members += mine
        found.append(NamedEnsemble(name, start, len(members), mine[0].contract.output.unit))
    first = found[0]
    for place, other in enumerate(found[1:], 1):
        _check_windows(first.name, members[first.start].contract, other.name, members[other.start].contract)
        for earlier in found[:place]:
            if _hashes(members, earlier) == _hashes(members, other):
                raise ModelError(
                    f"{earlier.name} and {other.name} are the same models and would not differ; name "
                    "two ensembles"
                )
    told = [one.name for one in compared_with_first(found)]
    say(
        f"ensembles: {', '.join(names)}, one after the other on the same windows"
        + (f"; differences: {first.name} minus {', '.join(told)}" if told else "")
    )
    for other in found[1:]:
        if other.unit != first.unit:
            say(f"           no difference to {other.name}: its scores are in {other.unit}, not {first.unit}")
    return members, tuple(found)


def _check_windows(name: str, first: Contract, other_name: str, other: Contract) -> None:
    for field in WINDOW_FIELDS:
        mine, theirs = getattr(first, field), getattr(other, field)
        if mine != theirs:
            raise ModelError(
                f"{name} and {other_name} read different windows: {field} is {mine!r} and {theirs!r}; score "
                "them in separate runs"
            )
    if first.rc_trained != other.rc_trained:
        both, one = (name, other_name) if first.rc_trained else (other_name, name)
        raise ModelError(
            f"{both} was trained on both strands of the window and {one} on one; score them in separate runs"
        )


def _hashes(members: Sequence[Checkpoint], of: NamedEnsemble) -> list[str]:
    return sorted(member.sha256 for member in members[of.start : of.stop])


def compared_with_first(ensembles: Sequence[NamedEnsemble]) -> list[NamedEnsemble]:
    """Those whose scores have the unit of the first one's, from which they are subtracted."""
    return [one for one in ensembles[1:] if one.unit == ensembles[0].unit]


def reduce_named(
    ensembles: Sequence[NamedEnsemble], scores_MW: np.ndarray, windows: Windows, *, per_model: bool
) -> Results:
    """Scores of all members → the columns of every ensemble, and differences.

    Args:
        scores_MW: float32 [members of all ensembles, windows].
        windows: of the part. per_model: also the members' values.
    """
    index, status_N, n_count_N = windows.index_NKS, windows.status_N, windows.n_count_N
    each = [
        reduce_scores(scores_MW[one.start : one.stop], index, status_N, n_count_N, per_model=per_model)
        for one in ensembles
    ]
    status = each[0].status_N.copy()
    for results in each[1:]:
        status[(status == OK) & (results.status_N != OK)] = STATUS_CODE["nonfinite"]
    columns: dict[str, np.ndarray] = {}
    lists: dict[str, np.ndarray] = {}
    for one, results in zip(ensembles, each, strict=True):
        columns |= {column_of(name, one.name): values for name, values in results.columns.items()}
        lists |= {column_of(name, one.name): values for name, values in results.per_model.items()}
    kinds = index.shape[1]
    value, first = VALUE[kinds], ensembles[0].name
    for other in compared_with_first(ensembles):
        minuend, subtrahend = columns[column_of(value, first)], columns[column_of(value, other.name)]
        columns[difference_of(first, other.name, kinds)] = minuend - subtrahend
    for values in (*columns.values(), *lists.values()):
        values[status != OK] = np.nan
    return Results(columns, lists, status, n_count_N)

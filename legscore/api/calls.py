"""What the functions of the API share: paths as text, records of options, who hears of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from legscore.errors import InputError
from legscore.input.arrow_stream import is_table
from legscore.run.named_ensembles import models_of
from legscore.run.python_kinds import no_models
from legscore.run.python_words import told_in_python
from legscore.system.log import Progress, Say, StartProgress, finish, logged
from legscore.system.notebook import progress_bar
from legscore.variants.genome_run import score_request
from legscore.variants.run_request import RunRequest, check_request

T = TypeVar("T")
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Models = Paths | Mapping[str, str | os.PathLike[str]]
"""One ensemble, or several by name."""


class RunRecord(dict[str, Any]):
    """The record of a run, a dict that shows itself in one line; `dict(record)` shows all of it."""

    def __repr__(self) -> str:
        what = f"{self['designs']:,} designs" if "designs" in self else f"{self.get('rows', 0):,} rows"
        counts = ", ".join(f"{n:,} {status}" for status, n in self.get("status", {}).items())
        again = "finished already" if self.get("already_finished") else f"{self.get('seconds', 0):,.1f} s"
        shown = [f"{what} ({counts})" if counts else what, f"{self.get('output')}", again]
        return f"<Record of {'; '.join(shown)}; dict(...) of it shows all {len(self)} entries>"


def run_request(
    request: RunRequest,
    log_json: str | None,
    say: Say | None,
    progress: bool | StartProgress | None,
) -> dict[str, Any]:
    """Do it, show how far it is, and tell the file of events, where there is one."""
    check_request(request, log_json)
    told = told_in_python(say)
    with _started(progress) as start:
        if log_json is None:
            record, lines = score_request(request, say=told, progress=start)
        else:
            with logged(log_json, told, force=request.options.force) as log:
                record, lines = score_request(request, say=told, progress=start, log=log)
                finish(log, record)
    for line in lines:
        told(line)
    return RunRecord(record)


@contextlib.contextmanager
def _started(progress: bool | StartProgress | None) -> Iterator[StartProgress]:
    """What a run calls once its rows are known; bars are closed at the end."""
    if callable(progress):
        yield progress
        return
    with contextlib.ExitStack() as stack:

        def start(rows: int, members: int) -> Progress:
            label = "scoring" if members == 1 else f"scoring × {members} models"
            return stack.enter_context(progress_bar(progress, label, rows))

        yield start


def options_of(record: type[T], given: Mapping[str, Any]) -> T:
    """A record of options from the arguments of a call: paths as text, and a single text where a sequence of
    them is meant as a sequence of one."""
    values, fields = {}, record.__dataclass_fields__  # type: ignore[attr-defined]
    for name, field in fields.items():
        if name in given:
            value = given[name]
            if name == "models" and value is None:
                value = ()
            elif name == "models" and isinstance(value, Mapping) and "ensembles" in fields:
                value, values["ensembles"] = models_of(value)
            elif field.type == "Sequence[str]":
                value = listed_models(value) if name == "models" else listed(value)
            if isinstance(value, np.generic):  # of an array: a number like any other
                value = value.item()
            values[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return record(**values)


def listed(given: Paths | None) -> tuple[str, ...]:
    """One path or name or several, as texts; none for None. InputError for a mapping, which names what has no
    names here."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        raise InputError(
            f"{dict(given)!r} names several; ensembles by name are scored by legscore.score_file, "
            "score_genome and score_table"
        )
    return tuple(os.fspath(one) for one in ([given] if isinstance(given, str | os.PathLike) else given))


def listed_models(given: Paths | None) -> tuple[str, ...]:
    """`listed`; InputError where something was given, such as a pattern's generator, and holds none."""
    found = listed(given)
    if given is not None and not found:
        raise no_models(found)
    return found


def check_files_given(name: str, given: Any) -> None:
    """InputError for a table in memory where files are meant."""
    if not isinstance(given, str | bytes | os.PathLike | list | tuple) and is_table(given):
        raise InputError(
            f"{name} is a table in memory ({type(given).__name__}), not a file; legscore.score_table and "
            "Ensemble.effects score tables"
        )


def text_of(path: str | os.PathLike[str] | None) -> str | None:
    """A path as text."""
    return None if path is None else os.fspath(path)

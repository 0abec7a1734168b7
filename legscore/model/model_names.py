"""What -m may name: a path, models that come with legscore, or models that were pulled."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from legscore.errors import ModelError, nearest, shorten
from legscore.model.model_library import pulled_folder, pulled_names
from legscore.system.log import Say
from legscore.system.resources import folder

BUNDLED, STUDENT = "bundled", "bundled-student"


def _student_file() -> Path:
    return folder("student") / "bundled_student.safetensors"


def _bundled_student() -> Path:
    """The bundled ensemble's student. ModelError where it does not come with this legscore."""
    path = _student_file()
    if not path.is_file():
        raise ModelError(
            f"{STUDENT} does not come with this legscore ({path} is missing); make it with "
            "examples/make_student.py, or distill a student of your own: legscore distill"
        )
    return path


NAMES: dict[str, Callable[[], Path]] = {
    BUNDLED: lambda: folder("bundled"),
    f"{BUNDLED}@1": lambda: folder("bundled_1"),  # the ensemble that was bundled before
    STUDENT: _bundled_student,
}
"""Name → where those models are."""


def locate_models(names: Sequence[str | Path], say: Say = lambda line: None) -> list[Path]:
    """Paths of models, each named by a path, by one of NAMES or as it was pulled; an existing path wins.

    Args:
        names: what the user wrote; `say`: told when a path hides a name.

    Raises:
        ModelError: an empty name, or neither a path nor a name.
    """
    found = []
    for given in names:
        name = os.fspath(given)
        if not name:
            raise ModelError("an empty name was given for a model; is a shell variable unset?")
        if os.path.lexists(name):
            if name in NAMES or pulled_folder(name):
                say(f"models: {name} is the path {os.path.abspath(name)}, not the models of that name")
            found.append(Path(name))
        elif name in NAMES:
            found.append(NAMES[name]())
        elif (folder_of_it := pulled_folder(name)) is not None:
            found.append(folder_of_it)
        else:
            raise ModelError(_unknown(name))
    return found


def _unknown(name: str) -> str:
    """What is said of a name that no models have."""
    from legscore.model.published import PUBLISHED

    if name in PUBLISHED:
        return f"{name} was not pulled yet; legscore models pull {name} brings it"
    ensemble, equals, path = name.partition("=")
    if equals and path and "/" not in ensemble and (os.path.lexists(path) or path in NAMES):
        return (
            f"{name}: no such file or directory; only the -m of legscore run takes names of ensembles: leave "
            f"{ensemble}= out"
        )
    come = [one for one in NAMES if one != STUDENT or _student_file().is_file()]
    known = (*come, *pulled_names())
    return (
        f"{name}: no such file or directory; -m takes checkpoints, a directory of them, or a name: "
        f"{shorten(known)}{nearest(name, (*known, *PUBLISHED))}"
    )


def are_bundled(names: Sequence[str | Path]) -> bool:
    """Whether the bundled models are meant: none were named, or by their name."""
    return all(os.fspath(name) == BUNDLED and not os.path.lexists(name) for name in names)

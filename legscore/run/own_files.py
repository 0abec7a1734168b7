"""What --force may replace: of a folder, only what legscore wrote there.

A folder is replaced as a whole, so that whatever else lies in it would be gone. It is looked at before the
work, and again before it makes room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from legscore.errors import OutputError
from legscore.run.finished import read_record
from legscore.system.publish import base_of, writing
from legscore.system.storage import Remote, is_remote


def check_own(output: str, is_own: Callable[[str], bool]) -> None:
    """Refuse to replace a folder that holds what is not legscore's.

    Args:
        output: the folder's name, on a disk or in a store. Nothing is refused where there is none.
        is_own: whether a name is a file of this output, relative to the folder; of an empty folder in it,
            the name ends in a slash.

    Raises:
        OutputError: it holds something else, which is named.
    """
    with writing(output):
        foreign = next((name for name in _names_in(output) if not is_own(name)), None)
    if foreign is not None:
        raise OutputError(
            f"{output} holds {foreign}, which legscore did not write there and which would be deleted; "
            "move it, or choose another -o"
        )


def names_in_record(output: str) -> set[str]:
    """Names of the files that the record beside an output says were written; none where it says nothing."""
    try:
        noted = (read_record(output) or {}).get("output_files")
    except OutputError:
        return set()
    return set(noted) if isinstance(noted, dict) else set()


def _names_in(output: str) -> Iterator[str]:
    """Files below a folder and empty folders in it, relative to it; in a store, objects directly below."""
    if is_remote(output):
        yield from sorted(Remote(output).names())
        return
    top = Path(os.path.realpath(base_of(output)))
    if top.is_dir():
        yield from _names_below(top, "")


def _names_below(folder: Path, name: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = f"{name}{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            yield path
        elif next(os.scandir(entry.path), None) is None:
            yield f"{path}/"
        else:
            yield from _names_below(Path(entry.path), f"{path}/")

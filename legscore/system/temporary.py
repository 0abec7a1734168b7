"""Folders in the temporary folder for this user alone, under names that later processes find again."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from legscore.errors import OutputError

ATTEMPTS = 16


def private_temporary(name: str) -> Path:
    """A folder of this user in the temporary folder (TMPDIR), made with mode 700.

    Anybody may have taken the name before: what is a link, belongs to another user or may be written to by
    others is left as it is, and the next of `name`, `name-1`, `name-2`… is taken. So processes of one user
    agree on one folder.

    Raises:
        OutputError: none can be made.
    """
    base = Path(tempfile.gettempdir())
    for number in range(ATTEMPTS):
        folder = base / (f"{name}-{number}" if number else name)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be made: {error.strerror or error}; choose another folder with TMPDIR"
            ) from error
        if is_own(folder):
            return folder
    raise OutputError(
        f"{base / name} and {ATTEMPTS - 1} names like it belong to others; choose another folder with TMPDIR"
    )


def is_own(folder: Path) -> bool:
    """Whether it is a folder of this user (no link) that nobody else may write to."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    if not hasattr(os, "geteuid"):  # Windows: the temporary folder is the user's own
        return stat.S_ISDIR(found.st_mode)
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not shared

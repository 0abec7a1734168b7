"""Recipes, configs, lists, records: small text files that a user names. A device, a pipe or a gigabyte under
such a name is refused."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from legscore.errors import LegscoreError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 4 << 20
MOST_NESTED = 50


def read_small(path: str | Path) -> str:
    """The UTF-8 text of a regular file of at most MOST_BYTES. OSError or ValueError say what is wrong."""
    # a pipe without a writer would wait for one
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > MOST_BYTES:
            raise ValueError(f"{found.st_size:,} bytes; such a file has at most {MOST_BYTES:,}")
        return stream.read(MOST_BYTES + 1).decode("utf-8-sig")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text that anybody may have written. ValueError says what is wrong, also where
    values are nested so deep that what works with them would run out of stack."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"values are nested over {MOST_NESTED} deep") from None
    inside = [value]
    for _ in range(MOST_NESTED):
        inside = [
            entry
            for one in inside
            if isinstance(one, dict | list)
            for entry in (one.values() if isinstance(one, dict) else one)
            if isinstance(entry, dict | list)
        ]
        if not inside:
            return value
    raise ValueError(f"values are nested over {MOST_NESTED} deep")


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """A TOML file's table; LegscoreError names the file."""
    try:
        return tomllib.loads(read_small(path))
    except (OSError, ValueError, RecursionError) as error:
        raise LegscoreError(f"{what} {path} cannot be read ({error})") from None

"""Where the files that ship with legscore lie: recipes, kernels, the bundled models.

In an installed package they are inside it (`legscore/engines`, `legscore/kernels`, …); in a
checkout they are the top-level folders, used only when the checkout's setup.py lies beside them. Nothing is
ever looked up in the working directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from legscore.errors import LegscoreError

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = {
    "engines": "engines",
    "kernels": "kernels",
    "bundled": "examples/models",
    "bundled_1": "examples/models_1",
    "student": "examples/student",
}


def folder(name: str) -> Path:
    """Folder of that name (a key of CHECKOUT). LegscoreError when the installation lacks it."""
    inside = PACKAGE / name
    if inside.is_dir():
        return inside
    beside = PACKAGE.parent / CHECKOUT[name]
    if (PACKAGE.parent / "setup.py").is_file() and beside.is_dir():
        return beside
    raise LegscoreError(f"this installation of legscore lacks its {name} folder ({inside}); install it again")


def cache_folder(name: str) -> Path:
    """This user's cache folder for `name`; LEGSCORE_CACHE moves it. Nothing is created here."""
    if moved := os.environ.get("LEGSCORE_CACHE"):
        return Path(moved) / name
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("legscore", appauthor=False)) / name

"""Recipes: TOML files in engines/ that say how to build for a precision.

`--precision fp32|bf16` names the recipe of that name; `--recipe` gives another by name or path. Anything unknown in a
recipe is an error, so that a misspelt setting is never ignored.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import EngineError, nearest, shorten
from legscore.resources import folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("fp32", "bf16")
TABLES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "openvino": {"batch": int, "streams": (int, str)},
    "torch": {"batch": int},
    "fidelity": {"score_pearson_min": float, "effect_spearman_min": float},
}


@dataclass(frozen=True)
class Recipe:
    """How to build: precision, settings per engine, and the fidelity below which a build fails."""

    name: str
    precision: str
    settings: dict[str, dict[str, Any]]
    sha256: str

    def get(self, table: str, key: str) -> Any:
        return self.settings[table][key]


def load_recipe(name: str) -> Recipe:
    """Read a recipe by name (in engines/) or path. EngineError on anything missing, unknown or of a wrong type."""
    path = Path(name) if name.endswith(".toml") else folder("engines") / f"{name}.toml"
    try:
        text = path.read_bytes()
        data = tomllib.loads(text.decode())
    except OSError as error:
        known = sorted(p.stem for p in folder("engines").glob("*.toml"))
        raise EngineError(f"recipe {name}: {error.strerror}; known recipes are {shorten(known)}") from None
    except ValueError as error:
        raise EngineError(f"recipe {path}: not TOML ({error})") from None
    precision = data.pop("precision", None)
    if precision not in PRECISIONS:
        raise EngineError(f"recipe {path}: precision is {precision!r}; known are {', '.join(PRECISIONS)}")
    for table, settings in data.items():
        if table not in TABLES or not isinstance(settings, dict):
            raise EngineError(f"recipe {path}: unknown entry {table!r}{nearest(table, TABLES)}")
        for key, value in settings.items():
            if key not in TABLES[table]:
                raise EngineError(f"recipe {path}: unknown setting {table}.{key}{nearest(key, TABLES[table])}")
            if not isinstance(value, TABLES[table][key]) or isinstance(value, bool):
                raise EngineError(f"recipe {path}: {table}.{key} is {value!r}, of the wrong type")
            if isinstance(value, int) and not 1 <= value <= 65_536:
                raise EngineError(f"recipe {path}: {table}.{key} is {value}, outside 1..65536")
    for table, keys in TABLES.items():
        for key in keys:
            if key not in data.get(table, {}):
                raise EngineError(f"recipe {path}: lacks {table}.{key}")
    streams = data["openvino"]["streams"]
    if isinstance(streams, str) and streams != "cores":
        raise EngineError(f'recipe {path}: openvino.streams is {streams!r}; a number or "cores"')
    return Recipe(path.stem, precision, data, hashlib.sha256(text).hexdigest())

"""Recipes: TOML files in engines/ that say how to build for a precision.

`--precision fp32|bf16|fp16` names the recipe of that name; `--recipe` gives another by name or path. Anything
unknown in a recipe is an error, so that a misspelt setting is never ignored.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import EngineError, nearest, shorten
from legscore.model.gpu_form import GROUPS, LAYOUTS, SILU, TORCH_GROUPS, TORCH_KERNELS
from legscore.system.resources import folder
from legscore.system.small_files import read_small

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("fp32", "bf16", "fp16")
MOST = 65_536
BATCH_STEP = 64
"""Rows of a GPU pass come in 64s, so that each member's scores (4 bytes a row) begin at a multiple of 256
bytes."""

Check = Callable[[Any], str]
"""Value of a setting → what is wrong with it, or an empty string."""


def _of(*kinds: type) -> Check:
    return lambda value: (
        ""
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        else "of the wrong type"
    )


def _number(least: int, most: int) -> Check:
    wrong = _of(int)
    return lambda value: wrong(value) or ("" if least <= value <= most else f"outside {least}..{most}")


def _one_of(known: tuple[str, ...]) -> Check:
    return lambda value: "" if value in known else f"not one of {', '.join(known)}"


def _streams(value: Any) -> str:
    if isinstance(value, str):
        return "" if value == "cores" else 'not a number or "cores"'
    return _number(1, MOST)(value)


def _batches(value: Any) -> str:
    if not isinstance(value, list) or not value or any(_number(1, MOST)(batch) for batch in value):
        return f"not a list of numbers in 1..{MOST}"
    if any(batch % BATCH_STEP for batch in value):
        return f"not all multiples of {BATCH_STEP}"
    return "" if value == sorted(set(value), reverse=True) else "not falling"


def _batches_of(value: Any) -> str:
    if not isinstance(value, dict):
        return "not a table of GPU names"
    return next(
        (f"{complaint} for {name!r}" for name, batches in value.items() if (complaint := _batches(batches))),
        "",
    )


def _correlation(value: Any) -> str:
    return _of(float)(value) or ("" if -1 <= value <= 1 else "no correlation")


TABLES: dict[str, dict[str, Check]] = {
    "openvino": {"batch": _number(1, MOST), "streams": _streams, "joined": _number(1, 50)},
    "native": {"windows": _number(1, MOST)},
    "torch": {
        "batch": _batches,
        "batch_of": _batches_of,
        "groups": _one_of(TORCH_GROUPS),
        "kernels": _one_of(TORCH_KERNELS),
        "compile": _of(bool),
        "cuda_graph": _of(bool),
    },
    "tensorrt": {
        "batch": _batches,
        "batch_of": _batches_of,
        "optimization_level": _number(0, 5),
        "aux_streams": _number(0, 16),
        "groups": _one_of(GROUPS),
        "layout": _one_of(LAYOUTS),
        "silu": _one_of(SILU),
        "tf32": _of(bool),
        "refit": _of(bool),
        "cuda_graph": _of(bool),
    },
    "fidelity": {"score_pearson_min": _correlation, "effect_spearman_min": _correlation},
}
REQUIRED = {
    "fp32": ("openvino", "torch", "fidelity"),
    "bf16": ("openvino", "torch", "fidelity"),
    "fp16": ("tensorrt", "fidelity"),
}
"""Tables that a recipe of each precision has. A table that is there is complete."""
ENGINES_OF = {
    "fp32": ("openvino", "torch", "tensorrt"),
    "bf16": ("openvino", "native", "torch"),
    "fp16": ("tensorrt", "torch"),
}
"""Engines that compute in each precision."""


@dataclass(frozen=True)
class Recipe:
    """How to build: precision, settings per engine, and the fidelity below which a build fails."""

    name: str
    precision: str
    settings: dict[str, dict[str, Any]]
    sha256: str

    def get(self, table: str, key: str) -> Any:
        return self.settings[table][key]

    def batches(self, gpu: str, engine: str = "tensorrt") -> list[int]:
        """Rows of a pass to try on a GPU of this name, largest first. The longest name that is part of it
        wins."""
        table: dict[str, list[int]] = self.get(engine, "batch_of")
        fitting = [name for name in table if name.lower() in gpu.lower()]
        return table[max(fitting, key=len)] if fitting else self.get(engine, "batch")


def load_recipe(name: str) -> Recipe:
    """Read a recipe by name (in engines/) or path. EngineError on anything missing, unknown or of a wrong
    type."""
    path = Path(name) if name.endswith(".toml") else folder("engines") / f"{name}.toml"
    try:
        text = read_small(path)
        data = tomllib.loads(text)
    except OSError as error:
        known = sorted(p.stem for p in folder("engines").glob("*.toml"))
        raise EngineError(f"recipe {name}: {error.strerror}; known recipes are {shorten(known)}") from None
    except (ValueError, RecursionError) as error:
        raise EngineError(f"recipe {path}: not TOML ({error})") from None
    precision = data.pop("precision", None)
    if precision not in PRECISIONS:
        raise EngineError(f"recipe {path}: precision is {precision!r}; known are {', '.join(PRECISIONS)}")
    for table, settings in data.items():
        if table not in TABLES or not isinstance(settings, dict):
            raise EngineError(f"recipe {path}: unknown entry {table!r}{nearest(table, TABLES)}")
        if table != "fidelity" and table not in ENGINES_OF[precision]:
            raise EngineError(f"recipe {path}: {table} does not compute in {precision}; drop [{table}]")
        for key, value in settings.items():
            if key not in TABLES[table]:
                raise EngineError(
                    f"recipe {path}: unknown setting {table}.{key}{nearest(key, TABLES[table])}"
                )
            if complaint := TABLES[table][key](value):
                raise EngineError(f"recipe {path}: {table}.{key} is {value!r}, {complaint}")
    for table in (*REQUIRED[precision], *data):
        for key in TABLES[table]:
            if key not in data.get(table, {}):
                raise EngineError(f"recipe {path}: lacks {table}.{key}")
    if precision != "fp16" and data.get("torch", {}).get("kernels") == "triton":
        raise EngineError(f"recipe {path}: torch.kernels triton compute in FP16 only; use torch")
    if precision == "fp32" and data.get("tensorrt", {}).get("layout") == "hwc8":
        raise EngineError(f"recipe {path}: tensorrt.layout hwc8 holds FP16 only; use ncl or nc1l")
    return Recipe(path.stem, precision, data, hashlib.sha256(text.encode()).hexdigest())

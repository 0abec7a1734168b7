"""The manifest of a checkpoint: what its JSON may hold, checked before anybody reads it.

Everything later code takes from a training record has its type here, so that a record that another program
wrote, or that somebody edited, is one line at loading and nothing worse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from legscore.errors import ModelError, shorten

FORMAT = 1
METADATA_KEY = "legscore"
FAMILIES = ("F1", "F2", "F3", "F5", "legscore")
MOST_DEPTH = 20
"""Objects and lists within each other; legscore writes five."""
ENTRIES: dict[str, type] = {
    "format": int,
    "family": str,
    "architecture": dict,
    "contract": dict,
    "training": dict,
    "source": dict,
}


def read_manifest(metadata: dict[str, str]) -> dict[str, Any]:
    """The manifest in the metadata of a safetensors file.

    Raises:
        ModelError: there is none, or something in it is missing, unknown or of the wrong type.
    """
    if METADATA_KEY not in metadata:
        raise ModelError(
            f'is a safetensors file without a "{METADATA_KEY}" manifest; weights alone do not say how '
            "sequences are encoded. Import the original PyTorch checkpoint instead: legscore import --help"
        )
    try:
        manifest = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its manifest is not JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ModelError(f"its manifest has format {_brief(found)}; this legscore reads format {FORMAT}")
    _check_depth(manifest)
    for name, kind in ENTRIES.items():
        if not isinstance(manifest.get(name), kind):
            raise ModelError(f"its manifest lacks {name!r}")
    if unknown := sorted(set(manifest) - set(ENTRIES)):
        raise ModelError(f"its manifest has unknown entries: {shorten(unknown)}")
    if manifest["family"] not in FAMILIES:
        raise ModelError(f"its family is {_brief(manifest['family'])}; known are {', '.join(FAMILIES)}")
    check_training(manifest["training"])
    return manifest


def check_training(training: dict[str, Any]) -> None:
    """ModelError for an entry of a training record that is not what training writes; others may be
    anything."""
    for name, (fits, what) in TRAINING.items():
        if name in training and not fits(training[name]):
            raise ModelError(f"its training record: {name} is {_brief(training[name])}; it must be {what}")


def _check_depth(manifest: dict[str, Any]) -> None:
    level: list[Any] = [manifest]
    for _ in range(MOST_DEPTH):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
        if not level:
            return
    raise ModelError(f"its manifest is nested more than {MOST_DEPTH} levels deep")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


def _number(value: Any) -> bool:
    return _whole(value) or type(value) is float


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _numbers(value: Any) -> bool:
    """Metrics: a number by its name; null where one could not be computed."""
    return isinstance(value, dict) and all(number is None or _number(number) for number in value.values())


def _percentiles(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(q) and math.isfinite(q) for q in value.values())


def _folds(value: Any) -> bool:
    """Where folds come from: a hash of the sequence, or a column."""
    if not isinstance(value, dict) or not _text(value.get("by")):
        return False
    return all(_text(value[name]) for name in ("column", "sequence_is") if value.get(name) is not None)


def _sampling(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _text(setting) if name == "feed" else _number(setting) and math.isfinite(setting)
        for name, setting in value.items()
    )


def _models(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(model, dict) and _text(model.get("name")) and _text(model.get("sha256")) for model in value
    )


TRAINING: dict[str, tuple[Callable[[Any], bool], str]] = {
    "recipe": (lambda value: isinstance(value, dict), "an object"),
    "seed": (_whole, "a whole number"),
    "steps": (_whole, "a whole number"),
    "folds": (_folds, "an object that says what they are taken by"),
    "folds_held_out": (
        lambda value: isinstance(value, list) and all(map(_whole, value)),
        "a list of whole numbers",
    ),
    "metrics": (_numbers, "an object of numbers"),
    "test_metrics": (_numbers, "an object of numbers"),
    "expression_percentiles": (_percentiles, "an object of numbers"),
    "sampling": (_sampling, "an object with the text `feed` and numbers"),
    "validated_by": (_models, "a list of models, each with name and sha256"),
    "note": (_text, "a text"),
    "data_sha256": (_text, "a text"),
    "legscore": (_text, "a text"),
    "torch": (_text, "a text"),
    "precision": (_text, "a text"),
}
"""Entries of a training record: whether a value is one, and what it must be."""

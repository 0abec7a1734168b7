"""A calibration of predicted effects: the file, whose ensemble it belongs to, and the intervals it gives.

    centre = slope × effect          half width = quantile × (SD over members + floor)

An effect and its reverse are one datum, so the line goes through 0. The quantile makes intervals that hold
the measured effect in the stated share of new promoters (`legscore evaluate --calibrate` fits and checks it).
A calibration belongs to the models that it was fitted with, by their hashes, and to the strands that they
read. Precision does not count: engines differ by far less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import InputError, ModelError
from legscore.system.publish import publishing, writing
from legscore.system.small_files import parse_json, read_small

FORMAT, OLDER = "legscore-calibration-2", "legscore-calibration-1"
"""Files of the older one carry no checksum."""
SETTINGS = ("rc", "singleton", "context")
COLUMNS = ("effect_low", "effect_high")
MOST = 1e30
RANGES = {"slope": (-MOST, MOST), "quantile": (0.0, MOST), "floor": (0.0, MOST), "coverage": (0.0, 1.0)}
"""Limits of the numbers of a calibration: what lies outside was not fitted."""


@dataclass(frozen=True)
class Calibration:
    """What a calibration file holds.

    Attributes:
        models: sha256 of each member. settings: of the run whose scores it was fitted on (SETTINGS).
        slope, quantile, floor: see above; the floor is in the unit of the effect.
        uses_sd: False where the scores had no SD; the half width is then quantile × floor throughout.
        coverage: share of measured effects that the intervals are made to hold.
        fit: rows, clusters, columns and the measured coverage, for the reader.
    """

    models: tuple[str, ...]
    settings: Mapping[str, Any]
    slope: float
    quantile: float
    floor: float
    uses_sd: bool
    coverage: float
    fit: Mapping[str, Any] = field(default_factory=dict)

    def limits(self, effect_N: np.ndarray, sd_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limits, float64 [rows]; NaN where the effect, or an SD that is needed, is NaN."""
        effect = np.asarray(effect_N, dtype=np.float64)
        half = self.quantile * ((np.asarray(sd_N, dtype=np.float64) if self.uses_sd else 0.0) + self.floor)
        return self.slope * effect - half, self.slope * effect + half

    def columns(self, results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """COLUMNS as float32 [rows], from a part's `effect` and `effect_sd`."""
        low, high = self.limits(results["effect"], results["effect_sd"])
        return dict(zip(COLUMNS, (low.astype(np.float32), high.astype(np.float32)), strict=True))

    def check(self, models: Sequence[str], settings: Mapping[str, Any], where: str) -> None:
        """ModelError unless it was fitted with these models (in any order), read in this way."""
        mine, theirs = sorted(self.models), sorted(models)
        if mine != theirs:
            shared = len(set(mine) & set(theirs))
            raise ModelError(
                f"{where} was fitted with {len(mine)} other models, or not all the same ({shared} of them "
                "are among these "
                f"{len(theirs)}): a calibration belongs to one ensemble. Fit one with legscore evaluate "
                "--calibrate on its scores"
            )
        for name in SETTINGS:
            if name == "context" and self.settings.get(name) is None:
                continue  # fitted by an earlier legscore, which did not say
            if self.settings.get(name) != settings.get(name):
                raise ModelError(
                    f"{where} was fitted on scores with --{name} {self.settings.get(name)}, this run has "
                    f"{settings.get(name)}; "
                    "use the same, or fit another"
                )

    def save(self, path: Path) -> None:
        """Write the file aside and rename it into place."""
        with publishing(path) as temporary, writing(path):
            held = {"format": FORMAT, **asdict(self)}
            temporary.write_text(json.dumps({**held, "sha256": checksum_of_entries(held)}, indent=1) + "\n")


def load_calibration(path: str) -> tuple[Calibration, str]:
    """Read a file; the calibration and the file's sha256. InputError when it is none, or damaged."""
    try:
        raw = read_small(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no calibration: {error}") from None
    try:
        held = parse_json(raw)
    except ValueError as error:
        raise InputError(f"{path} is no calibration: it is not JSON ({error})") from None
    if not isinstance(held, dict) or held.get("format") not in (FORMAT, OLDER):
        kind = held.get("format") if isinstance(held, dict) else type(held).__name__
        raise InputError(
            f"{path} is no calibration: its format is {kind!r}, not {FORMAT!r}; legscore evaluate "
            "--calibrate makes one"
        )
    if held.get("sha256") != (None if held["format"] == OLDER else checksum_of_entries(held)):
        raise InputError(
            f"{path} is damaged or was edited: its content does not fit its checksum; fit it again with "
            "legscore evaluate --calibrate"
        )
    numbers = {name: _number(path, name, held.get(name), *limits) for name, limits in RANGES.items()}
    models, settings = held.get("models"), held.get("settings")
    if not isinstance(models, list) or not models or not all(isinstance(m, str) for m in models):
        raise InputError(f"{path}: models must be a list of hashes")
    if not isinstance(settings, dict) or not isinstance(held.get("uses_sd"), bool):
        raise InputError(f"{path}: settings or uses_sd is missing")
    fit = held.get("fit")
    known = Calibration(
        tuple(models), settings, uses_sd=held["uses_sd"], fit=fit if isinstance(fit, dict) else {}, **numbers
    )
    return known, hashlib.sha256(raw.encode()).hexdigest()


def checksum_of_entries(held: Mapping[str, Any]) -> str:
    """What `sha256` of a calibration holds: that of all its other entries."""
    content = {name: value for name, value in held.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _number(path: str, name: str, value: Any, low: float, high: float) -> float:
    """A finite number between limits; InputError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{path}: {name} is {repr(value)[:60]}, not a number")
    if not low <= value <= high:  # NaN is not, either; whole numbers may be larger than any float
        raise InputError(f"{path}: {name} is {repr(value)[:60]}; it must lie between {low:g} and {high:g}")
    return float(value)

"""Intervals around a student's effects that hold the ensemble's: `--calibration` names the student itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.model_names import STUDENT, locate_models
from legscore.model.student import half_widths, student_record
from legscore.run.calibration import COLUMNS

SUFFIX = ".safetensors"


def names_student(path: str) -> bool:
    """Whether a --calibration is a student: a checkpoint's file, or the name of the bundled one."""
    return path.endswith(SUFFIX) or (path == STUDENT and not os.path.lexists(path))


@dataclass(frozen=True)
class StudentIntervals:
    """What a student's record says of its distance from the ensemble; `coverage`: share of effects inside."""

    record: Mapping[str, Any]
    coverage: float

    def columns(self, results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """COLUMNS as float32 [rows], from a part's `effect`; NaN where no half-width is known."""
        effect = np.asarray(results["effect"], dtype=np.float64)
        half = half_widths(self.record, effect)
        assert half is not None
        low, high = effect - half, effect + half
        return dict(zip(COLUMNS, (low.astype(np.float32), high.astype(np.float32)), strict=True))


def intervals_of(path: str, members: Sequence[Checkpoint]) -> StudentIntervals:
    """The intervals of the student that scores. ModelError where another model does, or none are known."""
    student = load_checkpoint(path if path.endswith(SUFFIX) else locate_models([path])[0])
    record = student_record(student)
    if record is None:
        raise ModelError(
            f"--calibration {path}: not a student; give a file of legscore evaluate --calibrate, or the "
            "student that scores"
        )
    if [member.sha256 for member in members] != [student.sha256]:
        raise ModelError(
            f"--calibration {path}: its intervals are of its own effects; name it with -m, alone"
        )
    if "intervals" not in record:
        raise ModelError(f"--calibration {path}: this student's record holds no intervals; distill it again")
    return StudentIntervals(record, float(record["intervals"]["coverage"]))

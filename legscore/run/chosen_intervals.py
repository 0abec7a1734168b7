"""The intervals that `--calibration` asks for: those of a file that was fitted, or of a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from legscore.errors import InputError
from legscore.input.roles import check_added_columns
from legscore.model.checkpoint import Checkpoint
from legscore.run.calibration import COLUMNS, Calibration, load_calibration
from legscore.run.student_intervals import StudentIntervals, intervals_of, names_student
from legscore.system.log import Say


def chosen_intervals(
    path: str,
    members: Sequence[Checkpoint],
    settings: Mapping[str, Any],
    kept: Sequence[str],
    windows: int,
    say: Say,
) -> tuple[Calibration | StudentIntervals, dict[str, Any]]:
    """The intervals in a file, fit for these members, and what the output says of them.

    Args:
        path: a calibration, or a student that scores, by its file or name.
        settings: rc, singleton and context of the run.
        kept: columns of the input that the output keeps.
        windows: of a row; effects have two.

    Raises:
        InputError: the rows have no effects, or the input has a column of such a name. ModelError: another
            ensemble's file.
    """
    check_added_columns("--calibration", COLUMNS, kept)
    if windows != 2:
        raise InputError("--calibration gives intervals of effects; these rows are single sequences")
    if names_student(path):
        intervals = intervals_of(path, members)
        say(f"intervals: hold the ensemble's effect in {intervals.coverage:.0%} of rows ({path})")
        return intervals, {"sha256": members[0].sha256, "coverage": intervals.coverage}
    found, sha256 = load_calibration(path)
    found.check([member.sha256 for member in members], settings, path)
    say(f"calibration: {found.slope:.3f} × effect, intervals for {found.coverage:.0%} ({path})")
    return found, {"sha256": sha256, "coverage": found.coverage, "slope": found.slope}

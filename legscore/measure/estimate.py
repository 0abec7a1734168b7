"""Estimate how long a file will take, from its rows, its distinct windows and a measured rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from legscore.run.options import Options
from legscore.run.prepare import prepared

SAMPLED_PARTS = 4


@dataclass(frozen=True)
class Estimate:
    """`windows` is exact when every part was sampled (`sampled_rows == rows`), else scaled up from the parts
    that were."""

    rows: int
    sampled_rows: int
    windows: int
    members: int

    def seconds(self, windows_per_s: float) -> float:
        """Time to score, at a rate of windows (by all members) a second."""
        return self.windows / windows_per_s


def estimate(source: str, models: Sequence[str]) -> Estimate:
    """Window up to four parts, spread over the input.

    Raises:
        LegscoreError: whatever `legscore run` would find wrong with the input or the models.
    """
    options = Options([source], "-", models=models, engine="null", allow_duplicates=True)
    with prepared(options) as plan:
        numbers = plan.numbers
        picked = sorted(
            {round(i * (len(numbers) - 1) / max(SAMPLED_PARTS - 1, 1)) for i in range(SAMPLED_PARTS)}
        )
        rows = windows = 0
        for number in picked:
            for part in plan.opened.parts(plan.columns, plan.part_rows, number, number + 1):
                rows += part.table.num_rows
                windows += sum(group.windows.batch.n_windows for group in plan.groups(part))
        scaled = windows if rows == plan.n_rows else round(windows * plan.n_rows / max(rows, 1))
        return Estimate(plan.n_rows, rows, scaled, plan.engine.n_members)

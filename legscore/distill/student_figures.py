"""How well a student stands for its ensemble: figures of all checks, beside what needs no training.

Figures are of the student's scores as the engine gives them that users will score with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.distill.cascade_recall import recall_curve
from legscore.distill.check_rows import CheckRows
from legscore.distill.conformal import interval_table
from legscore.distill.material import TILES
from legscore.model.student import figure, is_better
from legscore.system.rank_order import correlation, ranks

LEAST_OF_SD = 0.2
"""A student's SD carries information where its rank correlation with the members' SD, beyond what the level
alone tells, is at least this at the lower end of its 95 % interval."""
RESAMPLES = 400


@dataclass(frozen=True)
class Standing:
    """What could stand for the ensemble without any training: a member, on all strands or on the forward one.

    Attributes:
        what, member: in words, and the member's name. cost: the ensemble's cost over its own.
        scores: float32 [windows] of each check.
    """

    what: str
    member: str
    cost: float
    scores: Sequence[np.ndarray]


def fidelity_of(
    checks: Sequence[CheckRows],
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    cost: float,
    others: Sequence[Standing],
) -> dict[str, Any]:
    """The fidelity part of a student's record: figures of the held-out groups, and of every further check.

    Args:
        checks: the held-out groups first. ours, theirs: for each, scores of its windows by the student and
            by the ensemble.
        cost: the ensemble's over the student's.
    """
    groups = checks[0]
    found = {
        "groups": len(np.unique(groups.tile_E)),
        "windows": len(groups.inserts_NL),
        **groups.agreement(ours[0], theirs[0]),
        "baselines": _baselines(groups, 0, theirs[0], cost, others),
        "checks": [],
    }
    for k, check in enumerate(checks[1:], 1):
        figures = {
            "name": check.name,
            "rows": len(check.alt_E),
            "tiles": len(np.unique(check.tile_E)),
            **(check.about or {}),
            **check.agreement(ours[k], theirs[k]),
            "baselines": _baselines(check, k, theirs[k], cost, others),
        }
        if measured := check.against_measured(ours[k], theirs[k]):
            figures["measured"] = measured
        found["checks"].append(figures)
    return found


def _baselines(
    check: CheckRows, k: int, truth_N: np.ndarray, cost: float, others: Sequence[Standing]
) -> list[dict[str, Any]]:
    """The best of each kind, also of those that cost no more than the student."""
    of = "levels" if check.ref_E is None else "effects"
    measured = [
        {"what": o.what, "member": o.member, "cost": o.cost, **check.agreement(o.scores[k], truth_N)}
        for o in others
    ]
    names = dict.fromkeys(one.what for one in others)
    kinds = [[one for one in measured if one["what"] == name] for name in names]
    best: list[dict[str, Any]] = []
    for kind in [*kinds, [one for one in measured if one["cost"] >= cost]]:
        if kind:
            one = max(kind, key=lambda one: one[of]["pearson"] or -1.0)
            if one not in best:
                best.append(one)
    return best


def cheaper_and_better(fidelity: dict[str, Any], cost: float) -> str:
    """What agrees better with the ensemble at no higher cost, in words; empty where nothing does."""
    for other in fidelity["baselines"]:
        if other["cost"] >= cost and is_better(other, fidelity):
            theirs, ours = other["effects"]["pearson"], fidelity["effects"]["pearson"]
            return (
                f"{other['what']} ({other['member']}, 1/{other['cost']:.3g} of the cost, effects Pearson "
                f"{figure(theirs)} against {figure(ours)} of the student at 1/{cost:.3g})"
            )
    return ""


def promises(
    checks: Sequence[CheckRows], ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> dict[str, Any]:
    """What the student promises of effects: how many of the largest it finds, and how near it is.

    Of the drawn tiles, and of a table's held-out rows, where there are none."""
    k = next((k for k, check in enumerate(checks) if check.name == TILES), 0)
    check = checks[k]
    mine, true, tile_E = check.values(ours[k]), check.values(theirs[k]), check.tile_E
    return {"cascade": recall_curve(mine, true, tile_E), "intervals": interval_table(mine, true, tile_E)}


def sd_figures(log_sd_N: np.ndarray, labels_MN: np.ndarray, tile_N: np.ndarray) -> dict[str, Any] | None:
    """How well the student's SD ranks windows by how much the members differ.

    Args:
        log_sd_N: by the student. labels_MN: by the members.
        tile_N: equal for windows of one group, which are drawn again together.

    Returns:
        `spearman`; `beyond_level`, the correlation of both ranks after a cubic of the level's rank is taken
        out, with `low` and `high` (95 %, bootstrap over groups); `informative`, by LEAST_OF_SD. None where
        members do not differ.
    """
    truth_N = labels_MN.astype(np.float64).std(axis=0)
    if len(labels_MN) < 2 or np.ptp(truth_N) == 0 or np.ptp(log_sd_N) == 0:
        return None
    level = ranks(labels_MN.astype(np.float64).mean(axis=0))
    powers = np.vander((level - level.mean()) / level.std(), 4)
    mine, true = ranks(log_sd_N), ranks(truth_N)
    left = [one - powers @ np.linalg.lstsq(powers, one, rcond=None)[0] for one in (mine, true)]
    low, high = _interval(left[0], left[1], tile_N)
    return {
        "spearman": correlation(mine, true),
        "beyond_level": correlation(left[0], left[1]),
        "low": low,
        "high": high,
        "informative": bool(low >= LEAST_OF_SD),
    }


def _interval(x_N: np.ndarray, y_N: np.ndarray, tile_N: np.ndarray) -> tuple[float, float]:
    """95 % interval of a correlation of centred numbers: whole tiles drawn again."""
    _, tile_N = np.unique(tile_N, return_inverse=True)
    tiles = int(tile_N.max()) + 1
    sums = np.stack([np.bincount(tile_N, product, tiles) for product in (x_N * y_N, x_N**2, y_N**2)], axis=1)
    rng = np.random.default_rng(19)
    times = rng.multinomial(tiles, np.full(tiles, 1 / tiles), RESAMPLES)
    xy, xx, yy = (times @ sums).T
    low, high = np.quantile(xy / np.sqrt(np.maximum(xx * yy, 1e-300)), (0.025, 0.975))
    return float(low), float(high)

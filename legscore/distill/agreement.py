"""How well a student stands for its ensemble on held-out groups, beside what else could stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.system.rank_order import correlation, ranks

DECILES = 10


def agreement(ours_GK: np.ndarray, theirs_GK: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Levels of all windows, and effects of the changes of a group on its reference.

    Args:
        ours_GK: scores [groups, windows], the reference first. theirs_GK: the ensemble's means.

    Returns:
        `levels` and `effects`: Pearson, Spearman, RMSE, slope (of ours on theirs) and the RMSE of the worst
        tenth; None where a figure is undefined.
    """
    ours, theirs = ours_GK.astype(np.float64), theirs_GK.astype(np.float64)
    ours_effect, theirs_effect = ours[:, 1:] - ours[:, :1], theirs[:, 1:] - theirs[:, :1]
    return {
        "levels": _figures(ours.ravel(), theirs.ravel(), theirs.ravel()),
        "effects": _figures(ours_effect.ravel(), theirs_effect.ravel(), np.abs(theirs_effect.ravel())),
    }


def _figures(ours_N: np.ndarray, theirs_N: np.ndarray, order_N: np.ndarray) -> dict[str, float | None]:
    """Figures; tenths are those of `order_N`."""
    squared_N = (ours_N - theirs_N) ** 2
    tenths = np.array_split(squared_N[np.argsort(order_N, kind="stable")], DECILES)
    centred = theirs_N - theirs_N.mean()
    spread = float((centred**2).sum())
    found = {
        "pearson": correlation(ours_N, theirs_N),
        "spearman": correlation(ranks(ours_N), ranks(theirs_N)),
        "rmse": float(np.sqrt(squared_N.mean())),
        "slope": float((centred * ours_N).sum() / spread) if spread > 0 else float("nan"),
        "worst_decile_rmse": float(np.sqrt(max(tenth.mean() for tenth in tenths if len(tenth)))),
    }
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def best_member(labels_MGK: np.ndarray) -> int:
    """The member that agrees best with the mean of all: smallest mean squared distance of its effects; a
    member's own level means little."""
    effects_MGC = labels_MGK[:, :, 1:] - labels_MGK[:, :, :1]
    distance = ((effects_MGC - effects_MGC.mean(axis=0)) ** 2).mean(axis=(1, 2))
    return int(np.argmin(distance))


@dataclass(frozen=True)
class Standing:
    """What could stand for the ensemble without any training: a member, on all strands or on the forward one.

    Attributes:
        what, member: in words, and the member's name. cost: the ensemble's cost over its own.
        scores_GK: of the held-out windows.
    """

    what: str
    member: str
    cost: float
    scores_GK: np.ndarray


def fidelity_of(
    student_GK: np.ndarray, mean_GK: np.ndarray, cost: float, others: Sequence[Standing]
) -> dict[str, Any]:
    """The fidelity part of a student's record: its agreement, and beside it that of the best of each kind,
    also of those that cost no more.

    Args:
        student_GK, mean_GK: scores of the held-out windows by the student and by the ensemble.
        cost: the ensemble's over the student's.
    """
    measured: list[dict[str, Any]] = [
        {"what": one.what, "member": one.member, "cost": one.cost, **agreement(one.scores_GK, mean_GK)}
        for one in others
    ]
    names = dict.fromkeys(one.what for one in others)
    kinds = [[one for one in measured if one["what"] == name] for name in names]
    baselines: list[dict[str, Any]] = []
    for kind in [*kinds, [one for one in measured if one["cost"] >= cost]]:
        if kind:
            best = max(kind, key=lambda one: one["effects"]["pearson"] or -1.0)
            if best not in baselines:
                baselines.append(best)
    return {
        "groups": len(student_GK),
        "windows": student_GK.size,
        **agreement(student_GK, mean_GK),
        "baselines": baselines,
    }

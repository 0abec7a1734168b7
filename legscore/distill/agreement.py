"""How well scores agree with an ensemble's."""

from __future__ import annotations

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
        "levels": figures(ours.ravel(), theirs.ravel(), theirs.ravel()),
        "effects": figures(ours_effect.ravel(), theirs_effect.ravel(), np.abs(theirs_effect.ravel())),
    }


def figures(ours_N: np.ndarray, theirs_N: np.ndarray, order_N: np.ndarray) -> dict[str, float | None]:
    """Pearson, Spearman, RMSE, slope and the RMSE of the worst tenth; tenths are those of `order_N`."""
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


def best_member(scores_MGK: np.ndarray, mean_GK: np.ndarray | None = None) -> int:
    """The member that agrees best with the ensemble: smallest mean squared distance of its effects.

    A member's own level means little.

    Args:
        mean_GK: the ensemble's; that of these members when None.
    """
    mean_GK = scores_MGK.mean(axis=0) if mean_GK is None else mean_GK
    effects_MGC = scores_MGK[:, :, 1:] - scores_MGK[:, :, :1]
    distance = ((effects_MGC - (mean_GK[:, 1:] - mean_GK[:, :1])) ** 2).mean(axis=(1, 2))
    return int(np.argmin(distance))

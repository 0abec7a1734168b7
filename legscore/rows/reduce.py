"""Member scores → columns of the output, in numpy.

Effects are paired: alt - ref within each member, then mean and SD over members (float64 inside, float32
stored). The SD is the spread between members (training seeds), not a prediction error; it is null with one
member, unless that is a student that tells its ensemble's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from legscore.rows.schema import OK, RESULT_COLUMNS, STATUS_CODE


@dataclass(frozen=True)
class Results:
    """Columns of one part.

    Attributes:
        columns: {name: float32 [rows]}, NaN where null (row not ok, or an SD with one member).
        per_model: {name: float32 [rows, members]}, filled only when asked for.
        status_N: uint8 [rows]; a row whose score is NaN or infinite has become `nonfinite`.
        n_count_N: int32 [rows], -1 where null.
        n_members_N: int32 [rows], -1 where null; None where every row has every member.
        scored_by_N: uint8 [rows], `legscore.rows.schema.BY_STUDENT` and others; None where one ensemble
            scores all rows.
        sampled: {who scored: float32 [rows]}, what a random sample has by the student and by the ensemble,
            NaN elsewhere; empty where nothing is compared.
    """

    columns: dict[str, np.ndarray]
    per_model: dict[str, np.ndarray]
    status_N: np.ndarray
    n_count_N: np.ndarray
    n_members_N: np.ndarray | None = None
    scored_by_N: np.ndarray | None = None
    sampled: dict[str, np.ndarray] = field(default_factory=dict)


def spread(values_MN: np.ndarray) -> np.ndarray:
    """Sample SD over members, float64 [N]; NaN with one member."""
    if len(values_MN) < 2:
        return np.full(values_MN.shape[1], np.nan)
    return values_MN.std(axis=0, ddof=1)


def reduce_scores(
    scores_MW: np.ndarray,
    index_NKS: np.ndarray,
    status_N: np.ndarray,
    n_count_N: np.ndarray,
    *,
    per_model: bool = False,
    sd_W: np.ndarray | None = None,
) -> Results:
    """Combine members and strands into the columns of a part.

    Args:
        scores_MW: float32 [members, scored windows], strands of whole windows already averaged by the engine.
        index_NKS, status_N, n_count_N: from `legscore.rows.window.Windows`.
        per_model: also return the members' values.
        sd_W: of single sequences, what a student says of how much its ensemble's members differ, float32
            [windows]; without it the SD is that of the members themselves.
    """
    n, kinds, strands = index_NKS.shape
    names = RESULT_COLUMNS[kinds]
    status = status_N.copy()
    rows = np.flatnonzero(status == OK)
    picked_MRKS = scores_MW[:, index_NKS[rows]].astype(np.float64)
    value_MRK = picked_MRKS.mean(axis=3) if strands > 1 else picked_MRKS[..., 0]
    finite = np.isfinite(value_MRK).all(axis=(0, 2))
    if not finite.all():
        status[rows[~finite]] = STATUS_CODE["nonfinite"]
        rows, value_MRK = rows[finite], value_MRK[:, finite]

    members: dict[str, np.ndarray]
    if kinds == 1:
        members = {"score": value_MRK[..., 0]}
        told = spread(members["score"])
        if sd_W is not None:
            told = np.maximum(sd_W[index_NKS[rows, 0]].astype(np.float64).mean(axis=1), 0.0)
        filled = {"score": members["score"].mean(axis=0), "score_sd": told}
    else:
        ref, alt = value_MRK[..., 0], value_MRK[..., 1]
        members = {"ref_score": ref, "alt_score": alt, "effect": alt - ref}
        filled = {name: values.mean(axis=0) for name, values in members.items()}
        filled["effect_sd"] = spread(members["effect"])

    columns = {}
    for name in names:
        columns[name] = np.full(n, np.nan, dtype=np.float32)
        columns[name][rows] = filled[name]
    lists = {}
    for name, values in members.items() if per_model else ():
        lists[f"{name}_per_model"] = np.full((n, len(scores_MW)), np.nan, dtype=np.float32)
        lists[f"{name}_per_model"][rows] = values.T
    return Results(columns, lists, status, n_count_N)

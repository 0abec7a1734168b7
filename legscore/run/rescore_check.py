"""What share of the largest effects a cascade found, told from the rows that the ensemble scored.

Of the rows that were chosen all are known by the ensemble; of the others a random sample is. Each row of the
sample stands for as many others as there are for one, so that the largest effects of the whole input can be
counted: those in the choice were found. Nothing is assumed of the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.rows.reduce import Results
from legscore.rows.schema import BY_CHOICE, BY_NEED, BY_STUDENT
from legscore.run.choice import Choice, ranked_values
from legscore.system.rank_order import correlation

TOP = 0.01
"""Share of the rows with the largest effects, which the choice should hold."""
COARSEST = 0.2
"""Of the wanted rows, the most that one row of the sample may stand for; beyond it nothing is told."""
Z = 1.959964
"""Of a normal variable's 95 %."""


@dataclass(frozen=True)
class PartCheck:
    """What one part tells: values of chosen rows by the ensemble, of sampled rows by both and whether each
    was chosen, and how many rows were scored by whom."""

    chosen_N: np.ndarray
    student_S: np.ndarray
    ensemble_S: np.ndarray
    was_chosen_S: np.ndarray
    by_student: int
    by_need: int

    @classmethod
    def of(cls, results: Results) -> PartCheck:
        """From the results of a part, as they are kept."""
        values, by_N = ranked_values(results), results.scored_by_N
        assert by_N is not None
        both_N = np.isfinite(results.sampled["student"]) & np.isfinite(results.sampled["ensemble"])
        return cls(
            values[by_N == BY_CHOICE],
            results.sampled["student"][both_N],
            results.sampled["ensemble"][both_N],
            by_N[both_N] == BY_CHOICE,
            int((by_N == BY_STUDENT).sum()),
            int((by_N == BY_NEED).sum()),
        )


def check_of(choice: Choice, parts: Sequence[PartCheck]) -> dict[str, Any]:
    """Counts of rows by who scored them, and what the sample shows, for the record.

    `found` is the share of the largest TOP of the rows that the choice holds, with the ends of a 95 %
    interval; None where the sample is too small to tell. `pearson` and `rmse` compare student
    and ensemble on the sample; None where undefined.
    """
    chosen_N, student_S, ensemble_S, was_chosen_S = (
        np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)])
        for name, dtype in (
            ("chosen_N", np.float32),
            ("student_S", np.float32),
            ("ensemble_S", np.float32),
            ("was_chosen_S", np.bool_),
        )
    )
    others = sum(part.by_student for part in parts)
    keys_S = choice.keys(ensemble_S[~was_chosen_S])
    found = share_found(choice.keys(chosen_N), keys_S, others)
    difference = student_S.astype(np.float64) - ensemble_S.astype(np.float64)
    pearson = (
        correlation(student_S.astype(np.float64), ensemble_S.astype(np.float64)) if len(student_S) else np.nan
    )
    return {
        "rows": {
            "student": others,
            "ensemble": len(chosen_N),
            "unread_by_student": sum(p.by_need for p in parts),
        },
        "check": {
            "top": TOP,
            "sampled": len(student_S),
            "sampled_outside": len(keys_S),
            "found": None if found is None else [round(value, 5) for value in found],
            "pearson": round(pearson, 5) if np.isfinite(pearson) else None,
            "rmse": round(float(np.sqrt((difference**2).mean())), 6) if len(difference) else None,
        },
    }


def share_found(
    chosen_N: np.ndarray, sampled_S: np.ndarray, others: int
) -> tuple[float, float, float] | None:
    """The share of the TOP largest keys that the choice holds, and a 95 % interval (Wilson's, of the sampled
    rows beyond the smallest of these keys).

    Args:
        chosen_N: keys of the chosen rows. sampled_S: of sampled rows that were not chosen.
        others: rows that were not chosen, which the sample stands for.

    Returns:
        None where there are no rows, or other rows and too small a sample of them.
    """
    total = len(chosen_N) + others
    wanted = float(np.ceil(TOP * total))
    is_whole = len(sampled_S) >= others
    if not total or not (is_whole or others <= COARSEST * wanted * len(sampled_S)):
        return None
    n_chosen, most = len(chosen_N), int(wanted)
    if n_chosen > most:  # no more of them can be among the largest
        chosen_N = np.partition(chosen_N, n_chosen - most)[n_chosen - most :]
    keys = np.concatenate([chosen_N, sampled_S])
    is_chosen = np.arange(len(keys)) < len(chosen_N)
    each = others / max(len(sampled_S), 1)
    order = np.lexsort((~is_chosen, -keys))
    weights = np.where(is_chosen, 1.0, each)[order]
    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]])
    counted = np.clip(wanted - before, 0.0, weights)
    found = float(counted[is_chosen[order]].sum())
    if is_whole:
        return found / wanted, found / wanted, found / wanted
    beyond = int(((counted > 0) & ~is_chosen[order]).sum())
    low, high = (others * share for share in wilson(beyond, len(sampled_S)))
    ends = sorted((_share(found, low), _share(found, high), found / wanted))
    return found / wanted, ends[0], ends[-1]


def _share(found: float, missed: float) -> float:
    return found / (found + missed) if found + missed else 1.0


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    middle = (successes + Z * Z / 2) / (trials + Z * Z)
    spread = Z / (trials + Z * Z) * np.sqrt(successes * (trials - successes) / trials + Z * Z / 4)
    return max(float(middle - spread), 0.0), min(float(middle + spread), 1.0)


def chosen_line(cascade: dict[str, Any]) -> str:
    """One line between the passes: how many rows were chosen, and what that should find."""
    ranked, chosen = cascade["ranked_rows"], cascade["chosen_rows"]
    what = "|effect|" if cascade["quantity"] == "abs_effect" else "score"
    sign = ("below" if cascade["below"] else "above") if cascade["fixed"] else "from"
    line = (
        f"chosen: {chosen:,} of {ranked:,} rows ({_percent(cascade['share'])}), {what} {sign} "
        f"{cascade['bound']:.6g}"
    )
    if (expected := cascade["expected"]) is not None:
        line += (
            f"; expected to hold {_percent(expected[0])} of the largest {_percent(TOP)} "
            f"({_percent(expected[1])} to {_percent(expected[2])})"
        )
    return line


def below_promise(cascade: dict[str, Any]) -> str | None:
    """One line where the sample shows that fewer of the largest effects were found than expected."""
    found, expected = cascade["check"]["found"], cascade["expected"]
    if found is None or expected is None or found[2] >= expected[0]:
        return None
    return (
        f"the chosen rows hold {_percent(found[0])} of the largest {_percent(TOP)} (at most "
        f"{_percent(found[2])}), though the student's record promises {_percent(expected[0])}: these rows "
        "are unlike those that it learnt from. Choose more with --rescore, or score all with the models alone"
    )


def check_line(cascade: dict[str, Any]) -> str:
    """One line after the run, from its record: what the random sample shows."""
    check, sample = cascade["check"], cascade["sample"]
    if not cascade["ranked_rows"]:
        return "check: none, since the student scored no row"
    if not sample["share"]:
        return "check: none (--rescore-sample 0)"
    line = f"check: {check['sampled']:,} random rows (seed {sample['seed']}) were scored by both"
    if check["pearson"] is not None:
        line += f", Pearson {check['pearson']:.3f}, RMSE {check['rmse']:.3g}"
    if check["found"] is None:
        return f"{line}; too few to tell what was missed, which takes --rescore-sample 1000 or so"
    found, low, high = check["found"]
    line += (
        f"; the chosen rows hold {_percent(found)} of the largest {_percent(check['top'])} "
        f"({_percent(low)} to {_percent(high)})"
    )
    if cascade["expected"] is not None:
        line += f", {_percent(cascade['expected'][0])} was expected"
    return line


def _percent(share: float) -> str:
    text = f"{100 * share:.3g}"
    return f"{100 * share:.4g}%" if text == "100" and share < 1 else f"{text}%"

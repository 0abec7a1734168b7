"""What an evaluation found, for those who called it from Python: text, HTML, a table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:  # needs polars, which the name of this class does not
    from legscore.evaluate.compare import Group, Metric
    from legscore.evaluate.evaluation import Evaluation
    from legscore.evaluate.options import EvaluationOptions

TEXTS = {"section", "group", "truth", "prediction", "other", "metric", "method", "shares", "note"}
COUNTS = {"k", "n"}


@dataclass(frozen=True, repr=False)
class EvaluationResults:
    """All results of an evaluation; `print(results)` shows what `legscore evaluate` shows.

    Attributes:
        evaluation: everything: pairs, rows, groups, noise, ensemble curve, classes, notes.
        options: what was evaluated, and how.
    """

    evaluation: Evaluation
    options: EvaluationOptions

    @property
    def groups(self) -> list[Group]:
        """Metrics and comparisons of all rows, or of each group of `by`."""
        return self.evaluation.groups

    def metric(self, name: str, prediction: str | None = None, group: int = 0) -> Metric:
        """One metric with its interval: `results.metric("pearson").value`.

        Args:
            name: `pearson`, `spearman`, `rmse`, `mae`; of effects also `sign_agreement`, `auroc`, `auprc`.
            prediction: its column; the first when None.
            group: number of the group, from 0, in the order of `groups`.

        Raises:
            KeyError: there is no such metric, or no such group.
        """
        if not 0 <= group < len(self.groups):
            there = ", ".join(f"{number} ({one.name})" for number, one in enumerate(self.groups))
            raise KeyError(f"no group {group}; there are {there}")
        for found in self.groups[group].metrics:
            if found.metric == name and prediction in (None, found.prediction):
                return found
        of = "" if prediction is None else f" of {prediction}"
        names = dict.fromkeys(found.metric for found in self.groups[group].metrics)
        columns = dict.fromkeys(found.prediction for found in self.groups[group].metrics)
        raise KeyError(f"no {name}{of}; there are {', '.join(names)} of {', '.join(columns)}")

    def to_arrow(self) -> pa.Table:
        """One row per statistic, comparison, class and point of the curve, as `csv` writes them."""
        from legscore.evaluate.write_results import CSV_COLUMNS, statistics_of

        kinds = {
            name: pa.string() if name in TEXTS else pa.int64() if name in COUNTS else pa.float64()
            for name in CSV_COLUMNS
        }
        rows = [{name: row.get(name) for name in CSV_COLUMNS} for row in statistics_of(self.evaluation)]
        columns = {
            name: pa.array([row[name] for row in rows], kind, from_pandas=True)
            for name, kind in kinds.items()
        }
        return pa.table(columns)

    def __str__(self) -> str:
        from legscore.evaluate.show import lines

        return "\n".join(lines(self.evaluation, self.options))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

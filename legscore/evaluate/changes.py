"""Effects: do predictions get the direction right, and do they find the changes that measurements can tell
from none?

A measured effect counts as a change when it exceeds a threshold taken from measurement noise. Sign agreement,
AUROC and AUPRC (average precision) work on resamples as well: rows are sorted once, and all are sums over
counts in that order.
"""

from __future__ import annotations

import math

import numpy as np

from legscore.evaluate.bootstrap import ranks_of
from legscore.evaluate.correlation import Found
from legscore.system.rank_order import Ranking, ranking

CHANGE_METRICS = ("sign_agreement", "sign_agreement_all", "auroc", "auprc", "auroc_up", "auroc_down")
MEANING = {
    "sign_agreement": "share of rows above the noise threshold whose predicted effect has the measured sign",
    "sign_agreement_all": "the same over all rows whose measured effect is not 0",
    "auroc": "|prediction| tells rows above the threshold from the others",
    "auprc": "average precision of the same; compare with the share of rows above the threshold",
    "auroc_up": "prediction tells measured increases above the threshold from all other rows",
    "auroc_down": "−prediction tells measured decreases above the threshold from all other rows",
}


def substitutions(ref: list[str | None], alt: list[str | None]) -> np.ndarray:
    """Number of bases in which two sequences of one length differ, float64 [rows]; NaN where lengths differ
    or one is null."""
    found = np.full(len(ref), np.nan)
    by_length: dict[int, list[int]] = {}
    for row, (one, other) in enumerate(zip(ref, alt, strict=True)):
        if one is not None and other is not None and len(one) == len(other) and one:
            by_length.setdefault(len(one), []).append(row)
    for length, rows in by_length.items():
        letters = [
            np.frombuffer(
                "".join(str(side[row]).upper() for row in rows).encode("ascii", "replace"), np.uint8
            )
            for side in (ref, alt)
        ]
        found[rows] = (letters[0] != letters[1]).reshape(len(rows), length).sum(axis=1)
    return found


class ChangeMetrics:
    """CHANGE_METRICS of several predictions on resamples; called with counts_ND, or with ones for the data
    themselves."""

    def __init__(self, truth_N: np.ndarray, predictions_PN: np.ndarray, threshold: float) -> None:
        self.threshold = threshold
        known = not math.isnan(threshold)
        changed = (np.abs(truth_N) > threshold) & known
        self._strong, self._every = changed.astype(float), (truth_N != 0).astype(float)
        self._up, self._down = (
            (changed & (truth_N > 0)).astype(float),
            (changed & (truth_N < 0)).astype(float),
        )
        agrees = (np.sign(predictions_PN) == np.sign(truth_N)).astype(float)
        self._agreements = [(agree * self._strong, agree * self._every) for agree in agrees]
        self._signed = [ranking(prediction) for prediction in predictions_PN]
        self._size = [ranking(-np.abs(prediction)) for prediction in predictions_PN]  # largest first

    def __call__(self, counts_ND: np.ndarray) -> np.ndarray:
        """values_SD: for each prediction, CHANGE_METRICS; NaN where undefined."""
        found, drawn = [], counts_ND.sum(axis=0)
        strong, every, n_up, n_down = (
            mask @ counts_ND for mask in (self._strong, self._every, self._up, self._down)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            for (agree_strong, agree_every), signed, size in zip(
                self._agreements, self._signed, self._size, strict=True
            ):
                found += [agree_strong @ counts_ND / strong, agree_every @ counts_ND / every]
                weighted = counts_ND * ranks_of(counts_ND, size)
                found.append(_auroc(strong * (drawn + 1) - self._strong @ weighted, strong, drawn))
                found.append(self._average_precision(counts_ND, size, strong, drawn))
                weighted = counts_ND * ranks_of(counts_ND, signed)
                found.append(_auroc(self._up @ weighted, n_up, drawn))
                found.append(_auroc(n_down * (drawn + 1) - self._down @ weighted, n_down, drawn))
        return np.stack(found)

    def _average_precision(
        self, counts_ND: np.ndarray, of: Ranking, strong: np.ndarray, drawn: np.ndarray
    ) -> np.ndarray:
        """Sum over scores, largest first, of the gain in recall times the precision there."""
        every_GD = counts_ND[of.order_N]
        hits_GD = every_GD * self._strong[of.order_N][:, None]
        if len(of.starts_G) < len(of.order_N):
            every_GD, hits_GD = (
                np.add.reduceat(values, of.starts_G, axis=0) for values in (every_GD, hits_GD)
            )
        precision_GD = np.cumsum(hits_GD, axis=0)
        precision_GD /= np.maximum(np.cumsum(every_GD, axis=0), 1.0)
        found = np.einsum("gd,gd->d", hits_GD, precision_GD) / strong
        return np.where((strong == 0) | (strong == drawn), np.nan, found)

    def reasons(self, n_rows: int) -> list[Found]:
        """The values on the data, in the order of __call__, with reasons where there are none."""
        why = f"no row, or every row, is beyond the threshold {self.threshold:.4g}"
        if math.isnan(self.threshold):
            why = "no threshold: give --replicate twice or --noise-sd"
        values = self(np.ones((n_rows, 1)))[:, 0]
        return [Found(float(v), "" if math.isfinite(v) else why) for v in values]


def _auroc(rank_sum: np.ndarray, positive: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """AUROC from the sum of the positives' ranks, the highest score last (Mann-Whitney, ties half); NaN for
    one class."""
    return np.asarray(
        (rank_sum - positive * (positive + 1) / 2)
        / np.where(positive == drawn, np.nan, positive * (drawn - positive))
    )

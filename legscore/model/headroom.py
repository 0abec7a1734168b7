"""How far a network's activations are from FP16's largest number, 65,504.

The network in numpy (`legscore.model.forward`) scores windows that drive it hard: repeats, homopolymers, N
and random bases, both strands. At every tensor that an FP16 graph holds the largest absolute value is kept.
Activations four times as large must fit: sums in FP16 pass through larger values than they end with, and
there are sequences that nobody tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np

from legscore.dna.contract import BASES, N_CODE
from legscore.model.checkpoint import Checkpoint
from legscore.model.forward import Forward, sigmoid, silu
from legscore.model.gpu_form import FP16_MAX
from legscore.model.gpu_graph import balanced

MARGIN = 4.0
RANDOM = 4
SEED = 65504


def probes(length: int) -> np.ndarray:
    """Windows that drive a network hard, uint8 [windows, length]: each base alone, N, all repeats of two
    bases, some of three, random ones, and half windows of different kinds."""
    units = [[code] for code in (*range(len(BASES)), N_CODE)]
    units += [[a, b] for a, b in product(range(4), repeat=2) if a < b]
    units += [[0, 1, 2], [0, 0, 3], [1, 2, 2], [1, 3, 3], [0, 1, 1], [2, 3, 3]]
    rows = [np.resize(np.array(unit, np.uint8), length) for unit in units]
    rng = np.random.default_rng(SEED)
    rows += list(rng.integers(0, 4, (RANDOM, length), dtype=np.uint8))
    half = length // 2
    rows += [
        np.concatenate([rows[0][:half], rows[2][half:]]),
        np.concatenate([rows[1][:half], rows[3][half:]]),
    ]
    return np.stack(rows)


class _Watched(Forward):
    """Keeps the largest absolute value of what an FP16 graph would hold."""

    largest = 0.0

    def _seen(self, x: np.ndarray) -> np.ndarray:
        found = float(np.abs(x).max(initial=0.0))
        # a NaN stays: it is above any limit
        self.largest = found if not found <= self.largest else self.largest
        return x

    def _norm(self, x: np.ndarray, at: str) -> np.ndarray:
        return self._seen(super()._norm(x, at))

    def _linear(self, x_CN: np.ndarray, at: str) -> np.ndarray:
        return self._seen(super()._linear(x_CN, at))

    def _conv_norm(self, x_CNL: np.ndarray, at: str, groups: int = 1) -> np.ndarray:
        return super()._conv_norm(self._seen(x_CNL), at, groups)

    def _gate(self, mean_CN: np.ndarray, at: str) -> np.ndarray:
        """As `Forward._gate`, its bilinear layer with the factors of an FP16 graph."""
        if self.architecture.se != "bilinear":
            return super()._gate(mean_CN, at)
        y_CN = self._linear(silu(self._linear(mean_CN, f"{at}.squeeze")), f"{at}.hidden")
        factors = [self.arrays[f"{at}.bilinear.factor_{i}"] for i in range(3)]
        left, right, joined = balanced(
            factors[0], factors[1], factors[2] * self.arrays[f"{at}.bilinear.weights"]
        )
        pairs_RN = self._seen(self._seen(left.T @ y_CN) * self._seen(right.T @ y_CN))
        products_CN = joined @ pairs_RN + self.arrays[f"{at}.bilinear.bias"][:, None]
        y_CN = silu(np.concatenate([y_CN, self._seen(products_CN)]))
        return sigmoid(self._linear(y_CN, f"{at}.excite"))


def largest_activation(member: Checkpoint, *, is_singleton: bool) -> float:
    """Largest absolute activation over `probes` of the whole window, both strands. NaN or infinity where the
    network overflows FP32.

    Args:
        is_singleton: value of the is_singleton channel, where the model has one.
    """
    watched = _Watched(member, both_strands=True, is_singleton=is_singleton)
    with np.errstate(over="ignore", invalid="ignore"):
        watched.score(probes(member.contract.length))
    return watched.largest


def shortfall(largest: Iterable[float]) -> str:
    """What is too near FP16's limit, or an empty string."""
    worst = max(largest, key=lambda value: value if value == value else np.inf, default=0.0)
    if worst * MARGIN < FP16_MAX:
        return ""
    return f"activations reach {worst:,.0f}, and FP16 must hold {MARGIN:g} times that below {FP16_MAX:,.0f}"

"""Soft targets: an expression value as probabilities over bins.

For expression e, ρ ~ N(e + shift, sd) with shift = sd = 0.5. Bin i in 1..K-2 gets P(i ≤ ρ < i + 1), bin 0 P(ρ
< 1), bin K-1 P(ρ ≥ K - 1). Their mean is e for inner values, e + 0.16 at e = 0 and e - 0.16 at e = 17.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_targets(
    expression_N: Tensor, bins: int = 18, shift: float = 0.5, sd: float | Tensor = 0.5
) -> Tensor:
    """Probabilities [N, bins], float32, on the device of `expression_N`.

    Args:
        expression_N: [N].
        sd: one value, or [N] (the published "adaptive" SD, `adaptive_sd`).
    """
    edges = torch.arange(1, bins, device=expression_N.device, dtype=torch.float64)
    spread = sd.double()[:, None] if isinstance(sd, Tensor) else sd
    below = torch.special.ndtr((edges - (expression_N.double()[:, None] + shift)) / spread)
    zero, one = torch.zeros_like(below[:, :1]), torch.ones_like(below[:, :1])
    return torch.diff(torch.cat([zero, below, one], dim=1), dim=1).float()


def adaptive_sd(expression_N: Tensor) -> Tensor:
    """The published code's other choice: SD = -0.1364·e + 2.7727, [N]."""
    return -0.1364 * expression_N + 2.7727


def is_singleton(expression_N: Tensor) -> Tensor:
    """Whether each expression is whole, that is, observed once; bool [N]."""
    return expression_N == torch.round(expression_N)

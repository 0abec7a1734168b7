"""The published way, written anew: the network on plain [N, channels, length] tensors and a Dataset that
works row by row.

What benchmarks compare with. Module names are those of `legscore.model.legnet`, so that weights load from one
into the other. The bilinear gate composes its tensor in every forward pass, rows are strings that are padded,
reversed and encoded in Python, and soft targets come from the normal distribution row by row: Penzar et al.
2023 and the DREAM 2022 write-up.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.utils.data import Dataset

from legscore.dna.contract import Contract
from legscore.model.architecture import Architecture

BASE = {"A": 0, "G": 1, "C": 2, "T": 3}
PAIR = {"A": "T", "T": "A", "G": "C", "C": "G", "N": "N"}


class Unit(nn.Module):
    """Convolution, BatchNorm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding="same", groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Factors(nn.Module):
    """Bilinear layer: W composed from its CP factors, then contracted with both copies of the input."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(rank))
        self.factor_0, self.factor_1 = (
            nn.Parameter(torch.zeros(width, rank)),
            nn.Parameter(torch.zeros(width, rank)),
        )
        self.factor_2, self.bias = (
            nn.Parameter(torch.zeros(width // 2, rank)),
            nn.Parameter(torch.zeros(width // 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        tensor = torch.einsum("r,ir,jr,kr->ijk", self.weights, self.factor_0, self.factor_1, self.factor_2)
        return torch.einsum("bi,bj,ijk->bk", x, x, tensor) + self.bias


class Gate(nn.Module):
    def __init__(self, inner: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inner, hidden)
        self.rank = rank
        if rank:
            self.hidden, self.bilinear = nn.Linear(hidden, hidden), Factors(hidden, rank)
        self.excite = nn.Linear(hidden + (hidden // 2 if rank else 0), inner)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.silu(self.squeeze(x.mean(dim=(2,))))
        if self.rank:
            y = self.hidden(y)
            y = nn.functional.silu(torch.cat([y, self.bilinear(y)], dim=1))
        return torch.sigmoid(self.excite(y)).view(*x.shape[:2], 1) * x


class Block(nn.Module):
    def __init__(self, a: Architecture, i: int) -> None:
        super().__init__()
        p, m = a.widths[i], a.inner_widths[i]
        self.expand, self.group = Unit(p, m, 1), Unit(m, m, a.kernel, m // a.filters_per_group)
        self.se, self.project = Gate(m, a.se_widths[i], a.cp_ranks[i]), Unit(m, p, 1)
        self.mix, self.first = Unit(2 * p, a.widths[i + 1], a.kernel), a.concat_order == "x,fx"

    def forward(self, x: Tensor) -> Tensor:
        fx = self.project(self.se(self.group(self.expand(x))))
        return self.mix(torch.cat([x, fx] if self.first else [fx, x], dim=1))


class Head(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.conv, self.act = (
            nn.Conv1d(a.widths[-1], a.outputs, 1),
            nn.SiLU() if a.final_activation == "silu" else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x)).mean(dim=2)


class PublishedLegNet(nn.Module):
    """F1 or F2 with a bins head; returns logits [N, bins]."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.stem = Unit(a.in_channels, a.widths[0], a.stem_kernel)
        self.blocks = nn.Sequential(*(Block(a, i) for i in range(a.n_blocks)))
        self.head = Head(a)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]

    def score(self, x: Tensor) -> Tensor:
        """Expectation over bins, [N]."""
        logits = self(x)
        return (torch.softmax(logits, dim=1) * torch.arange(logits.shape[1])).sum(dim=1)


class PublishedRows(Dataset[tuple[Tensor, Tensor]]):
    """Every sequence on both strands, encoded row by row when asked for; index 2 i is forward, 2 i + 1
    reverse."""

    def __init__(
        self, inserts: list[str], expression: np.ndarray, contract: Contract, bins: int = 18
    ) -> None:
        self.inserts, self.expression, self.contract, self.bins = inserts, expression, contract, bins

    def __len__(self) -> int:
        return 2 * len(self.inserts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row, reverse = divmod(index, 2)
        sequence = self.contract.window(self.inserts[row])
        if reverse:
            sequence = "".join(PAIR[base] for base in reversed(sequence))
        value = float(self.expression[row])
        planes = [[0.0] * len(sequence) for _ in range(4)]
        for i, base in enumerate(sequence):
            if base == "N":
                for plane in planes:
                    plane[i] = 0.25
            else:
                planes[BASE[base]][i] = 1.0
        x = torch.tensor(
            [*planes, [float(reverse)] * len(sequence), [float(value.is_integer())] * len(sequence)]
        )
        edges = np.array([-np.inf, *range(1, self.bins), np.inf])
        return x, torch.tensor(np.diff(norm.cdf(edges, loc=value + 0.5, scale=0.5)), dtype=torch.float32)

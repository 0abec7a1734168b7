"""The network in PyTorch: F1, F2 and every switch between them, F3. Needs `legscore[train]`.

State names are the array names of a checkpoint (`Architecture.shapes`), so the two load into each other
without translation. Forward takes one-hot float [N, channels, length] and returns scores [N]; `logits` gives
the head's output before softmax. A generator's "score" is its logits, [N, 4, length]. This module is the
reference twin of `legscore.model.graph`.

Inside, tensors are [N, channels, 1, length] in torch's channels-last memory format: 1×1 convolutions are then
matrix products as they lie (measured in bf16: 420 instead of 200 GFLOP/s), and NVIDIA's tensor cores want the
same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.gradients import grouped_conv, with_mean


class ConvNorm(nn.Module):
    """Convolution without bias and with "same" padding, then BatchNorm, then SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x_NC1L: Tensor) -> Tensor:
        return nn.functional.silu(self.norm(convolve(self.conv, x_NC1L)))


def convolve(conv: nn.Conv1d, x_NC1L: Tensor) -> Tensor:
    """The one-dimensional convolution on channels-last tensors of rank 4."""
    if conv.groups > 1:
        return grouped_conv(x_NC1L, conv.weight)
    return torch.conv2d(x_NC1L, conv.weight.unsqueeze(2), conv.bias, padding=(0, conv.kernel_size[0] // 2))


class Bilinear(nn.Module):
    """Tensor regression layer y_k = Σ_ij x_i x_j W_ijk + b_k, W held as a CP decomposition (TensorLy's
    form)."""

    def __init__(self, width: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(rank))
        self.factor_0 = nn.Parameter(torch.empty(width, rank))
        self.factor_1 = nn.Parameter(torch.empty(width, rank))
        self.factor_2 = nn.Parameter(torch.empty(outputs, rank))
        self.bias = nn.Parameter(torch.zeros(outputs))
        for factor in (self.factor_0, self.factor_1, self.factor_2):
            nn.init.normal_(factor, std=(0.00075 / rank**0.5) ** (1 / 3))

    def composed(self) -> Tensor:
        """W [width, width, outputs], composed by TensorLy."""
        import tensorly
        from tensorly.cp_tensor import cp_to_tensor

        with tensorly.backend_context("pytorch"):
            return cp_to_tensor((self.weights, [self.factor_0, self.factor_1, self.factor_2]))

    def forward(self, x_NI: Tensor) -> Tensor:
        outer = (x_NI @ self.factor_0) * (x_NI @ self.factor_1) * self.weights
        return outer @ self.factor_2.T + self.bias


class Gate(nn.Module):
    """Squeeze-and-excitation, plain or with pairwise products of the hidden units (bilinear)."""

    def __init__(self, inner: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inner, hidden)
        self.pairwise = rank > 0
        if self.pairwise:
            self.hidden = nn.Linear(hidden, hidden)
            self.bilinear = Bilinear(hidden, hidden // 2, rank)
        self.excite = nn.Linear(hidden + (hidden // 2 if self.pairwise else 0), inner)

    def forward(self, x_NC1L: Tensor) -> Tensor:
        x_NC1L, mean_NC = with_mean(x_NC1L)
        y = nn.functional.silu(self.squeeze(mean_NC))
        if self.pairwise:
            y = self.hidden(y)
            y = nn.functional.silu(torch.cat([y, self.bilinear(y)], dim=1))
        return x_NC1L * torch.sigmoid(self.excite(y))[:, :, None, None]


class Block(nn.Module):
    """One block: expand, grouped convolution, gate, project, join with the input, mix, pool."""

    def __init__(self, a: Architecture, i: int) -> None:
        super().__init__()
        width, inner = a.widths[i], a.inner_widths[i]
        self.expand = ConvNorm(width, inner, 1)
        self.group = ConvNorm(inner, inner, a.kernel, groups=inner // a.filters_per_group)
        self.se = Gate(inner, a.se_widths[i], a.cp_ranks[i]) if a.se != "none" else nn.Identity()
        self.project = ConvNorm(inner, width, 1)
        self.mix = ConvNorm(a.mix_inputs(i), a.widths[i + 1], a.kernel)
        self.join, self.pool = a.concat_order or a.residual, a.pools[i]

    def forward(self, x: Tensor) -> Tensor:
        fx = self.project(self.se(self.group(self.expand(x))))
        if self.join == "x,fx":
            x = torch.cat([x, fx], dim=1)
        elif self.join == "fx,x":
            x = torch.cat([fx, x], dim=1)
        else:
            x = x + fx if self.join == "add" else fx
        x = self.mix(x)
        return nn.functional.max_pool2d(x, (1, self.pool)) if self.pool > 1 else x


class BinsHead(nn.Module):
    """1×1 convolution to bins, mean over the length, softmax, expectation."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.conv = nn.Conv1d(a.widths[-1], a.outputs, 1)
        self.activate = a.final_activation == "silu"
        self.register_buffer("bins", torch.arange(a.outputs, dtype=torch.float32), persistent=False)

    def logits(self, x: Tensor) -> Tensor:
        x = convolve(self.conv, x)
        return (nn.functional.silu(x) if self.activate else x).mean(dim=(2, 3))

    def score(self, logits: Tensor) -> Tensor:
        """Expectation over bins, [N]."""
        return (torch.softmax(logits.float(), dim=1) * self.bins).sum(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.logits(x))


class ScalarHead(nn.Module):
    """BatchNorm, 1×1 convolution to twice the width, mean over the length, two linear layers."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.widths[-1]
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv1d(width, 2 * width, 1)
        self.hidden = nn.Linear(2 * width, 2 * width)
        self.hidden_norm = nn.BatchNorm1d(2 * width)
        self.out = nn.Linear(2 * width, 1)
        self.activate = a.final_activation == "silu"

    def logits(self, x: Tensor) -> Tensor:
        x = convolve(self.conv, self.norm(x))
        x = (nn.functional.silu(x) if self.activate else x).mean(dim=(2, 3))
        return self.out(nn.functional.silu(self.hidden_norm(self.hidden(x))))

    def score(self, logits: Tensor) -> Tensor:
        """The one output, [N]."""
        return logits.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.logits(x))


class BasesHead(nn.Module):
    """1×1 convolution to the four bases, in the checkpoint's own alphabet order, at every position."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.conv = nn.Conv1d(a.widths[-1], a.outputs, 1)
        self.activate = a.final_activation == "silu"

    def logits(self, x: Tensor) -> Tensor:
        x = convolve(self.conv, x).squeeze(2)
        return nn.functional.silu(x) if self.activate else x

    def score(self, logits: Tensor) -> Tensor:
        """The logits themselves, [N, 4, L]."""
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


HEADS: dict[str, type[BinsHead] | type[ScalarHead] | type[BasesHead]] = {
    "bins": BinsHead,
    "scalar": ScalarHead,
    "bases": BasesHead,
}


class LegNet(nn.Module):
    """The whole network; float [N, in_channels, length] → float [N], or [N, 4, length] for a generator."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.stem = ConvNorm(a.in_channels, a.widths[0], a.stem_kernel)
        self.blocks = nn.ModuleList(Block(a, i) for i in range(a.n_blocks))
        self.head: BinsHead | ScalarHead | BasesHead = HEADS[a.head](a)

    def logits(self, x_NCL: Tensor) -> Tensor:
        """Head output before softmax: [N, bins], [N, 1] for a scalar head, [N, 4, length] for a generator."""
        return self.head.logits(self._trunk(x_NCL))

    def _trunk(self, x_NCL: Tensor) -> Tensor:
        x = self.stem(x_NCL.unsqueeze(2).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x_NCL: Tensor) -> Tensor:
        return self.head(self._trunk(x_NCL))


def from_checkpoint(checkpoint: Checkpoint) -> LegNet:
    """The network of a checkpoint, in evaluation mode, float32 on the CPU.

    Its first convolution keeps the checkpoint's own alphabet order; `engine.torch_reference` reorders it.
    """
    network = LegNet(checkpoint.architecture)
    names = checkpoint.architecture.shapes()
    state = {name: torch.from_numpy(checkpoint.arrays[name].copy()) for name in names}
    missing, unexpected = network.load_state_dict(state, strict=False)
    lacking = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise AssertionError(f"network and Architecture.shapes disagree: {lacking} {unexpected}")
    return network.eval()


def state_arrays(network: LegNet) -> dict[str, np.ndarray]:
    """Arrays of a network, as a checkpoint stores them."""
    names = network.architecture.shapes()
    return {k: v.detach().cpu().float().numpy() for k, v in network.state_dict().items() if k in names}

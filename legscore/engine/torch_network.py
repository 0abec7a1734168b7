"""Checkpoint → the rewritten network in PyTorch, for any device: what engine `torch` runs.

The rewrites of `legscore.model.graph`, with precision as in `legscore.model.gpu_graph`: BatchNorm folded in
FP32, weights and activations in FP16 or bf16, and FP32 for means over the length and for everything from the
head's mean on. Tensors are [N, L, C], so that 1×1 convolutions are matrix products as they lie and others are
channels-last.

How the grouped convolution is written is the recipe's choice: a sum of shifted products between blocks of
channels, block-diagonal with 8 to 32 channels a group, torch's own, or a kernel of `torch_kernels`. On a CPU,
FP16 is what a tensor core computes: products and sums in FP32 of values rounded to FP16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.folded import folded_arrays
from legscore.model.gpu_form import FP16_MAX
from legscore.model.gpu_graph import balanced, repacked

KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_REPACKED = 8
"""Channels a group, of block-diagonal grouped convolutions."""
TORCH_REWRITE_VERSION = 1
"""Part of the key of a fidelity record; raised when the network here changes."""


@dataclass(frozen=True)
class TorchForm:
    """How to run a network: precision, how grouped convolutions are written, torch's or Triton's kernels."""

    precision: str
    groups: str
    kernels: str = "torch"


class TorchNetwork(nn.Module):
    """One member of an ensemble."""

    def __init__(self, checkpoint: Checkpoint, form: TorchForm, device: torch.device) -> None:
        """Fold, reorder, convert and place on the device.

        Raises:
            ModelError: weights overflow where normalisation is folded into them, or do not fit FP16.
        """
        super().__init__()
        a = checkpoint.architecture
        if a.head == "bases":
            raise ModelError(f"{checkpoint.path or 'model'} is a generator; it gives no scores")
        arrays = iter(folded_arrays(checkpoint))
        put = _Placing(form, device)
        self.kind = KINDS[form.precision]
        self.stem = _Conv(next(arrays), next(arrays), put)
        self.blocks = nn.ModuleList(_Block(checkpoint, i, arrays, put) for i in range(a.n_blocks))
        self.head = _Head(checkpoint, arrays, put)

    def forward(self, x_NCL: Tensor) -> Tensor:
        """One-hot channels [N, channels, length] of any type → scores, float32 [N]."""
        x = F.silu(self.stem(x_NCL.to(self.kind).transpose(1, 2)))
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(x)
        return scores


class _Placing:
    """Arrays as tensors on the device, in the type that products are computed in."""

    def __init__(self, form: TorchForm, device: torch.device) -> None:
        self.form, self.device, self.kind = form, device, KINDS[form.precision]
        self.emulated = device.type == "cpu" and self.kind == torch.float16
        self.computed = torch.float32 if self.emulated else self.kind

    def __call__(self, array: np.ndarray) -> Tensor:
        largest = float(np.abs(array).max(initial=0.0))
        if self.kind == torch.float16 and not largest <= FP16_MAX:
            raise ModelError(
                f"a weight of {largest:g} does not fit FP16 (largest {FP16_MAX:g}); use --precision fp32"
            )
        return self.wide(array).to(self.kind).to(self.computed)

    def wide(self, array: np.ndarray) -> Tensor:
        """In FP32, whatever the precision."""
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.device)


class _Product(nn.Module):
    """Weights of a product: what it reads is converted to their type, what it gives to the network's."""

    def __init__(self, weight: Tensor, bias: Tensor, kind: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.kind = kind

    weight: Tensor
    bias: Tensor


class _Linear(_Product):
    def __init__(self, weight: np.ndarray, bias: np.ndarray, put: _Placing) -> None:
        super().__init__(put(weight), put(bias), put.kind)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.kind).to(self.weight.dtype), self.weight, self.bias).to(self.kind)


class _Conv(_Product):
    """Convolution over the length of [N, L, C], as many positions out as in."""

    def __init__(self, weight_OIK: np.ndarray, bias: np.ndarray, put: _Placing, groups: int = 1) -> None:
        weight = put(weight_OIK)
        self.taps, self.groups = weight.shape[2], groups
        flat = weight[:, :, 0].contiguous() if self.is_linear else None
        rank_4 = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        super().__init__(rank_4 if flat is None else flat, put(bias), put.kind)
        for_kernels = weight.permute(2, 1, 0).to(put.kind) if put.form.kernels == "triton" else None
        self.register_buffer("by_tap", None if for_kernels is None else for_kernels.contiguous())

    by_tap: Tensor
    """[tap, input, output], for the kernels of `torch_kernels`."""

    @property
    def is_linear(self) -> bool:
        return self.taps == 1 and self.groups == 1

    def forward(self, x_NLC: Tensor) -> Tensor:
        x = x_NLC.to(self.weight.dtype)
        if self.is_linear:
            return F.linear(x, self.weight, self.bias).to(self.kind)
        x_NC1L, half = x.transpose(1, 2).unsqueeze(2), self.taps // 2
        y_NC1L = torch.conv2d(x_NC1L, self.weight, self.bias, padding=(0, half), groups=self.groups)
        return y_NC1L.squeeze(2).transpose(1, 2).to(self.kind).contiguous()


class _Shifted(nn.Module):
    """The grouped convolution as shifted products between blocks of channels, summed in FP32."""

    def __init__(self, weight_CGK: np.ndarray, bias: np.ndarray, order: np.ndarray, put: _Placing) -> None:
        super().__init__()
        channels, g, taps = weight_CGK.shape
        size = channels // g
        # [tap, block out, block in, group]
        weight = weight_CGK[order].reshape(g, size, g, taps).transpose(3, 0, 2, 1)
        self.register_buffer("weight", put(weight).float())
        self.register_buffer("bias", put(bias[order]).float())
        self.kind = put.kind

    weight: Tensor
    bias: Tensor

    def forward(self, x_NLC: Tensor) -> Tensor:
        taps, g, _, size = self.weight.shape
        n, length, _ = x_NLC.shape
        padded = F.pad(x_NLC, (0, 0, taps // 2, taps // 2)).view(n, -1, g, size).float()
        blocks = []
        for j in range(g):
            total = self.bias.view(g, size)[j].expand(n, length, size).clone()
            for tap in range(taps):
                for i in range(g):
                    total = torch.addcmul(total, padded[:, tap : tap + length, i], self.weight[tap, j, i])
            blocks.append(total.to(self.kind))
        return blocks[0] if g == 1 else torch.cat(blocks, dim=2)


class _Gate(nn.Module):
    """Squeeze-and-excitation: means of the inner channels → the share of each that passes, [N, C]."""

    def __init__(self, arrays: Iterator[np.ndarray], order: np.ndarray, se: str, put: _Placing) -> None:
        super().__init__()
        self.squeeze = _Linear(next(arrays)[:, order], next(arrays), put)
        self.pairwise = se == "bilinear"
        if self.pairwise:
            self.hidden = _Linear(next(arrays), next(arrays), put)
            left, right, joined = balanced(next(arrays), next(arrays), next(arrays))
            none = np.zeros(left.shape[1], np.float32)
            self.left, self.right = _Linear(left.T, none, put), _Linear(right.T, none, put)
            self.joined = _Linear(joined, next(arrays), put)
        self.excite = _Linear(next(arrays)[order], next(arrays)[order], put)

    def forward(self, mean_NC: Tensor) -> Tensor:
        y = F.silu(self.squeeze(mean_NC))
        if self.pairwise:
            y = self.hidden(y)
            y = F.silu(torch.cat([y, self.joined(self.left(y) * self.right(y))], dim=1))
        return torch.sigmoid(self.excite(y))


class _Block(nn.Module):
    """Expand, grouped convolution, gate, project, join with the input, mix, pool."""

    def __init__(self, checkpoint: Checkpoint, i: int, arrays: Iterator[np.ndarray], put: _Placing) -> None:
        super().__init__()
        a = checkpoint.architecture
        inner, g = a.inner_widths[i], a.filters_per_group
        in_blocks = put.form.kernels == "triton" or put.form.groups == "shifted"
        order = np.arange(inner).reshape(-1, g).T.ravel() if in_blocks else np.arange(inner)
        self.expand = _Conv(next(arrays)[order], next(arrays)[order], put)
        weight, bias = next(arrays), next(arrays)
        self.group: nn.Module
        if in_blocks:
            self.group = _Shifted(weight, bias, order, put)
        else:
            self.group = _Conv(*_packed(weight, bias, inner // g, put))
        self.gate = _Gate(arrays, order, a.se, put) if a.se != "none" else None
        self.project = _Conv(next(arrays)[:, order], next(arrays), put)
        self.mix = _Conv(next(arrays), next(arrays), put)
        self.join, self.pool = a.concat_order or a.residual, a.pools[i]
        self.kernels: Any = None
        if put.form.kernels == "triton":
            from legscore.engine import torch_kernels

            self.kernels = torch_kernels

    def forward(self, x: Tensor) -> Tensor:
        x = self._fused(x) if self.kernels is not None else self._plain(x)
        if self.pool == 1:
            return x
        n, length, channels = x.shape
        kept = length // self.pool
        return x[:, : kept * self.pool].reshape(n, kept, self.pool, channels).amax(dim=2)

    def _plain(self, x: Tensor) -> Tensor:
        y = F.silu(self.group(F.silu(self.expand(x))))
        if self.gate is not None:
            y = y * self.gate(y.mean(dim=1, dtype=torch.float32))[:, None]
        fx = F.silu(self.project(y))
        if self.join in ("x,fx", "fx,x"):
            return F.silu(self.mix(torch.cat([x, fx] if self.join == "x,fx" else [fx, x], dim=2)))
        return F.silu(self.mix(x + fx if self.join == "add" else fx))

    def _fused(self, x: Tensor) -> Tensor:
        """The same with the kernels of `torch_kernels`, which its tests compare with the lines above."""
        run = self.kernels
        y, mean = run.expand_group(x, self.expand, self.group)
        fx = run.convolve(y, self.project, gate=None if self.gate is None else self.gate(mean))
        if self.join in ("x,fx", "fx,x"):
            first, second = (x, fx) if self.join == "x,fx" else (fx, x)
            return run.convolve(first, self.mix, second=second)
        return run.convolve(x + fx if self.join == "add" else fx, self.mix)


def _packed(
    weight: np.ndarray, bias: np.ndarray, groups: int, put: _Placing
) -> tuple[np.ndarray, np.ndarray, _Placing, int]:
    form = put.form.groups
    if form.startswith("repack"):
        size = int(form.removeprefix("repack"))
        # widths that are no multiple of it, as those of students, take what divides both
        fitting = math.gcd(len(weight), size)
        weight, groups = repacked(weight, groups, fitting if fitting >= LEAST_REPACKED else size, "torch")
    return weight, bias, put, groups


class _Head(nn.Module):
    """Mean over the length and what follows, in FP32."""

    def __init__(self, checkpoint: Checkpoint, arrays: Iterator[np.ndarray], put: _Placing) -> None:
        super().__init__()
        a = checkpoint.architecture
        weight, bias = next(arrays), next(arrays)
        self.active = a.final_activation == "silu"
        self.conv = _Conv(weight[:, :, None], bias, put) if self.active else None
        for name, array in (("weight", weight), ("bias", bias)):
            self.register_buffer(name, None if self.active else put.wide(array))
        self.scalar = a.head == "scalar"
        names = ("hidden_weight", "hidden_bias", "out_weight", "out_bias")
        for name in names if self.scalar else ():
            self.register_buffer(name, put.wide(next(arrays)))
        self.register_buffer("bins", put.wide(np.arange(a.outputs)))

    weight: Tensor
    bias: Tensor
    hidden_weight: Tensor
    hidden_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor
    bins: Tensor

    def forward(self, x_NLC: Tensor) -> Tensor:
        if self.conv is not None:
            y = F.silu(self.conv(x_NLC)).mean(dim=1, dtype=torch.float32)
        else:
            y = F.linear(x_NLC.mean(dim=1, dtype=torch.float32), self.weight, self.bias)
        if not self.scalar:
            return (torch.softmax(y, dim=1) * self.bins).sum(dim=1)
        y = F.silu(F.linear(y, self.hidden_weight, self.hidden_bias))
        return F.linear(y, self.out_weight, self.out_bias).squeeze(1)

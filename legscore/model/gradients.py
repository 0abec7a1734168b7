"""Backward passes written by hand where torch's own are slow on a CPU: grouped convolutions and the SE gate's
mean.

Measured in bf16, channels last, batch 128 of 150 bases, 2 cores with AVX512-BF16: the weight gradient of a
depthwise convolution of 1,024 channels takes oneDNN 85 ms; the same channels in blocks of 16, of which the
diagonal is kept, 16 ms (16 times the arithmetic, as a matrix product). Two-per-group convolutions go faster
in both directions as blocks of 8 (512 channels: 9.3 → 4.5 ms). The mean's gradient comes in torch's own code
in another memory layout, and adding it takes 34 ms instead of 2. The values are those of the plain formulas;
tests compare them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

APPLY_BLOCK = 8
GRADIENT_BLOCK = 16


def grouped_conv(x_NC1L: Tensor, weight_CPK: Tensor) -> Tensor:
    """Grouped convolution with "same" padding; P channels a group, C / P groups.

    Args:
        x_NC1L: [N, C, 1, L], channels last.
        weight_CPK: [C, P, K], odd K.

    Returns:
        [N, C, 1, L]. In bf16 on a CPU by the blocks above, else by torch's convolution.
    """
    channels, per_group, kernel = weight_CPK.shape
    blocked = x_NC1L.device.type == "cpu" and x_NC1L.dtype == torch.bfloat16
    if blocked and GRADIENT_BLOCK % per_group == 0 and channels % GRADIENT_BLOCK == 0:
        return _Grouped.apply(x_NC1L, weight_CPK.to(x_NC1L.dtype))  # type: ignore[no-any-return]
    return torch.conv2d(
        x_NC1L, weight_CPK.unsqueeze(2), padding=(0, kernel // 2), groups=channels // per_group
    )


def with_mean(x_NC1L: Tensor) -> tuple[Tensor, Tensor]:
    """`x` itself and its mean over the length, [N, C]."""
    return _WithMean.apply(x_NC1L)  # type: ignore[no-any-return]


def _blocks(weight: Tensor, block: int) -> Tensor:
    """[C, P, K] → block-diagonal [C, block, 1, K]: the same convolution in C / block groups."""
    channels, per_group, kernel = weight.shape
    ratio = block // per_group
    wide = weight.new_zeros(channels // block, ratio, per_group, ratio, per_group, kernel)
    split = weight.view(channels // block, ratio, per_group, per_group, kernel)
    for i in range(ratio):
        wide[:, i, :, i] = split[:, i]
    return wide.reshape(channels, block, 1, kernel).contiguous(memory_format=torch.channels_last)


def _native(weight: Tensor) -> tuple[Tensor, int]:
    """The weight as it is applied, and its number of groups: depthwise as it is, else in blocks."""
    channels, per_group, _ = weight.shape
    if per_group == 1 or per_group >= APPLY_BLOCK:
        return weight.unsqueeze(2), channels // per_group
    return _blocks(weight, APPLY_BLOCK), channels // APPLY_BLOCK


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        applied, groups = _native(weight)
        return torch.conv2d(x, applied, padding=(0, weight.shape[2] // 2), groups=groups)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        channels, per_group, kernel = weight.shape
        dx = dw = None
        if ctx.needs_input_grad[0]:
            applied, groups = _native(weight)
            dx = _gradients(dy, x, applied, groups, 0)
        if ctx.needs_input_grad[1]:
            shape = weight.new_empty(channels, GRADIENT_BLOCK, 1, kernel).contiguous(
                memory_format=torch.channels_last
            )
            wide = _gradients(dy, x, shape, channels // GRADIENT_BLOCK, 1)
            ratio = GRADIENT_BLOCK // per_group
            split = wide.reshape(-1, ratio, per_group, ratio, per_group, kernel)
            dw = split.diagonal(dim1=1, dim2=3).permute(0, 4, 1, 2, 3).reshape(channels, per_group, kernel)
        return dx, dw


def _gradients(dy: Tensor, x: Tensor, weight: Tensor, groups: int, which: int) -> Tensor:
    """Gradient of the input (0) or of the weight (1); of `weight` only the shape matters to the latter."""
    half = weight.shape[3] // 2
    mask = [which == 0, which == 1, False]
    gradients = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [0, half], [1, 1], False, [0, 0], groups, mask
    )
    return gradients[which]  # type: ignore[no-any-return]


class _WithMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.length = x.shape[3]
        return x.view_as(x), x.mean(dim=(2, 3))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dx: Tensor, dmean: Tensor) -> Tensor:
        return torch.add(dx, dmean[:, :, None, None].to(dx.dtype), alpha=1 / ctx.length)

"""Triton kernels for the parts of the network that stream memory; each has its twin in `torch_network`.

    expand_group   1×1 convolution, SiLU, grouped convolution, SiLU, and the mean over the length
    convolve       convolution over the length, of one input or of two as if they were joined, its input
                   multiplied by a gate on the way in, SiLU on the way out

The widest tensor is written twice and read twice by them: expanded, which the same program reads back from
cache, and grouped, which `convolve` reads with its gate. PyTorch alone passes over it seven times.

Products are summed in FP32, biases added and SiLU taken there, and results rounded once. A program of
`expand_group` owns some groups of one sequence: it needs no other program's work, its sums have one order,
and the same input gives the same bits. Importing this module needs Triton; TRITON_INTERPRET=1 runs it on a
CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LEAST = 16
"""Of each side of a product that tensor cores take."""


@triton.jit  # type: ignore[untyped-decorator]
def _silu(x):  # type: ignore[no-untyped-def]
    return x * tl.sigmoid(x)


@triton.jit  # type: ignore[untyped-decorator]
def expand_group_kernel(  # type: ignore[no-untyped-def]
    x, expand, expand_bias, group, group_bias, wide, out, mean, length, inputs, size,
    TAPS: tl.constexpr, G: tl.constexpr, AT: tl.constexpr, GROUPS: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    """x [N, L, inputs]; expand [inputs, G * size]; group FP32 [taps, G, G, size]; wide and out
    [N, L, G * size]; mean FP32 [N, G * size]. Grid: [tiles of `size`, N]."""
    channels = G * size
    row = tl.program_id(1).to(tl.int64) * length
    groups = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    held = groups < size
    for start in range(0, length, AT):
        at = start + tl.arange(0, AT)
        inside = at < length
        for i in tl.static_range(G):
            total = tl.zeros((AT, GROUPS), tl.float32)
            for first in range(0, inputs, IN):
                k = first + tl.arange(0, IN)
                a = tl.load(
                    x + (row + at[:, None]) * inputs + k[None, :],
                    mask=inside[:, None] & (k < inputs)[None, :], other=0.0,
                )  # fmt: skip
                b = tl.load(
                    expand + k[:, None] * channels + i * size + groups[None, :],
                    mask=(k < inputs)[:, None] & held[None, :], other=0.0,
                )  # fmt: skip
                total = tl.dot(a, b, total)
            bias = tl.load(expand_bias + i * size + groups, mask=held, other=0.0)
            tl.store(
                wide + (row + at[:, None]) * channels + i * size + groups[None, :],
                _silu(total + bias[None, :].to(tl.float32)).to(wide.dtype.element_ty),
                mask=inside[:, None] & held[None, :],
            )
    tl.debug_barrier()  # what is read below was written by other threads of this program
    for j in tl.static_range(G):
        bias = tl.load(group_bias + j * size + groups, mask=held, other=0.0)
        summed = tl.zeros((GROUPS,), tl.float32)
        for start in range(0, length, AT):
            at = start + tl.arange(0, AT)
            kept = (at < length)[:, None] & held[None, :]
            total = tl.zeros((AT, GROUPS), tl.float32) + bias[None, :]
            for tap in range(TAPS):
                there = at + (tap - TAPS // 2)
                seen = ((there >= 0) & (there < length))[:, None] & held[None, :]
                for i in tl.static_range(G):
                    read = tl.load(
                        wide + (row + there[:, None]) * channels + i * size + groups[None, :],
                        mask=seen, other=0.0,
                    )  # fmt: skip
                    weight = tl.load(group + ((tap * G + j) * G + i) * size + groups, mask=held, other=0.0)
                    total += read.to(tl.float32) * weight[None, :]
            rounded = _silu(total).to(out.dtype.element_ty)
            tl.store(out + (row + at[:, None]) * channels + j * size + groups[None, :], rounded, mask=kept)
            summed += tl.sum(tl.where(kept, rounded.to(tl.float32), 0.0), 0)
        tl.store(mean + tl.program_id(1) * channels + j * size + groups, summed / length, mask=held)


@triton.jit  # type: ignore[untyped-decorator]
def convolve_kernel(  # type: ignore[no-untyped-def]
    first, second, gate, weight, bias, out, rows, length, first_inputs, second_inputs, outputs,
    TAPS: tl.constexpr, GATED: tl.constexpr, TWO: tl.constexpr,
    ROWS: tl.constexpr, OUT: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    """first, second [N, L, inputs]; gate [N, first_inputs]; weight [taps, inputs, outputs]; out
    [N, L, outputs]. Grid: [tiles of outputs, tiles of the N * L rows]."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    at = row % length
    o = tl.program_id(0) * OUT + tl.arange(0, OUT)
    kept = o < outputs
    inputs = first_inputs + second_inputs
    total = tl.zeros((ROWS, OUT), tl.float32)
    for tap in range(TAPS):
        shift = tap - TAPS // 2
        seen = (row < rows) & (at + shift >= 0) & (at + shift < length)
        there = (row + shift).to(tl.int64)
        for begin in range(0, first_inputs, IN):
            k = begin + tl.arange(0, IN)
            mask = seen[:, None] & (k < first_inputs)[None, :]
            a = tl.load(first + there[:, None] * first_inputs + k[None, :], mask=mask, other=0.0)
            if GATED:
                share = tl.load(
                    gate + (row // length)[:, None] * first_inputs + k[None, :], mask=mask, other=0.0
                )
                a = (a.to(tl.float32) * share.to(tl.float32)).to(first.dtype.element_ty)
            b = tl.load(
                weight + (tap * inputs + k[:, None]) * outputs + o[None, :],
                mask=(k < first_inputs)[:, None] & kept[None, :], other=0.0,
            )  # fmt: skip
            total = tl.dot(a, b, total)
        if TWO:
            for begin in range(0, second_inputs, IN):
                k = begin + tl.arange(0, IN)
                mask = seen[:, None] & (k < second_inputs)[None, :]
                a = tl.load(second + there[:, None] * second_inputs + k[None, :], mask=mask, other=0.0)
                b = tl.load(
                    weight + (tap * inputs + first_inputs + k[:, None]) * outputs + o[None, :],
                    mask=(k < second_inputs)[:, None] & kept[None, :], other=0.0,
                )  # fmt: skip
                total = tl.dot(a, b, total)
    total += tl.load(bias + o, mask=kept, other=0.0)[None, :].to(tl.float32)
    tl.store(
        out + row.to(tl.int64)[:, None] * outputs + o[None, :],
        _silu(total).to(out.dtype.element_ty), mask=(row < rows)[:, None] & kept[None, :],
    )  # fmt: skip


def tile(n: int, most: int) -> int:
    """The power of two, from LEAST to `most`, that n is cut into: the largest that wastes at most a seventh,
    else the one that wastes least."""
    sizes = [1 << i for i in range(LEAST.bit_length() - 1, most.bit_length())]
    good = [size for size in sizes if 7 * (-n % size) <= n]
    return max(good) if good else min(sizes, key=lambda size: (-n % size, -size))


def expand_group(x_NLC: Tensor, expand: Any, group: Any) -> tuple[Tensor, Tensor]:
    """Expanded, grouped and activated channels, and their means over the length.

    Args:
        x_NLC: [N, L, C], contiguous, FP16 or bf16.
        expand: `torch_network._Conv` of one tap.
        group: `torch_network._Shifted`.

    Returns:
        [N, L, inner] as x, and FP32 [N, inner]; channels in blocks.
    """
    n, length, inputs = x_NLC.shape
    taps, g, _, size = group.weight.shape
    wide, out = (x_NLC.new_empty(n, length, g * size) for _ in range(2))
    mean = torch.empty(n, g * size, dtype=torch.float32, device=x_NLC.device)
    groups = tile(size, 64)
    expand_group_kernel[(triton.cdiv(size, groups), n)](
        x_NLC.contiguous(), expand.by_tap, expand.bias, group.weight, group.bias, wide, out,
        mean, length, inputs, size, TAPS=taps, G=g, AT=tile(length, 64), GROUPS=groups, IN=tile(inputs, 64),
    )  # fmt: skip
    return out, mean


def convolve(
    first_NLC: Tensor, conv: Any, *, gate: Tensor | None = None, second: Tensor | None = None
) -> Tensor:
    """SiLU of a convolution.

    Args:
        first_NLC: [N, L, C], contiguous, FP16 or bf16.
        conv: `torch_network._Conv`.
        gate: [N, C], what `first_NLC` is multiplied with.
        second: [N, L, C2], channels that follow those of `first_NLC`.

    Returns:
        [N, L, outputs].
    """
    n, length, inputs = first_NLC.shape
    weight = conv.by_tap
    others, outputs = (0 if second is None else second.shape[2]), weight.shape[-1]
    out = first_NLC.new_empty(n, length, outputs)
    columns = tile(outputs, 128)
    convolve_kernel[(triton.cdiv(outputs, columns), triton.cdiv(n * length, 64))](
        first_NLC.contiguous(), first_NLC if second is None else second.contiguous(),
        first_NLC if gate is None else gate.contiguous(), weight, conv.bias, out, n * length, length, inputs,
        others, outputs, TAPS=conv.taps, GATED=gate is not None, TWO=second is not None,
        ROWS=64, OUT=columns, IN=tile(min(inputs, others or inputs), 64),
    )  # fmt: skip
    return out

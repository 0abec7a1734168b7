"""What would sums in FP16 cost? Some convolutions of GPUs add their products in FP16 instead of FP32.

Emulated on a CPU: the network of engine torch in FP16, the products of each convolution or linear layer added
up 16 terms at a time in FP32, as a tensor core's instruction does, the running sum rounded to FP16 after
each. Compared with the FP32 network on random windows and single-base changes of them.

    python bench/fp16_sums.py [--windows 128] [--save]

Expected: effects keep their order (Spearman above 0.999), so that such kernels may be used; the fidelity
that is measured on a card decides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from machine import OPTIMISED, ORIGINAL, arguments, finish
from torch import Tensor
from torch.nn import functional as F

from legscore.dna.one_hot import strands
from legscore.engine import fidelity as fid
from legscore.engine.torch_network import TorchForm, TorchNetwork
from legscore.model.checkpoint import load_checkpoint

AT_ONCE = 16


def rounded(x: Tensor) -> Tensor:
    return x.half().float()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    total = torch.zeros(*x.shape[:-1], len(weight))
    for start in range(0, x.shape[-1], AT_ONCE):
        part = slice(start, start + AT_ONCE)
        total = rounded(total + x[..., part] @ weight[:, part].T)
    return rounded(total + bias)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int], groups: int) -> Tensor:
    """Of one group, over the length: taps and channels are the terms of one long sum."""
    assert groups == 1
    taps, length = weight.shape[3], x.shape[3]
    padded = F.pad(x, (padding[1], padding[1]))[:, :, 0].transpose(1, 2)
    total = torch.zeros(len(x), length, len(weight))
    for tap in range(taps):
        seen = padded[:, tap : tap + length]
        for start in range(0, weight.shape[1], AT_ONCE):
            part = slice(start, start + AT_ONCE)
            total = rounded(total + seen[..., part] @ weight[:, part, 0, tap].T)
    return rounded(total + bias).transpose(1, 2).unsqueeze(2)


@contextlib.contextmanager
def sums_in_fp16() -> Iterator[None]:
    kept = F.linear, torch.conv2d
    F.linear, torch.conv2d = linear, conv2d
    try:
        yield
    finally:
        F.linear, torch.conv2d = kept


def compared(path: Any, n: int) -> dict[str, Any]:
    member = load_checkpoint(path)
    batch = fid.probe(member.contract, n, 0)
    x = torch.from_numpy(strands(batch.expand(), member.contract, both=False, is_singleton=False))
    found = {}
    with torch.inference_mode():
        for name, precision in (("fp32", "fp32"), ("fp16", "fp16"), ("fp16 sums", "fp16")):
            network = TorchNetwork(member, TorchForm(precision, "shifted"), torch.device("cpu"))
            head = network.head
            with sums_in_fp16() if name == "fp16 sums" else contextlib.nullcontext():
                # the head stays in FP32, as on cards
                network.head = torch.nn.Identity()
                trunk = torch.cat([network(piece) for piece in x.split(16)])
            found[name] = head(trunk).numpy()
    return {
        name: asdict(fid.compare([(found[name], found["fp32"])], "torch fp32"))
        for name in ("fp16", "fp16 sums")
    }


def main() -> None:
    options = arguments(__doc__ or "", windows=128, save_as="fp16_sums")
    result = {}
    for name, path in (("F1", ORIGINAL), ("F2", OPTIMISED)):
        result[name] = compared(path, options.windows)
        for what, one in result[name].items():
            print(
                f"{name} {what}: RMSE {one['score_rmse']:.2g}, effect Spearman {one['effect_spearman']:.5f}"
            )
    finish("fp16_sums", {"windows": options.windows, "models": result}, options.save)


if __name__ == "__main__":
    main()

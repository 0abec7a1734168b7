"""A generator in PyTorch: the loop's state stays on the device, random numbers included. Needs
`legscore[train]`.

The reference twin of the other denoisers, what validates while training, and the way to accelerators.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from legscore.dna.contract import BASES, Contract
from legscore.generate.draws import _DRAWN_FROM, _PLACES, GRAIN, PERMUTATIONS
from legscore.model.legnet import LegNet

_WEYL, _MUL_1, _MUL_2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _MUL_1
    x = (x ^ _shifted(x, 27)) * _MUL_2
    return x ^ _shifted(x, 31)


def below(seed_N: Tensor, step: int, first: int, count: int, limit: int) -> Tensor:
    """As `draws.below`, on the device of the seeds: int64 [N, count]."""
    key_N = _mix(seed_N * _WEYL + _WEYL)
    place_K = (torch.arange(first, first + count, device=seed_N.device) + step * _PLACES) * _WEYL
    return _shifted(_shifted(_mix(key_N[:, None] ^ _mix(place_K)[None, :]), 32) * limit, 32)


def shuffles(seed_N: Tensor, step: int, n_mutations: int, length: int) -> Tensor:
    """As `draws.shuffles`: int64 [N, length]."""
    site_NK = below(seed_N, step, length, n_mutations, length)
    order_NL = below(seed_N, step, 0, length, len(PERMUTATIONS))
    hit_NL = torch.zeros_like(order_NL).scatter_(1, site_NK, 1)
    return order_NL * hit_NL


def drawn(seed_N: Tensor, step: int, probability_N4L: Tensor) -> Tensor:
    """As `draws.drawn`: float32 [N, 4, L]."""
    level_NL = below(seed_N, step, _DRAWN_FROM, probability_N4L.shape[2], GRAIN).float() / GRAIN
    edges_N3L = torch.cumsum(probability_N4L[:, :3], dim=1)
    codes_NL = (level_NL[:, None] >= edges_N3L).sum(dim=1)
    return nn.functional.one_hot(codes_NL, 4).transpose(1, 2).float()


class TorchDenoiser:
    """See `legscore.generate.sample.Denoiser`. The network is used as it is, in evaluation mode."""

    name = "torch"

    def __init__(self, network: LegNet, contract: Contract, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.device, self.dtype = network, device, dtype
        self.length, self.engine_s = contract.length, 0.0
        self.precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")
        self._order = [contract.alphabet.index(base) for base in BASES]
        self._own = [BASES.index(base) for base in contract.alphabet]
        self._bases = self._target = self._seeds = torch.empty(0)
        self._permutations = torch.from_numpy(PERMUTATIONS).to(device)

    def begin(self, bases_N4L: np.ndarray, target_N: np.ndarray, seed_N: np.ndarray) -> None:
        self.put(bases_N4L)
        self._target = torch.from_numpy(np.asarray(target_N, dtype=np.float32)).to(self.device)
        self._seeds = torch.from_numpy(np.asarray(seed_N, dtype=np.int64)).to(self.device)

    def step(self, number: int, n_mutations: int, told: int, draw: bool = False) -> None:
        with torch.inference_mode():
            order_NL = shuffles(self._seeds, number, n_mutations, self.length)
            source = self._permutations[order_NL].transpose(1, 2)
            self._bases = self.probabilities(torch.gather(self._bases, 1, source), float(told))
            if draw:
                self._bases = drawn(self._seeds, number, self._bases)

    def probabilities(self, bases_N4L: Tensor, told: float) -> Tensor:
        """The network's softmax, float32 [N, 4, L], A,G,C,T."""
        n, _, length = bases_N4L.shape
        extra = torch.stack([self._target, torch.full_like(self._target, told)], dim=1)
        x = torch.cat([bases_N4L[:, self._own], extra[:, :, None].expand(n, 2, length)], dim=1)
        began = time.perf_counter()
        tf32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=self.dtype != torch.float32)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32), tf32:
            logits = self.network(x)
        found = torch.softmax(logits.float(), dim=1)[:, self._order]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.engine_s += time.perf_counter() - began
        return found

    def describe(self) -> dict[str, str]:
        """What defines the designs, for the output's metadata."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"engine": self.name, "precision": self.precision, "device": name, "torch": torch.__version__}

    def close(self) -> None:
        """Nothing is held."""

    def bases(self) -> np.ndarray:
        return np.asarray(self._bases.cpu().numpy())

    def put(self, bases_N4L: np.ndarray) -> None:
        self._bases = torch.from_numpy(np.ascontiguousarray(bases_N4L)).to(self.device)

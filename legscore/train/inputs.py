"""Codes → network inputs on the device that trains: one-hot channels, the other strand, shifts along the
vector.

The torch twin of `legscore.dna.one_hot`. Nothing here is per row in Python; draws come from the sampler.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from legscore.dna.contract import CODE_OF_BYTE, Contract


def encode(codes_NL: Tensor, reverse_N: Tensor, singleton_N: Tensor, contract: Contract) -> Tensor:
    """Network input, float32 [N, channels, L], on the device of the codes: the torch twin of
    `legscore.dna.one_hot`.

    Rows where `reverse_N` is true are reverse-complemented as a whole and flagged.
    """
    complement = torch.tensor([3, 2, 1, 0, 4], dtype=torch.long, device=codes_NL.device)
    codes = codes_NL.long()
    codes = torch.where(reverse_N[:, None], complement[codes.flip(1)], codes)
    table = torch.cat([torch.eye(4), torch.full((1, 4), contract.n_value)]).to(codes.device)
    channels = [table[codes].transpose(1, 2)]
    values = {"is_reverse": reverse_N, "is_singleton": singleton_N}
    for name in contract.extras:
        channels.append(values[name].float()[:, None, None].expand(-1, 1, codes.shape[1]))
    return torch.cat(channels, dim=1)


def codes_of(dna: str) -> Tensor:
    """uint8 codes of a text."""
    return torch.from_numpy(CODE_OF_BYTE[np.frombuffer(dna.encode(), dtype=np.uint8)])


def shift(codes_NL: Tensor, shift_N: Tensor, downstream_D: Tensor) -> Tensor:
    """Windows moved along the vector: row i loses its first shift_N[i] bases and gains as many of
    `downstream_D`.

    Args:
        codes_NL: uint8 [N, L].
        shift_N: int64 [N], each from 0 to D.
        downstream_D: uint8 [D], what follows the window in the vector.

    Returns:
        uint8 [N, L].
    """
    n, length = codes_NL.shape
    longer = torch.cat([codes_NL, downstream_D.expand(n, -1)], dim=1)
    at = torch.arange(length, device=codes_NL.device)[None, :] + shift_N[:, None]
    return longer.gather(1, at)

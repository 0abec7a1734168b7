"""Mutations on the device that trains, for a whole batch at once: the torch twin of
`legscore.generate.mutations`.

The published code loops in Python over every mutation of every sequence. Here a batch of 1,024 inserts with
up to 300 mutations each is two scatters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from legscore.dna.contract import N_CODE
from legscore.errors import LegscoreError
from legscore.generate.mutations import MUTATIONS


def mutate(codes_NL: Tensor, n_N: Tensor, most: int, kind: str, generator: torch.Generator) -> Tensor:
    """Sequences after n_N[i] memoryless mutations each, int64 [N, L], on their device.

    Args:
        codes_NL: int64 [N, L].
        n_N: int64 [N], each from 0 to `most`.
        kind: `draw4` or `sub3` (see `legscore.generate.mutations`).
        generator: of the codes' device.
    """
    if kind not in MUTATIONS:
        raise LegscoreError(f"mutation is {kind!r}; known are {', '.join(MUTATIONS)}")
    n, length = codes_NL.shape
    device = codes_NL.device
    site_NK = torch.randint(length, (n, most), generator=generator, device=device)
    happens_NK = torch.arange(most, device=device)[None, :] < n_N[:, None]
    if kind == "draw4":  # the last draw at a site decides, so one draw for every site that is hit does
        hits_NL = torch.zeros_like(codes_NL).scatter_add_(1, site_NK, happens_NK.long())
        fresh_NL = torch.randint(4, (n, length), generator=generator, device=device)
        changed = torch.where(hits_NL > 0, fresh_NL, codes_NL)
    else:  # steps of 1 to 3 around the circle of four bases: their sum is what they do together
        steps_NK = torch.randint(1, 4, (n, most), generator=generator, device=device) * happens_NK
        changed = (codes_NL + torch.zeros_like(codes_NL).scatter_add_(1, site_NK, steps_NK)) % 4
    return torch.where(codes_NL == N_CODE, codes_NL, changed)


def generator_input(mutated_NL: Tensor, expression_N: Tensor, n_N: Tensor, n_value: float) -> Tensor:
    """Network input float32 [N, 6, L]: A,G,C,T, the expression wanted, the number of mutations."""
    table = torch.cat([torch.eye(4), torch.full((1, 4), n_value)]).to(mutated_NL.device)
    told = torch.stack([expression_N.float(), n_N.float()], dim=1)
    return torch.cat(
        [table[mutated_NL].transpose(1, 2), told[:, :, None].expand(-1, 2, mutated_NL.shape[1])], dim=1
    )

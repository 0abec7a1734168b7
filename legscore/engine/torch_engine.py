"""PyTorch: the reference twin, and the way to accelerators that have no engine of their own. Needs
`legscore[train]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from legscore.dna.batch import Batch
from legscore.dna.contract import BASES
from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine
from legscore.engine.recipe import Recipe
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import LegNet, from_checkpoint


def best_device() -> str:
    """cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchEngine(ThreadedEngine):
    """Runs the module of `legscore.model.legnet` in eager mode; bf16 through autocast."""

    name = "torch"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        recipe: Recipe,
        *,
        both_strands: bool,
        is_singleton: bool = False,
        device: str | None = None,
    ) -> None:
        super().__init__(members[0].contract, both_strands=both_strands, is_singleton=is_singleton)
        self.recipe, self.precision, self.n_members = recipe, recipe.precision, len(members)
        self.batch = int(recipe.get("torch", "batch"))
        self.device = torch.device(device or best_device())
        self._networks = [_reordered(member).to(self.device) for member in members]

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Callable[[int], None]) -> np.ndarray:
        step = max(1, self.batch // (2 if both else 1))
        scores = []
        lower = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")
        # fp32 means fp32 on CUDA too
        tf32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=self.precision != "fp32")
        with torch.inference_mode(), lower, tf32:
            for start in range(0, batch.n_windows, step):
                codes = batch.expand(start, start + step)
                x = torch.from_numpy(
                    strands(codes, self.contract, both=both, is_singleton=self.is_singleton)
                ).to(self.device)
                rows_MR = np.empty((len(members), len(x)), np.float32)
                for row, m in zip(rows_MR, members, strict=True):
                    row[:] = self._networks[m](x).float().cpu().numpy()
                    tell(len(codes))
                scores.append(self.average(rows_MR, len(codes), both))
        return np.concatenate(scores, axis=1) if scores else np.empty((len(members), 0), np.float32)

    def describe(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "device": name,
            "torch": torch.__version__,
        }

    def close(self) -> None:
        super().close()
        self._networks = []


def _reordered(member: Checkpoint) -> LegNet:
    """The member's network, reading bases in the order A,G,C,T whatever its own order."""
    network = from_checkpoint(member)
    order = [member.contract.alphabet.index(base) for base in BASES]
    order += range(len(BASES), len(member.contract.channels))
    with torch.no_grad():
        network.stem.conv.weight.copy_(network.stem.conv.weight[:, order].clone())
    return network

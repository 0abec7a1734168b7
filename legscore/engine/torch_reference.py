"""The network as published, in PyTorch FP32: what fidelity is measured against where OpenVINO is not
installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from legscore.dna.batch import Batch
from legscore.dna.contract import BASES
from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine
from legscore.engine.torch_devices import best_device, exact
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import LegNet, from_checkpoint

BATCH = 64


class PublishedNetwork(ThreadedEngine):
    """Runs the module of `legscore.model.legnet`: nothing folded, nothing rewritten."""

    name, precision, n_members = "torch published", "fp32", 1

    def __init__(self, member: Checkpoint, *, is_singleton: bool, device: str | None = None) -> None:
        super().__init__(member.contract, both_strands=False, is_singleton=is_singleton)
        self.device = torch.device(device or best_device())
        self._network = reordered(member).to(self.device)

    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        scores = [np.empty(0, np.float32)]
        with torch.inference_mode(), exact:
            for start in range(0, batch.n_windows, BATCH):
                codes = batch.expand(start, start + BATCH)
                x = strands(codes, self.contract, both=both, is_singleton=self.is_singleton)
                found_R = self._network(torch.from_numpy(x).to(self.device)).cpu().numpy()
                scores.append(self.average(found_R[None], len(codes), both)[0])
                tell(len(codes))
        return np.concatenate(scores)[None].repeat(len(members), axis=0)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, "precision": self.precision, "torch": torch.__version__}


def reordered(member: Checkpoint) -> LegNet:
    """The member's network, reading bases in the order A,G,C,T whatever its own order."""
    network = from_checkpoint(member)
    order = [member.contract.alphabet.index(base) for base in BASES]
    order += range(len(BASES), len(member.contract.channels))
    with torch.no_grad():
        network.stem.conv.weight.copy_(network.stem.conv.weight[:, order].clone())
    return network

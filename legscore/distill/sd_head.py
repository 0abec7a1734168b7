"""A second head of a finished student: it tells how much the ensemble's members differ.

The student stays as it is, so that its scores do not depend on it; only the new head learns, from what the
last block gives and the labels' sample SD. It has the shapes of the first head and tells score units.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from legscore.distill.labels import windows_of
from legscore.distill.student_trainer import SD_FLOOR
from legscore.errors import LegscoreError
from legscore.model.checkpoint import BESIDE, HEAD, Checkpoint
from legscore.model.legnet import BinsHead, from_checkpoint
from legscore.train.inputs import encode

STEPS, BATCH_WINDOWS = 400, 256
"""Steps at most; never more than the student itself was trained for."""
RATE = 0.02


def with_sd_head(
    student: Checkpoint,
    inserts_GKL: np.ndarray,
    labels_MGK: np.ndarray,
    steps: int,
    seed: int,
    stopped: Callable[[], bool],
) -> Checkpoint:
    """The student with a head that tells the members' SD, without a record.

    Args:
        inserts_GKL, labels_MGK: groups that the student was trained on, and what two or more members say.
        steps: that the student was trained for.
        stopped: asked before every step.

    Raises:
        LegscoreError: it was asked to stop.
    """
    inserts_NL = inserts_GKL.reshape(-1, inserts_GKL.shape[-1])
    sd = labels_MGK.astype(np.float64).std(axis=0, ddof=1).ravel()
    target = torch.from_numpy(np.log(sd + SD_FLOOR).astype(np.float32))
    network = from_checkpoint(student).requires_grad_(False)
    head = copy.deepcopy(network.head)
    _begin_at(head, float(np.exp(np.log(sd + SD_FLOOR).mean()) - SD_FLOOR))
    trained = [p.requires_grad_(True) for p in head.parameters()]
    optimizer = torch.optim.Adam(trained, lr=RATE)
    rng = np.random.default_rng([seed, 47])
    steps = min(STEPS, steps)
    for step in range(steps):
        if stopped():
            raise LegscoreError("stopped after the student's training; the same command goes on")
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = rng.choice(len(inserts_NL), min(BATCH_WINDOWS, len(inserts_NL)), replace=False)
        codes = torch.from_numpy(windows_of(inserts_NL[rows], student.contract))
        off = torch.zeros(len(codes), dtype=torch.bool)
        with torch.no_grad():
            trunk = network._trunk(encode(codes, off, off, student.contract))
        told = torch.log(head(trunk).clamp(min=0) + SD_FLOOR)
        loss = nn.functional.mse_loss(told, target[torch.from_numpy(rows)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    beside = {f"{HEAD}{name}": value for name, value in head.state_dict().items()}
    names = [name for name in student.architecture.shapes() if name.startswith(HEAD)]
    arrays = {f"{BESIDE}{name}": beside[name].detach().float().numpy() for name in names}
    return Checkpoint(student.family, student.architecture, student.contract, {**student.arrays, **arrays})


def _begin_at(head: nn.Module, value: float) -> None:
    """Have a head tell `value` of everything; it still passes gradients on."""
    value = max(value, SD_FLOOR)
    with torch.no_grad():
        if isinstance(head, BinsHead):
            bins = len(head.bins)
            head.conv.weight.zero_()
            head.conv.bias.zero_()
            # of equal others, the first bin's share is such that the expectation is the value
            head.conv.bias[0] = math.log(max(bins * (bins - 1) / 2 / value - (bins - 1), 1e-3))
        else:
            head.out.weight.zero_()
            head.out.bias.fill_(value)

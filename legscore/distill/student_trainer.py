"""One student's training: the pruned member goes on, against the ensemble's own scores.

Nothing in a step is random but the samplers, which are functions of (seed, step): a killed and resumed
training ends with the same weights, bit for bit on a CPU. Beside the score the network learns, from its last
layer's means, how each member deviates from the mean and how much members differ (log SD). These two heads
help the training and are not part of the checkpoint; what tells its SD learns when it has ended (`sd_head`).

The user's own rows, where there are some, come last: the student learns from drawn windows alone, and then
for a tenth more steps, at a smaller rate, from batches of which own rows are a part. Among drawn windows from
the first step on they were learnt by heart: levels gained, and effects that were not labelled shrank.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from legscore.distill.labels import windows_of
from legscore.distill.options import WINDOWS_A_GROUP
from legscore.errors import LegscoreError
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import from_checkpoint, state_arrays
from legscore.train.devices import choose_precision
from legscore.train.inputs import encode
from legscore.train.sampler import Sampler
from legscore.train.state import load_state, save_state

BATCH_GROUPS = 64
RATE, WEIGHT_DECAY, BETAS = 2e-3, 0.02, (0.9, 0.98)
WARM_STEPS, LEAST_RATE = 60, 0.005
CLIP = 2.0
MOST_EMA, EMA_DELAY = 0.995, 20
OF_DEVIATIONS, OF_EFFECTS, OF_SD = 2.0, 0.3, 0.05
"""Weights of the losses beside that of the mean, which has 1."""
OWN_STEPS, OWN_RATE = 0.1, 3e-4
"""Steps that the user's rows are part of, for each step before them, and the rate then."""
OWN_PASSES, MOST_OWN = 7, 1 / 3
"""How often a group of the user's rows is trained on, and their share of a batch at most."""
MOST_WEIGHT = 5.0
"""Of the largest effects, where one of no effect weighs 1."""
SD_FLOOR = 0.02
"""Added to the members' SD before its logarithm is taken, in score units."""


class Targets(NamedTuple):
    """What the ensemble says of the training windows, and the scales it is told in.

    Attributes:
        mean_GK: float32 [groups, 4], in SDs of the level. deviation_GKM: [.., members], likewise.
        log_sd_GK: standardised.
        mean, sd: of the level, in score units. effect_variance: of the changes, in squared SDs.
    """

    mean_GK: Tensor
    deviation_GKM: Tensor
    log_sd_GK: Tensor
    mean: float
    sd: float
    effect_variance: float


def targets_of(labels_MGK: np.ndarray) -> Targets:
    """Targets from the members' labels. LegscoreError where the ensemble says the same of everything."""
    labels = labels_MGK.astype(np.float64)
    level_GK = labels.mean(axis=0)
    mean, sd = float(level_GK.mean()), float(level_GK.std())
    effects = (level_GK[:, 1:] - level_GK[:, :1]) / max(sd, 1e-30)
    if not (sd > 0 and effects.var() > 0):
        raise LegscoreError(
            "the ensemble gives all windows the same score; there is nothing to learn from it"
        )
    deviation = ((labels - level_GK) / sd).transpose(1, 2, 0)
    log_sd = np.log(labels.std(axis=0) + SD_FLOOR)
    log_sd = (log_sd - log_sd.mean()) / max(float(log_sd.std()), 1e-6)
    arrays = ((level_GK - mean) / sd, deviation, log_sd)
    level, deviations, spread = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
    return Targets(level, deviations, spread, mean, sd, float(effects.var()))


class StudentTrainer:
    """Fine-tunes a pruned member on labelled groups, without those held out. `train.state` saves and restores
    it."""

    def __init__(
        self,
        start: Checkpoint,
        inserts_GKL: np.ndarray,
        labels_MGK: np.ndarray,
        n_own: int,
        steps: int,
        seed: int,
        state_path: Path,
        about: dict[str, Any],
    ) -> None:
        """
        Args:
            start: the member, pruned.
            inserts_GKL, labels_MGK: all groups to train on; the last n_own are of the user's rows.
            steps: how many to train for on drawn groups alone; own groups add a tenth, at most.
            about: what else a saved state belongs to.
        """
        self.start, self.contract, self.seed = start, start.contract, seed
        self.state_path, self.about, self.device = state_path, about, torch.device("cpu")
        self.inserts_GKL, self.targets = inserts_GKL, targets_of(labels_MGK)
        self.n_drawn = len(inserts_GKL) - n_own
        self.batch_groups = min(BATCH_GROUPS, self.n_drawn)
        # few groups: one a batch, for fewer steps
        self.own_steps = min(max(round(OWN_STEPS * steps), 1), OWN_PASSES * n_own)
        share = min(OWN_PASSES * n_own / max(self.own_steps, 1), MOST_OWN * self.batch_groups)
        self.batch_own = max(round(share), 1) if n_own else 0
        self.drawn_steps, self.steps = steps, steps + self.own_steps
        self.sampler = Sampler(self.n_drawn, self.batch_groups, seed, "none")
        self.own_sampler = Sampler(n_own, self.batch_own, seed, "none") if n_own else None
        student = from_checkpoint(start)
        beside = nn.Linear(start.architecture.widths[-1], len(labels_MGK) + 1)
        nn.init.zeros_(beside.weight)
        nn.init.zeros_(beside.bias)
        trained = nn.ModuleDict({"student": student, "beside": beside})
        self.network = nn.ModuleDict({"trained": trained, "average": copy.deepcopy(trained)})
        self.network["average"].requires_grad_(False)
        parameters = list(trained.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.dtype = choose_precision("auto", self.device)
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.step, self.loss_sum = 0, 0.0
        self.history: list[Any] = []
        self.best: dict[str, Any] | None = None
        self.best_record: dict[str, Any] = {}

    def _phase(self, step: int) -> tuple[int, int, float]:
        """Step within its phase, steps of the phase, and the phase's share of the full rate."""
        before = self.drawn_steps
        return (step, before, 1.0) if step < before else (step - before, self.own_steps, OWN_RATE / RATE)

    def _rate(self, step: int) -> float:
        """Share of the full rate: in each phase up within the first steps, then a half cosine down."""
        at, steps, share = self._phase(step)
        warm = min(1.0, (at + 1) / WARM_STEPS)
        return share * warm * (0.5 * (1 + math.cos(math.pi * min(1.0, at / max(steps, 1)))) + LEAST_RATE)

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to; resuming anything else is refused."""
        return {
            **self.about,
            "steps": self.steps,
            "seed": self.seed,
            "architecture": self.start.architecture.to_json(),
            "contract": self.contract.to_json(),
            "batch": [self.batch_groups, self.batch_own],
            "own_steps": self.own_steps,
            "precision": str(self.dtype).removeprefix("torch."),
        }

    def resume(self) -> bool:
        """Go on from the saved state, if there is one. LegscoreError when it belongs to another training."""
        return load_state(self)

    def train_step(self) -> float:
        """One step of optimiser and average; returns the loss."""
        if self.step == self.drawn_steps:  # own rows go on from the average, as from a student that is there
            self.network["trained"].load_state_dict(self.network["average"].state_dict())
            self.optimizer.state.clear()
        loss = self._loss(self._rows())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = self.network["trained"]
        nn.utils.clip_grad_norm_(trained.parameters(), CLIP)
        self.optimizer.step()
        self.schedule.step()
        at = self._phase(self.step)[0] + 1
        self.step += 1
        kept = min(MOST_EMA, at / (at + EMA_DELAY))
        current = trained.state_dict()
        with torch.no_grad():
            for name, value in self.network["average"].state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(current[name], 1 - kept)
                else:
                    value.copy_(current[name])
        return float(loss.detach())

    def _rows(self) -> np.ndarray:
        """Groups of this step."""
        rows, _, _ = self.sampler.draw(self.step)
        if self.own_sampler is None or self.step < self.drawn_steps:
            return rows
        own = self.n_drawn + self.own_sampler.draw(self._phase(self.step)[0])[0]
        return np.concatenate([rows[: len(rows) - len(own)], own])

    def _outputs(self, network: nn.ModuleDict, inserts_NL: np.ndarray) -> tuple[Tensor, Tensor]:
        """Scores [N] and what the heads beside say [N, members + 1]."""
        codes = torch.from_numpy(windows_of(inserts_NL, self.contract))
        off = torch.zeros(len(codes), dtype=torch.bool)
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
            trunk = network["student"]._trunk(encode(codes, off, off, self.contract))
            score = network["student"].head(trunk).float()
            return score, network["beside"](trunk.mean(dim=(2, 3))).float()

    def _loss(self, rows: np.ndarray) -> Tensor:
        inserts, targets = self.inserts_GKL[rows], self.targets
        shape = (len(rows), WINDOWS_A_GROUP)
        trained = self.network["trained"].train()
        score, beside = self._outputs(trained, inserts.reshape(-1, inserts.shape[-1]))  # type: ignore[arg-type]
        beside = beside.reshape(*shape, -1)
        mean_GK = ((score - targets.mean) / targets.sd).reshape(shape)
        level, truth_GK = nn.functional.mse_loss(mean_GK, targets.mean_GK[rows]), targets.mean_GK[rows]
        effect, truth = mean_GK[:, 1:] - mean_GK[:, :1], truth_GK[:, 1:] - truth_GK[:, :1]
        weight = (1 + truth.abs() / math.sqrt(targets.effect_variance)).clamp(max=MOST_WEIGHT)
        effects = (weight * (effect - truth) ** 2).sum() / weight.sum() / targets.effect_variance
        deviation = beside[..., :-1] - beside[..., :-1].mean(dim=-1, keepdim=True)
        deviations = nn.functional.mse_loss(deviation, targets.deviation_GKM[rows])
        spread = nn.functional.mse_loss(beside[..., -1], targets.log_sd_GK[rows])
        return level + OF_EFFECTS * effects + OF_DEVIATIONS * deviations + OF_SD * spread

    def run(
        self,
        save_every: int,
        log_every: int,
        report: Callable[[float, float, float], None],
        tick: Callable[[], object],
        stop: Callable[[], bool],
    ) -> bool:
        """Train to the end; False when `stop()` asked to end early (the state is then saved).

        Args:
            save_every, log_every: steps between saved states and between reports.
            report: takes the mean loss since the last report, windows a second, and the seconds left.
            tick: called after every step.

        Raises:
            LegscoreError: the loss is not finite any more; the last saved state stays.
        """
        losses: list[float] = []
        started = time.perf_counter()
        while self.step < self.steps:
            losses.append(self.train_step())
            if not math.isfinite(losses[-1]):
                raise LegscoreError(
                    f"the loss became {losses[-1]} at step {self.step}: this member cannot be taught the "
                    "ensemble's scores; try another --seed with --restart"
                )
            tick()
            stopping = stop() and self.step < self.steps
            if stopping or self.step % save_every == 0 or self.step == self.steps:
                save_state(self)
            if self.step % log_every == 0 or self.step == self.steps:
                elapsed = max(time.perf_counter() - started, 1e-9)
                windows = len(losses) * self.batch_groups * WINDOWS_A_GROUP
                left_s = elapsed / len(losses) * (self.steps - self.step)
                report(sum(losses) / len(losses), windows / elapsed, left_s)
                losses, started = [], time.perf_counter()
            if stopping:
                return False
        return True

    def student(self) -> Checkpoint:
        """The average of the weights as a checkpoint, without a record."""
        arrays = state_arrays(self.network["average"]["student"])  # type: ignore[index]
        return Checkpoint("legscore", self.start.architecture, self.contract, arrays)

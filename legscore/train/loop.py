"""One member's training: batches drawn by (seed, step), encoded on the device, state saved by rename, resumed
exactly.

Nothing in a step is random but the sampler, whose draws are functions of (seed, step): network, optimiser,
schedule and best weights so far are all the state there is, so a killed and resumed run gives the same
weights as an uninterrupted one, bit for bit on a CPU. Under torchrun each process takes its share of every
batch (`legscore.train.devices`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from legscore.dna.contract import Contract
from legscore.errors import LegscoreError
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import LegNet, state_arrays
from legscore.train.data import TrainingData
from legscore.train.devices import World, choose_device, choose_precision
from legscore.train.fine_tune import FineTune
from legscore.train.inputs import codes_of, encode, shift
from legscore.train.optim import initialise, make_optimizer, make_schedule
from legscore.train.predict import correlations, predict
from legscore.train.recipe import Recipe
from legscore.train.sampler import Sampler
from legscore.train.soft_targets import adaptive_sd, soft_targets
from legscore.train.state import load_state, save_state
from legscore.version import __version__


@dataclass(frozen=True)
class Metrics:
    """Where a training run stands. `data_wait` is the share of the time since the last report that went into
    getting batches; Pearson and Spearman are those of the validation rows, None between epochs. `valid_loss`
    is a generator's."""

    step: int
    loss: float
    lr: float
    samples_per_s: float
    data_wait: float
    pearson: float | None = None
    spearman: float | None = None
    valid_loss: float | None = None


class Logits(nn.Module):
    """A network whose forward gives the head's output before softmax: what DDP and torch.compile wrap."""

    def __init__(self, network: LegNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_NCL: Tensor) -> Tensor:
        return self.network.logits(x_NCL)


class Trainer:
    """Trains one member from `data` rows whose fold is not held out; validates on those of fold `valid`."""

    def __init__(
        self,
        recipe: Recipe,
        contract: Contract,
        data: TrainingData,
        held_out: tuple[int, ...],
        seed: int,
        state_path: Path,
        *,
        device: str | None = None,
        compiled: bool = False,
        world: World | None = None,
        start: FineTune | None = None,
    ) -> None:
        """`held_out`: the validation fold, then test folds, if any; empty to train on everything.
        `start`: the checkpoint to go on from."""
        self.recipe, self.contract, self.data, self.seed = recipe, contract, data, seed
        self.held_out, self.state_path, self.world = held_out, state_path, world or World()
        self.device = choose_device(device)
        self.train_rows = np.flatnonzero(~np.isin(data.fold_N, held_out))
        self.valid_rows = np.flatnonzero(np.isin(data.fold_N, held_out[:1]))
        if held_out and not len(self.valid_rows):
            what = (
                "the split column has no row 'valid'"
                if data.folds["by"] == "split"
                else f"no row is in fold {held_out[0]}"
            )
            raise LegscoreError(
                f"nothing to validate on: {what}; choose another --valid-fold, or train on all with --full"
            )
        if len(self.train_rows) < recipe.batch:
            raise LegscoreError(
                f"{len(self.train_rows)} training rows are fewer than a batch of {recipe.batch}; lower it "
                "with --set batch=N"
            )
        if recipe.batch % self.world.size:
            raise LegscoreError(
                f"a batch of {recipe.batch} does not divide among {self.world.size} processes"
            )
        if recipe.schedule == "plateau" and not held_out:
            raise LegscoreError("schedule plateau follows the validation Pearson; it needs a validation fold")
        weight = None if data.weight_N is None else data.weight_N[self.train_rows]
        if weight is not None and not weight.sum() > 0:
            raise LegscoreError("the sampling weights of all training rows are 0")
        self.sampler = Sampler(len(self.train_rows), recipe.batch, seed, recipe.rc, weight, recipe.shift_max)
        self.steps_per_epoch = recipe.steps_in_epoch(self.sampler.size)
        self.steps = recipe.epochs * self.steps_per_epoch
        self.network = LegNet(recipe.architecture())
        initialise(self.network, torch.Generator().manual_seed(seed))
        self.start = start
        if start is not None:
            start.check(recipe, contract)
            start.put_into(self.network)
            start.freeze(self.network)
        self.network.to(self.device)
        self.optimizer = make_optimizer(self.network, recipe, start)
        self.schedule = make_schedule(self.optimizer, recipe, self.steps)
        self.dtype = choose_precision(recipe.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.downstream = codes_of(recipe.construct.downstream).to(self.device)
        self.forward: nn.Module = Logits(self.network)
        if self.world.size > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.forward)
        if compiled:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_record: dict[str, Any] = {}
        self.loss_sum = 0.0
        self.waited = 0.0

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to; resuming anything else is refused."""
        return {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "held_out": list(self.held_out),
            "data": self.data.sha256,
            "precision": str(self.dtype).removeprefix("torch."),
            "processes": self.world.size,
            **({"from": self.start.record()} if self.start else {}),
        }

    def resume(self) -> bool:
        """Go on from the saved state, if there is one. LegscoreError when it belongs to another run."""
        return load_state(self)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Network input [N, channels, L] and expression [N] of a step, on the device; this process's share of
        it."""
        started = time.perf_counter()
        rows, reverse, shifts = (
            drawn[self.world.rank :: self.world.size] for drawn in self.sampler.draw(step)
        )
        rows = self.train_rows[rows]
        codes = self._to_device(self.data.codes_NL[rows])
        expression, singleton = (
            self._to_device(self.data.expression_N[rows]),
            self._to_device(self.data.singleton_N[rows]),
        )
        if self.recipe.shift_max:
            codes = shift(codes, self._to_device(shifts), self.downstream)
        x = encode(codes, self._to_device(reverse), singleton, self.contract)
        self.waited += time.perf_counter() - started
        return x, expression

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return (
            tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor
        )

    def loss(self, logits: Tensor, expression_N: Tensor) -> Tensor:
        """Kullback-Leibler divergence to the soft targets (batch mean), or mean squared error of the
        scores."""
        recipe = self.recipe
        if recipe.loss == "kl":
            spread = adaptive_sd(expression_N) if recipe.target_sd_rule == "adaptive" else recipe.target_sd
            target = soft_targets(expression_N, recipe.bins, recipe.target_shift, spread)
            return nn.functional.kl_div(torch.log_softmax(logits, dim=1), target, reduction="batchmean")
        return nn.functional.mse_loss(self.network.head.score(logits), expression_N)

    def train_step(self, *, scheduled: bool = True) -> Tensor:
        """One optimiser step, and one of the schedule unless told not; returns the loss (not yet read from
        the device)."""
        x, expression = self.batch(self.step)
        self.network.train()
        if self.start is not None:
            self.start.still(self.network)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            logits = self.forward(x)
        loss = self.loss(logits.float(), expression)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.recipe.clip > 0:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if scheduled and self.recipe.schedule != "plateau":
            self.schedule.step()
        self.step += 1
        return loss.detach()

    def validate(self, rows: np.ndarray | None = None) -> tuple[float, float]:
        """Pearson and Spearman of scores with expression on the validation rows, or those given."""
        rows = self.valid_rows if rows is None else rows
        codes = self.data.codes_NL[rows]
        share = codes[self.world.rank :: self.world.size]
        predicted = predict(
            self.network, share, self.contract, self.device, self.dtype, both=self.recipe.validate_rc
        )
        return correlations(self.world.joined(predicted), self.data.expression_N[rows])

    def run(
        self,
        save_every: int,
        report: Callable[[Metrics], None],
        stop: Callable[[], bool] = lambda: False,
        *,
        log_every: int = 100,
        tick: Callable[[int], object] = lambda step: None,
    ) -> bool:
        """Train to the end; False when `stop()` asked to end early (the state is then saved).

        Args:
            save_every: steps between saved states; one is saved at the end of every epoch too.
            report: receives metrics every `log_every` steps, when a state is saved, and at the end of epochs.
            tick: called with the step after every one.

        Raises:
            LegscoreError: the loss is not finite any more; the last good state stays.
        """
        losses, started, since, self.waited = [], time.perf_counter(), self.step, 0.0
        while self.step < self.steps:
            losses.append(self.train_step())
            tick(self.step)
            stopping = self.world.any(stop())
            epoch_ends = self.step % self.steps_per_epoch == 0
            saves = epoch_ends or stopping or self.step % save_every == 0
            if not (saves or self.step % log_every == 0):
                continue
            loss = self._read(losses)
            elapsed = max(time.perf_counter() - started, 1e-9)
            rate = (self.step - since) * self.recipe.batch / elapsed
            lr = self.optimizer.param_groups[0]["lr"]
            quality = self._epoch_end() if epoch_ends else {}
            report(Metrics(self.step, loss, lr, rate, self.waited / elapsed, **quality))
            if saves and self.world.leads:
                save_state(self)
            if stopping:
                return False
            losses, since, started, self.waited = [], self.step, time.perf_counter(), 0.0
        return True

    def _read(self, losses: list[Tensor]) -> float:
        """Mean of the losses since the last look, added to the epoch's; LegscoreError when it is not
        finite."""
        values = torch.stack(losses).tolist()
        loss = float(np.mean(values))
        if self.world.any(not np.isfinite(loss)):
            raise LegscoreError(
                f"the loss became {loss} by step {self.step}: the learning rate is too high (--lr-find "
                "suggests one); remove "
                f"{self.state_path.name} and start again with a lower --set max_lr=X. The last saved state "
                "is intact"
            )
        for value in values:  # one by one: the sum then does not depend on when it was looked at
            self.loss_sum += value
        return loss

    def _epoch_end(self) -> dict[str, float | None]:
        """Validate (each process its share), keep the best, tell the schedule; None without validation rows,
        or where a correlation is undefined because all scores are equal."""
        found: list[float] = [np.nan, np.nan]
        if len(self.valid_rows):
            found = list(self.validate())
        if self.recipe.schedule == "plateau":
            self.schedule.step(found[0])  # type: ignore[arg-type]
        pearson, spearman = (value if np.isfinite(value) else None for value in found)
        record = {
            "step": self.step,
            "loss": self.loss_sum / self.steps_per_epoch,
            "pearson": pearson,
            "spearman": spearman,
        }
        self.loss_sum = 0.0
        self.history.append(record)
        if (
            self.recipe.keep == "best"
            and pearson is not None
            and pearson > self.best_record.get("pearson", -np.inf)
        ):
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
            self.best_record = record
        return {"pearson": pearson, "spearman": spearman}

    def use_kept_weights(self) -> None:
        """Put the weights that the recipe keeps (the best epoch's) into the network; the last ones are there
        already."""
        if self.best is not None:
            self.network.load_state_dict(self.best)

    def checkpoint(self) -> Checkpoint:
        """The trained member with its kept weights, and the record of how it came about."""
        self.use_kept_weights()
        kept = self.best_record or (self.history[-1] if self.history else {})
        training: dict[str, Any] = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "folds": self.data.folds,
            "folds_held_out": list(self.held_out),
            "data_sha256": self.data.sha256,
            "data": self.data.report,
            "steps": self.step,
            "metrics": kept,
            "legscore": __version__,
            "torch": torch.__version__,
            "precision": self.identity()["precision"],
            **({"from": self.start.record()} if self.start else {}),
        }
        if len(self.held_out) > 1:  # every process comes here: each scores its share
            test = np.flatnonzero(np.isin(self.data.fold_N, self.held_out[1:]))
            if len(test):
                training["test_metrics"] = dict(
                    zip(("pearson", "spearman"), self.validate(test), strict=True)
                )
        return Checkpoint(
            "legscore", self.recipe.architecture(), self.contract, state_arrays(self.network), training
        )

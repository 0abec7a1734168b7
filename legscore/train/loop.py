"""One member's training: batches drawn by (seed, step), encoded on the device, state saved by rename, resumed exactly.

Nothing in a step is random but the sampler, whose draws are functions of (seed, step): network, optimiser and schedule are
all the state there is, so a killed and resumed run gives the same weights as an uninterrupted one, bit for bit on a CPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legscore.contract import Contract
from legscore.engine.fidelity import correlation, ranks
from legscore.errors import LegscoreError, OutputError
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import LegNet, state_arrays
from legscore.publish import publishing, writing
from legscore.train.data import TrainingData
from legscore.train.optim import initialise, make_optimizer, make_schedule
from legscore.train.recipe import Recipe
from legscore.train.sampler import Sampler
from legscore.train.targets import soft_targets

VALID_BATCH = 1024


@dataclass(frozen=True)
class Metrics:
    """Where a training run stands."""

    step: int
    loss: float
    lr: float
    samples_per_s: float
    pearson: float | None = None
    spearman: float | None = None


def encode(codes_NL: Tensor, reverse_N: Tensor, singleton_N: Tensor, contract: Contract) -> Tensor:
    """Network input, float32 [N, channels, L], on the device of the codes: the torch twin of `legscore.encode`.

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


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is worth it: CUDA cards, and CPUs with bf16 instructions."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Trainer:
    """Trains one member from `data` rows whose fold is not held out; validates on those that are."""

    def __init__(
        self,
        recipe: Recipe,
        contract: Contract,
        data: TrainingData,
        held_out: tuple[int, ...],
        seed: int,
        state_path: Path,
        device: str | None = None,
    ) -> None:
        self.recipe, self.contract, self.data, self.seed = recipe, contract, data, seed
        self.held_out, self.state_path = held_out, state_path
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        valid = np.isin(data.fold_N, held_out)
        self.train_rows, self.valid_rows = np.flatnonzero(~valid), np.flatnonzero(valid)
        if held_out and not len(self.valid_rows):
            raise LegscoreError(f"no row is in the validation fold {held_out}; choose another with --valid-fold, or --full")
        if len(self.train_rows) < recipe.batch:
            raise LegscoreError(f"{len(self.train_rows)} training rows are fewer than a batch of {recipe.batch}; lower --batch")
        weight = None if data.weight_N is None else data.weight_N[self.train_rows]
        self.sampler = Sampler(len(self.train_rows), recipe.batch, seed, recipe.rc, weight)
        self.network = LegNet(recipe.architecture())
        initialise(self.network, torch.Generator().manual_seed(seed))
        self.network.to(self.device)
        self.optimizer = make_optimizer(self.network, recipe)
        self.schedule = make_schedule(self.optimizer, recipe)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        wants = recipe.precision
        self.bf16 = wants == "bf16" or (wants == "auto" and has_fast_bf16(self.device))

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to; resuming anything else is refused."""
        return {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "held_out": list(self.held_out),
            "data": self.data.sha256,
            "bf16": self.bf16,
        }

    def resume(self) -> bool:
        """Go on from the saved state, if there is one. LegscoreError when it belongs to another run."""
        if not self.state_path.exists():
            return False
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        saved, mine = json.loads(state["identity"]), self.identity()
        for name, value in mine.items():
            if saved.get(name) != value:
                raise LegscoreError(
                    f"{self.state_path} is the state of another run ({name} differs); remove it or use another -o"
                )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.history = int(state["step"]), json.loads(state["history"])
        return True

    def save_state(self) -> None:
        """Write everything needed to go on, by rename."""
        state = {
            "identity": json.dumps(self.identity()),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "history": json.dumps(self.history),
        }
        with publishing(self.state_path) as temporary, writing(self.state_path):
            try:
                torch.save(state, temporary)
            except RuntimeError as error:  # torch reports a full disk as a RuntimeError of its zip writer
                raise OutputError(f"{self.state_path} cannot be written: {error}") from error

    def train_step(self) -> Tensor:
        """One optimiser step; returns the loss (not yet read back from the device)."""
        rows, reverse = self.sampler.draw(self.step)
        rows = self.train_rows[rows]
        codes = torch.from_numpy(self.data.codes_NL[rows]).to(self.device)
        expression = torch.from_numpy(self.data.expression_N[rows]).to(self.device)
        singleton = torch.from_numpy(self.data.singleton_N[rows]).to(self.device)
        x = encode(codes, torch.from_numpy(reverse).to(self.device), singleton, self.contract)
        target = soft_targets(expression, self.recipe.bins, self.recipe.target_shift, self.recipe.target_sd)
        self.network.train()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits = self.network.logits(x)
        loss = torch.nn.functional.kl_div(torch.log_softmax(logits.float(), dim=1), target, reduction="batchmean")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        if self.recipe.schedule != "plateau":
            self.schedule.step()
        self.step += 1
        return loss.detach()

    def validate(self) -> tuple[float, float]:
        """Pearson and Spearman of forward-strand scores with expression on the held-out rows, is_singleton 0."""
        self.network.eval()
        scores = []
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            for start in range(0, len(self.valid_rows), VALID_BATCH):
                codes = torch.from_numpy(self.data.codes_NL[self.valid_rows[start : start + VALID_BATCH]]).to(self.device)
                off = torch.zeros(len(codes), dtype=torch.bool, device=self.device)
                scores.append(self.network(encode(codes, off, off, self.contract)).float().cpu().numpy())
        predicted, measured = (
            np.concatenate(scores).astype(np.float64),
            self.data.expression_N[self.valid_rows].astype(np.float64),
        )
        return correlation(predicted, measured), correlation(ranks(predicted), ranks(measured))

    def run(self, save_every: int, report: Callable[[Metrics], None], stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end; False when `stop()` asked to end early (the state is then saved).

        A loss that is not finite ends the run with an error; the last good state stays.
        """
        recipe, losses, started, since = self.recipe, [], time.perf_counter(), self.step
        while self.step < recipe.steps:
            losses.append(self.train_step())
            epoch_ends = self.step % recipe.steps_per_epoch == 0
            if epoch_ends or self.step % save_every == 0 or stop():
                loss = float(torch.stack(losses).mean())
                if not np.isfinite(loss):
                    raise LegscoreError(
                        f"the loss became {loss} by step {self.step}; lower --max-lr. The last saved state is intact"
                    )
                elapsed = max(time.perf_counter() - started, 1e-9)
                rate = (self.step - since) * recipe.batch / elapsed
                pearson, spearman = self.validate() if epoch_ends and len(self.valid_rows) else (None, None)
                if epoch_ends and recipe.schedule == "plateau":
                    self.schedule.step(pearson)  # type: ignore[arg-type]
                metrics = Metrics(self.step, loss, self.optimizer.param_groups[0]["lr"], rate, pearson, spearman)
                if epoch_ends:
                    self.history.append({"step": self.step, "loss": loss, "pearson": pearson, "spearman": spearman})
                report(metrics)
                losses, started, since = [], time.perf_counter(), self.step
                self.save_state()
                if stop():
                    return False
        return True

    def checkpoint(self) -> Checkpoint:
        """The trained member, with the record of how it came about."""
        last = self.history[-1] if self.history else {}
        training = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "folds_held_out": list(self.held_out),
            "data_sha256": self.data.sha256,
            "data": self.data.report,
            "steps": self.step,
            "metrics": {name: last.get(name) for name in ("loss", "pearson", "spearman")},
        }
        return Checkpoint("legscore", self.recipe.architecture(), self.contract, state_arrays(self.network), training)

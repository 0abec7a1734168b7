"""Training a LegNet-Generator: inserts are mutated on the device, the network gives back the clean bases.

A sample carries 0 to `mutations_max` mutations (uniform); the network is told how many were drawn and the
expression measured. The loss is the cross-entropy of its logits with the clean insert, positions with N left
out. Validation is a cross-entropy on the held-out rows with fixed draws, and, with a predictor, the
correlation of targets with the scores of designs made from scratch. (The published validation passes softmax
output to a cross-entropy that applies softmax again; here both losses take logits.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from legscore.dna.codes import encode_text
from legscore.dna.contract import N_CODE, Contract
from legscore.errors import LegscoreError
from legscore.generate.pairing import unfit
from legscore.generate.sample import Schedule, sample
from legscore.generate.torch_denoiser import TorchDenoiser
from legscore.model.checkpoint import Checkpoint
from legscore.model.legnet import from_checkpoint
from legscore.train.loop import Trainer
from legscore.train.mutate import generator_input, mutate
from legscore.train.predict import correlations, predict

PUBLISHED_TARGETS = (5.0, 17.0)
TRAIN_DRAWS, VALID_DRAWS = 11, 12
VALID_SEED = 1 << 40


class GeneratorTrainer(Trainer):
    """Trains one generator; see `Trainer` for what it shares with the training of predictors."""

    def __init__(self, *args: Any, predictors: Sequence[Checkpoint] = (), **options: Any) -> None:
        """`predictors` score designs at the end of every epoch, forward strand only; their mean is compared
        with the target."""
        super().__init__(*args, **options)
        if self.recipe.keep == "best" and not predictors:
            raise LegscoreError(
                "keep best follows the predictor's correlation; name a predictor with --predictor"
            )
        width, end = self.contract.length, self.data.codes_NL.shape[1] - len(self.contract.flank3)
        self.insert = slice(end - width, end)
        low, high = (float(f(self.data.expression_N[self.train_rows])) for f in (np.min, np.max))
        if not low < high:
            raise LegscoreError(f"every training row has expression {low:g}; a generator needs a range of it")
        self.contract = replace(self.contract, output=replace(self.contract.output, min=low, max=high))
        self.predictors = [(member, from_checkpoint(member).to(self.device)) for member in predictors]
        for member in predictors:
            if reason := unfit(self.contract, member.contract):
                raise LegscoreError(f"--predictor {member.path}: {reason}")
        self.valid_loss: float | None = None

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"predictors": [member.sha256 for member, _ in self.predictors]}

    def _draws(self, *key: int) -> torch.Generator:
        """Random numbers of (seed, key) on the device."""
        words = np.random.SeedSequence([self.seed, self.world.rank, *key]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(words[0] >> np.uint64(1)))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Network input [N, 6, L] of a step and the clean codes [N, L]; this process's share of it."""
        rows = self.train_rows[self.sampler.draw(step)[0][self.world.rank :: self.world.size]]
        return self._mutated(rows, self._draws(TRAIN_DRAWS, step))

    def _mutated(self, rows: np.ndarray, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        clean = self._to_device(self.data.codes_NL[rows][:, self.insert]).long()
        expression = self._to_device(self.data.expression_N[rows])
        most = self.recipe.mutations_max
        n = torch.randint(most + 1, (len(clean),), generator=draws, device=self.device)
        changed = mutate(clean, n, most, self.recipe.mutation, draws)
        return generator_input(changed, expression, n, self.contract.n_value), clean

    def loss(self, logits: Tensor, clean: Tensor) -> Tensor:
        """Cross-entropy of logits [N, 4, L] with the clean codes [N, L], mean over the known bases."""
        return nn.functional.cross_entropy(logits, clean, ignore_index=N_CODE)

    def validate(self, rows: np.ndarray | None = None) -> tuple[float, float]:
        """Pearson and Spearman of targets and scores of designs; NaN without predictors. Rows play no
        part."""
        if not self.predictors:
            return float("nan"), float("nan")
        targets = self._targets()
        share = slice(self.world.rank, None, self.world.size)
        denoiser = TorchDenoiser(self.network.eval(), self.contract, self.device, self.dtype)
        seeds = np.arange(VALID_SEED, VALID_SEED + len(targets))
        bases, _ = sample(denoiser, targets[share], seeds[share], Schedule(feed=self.recipe.valid_feed))
        scores = [
            self._scores(network, member.contract, bases.argmax(axis=1))
            for member, network in self.predictors
        ]
        return correlations(self.world.joined(np.mean(scores, axis=0)), targets)

    def _targets(self) -> np.ndarray:
        """Evenly spaced over the published 5…17, as far as the training data go."""
        low, high = self.contract.output.min, self.contract.output.max
        assert low is not None and high is not None  # noqa: PT018 (a generator's contract has both)
        first, last = max(low, PUBLISHED_TARGETS[0]), min(high, PUBLISHED_TARGETS[1])
        return np.linspace(
            *((first, last) if first < last else (low, high)), self.recipe.valid_designs, dtype=np.float32
        )

    def _scores(self, network: Any, contract: Contract, codes_NL: np.ndarray) -> np.ndarray:
        windows = np.empty((len(codes_NL), contract.length), dtype=np.uint8)
        windows[:] = encode_text(contract.window("A" * codes_NL.shape[1]))
        end = contract.length - len(contract.flank3)
        windows[:, end - codes_NL.shape[1] : end] = codes_NL
        return predict(network, windows, contract, self.device, self.dtype, both=False)

    def _validation_loss(self) -> float | None:
        rows = self.valid_rows[self.world.rank :: self.world.size]
        if not len(rows):
            return None
        self.network.eval()
        losses, draws = [], self._draws(VALID_DRAWS)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32),
        ):
            for first in range(0, len(rows), 1024):
                x, clean = self._mutated(rows[first : first + 1024], draws)
                losses.append(
                    nn.functional.cross_entropy(
                        self.network(x).float(), clean, ignore_index=N_CODE, reduction="none"
                    )
                )
        mine = torch.cat([loss.sum(dim=1) for loss in losses]).double().cpu().numpy()
        known = (self.data.codes_NL[self.valid_rows][:, self.insert] != N_CODE).sum()
        return float(self.world.joined(mine).sum() / known)

    def _epoch_end(self) -> dict[str, float | None]:
        self.valid_loss = self._validation_loss()
        found = super()._epoch_end()
        self.history[-1]["valid_loss"] = self.valid_loss
        return found | {"valid_loss": self.valid_loss}

    def checkpoint(self) -> Checkpoint:
        made = super().checkpoint()
        expression = self.data.expression_N[self.train_rows]
        seen = {f"{q:g}%": float(np.percentile(expression, q)) for q in (1, 5, 50, 95, 99)}
        record = made.training | {
            "expression_percentiles": seen,
            "validated_by": [{"name": member.name, "sha256": member.sha256} for member, _ in self.predictors],
        }
        record.pop("test_metrics", None)  # designs do not depend on test rows
        return replace(made, training=record)

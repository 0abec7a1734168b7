"""Start a training from finished checkpoints: frozen blocks, rates that fall towards the stem, a new head.

The network, its channels, alphabet and window must be the checkpoint's; the recipe is the one that it was
trained with unless another is named. A fold that validates must be one that the checkpoint did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from legscore.dna.contract import Contract
from legscore.dna.folds import went_on_apart
from legscore.errors import LegscoreError, ModelError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.model.legnet import LegNet, from_checkpoint
from legscore.system.json_records import difference
from legscore.train.data import TrainingData
from legscore.train.presets import PRESETS, changed
from legscore.train.recipe import Recipe

SAME_CONTRACT = ("alphabet", "channels", "n_value", "length")
"""What the first convolution was trained to read."""
OF_THE_HEAD = ("head", "outputs", "final_activation")


@dataclass(frozen=True)
class FineTune:
    """How a member starts from a checkpoint.

    Attributes:
        checkpoint: whose weights are the start.
        frozen_blocks: blocks from the stem on whose weights and normalisation stay as they are, with the
            stem's; 0 for none.
        block_rate: each part learns at this share of the next part's rate, counted from the head: 1 for one
            rate.
        new_head: start with a new head, of the recipe's kind.
    """

    checkpoint: Checkpoint
    frozen_blocks: int = 0
    block_rate: float = 1.0
    new_head: bool = False

    @property
    def name(self) -> str:
        """Name of the checkpoint's file."""
        return self.checkpoint.name

    @property
    def path(self) -> str:
        """Where it was read."""
        return str(self.checkpoint.path)

    def record(self) -> dict[str, Any]:
        """What the trained checkpoint and a saved state say of the start, and of what it started from."""
        trained = self.checkpoint.training
        return {
            "name": self.name,
            "sha256": self.checkpoint.sha256,
            "frozen_blocks": self.frozen_blocks,
            "block_rate": self.block_rate,
            "new_head": self.new_head,
            **{name: trained[name] for name in ("folds", "folds_held_out", "from") if name in trained},
        }

    def check(self, recipe: Recipe, contract: Contract) -> None:
        """LegscoreError where recipe and checkpoint are not of one network."""
        if recipe.is_generator or self.checkpoint.contract.is_generator:
            raise LegscoreError("--from starts predictors; train generators from the beginning")
        given = self.checkpoint.contract
        for name in SAME_CONTRACT:
            if getattr(given, name) != getattr(contract, name):
                raise LegscoreError(
                    f"{self.name} has {name} {getattr(given, name)}, the recipe {getattr(contract, name)}; "
                    "choose its preset, or --set and --construct that fit"
                )
        left_out = OF_THE_HEAD if self.new_head else ()
        was, now = (_described(a, left_out) for a in (self.checkpoint.architecture, recipe.architecture()))
        if found := difference(was, now, words=("is", "in the recipe")):
            hint = "" if self.new_head else ", or --new-head for another head"
            raise LegscoreError(
                f"{self.name} is another network than the recipe's ({found}); choose its preset{hint}"
            )
        if not 0 <= self.frozen_blocks <= recipe.architecture().n_blocks:
            raise LegscoreError(
                f"--freeze {self.frozen_blocks}: the network has {recipe.architecture().n_blocks} blocks"
            )
        if self.frozen_blocks == recipe.architecture().n_blocks and self.block_rate < 1:
            raise LegscoreError(
                f"--block-rate {self.block_rate:g} has no effect beside --freeze {self.frozen_blocks}: only "
                "the head trains, at the full rate"
            )

    def check_folds(self, data: TrainingData, held_out: Sequence[int]) -> str:
        """A warning where nobody knows whether the checkpoint saw the validation rows, else nothing.

        Raises:
            LegscoreError: it did see the fold that validates or tests.
        """
        if not held_out:
            return ""
        record = self.checkpoint.training
        unknown = f"warning: whether {self.name} was trained on validation rows is not known; "
        if record.get("folds") != data.folds:
            return unknown + "its record does not tell folds as this training does"
        seen = [fold for fold in held_out if fold not in record.get("folds_held_out", [])]
        if seen:
            raise LegscoreError(
                f"{self.name} was trained on fold {seen[0]}, which is held out here; choose "
                f"--valid-fold {next(iter(record.get('folds_held_out', [])), 'of its own')} or --full"
            )
        if not went_on_apart(record, held_out):
            return unknown + "what it went on from itself does not tell"
        return ""

    def put_into(self, network: LegNet) -> None:
        """Copy the weights, all but a new head's."""
        state = from_checkpoint(self.checkpoint).state_dict()
        if self.new_head:
            state = {name: value for name, value in state.items() if not name.startswith("head.")}
        network.load_state_dict(state, strict=False)

    def freeze(self, network: LegNet) -> None:
        """Keep the weights of the stem and the first blocks out of the training."""
        for part in self._frozen(network):
            part.requires_grad_(False)

    def still(self, network: LegNet) -> None:
        """Keep the running statistics of what is frozen; called after `network.train()`."""
        for part in self._frozen(network):
            part.eval()

    def groups(self, network: LegNet, rate: float) -> list[dict[str, Any]]:
        """Parameter groups with their rates, the head's first."""
        parts = [network.head, *reversed(network.blocks), network.stem]
        groups = []
        for depth, part in enumerate(parts):
            parameters = [p for p in part.parameters() if p.requires_grad]
            if parameters:
                groups.append({"params": parameters, "lr": rate * self.block_rate**depth})
        return groups

    def _frozen(self, network: LegNet) -> Iterator[nn.Module]:
        if self.frozen_blocks:
            yield network.stem
            yield from list(network.blocks)[: self.frozen_blocks]


def read_starts(
    path: str | Path, *, frozen_blocks: int = 0, block_rate: float = 1.0, new_head: bool = False
) -> tuple[FineTune, ...]:
    """The starts in a checkpoint or a folder of them; members take them in turn.

    Raises:
        ModelError: no checkpoint there. LegscoreError: a rate that is none.
    """
    if not 0 < block_rate <= 1:
        raise LegscoreError(f"--block-rate {block_rate:g}: it must be above 0 and at most 1")
    return tuple(
        FineTune(checkpoint, frozen_blocks, block_rate, new_head) for checkpoint in load_members([path])
    )


def recipe_of(start: FineTune) -> Recipe | None:
    """The recipe that a checkpoint was trained with; None where its record has none.

    Raises:
        ModelError: its record holds a recipe that is none.
    """
    recorded = start.checkpoint.training.get("recipe")
    if not isinstance(recorded, dict):
        return None
    known = {field.name for field in fields(Recipe)}
    settings = {name: value for name, value in recorded.items() if name in known and name != "preset"}
    try:
        return changed(PRESETS[recorded.get("preset", "noginet")], settings)
    except (LegscoreError, KeyError, TypeError) as error:
        raise ModelError(f"{start.name}: the recipe in its record cannot be used ({error})") from None


def _described(architecture: Architecture, left_out: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in architecture.to_json().items() if name not in left_out}

"""PyTorch: NVIDIA GPUs without TensorRT, other accelerators, and the reference twin on CPUs.

The network of `torch_network` runs on a card of `torch_card`, batches as on any card (`cuda.scorer`): codes
and edits go over as bytes, both strands are made there, the next batch is copied while one is scored. On CUDA
each member's pass is captured once as a CUDA graph for the one batch size that is used, and Triton's kernels
take the parts that stream memory. Either is used once it has given what plain PyTorch gives; what is not
used is said. Needs PyTorch, and neither TensorRT, PyCUDA nor nvcc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from legscore.cuda import launches
from legscore.cuda.scorer import Scorer
from legscore.engine import fit
from legscore.engine.card_engine import CardEngine
from legscore.engine.recipe import Recipe
from legscore.engine.torch_card import TorchCard
from legscore.engine.torch_devices import best_device, exact
from legscore.engine.torch_members import TorchMembers
from legscore.engine.torch_network import TORCH_REWRITE_VERSION, TorchForm, TorchNetwork
from legscore.errors import EngineError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import REWRITE_VERSION
from legscore.system.log import Say

TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Largest difference between a way to run a pass and plain PyTorch, as a share of the largest score,
at least of one unit: a fault shows as more, rounding as less. Fidelity is measured on top."""
LEAST_COMPUTE = (8, 0)


class TorchEngine(CardEngine):
    """Runs an ensemble on one device."""

    name = "torch"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        recipe: Recipe,
        *,
        both_strands: bool,
        is_singleton: bool = False,
        device: str | None = None,
        memory: int | None = None,
        say: Say = lambda line: None,
    ) -> None:
        """Settle batch, groups and kernels, and load.

        Args:
            device: as PyTorch names it; the best one, unless given.
            memory: bytes to plan with, instead of what is free there.

        Raises:
            EngineError: what the recipe asks for cannot be had, or does not fit.
        """
        card = TorchCard(torch.device(device or best_device()), memory, lambda: self._stop.is_set())
        super().__init__(members[0].contract, card, both_strands=both_strands, is_singleton=is_singleton)
        self.recipe, self.precision, self.n_members = recipe, recipe.precision, len(members)
        self.device = card.device
        try:
            with card.use():
                self._load(members, card, say)
        except BaseException:
            self.close()
            raise

    def _load(self, members: Sequence[Checkpoint], card: TorchCard, say: Say) -> None:
        get = self.recipe.settings["torch"].__getitem__
        wanted = TorchForm(self.precision, get("groups"), get("kernels"))
        form = chosen_form(members[0], wanted, card, say)
        batches = self.recipe.batches(card.name, "torch")
        self.form = form
        self.batch, groups = settle(members, form, card, batches, say)
        loaded = TorchMembers(
            members,
            form,
            card,
            self.batch,
            groups,
            compiled=get("compile"),
            capture=get("cuda_graph"),
            say=say,
        )
        self.scorer = Scorer(
            card,
            loaded,
            self.contract,
            batch=self.batch,
            layout="ncl",
            precision=self.precision,
            is_singleton=self.is_singleton,
            depth=self.depth,
        )

    def describe(self) -> dict[str, Any]:
        about = {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "rewrite": f"{REWRITE_VERSION}.{TORCH_REWRITE_VERSION}",
            "device": self.card.name,
            "torch": torch.__version__,
            "kernels": self.form.kernels,
            "compiled": bool(self.recipe.get("torch", "compile")),
        }
        if self.device.type == "cuda":
            about["compute"] = ".".join(map(str, torch.cuda.get_device_capability(self.device)))
        return about


def chosen_form(member: Checkpoint, wanted: TorchForm, card: TorchCard, say: Say) -> TorchForm:
    """The form wanted where it can be had; PyTorch's own kernels where Triton's cannot be used or do not give
    the same, with the reason said."""
    if wanted.kernels == "torch":
        return wanted
    plain = replace(wanted, kernels="torch")
    if card.cuda and (compute := torch.cuda.get_device_capability(card.device)) < LEAST_COMPUTE:
        say(
            f"kernels: PyTorch's instead of Triton's (compute capability {compute[0]}.{compute[1]}; Triton "
            f"uses tensor cores from {LEAST_COMPUTE[0]}.{LEAST_COMPUTE[1]} on)"
        )
        return plain
    try:
        with exact, card.reported():
            x_NCL = torch.rand(2, len(member.contract.channels), member.contract.length, device=card.device)
            found, expected = (TorchNetwork(member, form, card.device)(x_NCL) for form in (wanted, plain))
            apart = float((found - expected).abs().max())
        if not apart <= TOLERANCE[wanted.precision] * max(1.0, float(expected.abs().max())):
            raise EngineError(f"they differ by {apart:.3g} from PyTorch's")
    except Exception as error:
        # a compiler that is not there, a card that Triton does not know: whatever it raises is the reason
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        say(f"kernels: PyTorch's instead of Triton's ({reason})")
        return plain
    return wanted


def settle(
    members: Sequence[Checkpoint], form: TorchForm, card: TorchCard, batches: Sequence[int], say: Say
) -> tuple[int, list[list[int]]]:
    """The largest batch that fits the free memory, and groups of members that fit with it.

    Raises:
        EngineError: not even the smallest fits.
    """
    contract, size = members[0].contract, 4 if form.precision == "fp32" else 2
    free = card.free_memory()
    weights = tuple(size * member.architecture.n_parameters() for member in members)
    for batch in batches:
        activations = max(
            activation_bytes(member.architecture, contract.length, batch, size) for member in members
        )
        x = launches.input_bytes(batch, contract, "ncl", form.precision)
        wanted = fit.Need(activations + x + fit.IN_FLIGHT, tuple(w + fit.MEMBER_OVERHEAD for w in weights))
        groups = fit.member_groups(wanted, free)
        if groups is not None:
            if len(groups) > 1:
                say(fit.in_turn(groups))
            return batch, groups
        say(fit.too_large(batch, wanted, free))
    raise EngineError(
        f"not even passes of {batches[-1]:,} rows fit the memory of {card.name} "
        f"({free / 1e9:.1f} GB free); end what else runs on it, or add a smaller "
        "torch.batch to a recipe"
    )


def activation_bytes(a: Architecture, length: int, batch: int, size: int) -> int:
    """An upper estimate of what a pass holds at once: the widest block's tensors and its FP32 sums."""
    widest = max(
        4 * inner + 3 * (width + width_after)
        for inner, width, width_after in zip(a.inner_widths, a.widths, a.widths[1:], strict=False)
    )
    return batch * length * widest * (size + 4)

"""PyTorch: NVIDIA GPUs without TensorRT, other accelerators, and the reference twin on CPUs.

The network of `torch_network` runs on a card of `torch_card`, batches as on any card (`cuda.scorer`): codes
and edits go over as bytes, both strands are made there, the next batch is copied while one is scored. On CUDA
each member's pass is captured once as a CUDA graph for the one batch size that is used, and Triton's kernels
take the parts that stream memory. Either is used once it has given what plain PyTorch gives; what is not
used is said. Needs PyTorch, and neither TensorRT, PyCUDA nor nvcc.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from legscore.cuda import launches
from legscore.cuda.scorer import Scorer
from legscore.engine import fit
from legscore.engine.card_engine import CardEngine
from legscore.engine.recipe import Recipe
from legscore.engine.torch_card import TorchCard
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
WARM_UPS = 3
"""Plain passes before a capture: the first ones choose algorithms and allocate."""


def best_device() -> str:
    """cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def gpu_names() -> list[str]:
    """Names of the NVIDIA GPUs that PyTorch uses, by number."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


class _Exact:
    """`exact`: PyTorch's switches are the process's, and an engine of each GPU has a thread of its own. The
    first one within turns them off, the last one puts back what the first one found."""

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._found = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._turn_off()
            self._within += 1

    def _turn_off(self) -> None:
        matmul = torch.backends.cuda.matmul
        for name in ("allow_fp16_reduced_precision_reduction", "allow_tf32"):
            self._found.callback(setattr, matmul, name, getattr(matmul, name))
            setattr(matmul, name, False)
        self._found.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._found.close()


exact = _Exact()
"""Within, FP32 is FP32 on CUDA too (no TF32), and sums of FP16 products are kept in FP32."""


class TorchMembers:
    """`legscore.cuda.scorer.Members`: the networks of one group at a time."""

    def __init__(
        self,
        members: Sequence[Checkpoint],
        form: TorchForm,
        card: TorchCard,
        batch: int,
        groups: list[list[int]],
        *,
        compiled: bool,
        capture: bool,
        say: Say,
    ) -> None:
        self.n_members, self.groups, self.form = len(members), groups, form
        self._members, self._card, self._batch, self._say = members, card, batch, say
        self._compiled, self._capture = compiled, capture
        self._runs: list[Callable[[], object]] = []
        self._networks: dict[int, TorchNetwork] = {}
        self._pool: Any = None

    def load(self, group: int, x: int, rows: int) -> None:
        self._runs = []
        contract, chosen = self._members[0].contract, self.groups[group]
        kind = torch.float32 if self.form.precision == "fp32" else torch.float16
        x_RCL = self._card.view(x, (self._batch, len(contract.channels), contract.length), kind)
        rows_MR = self._card.view(rows, (len(chosen), self._batch), torch.float32)
        with self._card.reported():
            for member in self._networks.keys() - chosen:
                self._networks[member].to("cpu")
            for member, row_R in zip(chosen, rows_MR, strict=True):
                self._runs.append(self._run_of(self._network(member), x_RCL, row_R))

    def _network(self, member: int) -> TorchNetwork:
        if member not in self._networks:
            made = TorchNetwork(self._members[member], self.form, self._card.device).eval()
            self._networks[member] = made
            self._members[member].release()  # the network has what it needs of the arrays
        return self._networks[member].to(self._card.device)

    def _run_of(self, network: TorchNetwork, x_RCL: Tensor, row_R: Tensor) -> Callable[[], object]:
        """What runs a member's pass."""
        call: Callable[[Tensor], Tensor] = network
        if self._compiled:
            # for this batch size alone: else a second one would be compiled for any, which is slower
            call = torch.compile(network, dynamic=False)
            try:
                with exact:
                    call(x_RCL.zero_())
            except Exception as error:
                # whatever a compiler that is not there or does not do its work raises
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise EngineError(
                    f"torch.compile does not compile the network ({reason}); set torch.compile to false in "
                    "the recipe"
                ) from None
        return self._captured(call, x_RCL, row_R)

    def _captured(
        self, call: Callable[[Tensor], Tensor], x_RCL: Tensor, row_R: Tensor
    ) -> Callable[[], object]:
        """What runs a member's pass: a CUDA graph that gives what the plain pass gives, or the plain pass,
        with the reason said."""

        def plain() -> object:
            with exact:
                return row_R.copy_(call(x_RCL))

        if not (self._capture and self._card.cuda):
            return plain
        x_RCL.copy_(torch.rand_like(x_RCL, dtype=torch.float32))
        side = self._card.stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    plain()
            side.synchronize()
            expected, graph = row_R.clone(), torch.cuda.CUDAGraph()
            # passes run one after another, so that all may use the same memory
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, self._pool, side, "thread_local"):
                plain()
            row_R.fill_(float("nan"))
            torch.cuda.synchronize()
            graph.replay()
            torch.cuda.synchronize()
            if not bool(torch.allclose(row_R, expected, rtol=0, atol=1e-3)):
                raise RuntimeError("a captured pass does not give what a plain one gives")
        except RuntimeError as error:
            reason = next(iter(str(error).splitlines()), "no reason given")
            self._say(f"cuda graph: not used, passes are launched one by one ({reason})")
            self._capture = False
            return plain
        return graph.replay

    def enqueue(self, slots: Sequence[int], stream: Any) -> None:
        for slot in slots:
            self._card.queue(stream, self._runs[slot])

    def close(self) -> None:
        self._runs, self._networks = [], {}


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

"""The networks of a group on a card: each member's pass plain, compiled, or captured as a CUDA graph.

A graph is captured for the one batch size that is used, and taken once it has given what the plain pass
gives; where it has not, that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from legscore.engine.torch_card import TorchCard
from legscore.engine.torch_devices import exact
from legscore.engine.torch_network import TorchForm, TorchNetwork
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.system.log import Say

WARM_UPS = 3
"""Plain passes before a capture: the first ones choose algorithms and allocate."""


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

"""The pipeline on PyCUDA's streams with members run by PyTorch on the same streams, and a kernel that fails.

What TensorRT's engine is made of, without TensorRT: `cuda.scorer` and `engine.card_engine`, kernels/*.cu,
copies and events. PyTorch shares the primary context, runs on the streams' handles, and reads and writes the
card's memory by its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu_engine import agreement, members_of, random_windows, row_of, say, windows_per_s
from gpu_store import Limits

from legscore.cuda import launches
from legscore.cuda.card import CardError
from legscore.cuda.libcuda import Gpu
from legscore.cuda.scorer import Scorer
from legscore.engine.card_engine import CardEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint

BATCH = 256
NOWHERE = 0x10
"""An address that no allocation has."""


@dataclass
class Bridge:
    """How PyTorch reaches a card: its device, a tensor at an address, work on one of the card's streams."""

    device: str
    view: Callable[[int, tuple[int, ...], str], Any]
    on: Callable[[Any, Callable[[], object]], object]


def cuda_bridge(gpu: Gpu) -> Bridge:
    """PyTorch on the streams of `PyCudaCard`."""
    import torch

    class Held:
        """What PyTorch takes as an array that is there already."""

        def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
            self.__cuda_array_interface__ = {
                "data": (address, False), "shape": shape, "typestr": kind, "version": 3,
            }  # fmt: skip

    def on(stream: Any, work: Callable[[], object]) -> None:
        with torch.cuda.stream(torch.cuda.ExternalStream(stream.handle, device=gpu.number)):
            work()

    torch.cuda.init()
    return Bridge(
        f"cuda:{gpu.number}",
        lambda address, shape, kind: torch.as_tensor(Held(address, shape, kind), device=f"cuda:{gpu.number}"),
        on,
    )


class TorchOnStreams:
    """`legscore.cuda.scorer.Members`: all members in one group, each a PyTorch network."""

    def __init__(self, members: Sequence[Checkpoint], bridge: Bridge, batch: int) -> None:
        import torch

        from legscore.engine.torch_network import TorchForm, TorchNetwork

        self.n_members, self.groups = len(members), [list(range(len(members)))]
        self._bridge, self._batch, self._contract = bridge, batch, members[0].contract
        form, device = TorchForm("fp16", "repack16"), torch.device(bridge.device)
        self._networks = [TorchNetwork(member, form, device).eval() for member in members]
        self._x: Any = None
        self._rows: Any = None

    def load(self, group: int, x: int, rows: int) -> None:
        shape = (self._batch, len(self._contract.channels), self._contract.length)
        self._x = self._bridge.view(x, shape, "<f2")
        self._rows = self._bridge.view(rows, (self.n_members, self._batch), "<f4")

    def enqueue(self, slots: Sequence[int], stream: Any) -> None:
        for slot in slots:
            self._bridge.on(stream, lambda slot=slot: self._run(slot))  # type: ignore[misc]

    def _run(self, slot: int) -> None:
        import torch

        with torch.inference_mode():
            self._rows[slot].copy_(self._networks[slot](self._x))

    def close(self) -> None:
        self._networks, self._x, self._rows = [], None, None


class StreamEngine(CardEngine):
    """An ensemble on a card, its members run by PyTorch."""

    name, precision = "torch on streams", "fp16"

    def __init__(self, card: Any, members: Sequence[Checkpoint], bridge: Bridge, *, both: bool) -> None:
        super().__init__(members[0].contract, card, both_strands=both, is_singleton=False)
        self.recipe, self.n_members = load_recipe("fp16"), len(members)
        with card.use():
            self.scorer = Scorer(
                card, TorchOnStreams(members, bridge, BATCH), members[0].contract, batch=BATCH, layout="ncl",
                precision="fp16", is_singleton=False,
            )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}


def streams(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """Scores against FP32: one strand and both, edits on the card, several batches in flight."""
    from legscore.cuda.driver import PyCudaCard

    card = PyCudaCard(gpu, say)
    try:
        follow(card, cuda_bridge(gpu), limits)
    finally:
        card.close()
    return {}


def follow(card: Any, bridge: Bridge, limits: Limits) -> None:
    members = members_of(limits)
    for both in (False, True):
        what = f"{len(members)} members, {'both strands' if both else 'forward'}"
        if not limits.may(what):
            continue
        engine = StreamEngine(card, members, bridge, both=both)
        try:
            limits.note(
                **row_of(what, agreement(engine, members, limits, both=both and bool(limits.reference)))
            )
            batch = random_windows(members[0], 3 * BATCH + 7)
            alone = engine.score(batch)
            flights = [engine.submit(batch) for _ in range(6)]
            if not all(np.array_equal(flight.result(), alone) for flight in flights):
                raise SystemExit("batches in flight together do not give what one alone gives")
            limits.note(
                what=f"{what}, 6 batches in flight: the same scores", rate=windows_per_s(engine, batch, 12),
                unit="windows/s",
            )  # fmt: skip
        finally:
            engine.close()


def fault(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    """A kernel that reads where nothing is: one error, no score, nothing after it, a process that ends."""
    from legscore.cuda.driver import PyCudaCard

    card = PyCudaCard(gpu, say)
    wild = launches.one_hot(NOWHERE, NOWHERE, BATCH, BATCH, members_of(limits)[0].contract, both=False,
                            is_singleton=False, layout="ncl", precision="fp16")  # fmt: skip
    break_down(card, cuda_bridge(gpu), limits, lambda stream: card.launch(wild, stream))
    return {}


def break_down(card: Any, bridge: Bridge, limits: Limits, wild: Callable[[Any], object]) -> None:
    """Score once, fail once, and try to go on."""
    members = members_of(limits)[:1]
    engine, batch = StreamEngine(card, members, bridge, both=False), random_windows(members[0], 2 * BATCH)
    engine.score(batch)
    good = engine.scorer.members.enqueue  # type: ignore[union-attr]

    def bad(slots: Sequence[int], stream: Any) -> None:
        wild(stream)
        good(slots, stream)

    engine.scorer.members.enqueue = bad  # type: ignore[union-attr, method-assign]
    said = []
    flights = [engine.submit(batch) for _ in range(3)]
    for flight in flights:
        error = flight.exception()
        if not isinstance(error, EngineError):
            raise SystemExit(f"a batch of a card that failed gave {flight.result()[:3]}")
        said.append(str(error))
    try:
        engine.score(batch)
    except EngineError as error:
        said.append(str(error))
    else:
        raise SystemExit("a card that failed went on scoring")
    engine.close()
    if not any(isinstance(flight.exception(), CardError) for flight in flights):
        raise SystemExit(f"nobody said that the card failed: {said}")
    limits.note(what="a faulting kernel: no score, one error", errors=said)

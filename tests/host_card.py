"""A card made of the CPU, for tests: kernels/*.cu run by g++, networks by ONNX Runtime, streams by an unkind
scheduler.

Work is only noted when it is queued. It runs when the host waits for something, one piece at a time, from a
stream picked at random among those that may go on: an order of events that the pipeline failed to demand
shows as a wrong score.
"""

from __future__ import annotations

import ctypes
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime
from host_kernels import HostKernels

from legscore.cuda.card import CardError
from legscore.cuda.launches import BLOCK, Launch
from legscore.cuda.scorer import Scorer
from legscore.engine.card_engine import CardEngine
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_form import GpuForm
from legscore.model.gpu_graph import build_gpu_graph


def at(address: int, nbytes: int) -> np.ndarray:
    """Bytes at an address, as a view."""
    return (
        np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        if nbytes
        else np.empty(0, np.uint8)
    )


class HostMemory:
    """Aligned memory full of rubbish; freeing overwrites it, so that use after free shows."""

    def __init__(self, card: HostCard, nbytes: int) -> None:
        self._card, self.nbytes = card, nbytes
        self._held = np.full(nbytes + 256, 0xEE, dtype=np.uint8)
        begin = -self._held.ctypes.data % 256
        self.array = self._held[begin : begin + nbytes]
        self.address = self.array.ctypes.data
        card.held.add(self)

    def free(self) -> None:
        self._card.held.remove(self)
        self.array[:] = 0xDD


class HostEvent:
    def __init__(self) -> None:
        self.recorded = self.happened = 0


class HostStream:
    def __init__(self, card: HostCard) -> None:
        self.card, self.handle = card, 0
        self.work: deque[tuple[Callable[[], bool], Callable[[], None]]] = deque()


class HostCard:
    """See `legscore.cuda.card.Card`. `fail_at`: that piece of work fails, and everything after it, as on a
    lost card."""

    def __init__(self, kernels: HostKernels, seed: int = 0, memory: int = 1 << 40, fail_at: int = -1) -> None:
        self.name, self.kernels, self.memory, self.fail_at = "host", kernels, memory, fail_at
        self._random, self._lock, self._streams, self.done_work = (
            random.Random(seed),
            threading.RLock(),
            [],
            0,
        )
        self.held: set[HostMemory] = set()
        self._current = threading.local()

    @contextmanager
    def use(self) -> Iterator[None]:
        self._current.depth = getattr(self._current, "depth", 0) + 1
        try:
            yield
        finally:
            self._current.depth -= 1

    def _used(self) -> None:
        assert getattr(self._current, "depth", 0) > 0, "the card is not current in this thread"

    def free_memory(self) -> int:
        return self.memory

    def allocate(self, nbytes: int) -> HostMemory:
        self._used()
        return HostMemory(self, nbytes)

    def pinned(self, nbytes: int) -> HostMemory:
        self._used()
        return HostMemory(self, nbytes)

    def stream(self) -> HostStream:
        self._used()
        self._streams.append(HostStream(self))
        return self._streams[-1]

    def event(self) -> HostEvent:
        self._used()
        return HostEvent()

    def queue(
        self, stream: HostStream, work: Callable[[], None], ready: Callable[[], bool] = lambda: True
    ) -> None:
        self._used()
        with self._lock:
            stream.work.append((ready, work))

    def record(self, event: HostEvent, stream: HostStream) -> None:
        with self._lock:
            event.recorded += 1
            number = event.recorded
        self.queue(stream, lambda: setattr(event, "happened", number))

    def wait(self, stream: HostStream, event: HostEvent) -> None:
        number = event.recorded
        self.queue(stream, lambda: None, lambda: event.happened >= number)

    def synchronize(self, event: HostEvent) -> None:
        self._used()
        with self._lock:
            number = event.recorded
            while event.happened < number:
                self._step()

    def drain(self) -> None:
        self._used()
        with self._lock:
            while any(stream.work for stream in self._streams):
                self._step()

    def _step(self) -> None:
        if 0 <= self.fail_at <= self.done_work:
            raise CardError("GPU 0 (host): an illegal memory access was encountered")
        able = [stream for stream in self._streams if stream.work and stream.work[0][0]()]
        assert able, "every stream waits for an event that nothing will record"
        self._random.choice(able).work.popleft()[1]()
        self.done_work += 1

    def copy_in(self, address: int, source: np.ndarray, stream: HostStream) -> None:
        assert source.flags.c_contiguous
        self.queue(stream, lambda: np.copyto(at(address, source.nbytes), source))

    def copy_out(self, target: np.ndarray, address: int, stream: HostStream) -> None:
        self.queue(stream, lambda: np.copyto(target, at(address, target.nbytes)))

    def copy_across(self, target: int, source: int, nbytes: int, stream: HostStream) -> None:
        self.queue(stream, lambda: np.copyto(at(target, nbytes), at(source, nbytes)))

    def close(self) -> None:
        assert self.fail_at >= 0 or not any(stream.work for stream in self._streams), (
            "closed with work left to do"
        )

    def launch(self, launch: Launch, stream: HostStream) -> None:
        assert launch.grid > 0
        self.queue(stream, lambda: self.kernels.launch(launch.kernel, launch.grid, BLOCK, launch.arguments))


_SESSIONS: dict[tuple[int, GpuForm, int], tuple[Checkpoint, Any]] = {}


def session(member: Checkpoint, form: GpuForm, batch: int) -> Any:
    """An ONNX Runtime session of the member's graph, made once."""
    key = (id(member), form, batch)
    if key not in _SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = build_gpu_graph(member, form, batch).to_bytes()
        _SESSIONS[key] = (
            member,
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]),
        )
    return _SESSIONS[key][1]


class HostMembers:
    """Members as ONNX Runtime sessions of the very graphs TensorRT builds from."""

    def __init__(
        self, members: Sequence[Checkpoint], form: GpuForm, batch: int, groups: list[list[int]] | None = None
    ) -> None:
        self.n_members, self.form, self.batch = len(members), form, batch
        self.groups = groups or [list(range(len(members)))]
        self.sessions = [session(member, form, batch) for member in members]
        self.kind = np.float32 if form.precision == "fp32" else np.float16
        self.shape = tuple(self.sessions[0].get_inputs()[0].shape)
        self.loads: list[int] = []

    def load(self, group: int, x: int, rows: int) -> None:
        self.loads.append(group)
        self._group, self._x, self._rows = group, x, rows

    def enqueue(self, slots: Sequence[int], stream: Any) -> None:
        for slot in slots:
            stream.card.queue(stream, lambda slot=slot, group=self._group: self._run(slot, group))

    def _run(self, slot: int, group: int) -> None:
        assert group == self._group, "a group was released while it was in use"
        n, channels, length = self.shape[0], self.shape[1], self.shape[-1]
        if self.form.layout == "hwc8":
            memory = at(self._x, n * length * 16).view(np.float16).reshape(n, 1, length, 8)
            x = np.ascontiguousarray(memory.transpose(0, 3, 1, 2)[:, :channels])
        else:
            x = (
                at(self._x, int(np.prod(self.shape)) * np.dtype(self.kind).itemsize)
                .view(self.kind)
                .reshape(self.shape)
                .copy()
            )
        score = self.sessions[self.groups[group][slot]].run(None, {"x": x})[0]
        at(self._rows + 4 * self.batch * slot, 4 * self.batch)[:] = score.view(np.uint8)

    def close(self) -> None:
        self.sessions = []


class HostEngine(CardEngine):
    """`CardEngine` on a HostCard."""

    name = "host"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        card: HostCard,
        form: GpuForm,
        *,
        batch: int,
        both: bool = True,
        is_singleton: bool = False,
        groups: list[list[int]] | None = None,
    ) -> None:
        super().__init__(members[0].contract, card, both_strands=both, is_singleton=is_singleton)
        self.precision, self.n_members = form.precision, len(members)
        self.loaded = HostMembers(members, form, batch, groups)
        with card.use():
            self.scorer = Scorer(
                card,
                self.loaded,
                self.contract,
                batch=batch,
                layout=form.layout,
                precision=form.precision,
                is_singleton=is_singleton,
            )

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}

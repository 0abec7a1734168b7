"""A device of PyTorch as a card: `legscore.cuda.card.Card` without PyCUDA and without compiled kernels.

Memory is uint8 tensors under addresses of this module's own, so that what runs batches on a card
(`legscore.cuda.scorer`) runs them here. The launches of kernels/*.cu are made of tensor operations that give
the same bits. On CUDA, streams, events and pinned memory are PyTorch's; elsewhere there is one queue, and its
work is done by whoever waits for it, so that progress shows and an interrupt is heard between passes.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legscore.cuda.card import WAY_OUT, CardError
from legscore.cuda.launches import Launch
from legscore.errors import EngineError

ALIGNMENT = 256
PLENTY = 1 << 40
"""What `free_memory` says of a device that does not tell."""


class _Memory:
    def __init__(self, card: TorchCard, address: int, held: Tensor) -> None:
        self._card, self._held = card, held
        self.address, self.nbytes = address, held.numel()

    def free(self) -> None:
        self._card.forget(self.address)
        del self._held


class _Pinned:
    def __init__(self, nbytes: int, pinned: bool) -> None:
        self.array: np.ndarray = torch.empty(nbytes, dtype=torch.uint8, pin_memory=pinned).numpy()

    def free(self) -> None:
        self.array = np.empty(0, np.uint8)


class _Event:
    """How often it was recorded in the queue, and how often that was reached."""

    def __init__(self) -> None:
        self.recorded = self.happened = 0


class TorchCard:
    """One device."""

    def __init__(
        self,
        device: torch.device,
        memory: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            memory: bytes to plan with, instead of what is free.
            stopped: whether nobody wants what is queued any more; asked between pieces of queued work.
        """
        self.device, self.cuda = device, device.type == "cuda"
        self.name = torch.cuda.get_device_name(device) if self.cuda else device.type
        self._memory = memory
        self._tensors: dict[int, Tensor] = {}
        self._addresses: list[int] = []
        self._next = ALIGNMENT
        self._stopped, self._running = stopped, threading.RLock()
        self._queue: deque[Callable[[], object]] = deque()

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """PyTorch's errors as CardError, with the card's name and what to do."""
        try:
            yield
        except RuntimeError as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise CardError(f"{self.device} ({self.name}): {first}; {WAY_OUT}") from error

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        with (
            torch.inference_mode(),
            torch.cuda.device(self.device) if self.cuda else contextlib.nullcontext(),
        ):
            yield

    def queue(self, stream: Any, work: Callable[[], object]) -> None:
        """Put work onto a stream."""
        if not self.cuda:
            self._queue.append(work)
            return
        with self.reported(), torch.cuda.stream(stream):
            work()

    def _step(self) -> None:
        """The next piece of queued work."""
        if self._stopped():
            self._queue.clear()
            raise EngineError("scoring was interrupted")
        with self.reported():
            self._queue.popleft()()

    def free_memory(self) -> int:
        if self._memory is not None:
            return self._memory
        if not self.cuda:
            return PLENTY
        with self.reported():
            unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return int(torch.cuda.mem_get_info(self.device)[0]) + unused

    def allocate(self, nbytes: int) -> _Memory:
        with self.reported():
            held = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        address = self._next
        self._next += -(-nbytes // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        self._tensors[address] = held
        self._addresses.append(address)  # they rise
        return _Memory(self, address, held)

    def forget(self, address: int) -> None:
        """Let memory go."""
        del self._tensors[address]
        self._addresses.remove(address)

    def view(self, address: int, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        """Memory from an address on, as a tensor."""
        start = self._addresses[bisect.bisect_right(self._addresses, address) - 1]
        nbytes = int(np.prod(shape)) * kind.itemsize
        held = self._tensors[start][address - start : address - start + nbytes]
        if held.numel() != nbytes:
            raise ValueError(f"{nbytes} bytes at {address} are not within one allocation")
        return held.view(kind).view(shape)

    def pinned(self, nbytes: int) -> _Pinned:
        with self.reported():
            return _Pinned(nbytes, self.cuda)

    def stream(self) -> Any:
        with self.reported():
            return torch.cuda.Stream(self.device) if self.cuda else None

    def event(self) -> Any:
        with self.reported():
            return torch.cuda.Event(blocking=True) if self.cuda else _Event()

    def record(self, event: Any, stream: Any) -> None:
        if self.cuda:
            with self.reported():
                event.record(stream)
            return
        event.recorded += 1
        self.queue(stream, partial(setattr, event, "happened", event.recorded))

    def wait(self, stream: Any, event: Any) -> None:
        if self.cuda:  # elsewhere everything is done in the order of the queue
            with self.reported():
                stream.wait_event(event)

    def synchronize(self, event: Any) -> None:
        if self.cuda:
            with self.reported():
                event.synchronize()
            return
        with self._running:
            number = event.recorded
            while event.happened < number:
                if not self._queue:
                    raise EngineError("scoring was interrupted")
                self._step()

    def drain(self) -> None:
        with self._running:
            while self._queue and not self._stopped():
                self._step()
            self._queue.clear()
        with self.reported():
            if self.cuda:
                torch.cuda.synchronize(self.device)
            elif self.device.type == "mps":
                torch.mps.synchronize()

    def copy_in(self, address: int, source: np.ndarray, stream: Any) -> None:
        target = self.view(address, (source.size,), torch.uint8)
        given = torch.from_numpy(source.view(np.uint8))
        self.queue(stream, lambda: target.copy_(given, non_blocking=self.cuda))

    def copy_out(self, target: np.ndarray, address: int, stream: Any) -> None:
        source = self.view(address, (target.size,), torch.uint8)
        found = torch.from_numpy(target.view(np.uint8))
        self.queue(stream, lambda: found.copy_(source, non_blocking=self.cuda))

    def launch(self, launch: Launch, stream: Any) -> None:
        arguments = [int(argument) for argument in launch.arguments]
        self.queue(stream, lambda: _KERNELS[launch.kernel](self, *arguments))

    def close(self) -> None:
        """Nothing is held but memory, which has been freed by name."""


def _one_hot(kind: torch.dtype, bits: torch.dtype) -> Callable[..., None]:
    """one_hot.cu: codes → rows of channels, both strands; the tail of zeros."""

    def run(
        card: TorchCard, codes: int, x: int, windows: int, length: int, channels: int, rows: int, both: int,
        one: int, unknown: int, extras_forward: int, extras_reverse: int,
    ) -> None:  # fmt: skip
        codes_WL = card.view(codes, (windows, length), torch.uint8)
        bases = torch.arange(4, dtype=torch.uint8, device=card.device)
        x_RCL = card.view(x, (rows, channels, length), bits)
        forward = (codes_WL[:, None] == bases[:, None]).to(bits) * _signed(one, bits)
        if unknown:
            forward += (codes_WL[:, None] == 4).to(bits) * _signed(unknown, bits)
        x_RCL[:windows, :4] = forward
        used = 2 * windows if both else windows
        if both:  # the complement of base k is base 3 - k
            x_RCL[windows:used, :4] = forward.flip(1, 2)
        for channel in range(4, channels):
            for begin, end, extras in ((0, windows, extras_forward), (windows, used, extras_reverse)):
                x_RCL[begin:end, channel] = _signed(one, bits) if extras >> (channel - 4) & 1 else 0
        x_RCL[used:] = 0

    return run


def _signed(number: int, bits: torch.dtype) -> int:
    """Bits as the signed integer of that type."""
    width = 8 * bits.itemsize
    return number - (1 << width) if number >> (width - 1) else number


def _mutate(
    card: TorchCard, codes: int, window: int, offset: int, base: int, out: int, plain: int, length: int,
    start: int, count: int,
) -> None:  # fmt: skip
    """mutate.cu: windows and edits → the codes that are scored."""
    codes_WL = card.view(codes, (plain, length), torch.uint8)
    out_NL = card.view(out, (count, length), torch.uint8)
    whole = max(0, min(plain - start, count))
    out_NL[:whole] = codes_WL[start : start + whole]
    first, edits = start + whole - plain, count - whole
    window_E = card.view(window + 4 * first, (edits,), torch.int32)
    offset_E = card.view(offset + 2 * first, (edits,), torch.int16).to(torch.int64)
    edited_EL = codes_WL.index_select(0, window_E)
    edited_EL.scatter_(1, offset_E[:, None], card.view(base + first, (edits,), torch.uint8)[:, None])
    out_NL[whole:] = edited_EL


def _average_strands(
    card: TorchCard, rows: int, scores: int, members: int, batch: int, windows: int, both: int, columns: int,
    start: int,
) -> None:  # fmt: skip
    """reduce.cu: scores of the rows of a pass → scores of windows."""
    rows_MB = card.view(rows, (members, batch), torch.float32)
    found = rows_MB[:, :windows]
    if both:
        found = (found + rows_MB[:, windows : 2 * windows]) * 0.5
    whole = card.view(scores + 4 * start, ((members - 1) * columns + windows,), torch.float32)
    whole.as_strided((members, windows), (columns, 1)).copy_(found)


_KERNELS: dict[str, Callable[..., None]] = {
    "one_hot_ncl_f16": _one_hot(torch.float16, torch.int16),
    "one_hot_ncl_f32": _one_hot(torch.float32, torch.int32),
    "mutate": _mutate,
    "average_strands": _average_strands,
}

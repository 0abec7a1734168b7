"""What the pipeline needs of one GPU: memory, streams, events, copies, launches. `driver.py` gives it with
PyCUDA.

Everything but `use`, `synchronize`, `drain` and allocation is asynchronous: it is done when the work before
it on its stream is. Addresses are plain integers; allocations start at multiples of 256 bytes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from legscore.errors import EngineError

if TYPE_CHECKING:
    from legscore.cuda.launches import Launch

WAY_OUT = (
    "the run has ended and no score was written for it; run it again, and look for Xid messages in "
    "dmesg if it repeats"
)


class CardError(EngineError):
    """The GPU or its driver failed; nothing can be scored on this card any more."""


class CallError(CardError):
    """A call failed where the card's name is not known; `Card.use` adds it, and what to do."""


class Memory(Protocol):
    """Device memory: an address and its size. Freed by `free`, not by being forgotten."""

    address: int
    nbytes: int

    def free(self) -> None: ...


class Pinned(Protocol):
    """Host memory that the card copies from and to by itself: a uint8 array. Freed by `free`."""

    array: np.ndarray

    def free(self) -> None: ...


class Card(Protocol):
    """One GPU. Streams and events are the card's own objects; a stream's `handle` is what TensorRT takes."""

    name: str

    def use(self) -> AbstractContextManager[None]:
        """Make the card current in this thread; every other call happens within."""

    def free_memory(self) -> int:
        """Bytes of device memory that nothing holds."""

    def allocate(self, nbytes: int) -> Memory: ...

    def pinned(self, nbytes: int) -> Pinned: ...

    def stream(self) -> Any:
        """A stream that does not wait for the default one."""

    def event(self) -> Any: ...

    def record(self, event: Any, stream: Any) -> None:
        """Let the event happen when the work on the stream so far is done."""

    def wait(self, stream: Any, event: Any) -> None:
        """Let what follows on the stream wait for the event's last record."""

    def synchronize(self, event: Any) -> None:
        """Return when the event's last record has happened. CardError when any work failed."""

    def drain(self) -> None:
        """Return when everything is done."""

    def copy_in(self, address: int, source: np.ndarray, stream: Any) -> None:
        """Copy a contiguous array, a view of pinned memory, to the card; it is read later."""

    def copy_out(self, target: np.ndarray, address: int, stream: Any) -> None:
        """Copy from the card into a view of pinned memory; it is written later."""

    def launch(self, launch: Launch, stream: Any) -> None: ...

    def close(self) -> None:
        """Give the card back; nothing of it may be used afterwards."""

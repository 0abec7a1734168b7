"""One GPU through PyCUDA: `legscore.cuda.card.Card`. The only module that imports PyCUDA.

The primary context is used, which TensorRT and PyTorch share; it is pushed in each thread for as long as that
thread works with the card, and popped again, since PyCUDA ends the process of a thread that leaves one
behind. Where the driver refuses even that, as after a kernel that faulted, the context is given up. Streams
do not wait for the default one. Everything is freed by name, in a thread where the context is current.
"""

from __future__ import annotations

import atexit
import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pycuda.driver as cuda

from legscore.cuda.card import WAY_OUT, CallError, CardError
from legscore.cuda.image import Images, RejectedError, load_images
from legscore.cuda.launches import BLOCK, SOURCE, Launch
from legscore.cuda.libcuda import Gpu
from legscore.system.log import Say

_CONTEXTS: dict[int, Any] = {}
"""Primary contexts by GPU, kept until the process ends: PyCUDA leaves a context that it releases earlier
current in the thread, where the next user of the card (an engine in another precision, PyTorch) would find it
dead."""
atexit.register(_CONTEXTS.clear)

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, for which PyCUDA has no name."""


class _Memory:
    def __init__(self, card: PyCudaCard, nbytes: int) -> None:
        self._card, self._held = card, cuda.mem_alloc(nbytes)
        self.address, self.nbytes = int(self._held), nbytes

    def free(self) -> None:
        with self._card.reported():
            self._held.free()


class _Pinned:
    def __init__(self, card: PyCudaCard, nbytes: int) -> None:
        self._card, self.array = card, cuda.pagelocked_empty(nbytes, np.uint8)

    def free(self) -> None:
        base, self.array = self.array.base, np.empty(0, np.uint8)
        with self._card.reported():
            base.free()


class PyCudaCard:
    """A GPU with its kernels loaded.

    Raises:
        CardError: the driver refuses it.
        EngineError: its kernels can be neither found nor compiled.
    """

    def __init__(self, gpu: Gpu, say: Say = lambda line: None) -> None:
        self.gpu, self.name = gpu, gpu.name
        with self.reported():
            cuda.init()
            if gpu.number not in _CONTEXTS:
                _CONTEXTS[gpu.number] = cuda.Device(gpu.number).retain_primary_context()
            self._context = _CONTEXTS[gpu.number]
        self._lost = False
        self._functions: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}
        with self.use():
            self.kernels = load_images(self._accept, gpu.architecture, say)

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Turn errors of PyCUDA and of calls into CardError, with the card's name and what to do."""
        try:
            yield
        except (cuda.Error, CallError) as error:
            raise CardError(f"GPU {self.gpu.number} ({self.name}): {error}; {WAY_OUT}") from error

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        if self._lost:
            raise CardError(f"GPU {self.gpu.number} ({self.name}) was given up after an error; {WAY_OUT}")
        with self.reported():
            self._context.push()
        try:
            with self.reported():
                yield
        except BaseException:
            with contextlib.suppress(CardError):  # what came first says more
                self._pop()
            raise
        self._pop()

    def _pop(self) -> None:
        with self.reported():
            try:
                self._context.pop()
            except cuda.Error:
                self._give_up()
                raise

    def _give_up(self) -> None:
        """Empty this thread's stack without the driver: PyCUDA takes from it what is marked as invalid, when
        it is asked which context is current."""
        self._lost = True
        _CONTEXTS.pop(self.gpu.number, None)
        # of what is freed by being forgotten from now on: the error that is raised says it already
        warnings.filterwarnings("ignore", ".*(dead|out-of-thread) context", UserWarning)
        with contextlib.suppress(cuda.Error):
            self._context.detach()
        with contextlib.suppress(cuda.Error):  # given up in another thread before: it is still on this stack
            cuda.Event()

    def _accept(self, images: Images) -> None:
        """Load images and every kernel in them: a driver that loads lazily meets an image it cannot use only
        at its kernels."""
        try:
            self._modules = {name: cuda.module_from_buffer(image) for name, image in images.items()}
            for kernel, source in SOURCE.items():
                self._modules[source].get_function(kernel).get_attribute(cuda.function_attribute.NUM_REGS)
        except cuda.Error as error:
            raise RejectedError(str(error)) from None

    def free_memory(self) -> int:
        with self.reported():
            return int(cuda.mem_get_info()[0])

    def allocate(self, nbytes: int) -> _Memory:
        with self.reported():
            return _Memory(self, nbytes)

    def pinned(self, nbytes: int) -> _Pinned:
        with self.reported():
            return _Pinned(self, nbytes)

    def stream(self) -> Any:
        with self.reported():
            return cuda.Stream(NON_BLOCKING)

    def event(self) -> Any:
        with self.reported():
            return cuda.Event(cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC)

    def record(self, event: Any, stream: Any) -> None:
        with self.reported():
            event.record(stream)

    def wait(self, stream: Any, event: Any) -> None:
        with self.reported():
            stream.wait_for_event(event)

    def synchronize(self, event: Any) -> None:
        with self.reported():
            event.synchronize()

    def drain(self) -> None:
        with self.reported():
            self._context.synchronize()

    def copy_in(self, address: int, source: np.ndarray, stream: Any) -> None:
        with self.reported():
            cuda.memcpy_htod_async(address, source, stream)

    def copy_out(self, target: np.ndarray, address: int, stream: Any) -> None:
        with self.reported():
            cuda.memcpy_dtoh_async(target, address, stream)

    def copy_across(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy within the card's memory (what benchmarks compare kernels with)."""
        with self.reported():
            cuda.memcpy_dtod_async(target, source, nbytes, stream)

    def launch(self, launch: Launch, stream: Any) -> None:
        with self.reported():
            if launch.kernel not in self._functions:
                self._functions[launch.kernel] = self._function(launch)
            function = self._functions[launch.kernel]
            function.prepared_async_call((launch.grid, 1), (BLOCK, 1, 1), stream, *map(int, launch.arguments))

    def _function(self, launch: Launch) -> Any:
        kinds = ("P" if isinstance(argument, np.uintp) else "I" for argument in launch.arguments)
        return self._modules[SOURCE[launch.kernel]].get_function(launch.kernel).prepare("".join(kinds))

    def close(self) -> None:
        with self.use():
            self._functions.clear()
            self._modules.clear()

"""A `pycuda.driver` made of the CPU: the calls that legscore/cuda/driver.py makes, with PyCUDA 2026.1's
signatures and its rules for contexts (src/cpp/cuda.hpp): a stack in each thread, nothing works without a
current one, a pop that the driver refuses leaves the stack as it is, invalid contexts leave it when the
current one is asked for. Streams run at once."""

from __future__ import annotations

import ctypes
import struct
import threading
from types import ModuleType
from typing import Any

import numpy as np
from host_card import at
from host_kernels import HostKernels

from legscore.cuda.card import CallError


class Fake:
    """The module, and what the test can look at or break."""

    def __init__(self, kernels: HostKernels) -> None:
        self.stacks: dict[int, list[Any]] = {}
        """By thread: PyCUDA ends the process of a thread that ends with one that is not empty."""
        self.allocations: set[int] = set()
        self.fail = ""
        self.calls: list[str] = []
        self.fail_at, self.lasting = -1, True
        """The call of this number fails, and all that follow where it is lasting, as after a kernel that
        faulted."""
        fake, module = self, ModuleType("pycuda.driver")
        self.module = module

        class Error(Exception):
            pass

        def driver(call: str) -> None:
            if fake.refuses(call):
                raise Error(f"{call} failed: an illegal memory access was encountered")

        def current() -> Context | None:
            stack = fake.stack()
            while stack and not stack[-1].valid:
                stack.pop()
            return stack[-1] if stack else None

        def check(call: str) -> None:
            if current() is None:
                raise Error("explicit_context_dependent failed: no currently active context?")
            driver(call)

        class Context:
            valid = True

            def push(self) -> None:
                if fake.stack():
                    driver("cuCtxPopCurrent")
                driver("cuCtxPushCurrent")
                fake.stack().append(self)

            @staticmethod
            def pop() -> None:
                stack = fake.stack()
                if stack:
                    driver("cuCtxPopCurrent")
                current()
                if not stack:
                    raise Error("m_stack::pop failed: cannot pop context from empty stack")
                stack.pop()
                if current() is not None:
                    driver("cuCtxPushCurrent")

            def detach(self) -> None:
                if not self.valid:
                    raise Error("context::detach failed: cannot detach from invalid context")
                was_current, self.valid = current() is self, False
                if was_current and current() is not None:
                    driver("cuCtxPushCurrent")

            @staticmethod
            def synchronize() -> None:
                check("cuCtxSynchronize")

        class Device:
            def __init__(self, number: int) -> None:
                assert isinstance(number, int)

            def retain_primary_context(self) -> Context:
                return Context()

        class Allocation:
            def __init__(self, nbytes: int) -> None:
                check("cuMemAlloc")
                assert nbytes > 0
                self.held = np.full(nbytes + 256, 0xEE, np.uint8)
                self.start = self.held.ctypes.data + -self.held.ctypes.data % 256
                fake.allocations.add(self.start)

            def __int__(self) -> int:
                return self.start

            def free(self) -> None:
                check("cuMemFree")
                fake.allocations.remove(self.start)

        class PagelockedHostAllocation:
            def __init__(self, nbytes: int) -> None:
                check("cuMemAllocHost")
                self.held = np.full(nbytes, 0xEE, np.uint8)
                self.__array_interface__ = self.held.__array_interface__
                fake.allocations.add(self.held.ctypes.data)

            def free(self) -> None:
                check("cuMemFreeHost")
                fake.allocations.remove(self.held.ctypes.data)

        def pagelocked_empty(shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
            assert dtype is np.uint8
            return np.asarray(PagelockedHostAllocation(shape))

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                check("cuStreamCreate")
                assert flags == 1
                self.handle = 5

            def wait_for_event(self, event: Event) -> None:
                check("cuStreamWaitEvent")

        class Event:
            def __init__(self, flags: int = 0) -> None:
                check("cuEventCreate")
                assert flags == 3

            def record(self, stream: Stream) -> Event:
                check("cuEventRecord")
                return self

            def synchronize(self) -> Event:
                check("cuEventSynchronize")
                return self

        class Function:
            def __init__(self, name: str, image: bytes) -> None:
                self.name, self.image = name, image

            def get_attribute(self, which: int) -> int:
                """What makes a lazy driver load the kernel."""
                assert which == 4
                if self.image.startswith(b"late"):
                    raise Error(
                        "cuFuncGetAttribute failed: no kernel image is available for execution on the device"
                    )
                return 32

            def prepare(self, arg_types: str) -> Function:
                self.format = arg_types
                return self

            def prepared_async_call(self, grid: Any, block: Any, stream: Stream, *args: int) -> None:
                check("cuLaunchKernel")
                assert isinstance(stream, Stream)
                assert grid[0] > 0
                assert len(block) == 3
                struct.pack(self.format, *args)
                kinds = {"P": np.uintp, "I": np.uint32}
                values = [kinds[kind](value) for kind, value in zip(self.format, args, strict=True)]
                kernels.launch(self.name, grid[0], block[0], values)

        class Module:
            def __init__(self, image: bytes) -> None:
                self.image = image

            def get_function(self, name: str) -> Function:
                if name.encode() not in self.image:
                    raise Error("cuModuleGetFunction failed: named symbol not found")
                return Function(name, self.image)

        def module_from_buffer(buffer: bytes) -> Module:
            check("cuModuleLoadDataEx")
            if buffer.startswith(b"new"):
                raise Error("cuModuleLoadDataEx failed: device kernel image is invalid")
            return Module(buffer)

        def memcpy_htod_async(dest: int, src: np.ndarray, stream: Stream) -> None:
            check("cuMemcpyHtoDAsync")
            assert type(dest) is int
            at(dest, src.nbytes)[:] = src

        def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Stream) -> None:
            check("cuMemcpyDtoHAsync")
            assert type(src) is int
            dest[:] = at(src, dest.nbytes)

        def memcpy_dtod_async(dest: int, src: int, size: int, stream: Stream) -> None:
            check("cuMemcpyDtoDAsync")
            ctypes.memmove(dest, src, size)

        names = {
            "Error": Error, "Context": Context, "Device": Device, "Stream": Stream, "Event": Event, "init": lambda: None,
            "mem_alloc": Allocation, "mem_get_info": lambda: (7, 9), "pagelocked_empty": pagelocked_empty,
            "module_from_buffer": module_from_buffer, "memcpy_htod_async": memcpy_htod_async, "memcpy_dtoh_async": memcpy_dtoh_async,
            "memcpy_dtod_async": memcpy_dtod_async,
            "function_attribute": type("function_attribute", (), {"NUM_REGS": 4}),
            "event_flags": type("event_flags", (), {"BLOCKING_SYNC": 1, "DISABLE_TIMING": 2}),
        }  # fmt: skip
        for name, value in names.items():
            setattr(module, name, value)

    def refuses(self, call: str) -> bool:
        """Note a call; whether it shall fail."""
        self.calls.append(call)
        past = len(self.calls) - 1 - self.fail_at
        return self.fail == call or (self.fail_at >= 0 and (past >= 0 if self.lasting else past == 0))

    def stack(self) -> list[Any]:
        """This thread's."""
        return self.stacks.setdefault(threading.get_ident(), [])

    def depth(self) -> int:
        return len(self.stack())


class Stream:
    """A stream as TensorRT's stand-in queues on it: work runs at once, or is noted while it is captured."""

    def __init__(self, library: Library) -> None:
        self.card, self.library = self, library

    def queue(self, stream: Any, work: Any) -> None:
        if self.library.captured is None:
            work()
        else:
            self.library.captured.append(work)


class Library:
    """`legscore.cuda.libcuda.Libcuda` for CUDA graphs, with the calls of a `Fake`."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.captured: list[Any] | None = None
        self.graphs: dict[int, list[Any]] = {}

    def call(self, name: str, *arguments: Any) -> None:
        if self.fake.refuses(name):
            raise CallError(f"{name}: an illegal memory access was encountered (CUDA error 700)")
        if name == "cuStreamBeginCapture_v2":
            assert self.captured is None, "captured twice at a time"
            self.captured = []
        elif name == "cuGraphLaunch":
            for work in self.graphs[arguments[0].value]:
                work()
        elif name == "cuGraphExecDestroy":
            del self.graphs[arguments[0].value]

    def handle(self, name: str, *arguments: Any, last: bool = False) -> ctypes.c_void_p:
        if name == "cuStreamEndCapture":
            work, self.captured = self.captured, None  # also when it fails: the capture is over
            self.call(name, *arguments)
            self.graphs[len(self.graphs) + 1] = work or []
            return ctypes.c_void_p(len(self.graphs))
        self.call(name, *arguments)
        return ctypes.c_void_p(arguments[0].value)

"""A `pycuda.driver` made of the CPU: the calls that legscore/cuda/driver.py makes, with PyCUDA 2026.1's
signatures and its rules for contexts (a stack in each thread; nothing works without a current one). Streams
run at once."""

from __future__ import annotations

import ctypes
import struct
import threading
from types import ModuleType
from typing import Any

import numpy as np
from host_card import at
from host_kernels import HostKernels


class Fake:
    """The module, and what the test can look at or break."""

    def __init__(self, kernels: HostKernels) -> None:
        self.stack = threading.local()
        self.allocations: set[int] = set()
        self.fail = ""
        fake, module = self, ModuleType("pycuda.driver")
        self.module = module

        class Error(Exception):
            pass

        def check(call: str) -> None:
            assert fake.depth() > 0, f"{call}: no currently active context?"
            if fake.fail == call:
                raise Error(f"{call} failed: an illegal memory access was encountered")

        class Context:
            def push(self) -> None:
                fake.stack.depth = fake.depth() + 1

            @staticmethod
            def pop() -> None:
                assert fake.depth() > 0, "cannot pop non-current context"
                fake.stack.depth -= 1

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
                assert flags == 3
                check("cuEventCreate")

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

    def depth(self) -> int:
        return int(getattr(self.stack, "depth", 0))

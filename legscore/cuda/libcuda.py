"""The driver's own library through ctypes: which GPUs are here, and CUDA graphs, which PyCUDA does not have.

Names and signatures are those of cuda.h (the driver API keeps them: `_v2` is part of a name for good).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from legscore.cuda.card import CallError, CardError

LIBRARY = "libcuda.so.1"
PROC_VERSION = Path("/proc/driver/nvidia/version")
MULTIPROCESSORS, COMPUTE_MAJOR, COMPUTE_MINOR = 16, 75, 76
CAPTURE_THREAD_LOCAL = 1
_P = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (_P,),
    "cuDeviceGetCount": (_P,),
    "cuDeviceGet": (_P, ctypes.c_int),
    "cuDeviceGetName": (ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "cuDeviceGetAttribute": (_P, ctypes.c_int, ctypes.c_int),
    "cuDeviceTotalMem_v2": (_P, ctypes.c_int),
    "cuGetErrorString": (ctypes.c_int, _P),
    "cuStreamBeginCapture_v2": (_P, ctypes.c_int),
    "cuStreamEndCapture": (_P, _P),
    "cuGraphInstantiateWithFlags": (_P, _P, ctypes.c_ulonglong),
    "cuGraphLaunch": (_P, _P),
    "cuGraphDestroy": (_P,),
    "cuGraphExecDestroy": (_P,),
}


@dataclass(frozen=True)
class Gpu:
    """One GPU: its number, name, compute capability such as 9.0, multiprocessors, bytes of memory."""

    number: int
    name: str
    compute: str
    multiprocessors: int
    memory: int

    @property
    def architecture(self) -> str:
        """As nvcc calls it."""
        return f"sm_{self.compute.replace('.', '')}"


class Libcuda:
    """Calls that raise CallError when the driver reports an error. OSError when the library is not here."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)

    def call(self, name: str, *arguments: object) -> None:
        try:
            function = self._library[name]
        except AttributeError:
            raise CallError(f"the NVIDIA driver lacks {name}; install a newer one") from None
        function.argtypes, function.restype = _SIGNATURES[name], ctypes.c_int
        code = function(*arguments)
        if code:
            raise CallError(f"{name}: {self._message(code)}")

    def number(self, name: str, *arguments: object) -> int:
        """An int that a call writes to its first argument."""
        value = ctypes.c_int(0)
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def handle(self, name: str, *arguments: object, last: bool = False) -> ctypes.c_void_p:
        """A handle that a call writes to its first argument, or its last."""
        value = ctypes.c_void_p(0)
        self.call(name, *arguments, ctypes.byref(value)) if last else self.call(
            name, ctypes.byref(value), *arguments
        )
        return value

    def _message(self, code: int) -> str:
        text = ctypes.c_char_p()
        function = self._library["cuGetErrorString"]
        function.argtypes, function.restype = _SIGNATURES["cuGetErrorString"], ctypes.c_int
        if function(code, ctypes.byref(text)) or text.value is None:
            return f"CUDA error {code}"
        return f"{text.value.decode(errors='replace')} (CUDA error {code})"


def find_gpus() -> tuple[list[Gpu], str]:
    """GPUs that the driver offers (CUDA_VISIBLE_DEVICES respected), and why there are none, where there are
    none."""
    try:
        library = Libcuda()
    except OSError:
        return [], f"no NVIDIA driver ({LIBRARY} is not here)"
    # read by cuInit: kernels take memory when used, not all at once
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    try:
        library.call("cuInit", 0)
        found = [_gpu(library, number) for number in range(library.number("cuDeviceGetCount"))]
    except CardError as error:
        return [], f"the NVIDIA driver offers no GPU ({error})"
    return found, "" if found else "the NVIDIA driver offers no GPU"


def _gpu(library: Libcuda, number: int) -> Gpu:
    device = library.number("cuDeviceGet", number)
    name = ctypes.create_string_buffer(256)
    library.call("cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t(0)
    library.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor, multiprocessors = (
        library.number("cuDeviceGetAttribute", attribute, device)
        for attribute in (COMPUTE_MAJOR, COMPUTE_MINOR, MULTIPROCESSORS)
    )
    return Gpu(number, name.value.decode(errors="replace"), f"{major}.{minor}", multiprocessors, memory.value)


def driver_branch() -> str:
    """The driver's branch, such as 580; the CUDA version it speaks where the system does not tell (WSL); or
    `none`."""
    try:
        found = re.search(r"\s(\d{3,})\.\d", PROC_VERSION.read_text())
    except OSError:
        found = None
    if found:
        return found[1]
    try:
        version = Libcuda().number("cuDriverGetVersion")
    except (OSError, CardError):
        return "none"
    return f"cuda {version // 1000}.{version % 1000 // 10}"


class Graph:
    """Work captured from a stream once, launched as one piece. Freed by `close`."""

    def __init__(self, library: Libcuda, stream: int, enqueue: Callable[[], None]) -> None:
        """Capture what `enqueue` puts onto the stream (by handle). The stream leaves the capture whatever
        happens; then the first error passes.

        Raises:
            CardError: what was put there cannot be captured.
        """
        self._library, self._launchable = library, None
        library.call("cuStreamBeginCapture_v2", stream, CAPTURE_THREAD_LOCAL)
        failed: Exception | None = None
        try:
            enqueue()
        except Exception as error:  # raised again below, once the capture has ended
            failed = error
        try:
            graph = library.handle("cuStreamEndCapture", stream, last=True)
        except CardError as error:
            raise failed or error from None
        try:
            if failed is not None:
                raise failed
            self._launchable = library.handle("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            if graph.value:
                library.call("cuGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        """Put the captured work onto a stream."""
        self._library.call("cuGraphLaunch", self._launchable, stream)

    def close(self) -> None:
        launchable, self._launchable = self._launchable, None
        if launchable is not None:
            self._library.call("cuGraphExecDestroy", launchable)

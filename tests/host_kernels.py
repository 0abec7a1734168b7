"""kernels/*.cu compiled by g++ and run on the CPU: the very same text that a GPU runs, through
tests/data/host_cuda.h."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from legscore.system.resources import folder

HEADER = Path(__file__).parent / "data" / "host_cuda.h"
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')


def compiler() -> str | None:
    return next((found for name in ("g++", "clang++") if (found := shutil.which(name))), None)


class HostKernels:
    """Kernels by name; `launch` takes what a CUDA launch takes."""

    def __init__(self, build: Path) -> None:
        self.functions: dict[str, ctypes._NamedFuncPointer] = {}
        for source in sorted(folder("kernels").glob("*.cu")):
            names = KERNEL.findall(source.read_text())
            wrapper, library = build / f"{source.stem}.cpp", build / f"{source.stem}.so"
            wrapper.write_text(
                f'#include "{HEADER}"\n#include "{source}"\n'
                + "".join(f"HOST_KERNEL({name})\n" for name in names)
            )
            command = [
                compiler() or "g++",
                "-O1",
                "-std=c++17",
                "-ffp-contract=off",
                "-Wno-unknown-pragmas",
                "-shared",
                "-fPIC",
            ]
            subprocess.run([*command, "-o", str(library), str(wrapper)], check=True)
            loaded = ctypes.CDLL(str(library))
            self.functions |= {name: loaded[f"host_{name}"] for name in names}

    def launch(self, name: str, grid: int, block: int, arguments: Sequence[np.generic]) -> None:
        """Run a kernel over all its threads; `arguments` are numpy scalars, pointers as uintp."""
        values = [np.array([argument]) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        self.functions[name](ctypes.c_uint(grid), ctypes.c_uint(block), pointers)

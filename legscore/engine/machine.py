"""What this machine has for scoring, and what is missing for TensorRT: facts for choosing an engine and for
`legscore doctor`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from legscore.cuda.image import INSTALL, find_nvcc
from legscore.cuda.libcuda import find_gpus
from legscore.system.resources import folder

GPU_EXTRA = "legscore[gpu]"


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def missing_for_tensorrt() -> list[str]:
    """What keeps engine tensorrt from being used here, each with the way out; empty when nothing does.

    Packages are imported only where there is a GPU: that shows what is installed but does not load.
    """
    gpus, reason = find_gpus()
    missing = [] if gpus else [reason]
    lacking = [
        label
        for package, label in (("tensorrt", "TensorRT"), ("pycuda", "PyCUDA"))
        if not _installed(package)
    ]
    if lacking:
        missing.append(
            f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed: pip install "
            f"'{GPU_EXTRA}'"
        )
    elif gpus:
        for package, label in (("tensorrt", "TensorRT"), ("pycuda.driver", "PyCUDA")):
            if complaint := import_complaint(package):
                missing.append(
                    f"{label} is installed but does not load ({complaint}): pip install --force-reinstall "
                    f"'{GPU_EXTRA}'"
                )
    if not kernels_installed() and find_nvcc() is None:
        missing.append(f"the CUDA kernels are not compiled and nvcc is not here: {INSTALL}")
    return missing


def kernels_installed() -> bool:
    """Whether compiled kernels came with the installation."""
    sources = list(folder("kernels").glob("*.cu"))
    return bool(sources) and all(source.with_suffix(".fatbin").is_file() for source in sources)


def import_complaint(module: str) -> str:
    """Why a module does not import, in one line; empty when it does."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation may raise anything; what it raised is the answer
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

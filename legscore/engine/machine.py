"""What this machine has for scoring, and what is missing for TensorRT: facts for choosing an engine and for
`legscore doctor`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from pathlib import Path

from legscore.cuda.image import INSTALL, find_nvcc
from legscore.cuda.libcuda import Gpu, driver_branch, find_gpus
from legscore.engine.trt.installed import RTX, TENSORRT
from legscore.errors import EngineError, OutputError
from legscore.system.caches import private
from legscore.system.resources import cache_folder, folder

GPU_EXTRA, RTX_EXTRA = "legscore[gpu]", "legscore[gpu-rtx]"


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def missing_for_tensorrt() -> list[str]:
    """What keeps engine tensorrt from being used here, each with the way out; empty when nothing does.

    Packages are imported only where there is a GPU: that shows what is installed but does not load.
    """
    gpus, reason = find_gpus()
    missing = [] if gpus else [reason]
    is_rtx = not _installed(TENSORRT) and _installed(RTX)
    extra = RTX_EXTRA if is_rtx else GPU_EXTRA
    tensorrt = (RTX, "TensorRT-RTX") if is_rtx else (TENSORRT, "TensorRT")
    lacking = [label for package, label in (tensorrt, ("pycuda", "PyCUDA")) if not _installed(package)]
    if lacking:
        missing.append(
            f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed: pip install "
            f"'{extra}'"
        )
    elif gpus:
        broken = []
        for package, label in (tensorrt, ("pycuda.driver", "PyCUDA")):
            if complaint := import_complaint(package):
                broken.append(
                    f"{label} is installed but does not load ({complaint}): pip install --force-reinstall "
                    f"'{extra}'"
                )
        if not broken and (complaint := builder_complaint(gpus[0])):
            broken.append(complaint)
        missing += broken
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


def builder_complaint(gpu: Gpu) -> str:
    """Why TensorRT builds nothing on this GPU with this driver, and the way out; empty when it does.

    A builder is made, which is where an old driver or GPU shows; of TensorRT-RTX a plan is loaded. That takes
    seconds: where it worked, that is remembered for this TensorRT, GPU and driver.
    """
    from legscore.engine.trt import common

    marker = cache_folder("timing") / f"{common.file_stem(gpu)}-{driver_branch()}.works"
    if marker.is_file():
        return ""
    try:
        common.try_card(gpu.compute)
    except EngineError as error:
        return (
            f"{error} (compute capability {gpu.compute}, driver {driver_branch()}): install a newer "
            "driver, or the TensorRT that this GPU and driver are for"
        )
    # where the cache cannot be written, the next run looks again
    with contextlib.suppress(OSError, OutputError):
        (private(marker.parent) / marker.name).touch()
    return ""


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

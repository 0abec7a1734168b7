"""`legscore doctor`: what this machine has, the engine and precision it gets and why, and what to install for
more."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path
from typing import Any

from legscore.cuda.image import find_nvcc, nvcc_version
from legscore.cuda.libcuda import driver_branch, find_gpus
from legscore.engine.base import refusals
from legscore.engine.choose import Request, choose_recipe, preferred_engine
from legscore.engine.forms import choose_form
from legscore.engine.machine import (
    GPU_EXTRA,
    import_complaint,
    kernels_installed,
    missing_for_tensorrt,
    nvidia_driver,
)
from legscore.engine.native_library import library_state
from legscore.engine.openvino_cpu import openvino_core
from legscore.errors import EngineError
from legscore.system.resources import cache_folder
from legscore.version import __version__

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_fp16", "asimd", "bf16", "sve")
PACKAGES = {
    "TensorRT": ("tensorrt", "tensorrt"),
    "TensorRT-RTX": ("tensorrt_rtx_bindings", "tensorrt_rtx_bindings"),
    "PyCUDA": ("pycuda", "pycuda.driver"),
    "PyTorch": ("torch", "torch"),
}
"""Label → distribution, module that must load."""


def examine() -> dict[str, Any]:
    """Facts (`has`: name → text), `engine`, `precision` with their reasons, and `install`, a line for each
    thing missing."""
    gpus, reason = find_gpus()
    has: dict[str, str] = {
        "legscore": f"{__version__}, Python {platform.python_version()} on {sys.platform}",
        "CPU": _cpu(),
    }
    has["NVIDIA driver"] = driver_branch() if gpus or nvidia_driver() else "none"
    for gpu in gpus:
        has[f"GPU {gpu.number}"] = (
            f"{gpu.name}, compute capability {gpu.compute}, {gpu.multiprocessors} multiprocessors, "
            f"{gpu.memory / 1e9:.0f} GB"
        )
    if not gpus:
        has["GPU"] = reason
    has["OpenVINO"] = _package("openvino", "openvino")
    has["FP32 networks"] = _form()
    has["native engine"] = library_state()
    for label, (distribution, module) in PACKAGES.items():
        has[label] = _package(distribution, module)
    has["CUDA kernels"] = (
        "compiled" if kernels_installed() else "not compiled; the first use compiles them, with nvcc"
    )
    has["nvcc"] = _nvcc()
    has["cache"] = str(cache_folder("plans").parent)
    engine, why = preferred_engine(Request())
    recipe, precision_why = choose_recipe(Request(), engine, why)
    return {
        "has": has,
        "engine": engine,
        "engine_reason": why,
        "precision": recipe.precision,
        "precision_reason": precision_why,
        "install": _advice(engine, bool(gpus)),
    }


def _advice(engine: str, has_gpu: bool) -> list[str]:
    if engine == "tensorrt":
        return []
    if has_gpu or nvidia_driver():
        return missing_for_tensorrt()
    return [f"an NVIDIA GPU with its driver, then pip install '{GPU_EXTRA}'"]


def _package(distribution: str, module: str) -> str:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        # perhaps under another name, such as tensorrt_cu12, or from the system
        if importlib.util.find_spec(distribution) is None:
            return "not installed"
        version = ""
    complaint = import_complaint(module)
    version = version or str(getattr(sys.modules.get(distribution), "__version__", "installed"))
    return f"{version}, but it does not load ({complaint})" if complaint else version


def _form() -> str:
    try:
        with refusals("OpenVINO compiles nothing here"):
            form, why = choose_form(openvino_core(), "fp32")
    except EngineError as error:
        return str(error)
    return f"{form} form ({why})"


def _nvcc() -> str:
    nvcc = find_nvcc()
    if nvcc is None:
        return "none"
    try:
        return f"{nvcc}, {nvcc_version(nvcc)}"
    except EngineError as error:
        return f"{nvcc}, which does not run ({error})"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    wide = " ".join(flag for flag in INSTRUCTION_SETS if flag in flags)
    return f"{name}, {wide or 'no wide instructions known'}"

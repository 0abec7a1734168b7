"""Which TensorRT is installed. Importing this module imports neither."""

from __future__ import annotations

import importlib.util

TENSORRT, RTX = "tensorrt", "tensorrt_rtx_bindings"


def package() -> str:
    """The module that `trt` is: TensorRT, else TensorRT-RTX where that alone is installed."""
    return RTX if not is_installed(TENSORRT) and is_installed(RTX) else TENSORRT


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None

"""The forms in which a network can be written for GPUs, which a recipe chooses from: for TensorRT
(`gpu_graph`) and for PyTorch (`engine.torch_network`)."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = ("depthwise", "repack8", "repack16", "repack32", "native")
LAYOUTS = ("ncl", "nc1l", "hwc8")
SILU = ("sigmoid", "tanh")
TORCH_GROUPS = ("shifted", "repack8", "repack16", "repack32", "native")
TORCH_KERNELS = ("torch", "triton")
"""How engine torch writes grouped convolutions, and whose kernels it runs (`engine.torch_network`)."""
FP16_MAX = 65504.0


@dataclass(frozen=True)
class GpuForm:
    """How to write the network: precision fp16 or fp32, and one of GROUPS, LAYOUTS and SILU each."""

    precision: str = "fp16"
    groups: str = "depthwise"
    layout: str = "ncl"
    silu: str = "sigmoid"

    def __post_init__(self) -> None:
        for value, known in (
            (self.precision, ("fp16", "fp32")),
            (self.groups, GROUPS),
            (self.layout, LAYOUTS),
            (self.silu, SILU),
        ):
            if value not in known:
                raise ValueError(f"unknown form {value!r}; known are {', '.join(known)}")
        if self.layout == "hwc8" and self.precision == "fp32":
            raise ValueError("the layout hwc8 holds FP16 only")

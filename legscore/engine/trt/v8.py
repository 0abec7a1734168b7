"""TensorRT 8.6: weakly typed networks. Precision is a flag, and FP32 islands are demanded layer by layer."""

from __future__ import annotations

from typing import Any

import tensorrt as trt

CAN_REFIT = False
COMPUTING = (
    trt.LayerType.REDUCE,
    trt.LayerType.SOFTMAX,
    trt.LayerType.ELEMENTWISE,
    trt.LayerType.MATRIX_MULTIPLY,
    trt.LayerType.FULLY_CONNECTED,
    trt.LayerType.ACTIVATION,
    trt.LayerType.CONVOLUTION,
)
"""Kinds of layers whose arithmetic has a precision; shapes and constants follow."""


def make_network(builder: Any) -> Any:
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))


def configure(network: Any, config: Any, settings: Any, float_names: frozenset[str]) -> None:
    """FP16 with the named layers in FP32; tactics without cuBLAS and cuDNN, which are not installed with
    TensorRT."""
    sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
    config.set_tactic_sources(sum(1 << int(source) for source in sources))
    if settings.precision != "fp16":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if (
            layer.num_outputs
            and float_names & {layer.name, layer.get_output(0).name}
            and layer.type in COMPUTING
        ):
            layer.precision = trt.float32
            layer.set_output_type(0, trt.float32)


def scratch(engine: Any) -> int:
    return int(engine.device_memory_size)


def make_context(engine: Any, address: int, nbytes: int) -> Any:
    context = engine.create_execution_context_without_device_memory()
    if context is not None and nbytes:
        context.device_memory = address
    return context

"""TensorRT-RTX (from 1.7): strongly typed networks as in TensorRT 10, compiled in two steps.

A plan is built for a compute capability, without looking at the card; its kernels are compiled when it is
loaded. A builder needs no driver either: whether this machine can use it shows only when a plan is loaded.
"""

from __future__ import annotations

import importlib
from typing import Any

from legscore.engine.trt.installed import package
from legscore.engine.trt.v10 import CAN_REFIT, make_context, make_network, refit, scratch
from legscore.errors import EngineError
from legscore.model.onnx_model import FLOAT, Node, OnnxModel, Value

trt: Any = importlib.import_module(package())

NO_FP32_PRODUCTS = "7.5"
"""Compute capability whose plans cannot have the head's linear layer, which is FP32."""
__all__ = ["CAN_REFIT", "configure", "make_context", "make_network", "refit", "scratch", "try_card"]


def configure(network: Any, config: Any, settings: Any, float_names: frozenset[str]) -> None:
    """Build for the card's compute capability; all memory is ours, which capturing a CUDA graph needs."""
    config.num_compute_capabilities = 1
    config.set_compute_capability(_target(settings.compute), 0)
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def try_card(builder: Any, compute: str, log: Any) -> None:
    """EngineError unless a plan of one layer is built for this compute capability and loads here."""
    x, score = Value("x", FLOAT, [64]), Value("score", FLOAT, [64])
    model = OnnxModel("one layer", [Node("Sigmoid", ("x",), ("score",), "score")], {}, x, score)
    network, config = make_network(builder), builder.create_builder_config()
    parser = trt.OnnxParser(network, log)
    config.num_compute_capabilities = 1
    config.set_compute_capability(_target(compute), 0)
    plan = builder.build_serialized_network(network, config) if parser.parse(model.to_bytes()) else None
    if plan is None or trt.Runtime(log).deserialize_cuda_engine(plan) is None:
        raise EngineError(f"TensorRT-RTX {trt.__version__} cannot use this GPU and driver: {log.take()}")


def _target(compute: str) -> Any:
    """TensorRT-RTX's name of a compute capability such as 8.9. EngineError where it builds no such plans."""
    kinds = {name[2:-1] + "." + name[-1]: name for name in dir(trt.ComputeCapability) if name[:2] == "SM"}
    kinds.pop(NO_FP32_PRODUCTS, None)
    if compute not in kinds:
        raise EngineError(
            f"TensorRT-RTX {trt.__version__} builds such networks for compute capability "
            f"{', '.join(sorted(kinds, key=float))}"
        )
    return getattr(trt.ComputeCapability, kinds[compute])

"""TensorRT 10 (from 10.1) and 11: strongly typed networks. Every type follows from the graph; no precision
flag is set. TensorRT-RTX has these calls too (rtx.py)."""

from __future__ import annotations

import importlib
from typing import Any

from legscore.engine.trt.installed import package
from legscore.errors import EngineError

trt: Any = importlib.import_module(package())

CAN_REFIT = True


def make_network(builder: Any) -> Any:
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


def configure(network: Any, config: Any, settings: Any, float_names: frozenset[str]) -> None:
    """Nothing: the graph says it all."""


def scratch(engine: Any) -> int:
    return int(engine.device_memory_size_v2)


def make_context(engine: Any, address: int, nbytes: int) -> Any:
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is not None and nbytes:
        context.set_device_memory(address, nbytes)
    return context


def refit(engine: Any, onnx: bytes, log: Any) -> None:
    """Set a member's weights into an engine built with REFIT. EngineError when TensorRT refuses; the engine
    is then void."""
    refitter = trt.Refitter(engine, log)
    reader = trt.OnnxParserRefitter(refitter, log)
    if not reader.refit_from_bytes(onnx):
        errors = "; ".join(str(reader.get_error(i)) for i in range(reader.num_errors)) or log.take()
        raise EngineError(f"refit: TensorRT cannot read the weights: {' '.join(errors.split())}")
    missing = refitter.get_missing_weights()
    if missing or not refitter.refit_cuda_engine():
        lacking = f"{len(missing)} weights are missing" if missing else log.take()
        raise EngineError(f"refit: TensorRT refused ({lacking}); set tensorrt.refit to false in the recipe")

"""A TensorRT made of ONNX Runtime and the test's card, with the names of one real version and no others.

It lets the code that drives TensorRT run without a GPU: networks really compute, failures are None and False
as in the bindings, and a name that the version lacks is an AttributeError. It proves nothing about TensorRT
itself.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from conftest import REPOSITORY
from host_card import HostCard, HostStream, at

from legscore.engine.trt.installed import RTX, TENSORRT

NAMES = json.loads((REPOSITORY / "tests" / "data" / "tensorrt_names.json").read_text())


class World:
    """What the fake can be told to do wrong, and what it was asked."""

    def __init__(self, version: str, card: HostCard) -> None:
        self.version, self.card, self.others = version, card, dict[int, HostCard]()
        self.builds: list[dict[str, Any]] = []
        self.refuse_plans: set[bytes] = set()
        self.fail: str = ""
        self.during_build: Callable[[], object] = lambda: None
        self.refuses: Callable[[str], bool] = lambda call: False
        """Told of each call that reaches the card; true makes it fail."""
        self.scratch = 1000
        self.builders = self.loads = 0
        self.timings: list[bytes] = []
        number_streams(card)

    def card_of(self, number: int) -> HostCard:
        """The card of a GPU by number: `card` is the first."""
        if number == 0:
            return self.card
        if number not in self.others:
            self.others[number] = HostCard(self.card.kernels, seed=number)
            number_streams(self.others[number], 1000 * number)
        return self.others[number]

    def stream(self, handle: int) -> HostStream:
        streams = (stream for card in (self.card, *self.others.values()) for stream in card._streams)
        return next(stream for stream in streams if stream.handle == handle)


def number_streams(card: HostCard, first: int = 0) -> None:
    """Let the card's streams have handles of their own."""
    plain = card.stream

    def stream() -> HostStream:
        new = plain()
        new.handle = first + len(card._streams)
        return new

    card.stream = stream  # type: ignore[method-assign]


def make(world: World) -> ModuleType:
    trt = ModuleType(RTX if world.version.startswith("RTX") else TENSORRT)
    trt.__spec__ = ModuleSpec(trt.__name__, None)
    numbers = {"8.6.0": 8, "10.13.3.9": 10, "10.16.1.11": 10, "11.4.0.106": 11, "RTX 1.7.1.116": 11}
    major = numbers[world.version]

    def error(log: Any, text: str) -> None:
        log.log(trt.ILogger.ERROR, text)  # type: ignore[attr-defined]

    def refused(log: Any, call: str, fail: str, text: str = "") -> bool:
        """Whether a call is to fail: with its own words, or as on a card that was lost."""
        if world.fail == fail:
            if text:
                error(log, text)
            return True
        if world.refuses(call):
            error(log, f"{call}: an illegal memory access was encountered")
            return True
        return False

    class ILogger:
        ERROR = 1

    class Tensor:
        def __init__(self, name: str, dtype: Any) -> None:
            self.name, self.dtype, self.allowed_formats = name, dtype, 1

    class Layer:
        num_outputs = 1

        def __init__(self, node: Any) -> None:
            self.name, self.precision, self.out = node.name, None, None
            kinds = {
                "ReduceMean": "REDUCE",
                "Softmax": "SOFTMAX",
                "Conv": "CONVOLUTION",
                "Mul": "ELEMENTWISE",
            }
            self.type = (
                getattr(trt.LayerType, kinds[node.op_type])
                if major == 8 and node.op_type in kinds
                else "OTHER"
            )
            self._output = Tensor(node.output[0], None)

        def get_output(self, i: int) -> Tensor:
            return self._output

        def set_output_type(self, i: int, dtype: Any) -> None:
            self.out = dtype

    class Network:
        onnx: bytes = b""

        def get_input(self, i: int) -> Tensor:
            return self.inputs[i]

        def get_layer(self, i: int) -> Layer:
            return self.layers[i]

        def read(self, data: bytes) -> None:
            self.onnx, model = data, onnx.load_from_string(data)
            self.inputs = [Tensor("x", model.graph.input[0].type.tensor_type.elem_type)]
            self.layers = [Layer(node) for node in model.graph.node]
            self.num_layers = len(self.layers)

    class Cache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self) -> bytes:
            return self.data

        def combine(self, other: Any, ignore_mismatch: bool) -> bool:
            parts = {data[i : i + 4] for data in (self.data, other.data) for i in range(4, len(data), 4)}
            self.data = b"".join([b"time", *sorted(parts)])
            return True

    class Config:
        def __init__(self) -> None:
            self.on: set[str] = {"TF32"}
            self.sources = 0
            self.builder_optimization_level, self.max_aux_streams = 3, 0
            self.timing = Cache(b"")
            self.compute = ""

        def set_compute_capability(self, compute: str, index: int) -> None:
            assert (self.num_compute_capabilities, index) == (1, 0)
            self.compute = compute

        def set_flag(self, flag: str) -> None:
            assert not (major > 8 and flag in ("FP16", "OBEY_PRECISION_CONSTRAINTS")), (
                "refused by strongly typed networks"
            )
            self.on.add(flag)

        def clear_flag(self, flag: str) -> None:
            self.on.discard(flag)

        def set_tactic_sources(self, mask: int) -> None:
            self.sources = mask

        def create_timing_cache(self, data: bytes) -> Cache | None:
            return Cache(data)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            self.timing = cache
            return cache.data == b"" or cache.data.startswith(b"time")

        def get_timing_cache(self) -> Cache:
            return (
                Cache(self.timing.data + f"{len(world.builds):04d}".encode())
                if self.timing.data
                else Cache(b"time")
            )

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log
            world.builders += 1
            text = "CUDA initialization failure with error: 35"
            if refused(log, "createInferBuilder", "no driver", text):
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> Network:
            assert flags == {8: 1, 10: 2, 11: 1}[major]
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            text = "Could not find any implementation for node conv_5."
            if refused(self.log, "buildSerializedNetwork", "build", text):
                return None
            with contextlib.suppress(BaseException):  # as the bindings do with whatever the log raises
                world.during_build()
                self.log.log(4, "a tactic was timed")
            fp32 = [layer.name for layer in network.layers if layer.precision is not None]
            world.timings.append(config.timing.data)
            world.builds.append(
                {
                    "flags": set(config.on),
                    "sources": config.sources,
                    "level": config.builder_optimization_level,
                    "aux": config.max_aux_streams,
                    "formats": network.inputs[0].allowed_formats,
                    "fp32": fp32,
                    "compute": config.compute,
                }
            )
            return (
                len(world.builds).to_bytes(4, "big")
                + bytes([network.inputs[0].allowed_formats])
                + network.onnx
            )

    class Parser:
        def __init__(self, network: Network, log: Any) -> None:
            self.network, self.num_errors = network, 0

        def parse(self, data: bytes) -> bool:
            if world.fail == "parse":
                self.num_errors = 1
                return False
            self.network.read(data)
            return True

        def get_error(self, i: int) -> str:
            return "In node 3 with name: conv_3 and operator: Conv: UNSUPPORTED_NODE"

    class Context:
        def __init__(self, engine: Any) -> None:
            self.engine, self.addresses, self.memory = engine, dict[str, int](), 0

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return address % 256 == 0

        def set_device_memory(self, address: int, nbytes: int) -> None:
            assert nbytes >= world.scratch
            self.device_memory = address

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "device_memory":
                assert value % 256 == 0
                name = "memory"
            object.__setattr__(self, name, value)

        def execute_async_v3(self, handle: int) -> bool:
            assert self.memory, "no scratch was given"
            if refused(self.engine.log, "enqueueV3", "enqueue", "enqueueV3: invalid argument"):
                return False
            stream = world.stream(handle)
            stream.card.queue(stream, self._run)
            return True

        def _run(self) -> None:
            session = self.engine.session
            given, n = session.get_inputs()[0], session.get_inputs()[0].shape[0]
            kind = np.float16 if given.type == "tensor(float16)" else np.float32
            shape = tuple(given.shape)
            if self.engine.hwc8:
                stored = at(self.addresses["x"], n * shape[-1] * 16).view(kind).reshape(n, 1, shape[-1], 8)
                x = np.ascontiguousarray(stored.transpose(0, 3, 1, 2)[:, : shape[1]])
            else:
                nbytes = int(np.prod(shape)) * np.dtype(kind).itemsize
                x = at(self.addresses["x"], nbytes).view(kind).reshape(shape).copy()
            score = session.run(None, {"x": x})[0]
            at(self.addresses["score"], score.nbytes)[:] = score.reshape(-1).view(np.uint8)

    class Engine:
        num_io_tensors = 2
        device_memory_size = device_memory_size_v2 = property(lambda self: world.scratch)

        def __init__(self, plan: bytes, log: Any) -> None:
            self.log, self.plan = log, plan
            self.hwc8 = plan[4] == 1 << 2
            self.set(plan[5:])

        def set(self, data: bytes) -> None:
            self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

        def get_tensor_name(self, i: int) -> str:
            return ("x", "score")[i]

        def create_execution_context(self, strategy: str = "STATIC") -> Context | None:
            assert strategy == "USER_MANAGED"
            return None if refused(self.log, "createExecutionContext", "context") else Context(self)

        def create_execution_context_without_device_memory(self) -> Context:
            return Context(self)

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            text = "CUDA driver version is insufficient"
            if refused(self.log, "deserializeCudaEngine", "load", text):
                return None
            if plan[:4] in world.refuse_plans:
                error(
                    self.log,
                    "The engine plan file is not compatible with this version of TensorRT, please rebuild.",
                )
                return None
            world.loads += 1
            return Engine(plan, self.log)

    class Refitter:
        def __init__(self, engine: Engine, log: Any) -> None:
            self.engine, self.data = engine, b""

        def get_missing_weights(self) -> list[str]:
            return ["const_3"] if world.fail == "missing weights" else []

        def refit_cuda_engine(self) -> bool:
            if world.fail != "wrong refit":
                self.engine.set(self.data)
            return True

    class OnnxParserRefitter:
        num_errors = 0

        def __init__(self, refitter: Refitter, log: Any) -> None:
            self.refitter = refitter

        def refit_from_bytes(self, data: bytes) -> bool:
            self.refitter.data = data
            return True

        def get_error(self, i: int) -> str:
            return ""

    classes = {
        "ILogger": ILogger, "Builder": Builder, "INetworkDefinition": Network, "OnnxParser": Parser, "IBuilderConfig": Config,
        "Runtime": Runtime, "ICudaEngine": Engine, "IExecutionContext": Context, "ILayer": Layer, "ITimingCache": Cache,
        "Refitter": Refitter, "OnnxParserRefitter": OnnxParserRefitter, "ITensor": Tensor,
    }  # fmt: skip
    every = set().union(*(set(owners) for owners in NAMES.values()))
    for owner, kind in classes.items():
        for name in set().union(*(set(owners.get(owner, ())) for owners in NAMES.values())):
            if name not in NAMES[world.version].get(owner, ()) and name in vars(kind):
                delattr(kind, name)
        if owner in NAMES[world.version][""] or owner not in every:
            setattr(trt, owner, kind)
    values = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": {8: 0, 10: 1, 11: 0}[major], "HWC8": 2} | (
        {"EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4} if major < 11 else {}
    )
    for owner in NAMES[world.version][""]:
        if owner not in classes and owner not in ("float16", "float32"):
            members = NAMES[world.version].get(owner, ())
            setattr(trt, owner, type(owner, (), {name: values.get(name, name) for name in members}))
    trt.float32 = "float32"  # type: ignore[attr-defined]
    trt.__version__ = world.version.removeprefix("RTX ")  # type: ignore[attr-defined]
    return trt


OVER_TENSORRT = (
    "legscore.engine.tensorrt_engine",
    "legscore.engine.tensorrt_plans",
    "legscore.generate.tensorrt_denoiser",
)
"""Modules that hold on to what they imported from a TensorRT."""


def install(world: World, monkeypatch: Any) -> None:
    """Let `import tensorrt` and the card of `legscore.cuda.driver` be the fakes, for one test."""
    driver = ModuleType("legscore.cuda.driver")
    driver.PyCudaCard = lambda gpu, say: world.card_of(gpu.number)  # type: ignore[attr-defined]
    for name in [*sys.modules]:
        if name.startswith("legscore.engine.trt") or name in OVER_TENSORRT:
            monkeypatch.delitem(sys.modules, name)
    made = make(world)
    for name in (TENSORRT, RTX):  # None: not installed
        monkeypatch.setitem(sys.modules, name, made if made.__name__ == name else None)
    monkeypatch.setitem(sys.modules, "legscore.cuda.driver", driver)

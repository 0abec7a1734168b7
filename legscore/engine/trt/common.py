"""TensorRT: what 8.6, 10 and 11 do alike. Nothing in it raises by itself: failures are None or False and a
logged line.

Importing this module needs TensorRT.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import tensorrt as trt

from legscore.cuda.card import CallError
from legscore.cuda.libcuda import Gpu
from legscore.engine.plans import Stored, TimingCache
from legscore.errors import EngineError

KEPT_LINES = 4
INPUT, OUTPUT = "x", "score"


class Log(trt.ILogger):  # type: ignore[misc]  # TensorRT has no types
    """Keeps the last errors of each thread for the exception that follows; prints nothing, since standard
    output may be the user's table."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._lock = threading.Lock()
        self._lines: collections.deque[tuple[int, str]] = collections.deque(maxlen=64)

    def log(self, severity: Any, msg: str) -> None:
        if int(severity) <= int(trt.ILogger.ERROR):
            with self._lock:
                self._lines.append((threading.get_ident(), msg))

    def take(self) -> str:
        """This thread's last errors (any thread's, where it has none) in one line, and forget them."""
        with self._lock:
            own = [text for thread, text in self._lines if thread == threading.get_ident()]
            found = own or [text for _, text in self._lines]
            self._lines.clear()
        return " | ".join(" ".join(text.split()) for text in found[-KEPT_LINES:]) or "no message"


LOG = Log()
"""TensorRT takes the first logger of a process for good."""


def version() -> str:
    """TensorRT's full version."""
    return str(trt.__version__)


def file_stem(gpu: Gpu) -> str:
    """Name of what is kept for this kind of GPU and this TensorRT."""
    words = f"{gpu.name}-{gpu.compute}-{version()}"
    return "".join(letter if letter.isalnum() else "-" for letter in words)


def differences() -> ModuleType:
    """The module for the installed version: v8 (8.6) or v10 (10.1 and newer, 11). EngineError for others."""
    numbers = tuple(int(number) for number in version().split(".")[:2])
    if "rtx" in trt.__name__:  # TensorRT-RTX counts its versions anew; its API is that of TensorRT 10
        return importlib.import_module("legscore.engine.trt.v10")
    if numbers >= (10, 1) and numbers < (12, 0):
        return importlib.import_module("legscore.engine.trt.v10")
    if numbers[0] == 8 and numbers >= (8, 6):
        return importlib.import_module("legscore.engine.trt.v8")
    raise EngineError(
        f"TensorRT {version()} is not supported; install 8.6, 10 (from 10.1) or 11: pip install "
        "'legscore[gpu]'"
    )


@dataclass(frozen=True)
class Settings:
    """What reaches the builder, beside the graph."""

    precision: str
    layout: str
    optimization_level: int
    aux_streams: int
    tf32: bool
    refit: bool


_HELD = threading.local()


@contextlib.contextmanager
def one_builder() -> Iterator[None]:
    """Within, this thread builds all plans with one builder: each takes seconds to make."""
    _HELD.keep = True
    try:
        yield
    finally:
        _HELD.keep, _HELD.builder = False, None


def make_builder() -> Any:
    """A builder, or the one that this thread holds. EngineError when TensorRT makes none here."""
    held = getattr(_HELD, "builder", None)
    if held is not None:
        return held
    try:
        made = trt.Builder(LOG)
    except TypeError:  # what a failed factory looks like
        raise EngineError(f"TensorRT {version()} cannot use this GPU and driver: {LOG.take()}") from None
    if getattr(_HELD, "keep", False):
        _HELD.builder = made
    return made


def build(
    onnx: bytes, float_names: frozenset[str], settings: Settings, timings: TimingCache
) -> tuple[Stored, Any]:
    """Build a plan from a graph of fixed shapes, and load it.

    Args:
        onnx: the graph.
        float_names: of nodes that stay FP32 in an FP16 graph (8.6 must be told; later versions read it from
            the graph).

    Returns:
        The plan, and its engine.

    Raises:
        EngineError: with TensorRT's last errors.
    """
    stored = Stored(compile_plan(onnx, float_names, settings, timings), {})
    engine = load(stored)
    if engine is None:
        raise EngineError(f"TensorRT {version()} does not load the plan it just built: {LOG.take()}")
    return Stored(stored.plan, {"scratch": int(differences().scratch(engine))}), engine


def compile_plan(
    onnx: bytes,
    float_names: frozenset[str],
    settings: Settings,
    timings: TimingCache,
    before: Callable[[Any, Any], None] = lambda network, config: None,
) -> bytes:
    """The bytes of a plan; see `build`.

    Args:
        before: called with the network and the builder's configuration just before the build: to look at
            them, or to choose a card that is not here.
    """
    versions, builder = differences(), make_builder()
    network = versions.make_network(builder)
    parser = trt.OnnxParser(network, LOG)
    if not parser.parse(onnx):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)) or LOG.take()
        raise EngineError(f"TensorRT {version()} cannot read the graph: {' '.join(errors.split())}")
    config = builder.create_builder_config()
    _configure(network, config, settings)
    versions.configure(network, config, settings.precision, float_names)
    before(network, config)
    cache = config.create_timing_cache(timings.read())
    if cache is None or not config.set_timing_cache(cache, False):  # another version's or GPU's: start afresh
        cache = config.create_timing_cache(b"")  # held until the build is done: the config does not own it
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT {version()} cannot build this network in {settings.precision}: {LOG.take()}; another "
            "tensorrt.groups in a recipe may build"
        )

    def combine(theirs: bytes, ours: bytes) -> bytes:
        first, second = config.create_timing_cache(theirs), config.create_timing_cache(ours)
        if first is None or second is None or not first.combine(second, False):
            return ours
        return bytes(first.serialize())

    timings.merge(bytes(config.get_timing_cache().serialize()), combine)
    return bytes(plan)


def _configure(network: Any, config: Any, settings: Settings) -> None:
    config.builder_optimization_level = settings.optimization_level
    config.max_aux_streams = settings.aux_streams
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.refit:
        config.set_flag(trt.BuilderFlag.REFIT)
    if settings.layout == "hwc8":
        network.get_input(0).allowed_formats = 1 << int(trt.TensorFormat.HWC8)


def load(stored: Stored) -> Any | None:
    """A plan as an engine, its weights on the card; None when TensorRT does not take it."""
    try:
        runtime = trt.Runtime(LOG)
    except TypeError:
        raise EngineError(f"TensorRT {version()} cannot use this GPU and driver: {LOG.take()}") from None
    engine = runtime.deserialize_cuda_engine(stored.plan)
    if engine is None:
        return None
    names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    return engine if names == {INPUT, OUTPUT} else None


def bind(engine: Any, x: int, score: int, scratch: int, nbytes: int) -> Any:
    """An execution context that reads at address `x`, writes at `score` and uses the scratch. EngineError
    when refused."""
    context = differences().make_context(engine, scratch, nbytes)
    if context is None:
        raise EngineError(f"TensorRT made no context, probably for lack of memory: {LOG.take()}")
    if not (context.set_tensor_address(INPUT, x) and context.set_tensor_address(OUTPUT, score)):
        raise EngineError(f"TensorRT refused an address: {LOG.take()}")
    return context


def enqueue(context: Any, stream: int) -> None:
    """Put one pass onto a stream, by handle. CallError when TensorRT refuses."""
    if not context.execute_async_v3(stream):
        raise CallError(f"TensorRT did not run a pass: {LOG.take()}")

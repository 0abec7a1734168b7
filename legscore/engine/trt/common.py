"""TensorRT: what 8.6, 10, 11 and TensorRT-RTX do alike. Nothing in it raises by itself: failures are None or
False and a logged line.

Importing this module needs TensorRT or TensorRT-RTX.
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

from legscore.cuda.card import CallError
from legscore.cuda.libcuda import Gpu
from legscore.engine.plans import Stored, TimingCache
from legscore.engine.trt.installed import package
from legscore.errors import EngineError

trt: Any = importlib.import_module(package())

KEPT_LINES = 4
INPUT, OUTPUT = "x", "score"


class Log(trt.ILogger):
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


MODULES = (
    ("legscore.engine.trt.v8", False, (8, 6), (9,)),
    ("legscore.engine.trt.v10", False, (10, 1), (12,)),
    ("legscore.engine.trt.rtx", True, (1, 7), (2,)),
)
"""Module, whether it is TensorRT-RTX's, versions from and below."""
LOG = Log()
"""TensorRT takes the first logger of a process for good."""


def version() -> str:
    """TensorRT's full version, such as 11.4.0.106, or `RTX 1.7.1.116` of TensorRT-RTX."""
    return f"RTX {trt.__version__}" if "rtx" in trt.__name__ else str(trt.__version__)


def title() -> str:
    """Name and full version, for messages."""
    return f"TensorRT-{version()}" if version().startswith("RTX ") else f"TensorRT {version()}"


def file_stem(gpu: Gpu) -> str:
    """Name of what is kept for this kind of GPU and this TensorRT."""
    words = f"{gpu.name}-{gpu.compute}-{version()}"
    return "".join(letter if letter.isalnum() else "-" for letter in words)


def differences() -> ModuleType:
    """The module for what is installed: v8 (8.6), v10 (10.1 and newer, 11), rtx (from 1.7). EngineError for
    others."""
    is_rtx, numbers = version().startswith("RTX "), _numbers(version().removeprefix("RTX "))
    for name, rtx, least, below in MODULES:
        if rtx == is_rtx and least <= numbers < below:
            return importlib.import_module(name)
    known = "TensorRT-RTX from 1.7" if is_rtx else "8.6, 10 (from 10.1) or 11"
    extra = "legscore[gpu-rtx]" if is_rtx else "legscore[gpu]"
    raise EngineError(f"{title()} is not supported; install {known}: pip install '{extra}'")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".")[:2])


def try_card(compute: str) -> None:
    """EngineError unless TensorRT works with a GPU of this compute capability and the driver here."""
    found, builder = differences(), make_builder()
    if hasattr(found, "try_card"):
        found.try_card(builder, compute, LOG)


@dataclass(frozen=True)
class Settings:
    """What reaches the builder, beside the graph."""

    precision: str
    layout: str
    optimization_level: int
    aux_streams: int
    tf32: bool
    refit: bool
    compute: str = ""
    """Compute capability of the card, such as 8.9; TensorRT-RTX alone must be told."""


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
        raise EngineError(f"{title()} cannot use this GPU and driver: {LOG.take()}") from None
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
        raise EngineError(f"{title()} does not load the plan it just built: {LOG.take()}")
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
        raise EngineError(f"{title()} cannot read the graph: {' '.join(errors.split())}")
    config = builder.create_builder_config()
    _configure(network, config, settings)
    versions.configure(network, config, settings, float_names)
    before(network, config)
    cache = config.create_timing_cache(timings.read())
    if cache is None or not config.set_timing_cache(cache, False):  # another version's or GPU's: start afresh
        cache = config.create_timing_cache(b"")  # held until the build is done: the config does not own it
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{title()} cannot build this network in {settings.precision}: {LOG.take()}; another "
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
        raise EngineError(f"{title()} cannot use this GPU and driver: {LOG.take()}") from None
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

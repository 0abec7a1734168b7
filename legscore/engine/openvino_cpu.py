"""What OpenVINO is told of a CPU: precision, streams and threads, by the recipe. Importing this module is
light."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from legscore.engine.recipe import Recipe
from legscore.errors import EngineError
from legscore.system.cores import usable_cores


@functools.cache
def openvino_core() -> Any:
    """The openvino.Core of this process, kept for its life.

    OpenVINO gives the thread that makes one a stack for signals, and frees it with the core. Where another
    thread frees the core (such as a garbage collection), the first one keeps the address, and the next
    Ctrl-C ends the process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


@dataclass(frozen=True)
class OpenVINOCpu:
    """OpenVINO's core with what a recipe asks of it.

    Attributes:
        core: an openvino.Core.
        batch: rows of a request.
        streams: requests that run at once.
        threads: cores that they share.
        settings: the same for `core.compile_model`.
        capabilities: what the CPU computes in, as OpenVINO names it.
    """

    core: Any
    batch: int
    streams: int
    threads: int
    settings: dict[Any, Any]
    capabilities: list[str]
    name: str
    version: str

    @classmethod
    def of(cls, recipe: Recipe) -> OpenVINOCpu:
        """This machine's CPU as a recipe uses it. EngineError when it lacks the precision."""
        import openvino
        from openvino import properties

        core = openvino_core()
        capabilities = sorted(core.get_property("CPU", properties.device.capabilities))
        if recipe.precision == "bf16" and "BF16" not in capabilities:
            raise EngineError("precision bf16: this CPU has no bf16 instructions; use --precision fp32")
        threads, wanted = usable_cores(), recipe.get("openvino", "streams")
        streams = threads if wanted == "cores" else min(int(wanted), threads)
        kind = openvino.Type.bf16 if recipe.precision == "bf16" else openvino.Type.f32
        settings = {
            properties.hint.inference_precision: kind,
            properties.num_streams: streams,
            properties.inference_num_threads: threads,
        }
        name = core.get_property("CPU", properties.device.full_name)
        batch = int(recipe.get("openvino", "batch"))
        return cls(core, batch, streams, threads, settings, capabilities, name, openvino.get_version())

    def queue(self, network: Any, store: Any) -> Any:
        """Requests for a compiled network; `store(request, userdata)` takes what one gives."""
        import openvino

        queue = openvino.AsyncInferQueue(network, self.streams + 1)
        queue.set_callback(store)
        return queue

"""A generator on the CPU through OpenVINO.

The network with its softmax is one compiled graph, run in requests of a fixed batch on as many streams as
cores.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from legscore.engine.openvino_cpu import OpenVINOCpu
from legscore.engine.recipe import Recipe
from legscore.generate.host_denoiser import HostDenoiser
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import build_graph


class OpenVINODenoiser(HostDenoiser):
    """See `legscore.generate.sample.Denoiser`."""

    name = "openvino"

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Lower and compile. EngineError when the CPU lacks the precision."""
        cpu = OpenVINOCpu.of(recipe)
        self.cpu, self.batch, self.precision = cpu, cpu.batch, recipe.precision
        super().__init__(checkpoint.contract.length)
        graph = build_graph(checkpoint, rank=4, probabilities=True)
        model = cpu.core.read_model(graph.to_bytes())
        model.reshape({"x": [self.batch, len(checkpoint.contract.channels), self.length]})
        self._queue = cpu.queue(cpu.core.compile_model(model, "CPU", cpu.settings), _store)

    def _run(self) -> None:
        began = time.perf_counter()
        try:
            for first in range(0, len(self._x), self.batch):
                rows = slice(first, first + self.batch)
                self._queue.start_async({0: self._x[rows]}, self._out[rows])
        finally:  # requests write into this batch's array; none may be left running
            self._queue.wait_all()
        self.engine_s += time.perf_counter() - began

    def describe(self) -> dict[str, Any]:
        """What defines the designs, for the output's metadata."""
        return {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "openvino": self.cpu.version,
            "cpu": self.cpu.name,
        }

    def close(self) -> None:
        """Release the compiled network."""
        del self._queue


def _store(request: Any, out: np.ndarray) -> None:
    out[:] = request.get_output_tensor(0).data

"""A generator on the CPU through OpenVINO: the network with its softmax is one compiled graph, in requests of
a fixed batch on as many streams as cores. Shuffling and random numbers are numpy's, a few percent of the
time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from legscore.dna.contract import BASES
from legscore.engine.recipe import Recipe
from legscore.errors import EngineError
from legscore.generate.draws import PERMUTATIONS, drawn, shuffles
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import build_graph
from legscore.system.cores import usable_cores


class OpenVINODenoiser:
    """See `legscore.generate.sample.Denoiser`."""

    name = "openvino"

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Lower and compile. EngineError when the CPU lacks the precision."""
        import openvino
        from openvino import properties

        core = openvino.Core()
        self.precision, self.length, self.engine_s = recipe.precision, checkpoint.contract.length, 0.0
        if self.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", properties.device.capabilities
        ):
            raise EngineError("precision bf16: this CPU has no bf16 instructions; use --precision fp32")
        self.batch, threads = int(recipe.get("openvino", "batch")), usable_cores()
        wanted = recipe.get("openvino", "streams")
        streams = threads if wanted == "cores" else min(int(wanted), threads)
        settings = {
            properties.hint.inference_precision: openvino.Type.bf16
            if self.precision == "bf16"
            else openvino.Type.f32,
            properties.num_streams: streams,
            properties.inference_num_threads: threads,
        }
        model = core.read_model(build_graph(checkpoint, rank=4, probabilities=True).SerializeToString())
        model.reshape({"x": [self.batch, len(checkpoint.contract.channels), self.length]})
        self._queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", settings), streams + 1)
        self._queue.set_callback(_store)
        self._versions = {
            "openvino": openvino.get_version(),
            "cpu": core.get_property("CPU", properties.device.full_name),
        }
        self._x = self._out = np.empty((0, 0, 0), dtype=np.float32)
        self._seeds = np.empty(0, dtype=np.int64)

    def begin(self, bases_N4L: np.ndarray, target_N: np.ndarray, seed_N: np.ndarray) -> None:
        n, four = len(bases_N4L), len(BASES)
        rows = -(-n // self.batch) * self.batch
        self._x = np.zeros((rows, four + 2, self.length), dtype=np.float32)
        self._x[:n, four] = np.asarray(target_N, dtype=np.float32)[:, None]
        self._out = np.zeros((rows, four, self.length), dtype=np.float32)
        self._seeds = np.asarray(seed_N, dtype=np.int64)
        self.put(bases_N4L)

    def step(self, number: int, n_mutations: int, told: int, draw: bool = False) -> None:
        n = len(self._seeds)
        order_NL = shuffles(self._seeds, number, n_mutations, self.length)
        at_n, at_l = np.nonzero(order_NL)
        self._x[:, :4] = self._out
        moved = self._out[at_n, :, at_l]
        self._x[at_n, :4, at_l] = np.take_along_axis(moved, PERMUTATIONS[order_NL[at_n, at_l]], axis=1)
        self._x[:n, 5] = told
        self._run()
        if draw:
            self._out[:n] = drawn(self._seeds, number, self._out[:n])

    def _run(self) -> None:
        began = time.perf_counter()
        try:
            for first in range(0, len(self._x), self.batch):
                rows = slice(first, first + self.batch)
                self._queue.start_async({0: self._x[rows]}, self._out[rows])
        finally:  # requests write into this batch's array; none may be left running
            self._queue.wait_all()
        self.engine_s += time.perf_counter() - began

    def probabilities(self, x_N6L: np.ndarray) -> np.ndarray:
        """The network alone: float32 [N, 6, L] → probabilities [N, 4, L]; for comparing engines."""
        self.begin(x_N6L[:, :4], x_N6L[:, 4, 0], np.zeros(len(x_N6L)))
        self._x[: len(x_N6L)] = x_N6L
        self._run()
        return self.bases()

    def bases(self) -> np.ndarray:
        return self._out[: len(self._seeds)].copy()

    def put(self, bases_N4L: np.ndarray) -> None:
        self._out[: len(bases_N4L)] = bases_N4L

    def describe(self) -> dict[str, Any]:
        """What defines the designs, for the output's metadata."""
        return {"engine": self.name, "precision": self.precision, "batch": self.batch, **self._versions}

    def close(self) -> None:
        """Release the compiled network."""
        del self._queue


def _store(request: Any, out: np.ndarray) -> None:
    out[:] = request.get_output_tensor(0).data

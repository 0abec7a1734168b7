"""A generator on the CPU through OpenVINO.

The network with its softmax is one compiled graph, run in requests of a fixed batch on as many streams as
cores. Shuffling and random numbers are numpy's and take a few percent of the time.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from legscore.dna.contract import BASES
from legscore.engine.openvino_cpu import OpenVINOCpu
from legscore.engine.recipe import Recipe
from legscore.generate.draws import PERMUTATIONS, drawn, shuffles
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import build_graph


class OpenVINODenoiser:
    """See `legscore.generate.sample.Denoiser`."""

    name = "openvino"

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Lower and compile. EngineError when the CPU lacks the precision."""
        cpu = OpenVINOCpu.of(recipe)
        self.cpu, self.batch, self.precision = cpu, cpu.batch, recipe.precision
        self.length, self.engine_s = checkpoint.contract.length, 0.0
        graph = build_graph(checkpoint, rank=4, probabilities=True)
        model = cpu.core.read_model(graph.to_bytes())
        model.reshape({"x": [self.batch, len(checkpoint.contract.channels), self.length]})
        self._queue = cpu.queue(cpu.core.compile_model(model, "CPU", cpu.settings), _store)
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

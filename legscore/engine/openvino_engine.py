"""OpenVINO on the CPU: the engine that runs anywhere after one `pip install`.

One compiled network a member, all members over a tile of windows in turn, requests of a fixed batch (tails padded with
zeros) on as many streams as cores. Compiling takes about 0.15 s a member and reading a compiled blob back (7.6 MB) 0.05 to
0.1 s, too little to keep blobs for; only the fidelity record is cached. Scores do not depend on the batch's neighbours,
the stream or the order (bit-equal for batches 2-64).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from legscore.batch import Batch
from legscore.encode import strands
from legscore.engine.base import ThreadedEngine
from legscore.engine.recipe import Recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import REWRITE_VERSION, build_graph

TILE_WINDOWS = 256
"""Windows encoded at once: 256 × 2 strands × 6 × 150 floats = 1.8 MB, which stays in cache while members read it."""


class OpenVINOEngine(ThreadedEngine):
    """Runs an ensemble on the CPU."""

    name = "openvino"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        recipe: Recipe,
        *,
        both_strands: bool,
        is_singleton: bool = False,
        form: str = "rewritten",
    ) -> None:
        """Lower and compile every member. EngineError when the CPU lacks the precision."""
        super().__init__(members[0].contract, both_strands=both_strands, is_singleton=is_singleton)
        import openvino
        from openvino import properties

        core = openvino.Core()
        self.recipe, self.precision, self.n_members = recipe, recipe.precision, len(members)
        self.versions = {"openvino": openvino.get_version()}
        self.cpu = core.get_property("CPU", properties.device.full_name)
        self.capabilities = sorted(core.get_property("CPU", properties.device.capabilities))
        if self.precision == "bf16" and "BF16" not in self.capabilities:
            raise EngineError("precision bf16: this CPU has no bf16 instructions; use --precision fp32")
        self.batch = int(recipe.get("openvino", "batch"))
        wanted = recipe.get("openvino", "streams")
        threads = usable_cores()
        self.streams = threads if wanted == "cores" else min(int(wanted), threads)
        kind = openvino.Type.bf16 if self.precision == "bf16" else openvino.Type.f32
        settings = {
            properties.hint.inference_precision: kind,
            properties.num_streams: self.streams,
            properties.inference_num_threads: threads,
        }
        self._queues: list[Any] = []
        for member in members:
            model = core.read_model(build_graph(member, form, rank=3 if form == "plain" else 4).SerializeToString())
            model.reshape({"x": [self.batch, len(self.contract.channels), self.contract.length]})
            queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", settings), self.streams + 1)
            queue.set_callback(_store)
            self._queues.append(queue)

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Callable[[int], None]) -> np.ndarray:
        try:
            return self._score_tiles(batch, members, both, tell)
        finally:  # requests write into arrays of this call; none may be left running
            for member in set(members):
                self._queues[member].wait_all()

    def _score_tiles(self, batch: Batch, members: list[int], both: bool, tell: Callable[[int], None]) -> np.ndarray:
        tiles = []
        for start in range(0, batch.n_windows, TILE_WINDOWS):
            codes = batch.expand(start, start + TILE_WINDOWS)
            used = len(codes) * (2 if both else 1)
            rows = -(-used // self.batch) * self.batch
            x = strands(codes, self.contract, both=both, is_singleton=self.is_singleton, rows=rows)
            rows_MR = np.empty((len(members), rows), dtype=np.float32)
            for m, member in enumerate(members):
                queue = self._queues[member]
                for begin in range(0, rows, self.batch):
                    queue.start_async({0: x[begin : begin + self.batch]}, rows_MR[m, begin : begin + self.batch])
                tell(len(codes))
            tiles.append((rows_MR, len(codes)))
        for member in set(members):
            self._queues[member].wait_all()
        scores = [self.average(rows_MR, n, both) for rows_MR, n in tiles]
        return np.concatenate(scores, axis=1) if scores else np.empty((len(members), 0), np.float32)

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "rewrite": REWRITE_VERSION,
            "cpu": self.cpu,
            "capabilities": self.capabilities,
            **self.versions,
        }

    def close(self) -> None:
        super().close()
        self._queues = []


def _store(request: Any, out: np.ndarray) -> None:
    out[:] = request.get_output_tensor(0).data


def usable_cores() -> int:
    """Cores this process may run on (affinity respected, as in containers)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

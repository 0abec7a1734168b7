"""OpenVINO on the CPU: the engine that runs anywhere after one `pip install`.

Members are compiled in networks of a few (the recipe's `joined`, 10): one input, one output a member,
activations shared, so that an extra member costs less memory (27 MB in FP32: `bench/ensemble.py`) with the
same bits. `separate_members` compiles each alone, for runs whose rows take different members. With `cache`,
compiled networks are kept there (`networks.py`). All networks go over a tile of windows in turn, in requests
of a fixed batch (tails padded with zeros) on as many streams as cores. Scores do not depend on the batch's
neighbours, the stream or the order (bit-equal for batches 2-64).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine, consecutive, refusals
from legscore.engine.forms import FORMS, SETTINGS, choose_form
from legscore.engine.networks import Networks
from legscore.engine.openvino_cpu import OpenVINOCpu
from legscore.engine.recipe import Recipe
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import REWRITE_VERSION, build_graph
from legscore.system.allocator import trim
from legscore.system.log import Say

TILE_WINDOWS = 256
"""Windows encoded at once: 256 × 2 strands × 6 × 150 floats = 1.8 MB, which stays in cache while members read
it."""

SETTLE_S = 0.03
"""How long the threads of requests are given to end before networks are freed."""


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
        form: str | None = None,
        separate_members: bool = False,
        cache: Path | None = None,
        say: Say = lambda line: None,
    ) -> None:
        """Lower and compile every member, in networks of a few or, with `separate_members`, one by one.

        Args:
            form: one of `forms.FORMS`; the one that suits the CPU by default.

        Raises:
            EngineError: the CPU lacks the precision.
        """
        super().__init__(members[0].contract, both_strands=both_strands, is_singleton=is_singleton)
        cpu = OpenVINOCpu.of(recipe)
        self.recipe, self.precision, self.n_members = recipe, recipe.precision, len(members)
        self.cpu, self.batch, self.streams = cpu, cpu.batch, cpu.streams
        self.form, self.form_reason = (form, "asked for") if form else choose_form(cpu.core, self.precision)
        written, rank, lowering = FORMS[self.form]
        self.computed_together = consecutive(
            len(members), 1 if separate_members else int(recipe.get("openvino", "joined"))
        )
        shape = [self.batch, len(self.contract.channels), self.contract.length]
        key = {
            **self.describe(),
            "streams": cpu.streams,
            "threads": cpu.threads,
            "rank": rank,
            "shape": shape,
        }
        networks = Networks(cpu.core, {**SETTINGS.get(self.form, {}), **cpu.settings}, key, cache, say)

        def lowered(group: list[int]) -> Any:
            models = []
            for m in group:
                graph = build_graph(members[m], written, rank=rank, lowering=lowering)
                models.append(cpu.core.read_model(graph.to_bytes()))
                members[m].release()
            return join(models, shape)

        def network(group: list[int]) -> Any:
            compiled = networks.obtain([members[m].sha256 for m in group], lambda: lowered(group))
            return cpu.queue(compiled, _store)

        # lowering and compiling release the lock much of the time
        with ThreadPoolExecutor(min(cpu.threads, len(self.computed_together))) as pool:
            self._queues = list(pool.map(network, self.computed_together))
        self._networks = networks  # holds what the queues' weights lie in
        trim()

    @refusals("OpenVINO cannot go on")
    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        asked = set(members)
        used = [g for g, group in enumerate(self.computed_together) if asked.intersection(group)]
        try:
            return self._score_tiles(batch, members, used, both, tell)
        finally:  # requests write into arrays of this call; none may be left running
            for g in used:
                self._queues[g].wait_all()

    def _score_tiles(
        self, batch: Batch, members: list[int], used: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        place = {m: i for i, m in enumerate(m for g in used for m in self.computed_together[g])}
        picked = [place[m] for m in members]
        tiles = []
        for start in range(0, batch.n_windows, TILE_WINDOWS):
            codes = batch.expand(start, start + TILE_WINDOWS)
            rows = -(-len(codes) * (2 if both else 1) // self.batch) * self.batch
            x = strands(codes, self.contract, both=both, is_singleton=self.is_singleton, rows=rows)
            rows_MR = np.empty((len(place), rows), dtype=np.float32)
            for g in used:
                out = rows_MR[place[self.computed_together[g][0]] :][: len(self.computed_together[g])]
                share = len(codes) * sum(m in self.computed_together[g] for m in members) * self.batch / rows
                for begin in range(0, rows, self.batch):
                    self._queues[g].start_async(
                        {0: x[begin : begin + self.batch]}, out[:, begin : begin + self.batch]
                    )
                    tell(share)
            tiles.append((rows_MR, len(codes)))
        for g in used:
            self._queues[g].wait_all()
        scores = [self.average(rows_MR[picked], n, both) for rows_MR, n in tiles]
        return np.concatenate(scores, axis=1) if scores else np.empty((len(members), 0), np.float32)

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "rewrite": REWRITE_VERSION,
            "form": self.form,
            "cpu": self.cpu.name,
            "capabilities": self.cpu.capabilities,
            "openvino": self.cpu.version,
        }

    def close(self) -> None:
        super().close()
        # threads of the last requests take the GIL once more to end; freeing a network waits for them while
        # holding it, which was seen to wait for ever
        time.sleep(SETTLE_S)
        self._queues = []


def _store(request: Any, out_MR: np.ndarray) -> None:
    for i, row in enumerate(out_MR):
        row[:] = request.get_output_tensor(i).data


def join(models: Sequence[Any], shape: list[int]) -> Any:
    """OpenVINO models of one input as one model: that input, of `shape`, and their outputs in order."""
    import openvino
    from openvino import opset8 as ops

    x = ops.parameter(shape, np.float32, name="x")
    outputs = []
    for model in models:
        for reader in model.input(0).get_target_inputs():
            reader.replace_source_output(x.output(0))
        outputs.append(ops.result(model.output(0).get_node().input(0).get_source_output()))
    return openvino.Model(outputs, [x], "legnets")

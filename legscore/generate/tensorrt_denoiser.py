"""A generator on one NVIDIA GPU through TensorRT: one plan from the cache, of a fixed number of rows, and the
loop on the card.

The plan is built from the generator's own graph, softmax included: FP32 in and out, so that the loop's state
is FP32 in every precision, FP16 between. It is kept, checked and built again as those of predictors are.
Importing this module needs TensorRT and PyCUDA. It has run with stand-ins for both, on a CPU; it has not run
on a GPU.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from legscore.cuda.card import Card, CardError, Memory
from legscore.cuda.driver import PyCudaCard
from legscore.cuda.libcuda import Gpu
from legscore.engine import fit
from legscore.engine.arrange import obtain
from legscore.engine.plans import PlanCache
from legscore.engine.recipe import Recipe
from legscore.engine.tensorrt_plans import REWRITE, TensorRTCompiler, in_a_thread, settle
from legscore.engine.trt import common
from legscore.errors import EngineError
from legscore.generate.card_denoiser import CardDenoiser
from legscore.generate.sample import BATCH
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_graph import build_gpu_graph
from legscore.model.onnx_model import OnnxModel
from legscore.system.log import Say
from legscore.system.resources import cache_folder


class LoopCompiler(TensorRTCompiler):
    """The plan of one generator. Its weights are in the plan: there are no members to share it by refitting.

    Raises:
        EngineError: the recipe asks for a layout whose input is FP16.
    """

    def __init__(self, generator: Checkpoint, recipe: Recipe, gpu: Gpu) -> None:
        super().__init__([generator], recipe, gpu)
        if self.form.layout == "hwc8":
            raise EngineError(
                f"recipe {recipe.name}: layout hwc8 holds FP16, a generator's input is FP32; set "
                "tensorrt.layout to ncl or nc1l"
            )
        self.settings = replace(self.settings, refit=False)

    def graph(self, member: int, batch: int) -> OnnxModel:
        return build_gpu_graph(self.members[member], self.form, batch, loop=True)


class _Plan:
    """`legscore.generate.card_denoiser.Network`: one context with its scratch."""

    def __init__(self, card: Card, engine: Any, rows: int, x: int, out: int) -> None:
        self.rows, self._engine = rows, engine
        self._scratch: Memory = card.allocate(fit.aligned(max(1, common.differences().scratch(engine))))
        try:
            self._context = common.bind(engine, x, out, self._scratch.address, self._scratch.nbytes)
        except BaseException:
            self._scratch.free()
            raise

    def enqueue(self, stream: Any) -> None:
        common.enqueue(self._context, stream.handle)

    def close(self) -> None:
        self._context = self._engine = None  # the context first: it holds on to what it came from
        self._scratch.free()


class TensorRTDenoiser(CardDenoiser):
    """See `legscore.generate.sample.Denoiser`."""

    name = "tensorrt"

    def __init__(self, generator: Checkpoint, recipe: Recipe, gpu: Gpu, say: Say = lambda line: None) -> None:
        """Compile the plan if it is missing, and load it.

        Raises:
            EngineError: with what is missing, refused or does not fit.
        """
        super().__init__(PyCudaCard(gpu, say), generator.contract.length, recipe.precision)
        self.gpu, self.recipe, self._closed = gpu, recipe, False
        try:
            in_a_thread(self.card, lambda told: self._load(generator, told), say)
        except BaseException:
            self.close()
            raise

    def _load(self, generator: Checkpoint, say: Say) -> None:
        compiler = LoopCompiler(generator, self.recipe, self.gpu)
        cache = PlanCache(cache_folder("plans"), say)
        batches = self.recipe.batches(self.gpu.name)
        # designs come BATCH at a time: larger passes would be padding
        batches = [rows for rows in batches if rows <= BATCH] or batches[-1:]
        arranged = settle(compiler, cache, self.card, batches, "fp32", say)
        stored, engine = obtain(cache, compiler, 0, arranged.batch, say)
        self._plan = stored.sha256[:16]
        self.network = _Plan(self.card, engine, arranged.batch, *self._prepare(arranged.batch))

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "batch": self.network.rows if self.network else None,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "rewrite": REWRITE,
            "gpu": self.gpu.name,
            "compute": self.gpu.compute,
            "tensorrt": common.version(),
            "plans": [self._plan],
        }

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        super().close()
        with contextlib.suppress(CardError):
            self.card.close()

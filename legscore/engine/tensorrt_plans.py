"""Plans of an ensemble for one kind of NVIDIA GPU: compiled with TensorRT, kept in the cache, arranged for
the memory that is free. What `legscore compile` does, and what the engine and a generator begin with.

Importing this module needs TensorRT and PyCUDA.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from legscore.cuda.card import Card, CardError
from legscore.cuda.driver import PyCudaCard
from legscore.cuda.libcuda import Gpu, driver_branch
from legscore.engine import fit
from legscore.engine.arrange import Arrangement, arrange
from legscore.engine.plans import PlanCache, Stored, TimingCache, plan_key
from legscore.engine.recipe import Recipe
from legscore.engine.trt import common
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_form import GpuForm
from legscore.model.gpu_graph import GPU_REWRITE_VERSION, build_gpu_graph, float_names
from legscore.model.graph import REWRITE_VERSION
from legscore.model.onnx_model import OnnxModel
from legscore.system.log import Say
from legscore.system.resources import cache_folder
from legscore.system.threads import running_pool

REWRITE = f"{REWRITE_VERSION}.{GPU_REWRITE_VERSION}"
Made = TypeVar("Made")


def in_a_thread(card: Card, work: Callable[[Say], Made], say: Say) -> Made:
    """What `work(say)` returns, from a thread of its own in which the card is current.

    The main thread only waits: Ctrl-C is raised wherever it runs Python code, which within TensorRT is the
    log, and what a log raises TensorRT drops. When the waiting ends early, `work` ends with an EngineError
    at the next line that it says.
    """
    stop = threading.Event()

    def told(line: str) -> None:
        if stop.is_set():
            raise EngineError("interrupted")
        say(line)

    def run() -> Made:
        with card.use():
            return work(told)

    with running_pool(1, "legscore-tensorrt") as thread:
        try:
            return thread.submit(run).result()
        except BaseException:
            stop.set()
            raise


class TensorRTCompiler:
    """Plans of an ensemble for one kind of GPU, as a recipe says. The card must be current."""

    def __init__(self, members: Sequence[Checkpoint], recipe: Recipe, gpu: Gpu) -> None:
        self.members, self.names = members, [member.name or "a model" for member in members]
        self.form = GpuForm(
            recipe.precision, *(recipe.get("tensorrt", name) for name in ("groups", "layout", "silu"))
        )
        self.settings = common.Settings(
            precision=recipe.precision,
            compute=gpu.compute,
            **{
                name: recipe.get("tensorrt", name)
                for name in ("layout", "optimization_level", "aux_streams", "tf32", "refit")
            },
        )
        self.gpu = {
            "name": gpu.name,
            "compute": gpu.compute,
            "multiprocessors": gpu.multiprocessors,
            "driver": driver_branch(),
        }
        self._keys: dict[tuple[int, int], dict[str, Any]] = {}
        self._opened: dict[str, Any] = {}
        if self.settings.refit and not common.differences().CAN_REFIT:
            raise EngineError("tensorrt.refit needs TensorRT 10 or newer; set it to false in the recipe")
        self.timings = TimingCache(cache_folder("timing") / f"{common.file_stem(gpu)}.cache")

    def graph(self, member: int, batch: int) -> OnnxModel:
        return build_gpu_graph(self.members[member], self.form, batch)

    def onnx(self, member: int, batch: int) -> bytes:
        return self.graph(member, batch).to_bytes()

    def key(self, member: int, batch: int) -> dict[str, Any]:
        if (member, batch) not in self._keys:
            self._keys[member, batch] = self._key(member, batch)
        return self._keys[member, batch]

    def _key(self, member: int, batch: int) -> dict[str, Any]:
        graph = self.graph(member, batch)
        # with refit one plan is for all members: their weights are set later
        sha256 = hashlib.sha256(graph.to_bytes(weights=not self.settings.refit)).hexdigest()
        build = {**vars(self.settings), "batch": batch, "groups": self.form.groups, "silu": self.form.silu}
        return plan_key(self.gpu, common.version(), sha256, build, REWRITE)

    def build(self, member: int, batch: int) -> Stored:
        graph = self.graph(member, batch)
        stored, engine = common.build(graph.to_bytes(), float_names(graph), self.settings, self.timings)
        self.keep(stored, engine)
        return stored

    def open(self, stored: Stored) -> Any | None:
        engine = self._opened.pop(stored.sha256, None)
        return common.load(stored) if engine is None else engine

    def keep(self, stored: Stored, engine: Any) -> None:
        self._opened[stored.sha256] = engine

    def forget(self) -> None:
        self._opened.clear()


def settle(
    compiler: TensorRTCompiler, cache: PlanCache, card: Card, batches: Sequence[int], precision: str, say: Say
) -> Arrangement:
    """Compile every plan, and choose batch and groups for the memory that is free. The card must be current.

    Args:
        batches: rows of a pass to try, largest first.
        precision: of the input that a pass reads.
    """
    contract, layout = compiler.members[0].contract, compiler.form.layout

    def need(batch: int, stored: list[Stored]) -> fit.Need:
        scratch = max(int(plan.facts["scratch"]) for plan in stored)
        sizes = [len(plan.plan) for plan in stored]
        return fit.need(
            contract, batch=batch, layout=layout, precision=precision, scratch=scratch, plans=sizes
        )

    with common.one_builder():
        return arrange(cache, compiler, batches, need, card.free_memory, say)


def compile_plans(members: Sequence[Checkpoint], recipe: Recipe, gpu: Gpu, say: Say) -> Arrangement:
    """What `legscore compile` does: every plan of an ensemble for one GPU in the cache."""
    card = PyCudaCard(gpu, say)

    def work(told: Say) -> Arrangement:
        compiler = TensorRTCompiler(members, recipe, gpu)
        cache = PlanCache(cache_folder("plans"), told)
        return settle(compiler, cache, card, recipe.batches(gpu.name), recipe.precision, told)

    try:
        arrangement = in_a_thread(card, work, say)
    except BaseException:
        with contextlib.suppress(CardError):  # what came first says more
            card.close()
        raise
    card.close()
    return arrangement

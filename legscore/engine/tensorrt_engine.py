"""TensorRT on one NVIDIA GPU: plans from the cache, one execution context a member, all on one stream.

All contexts share one scratch, which never serves two at a time. Where the recipe says so, a pass of all
members is captured once as a CUDA graph and launched as one piece; when it cannot be captured, or does not
give what the members give one by one, they are enqueued one by one, and that is said. Importing this module
needs TensorRT and PyCUDA.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from legscore.cuda.card import Card, CardError, Memory
from legscore.cuda.driver import PyCudaCard
from legscore.cuda.launches import input_bytes
from legscore.cuda.libcuda import Gpu, Graph, Libcuda
from legscore.cuda.scorer import Scorer
from legscore.engine import fidelity as fid
from legscore.engine import fit
from legscore.engine.arrange import Arrangement, obtain
from legscore.engine.card_engine import CardEngine
from legscore.engine.plans import PlanCache
from legscore.engine.recipe import Recipe
from legscore.engine.reference import reference_engine, reference_name
from legscore.engine.tensorrt_plans import REWRITE, TensorRTCompiler, in_a_thread, settle
from legscore.engine.trt import common
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.system.log import Say
from legscore.system.resources import cache_folder

GRAPH_TOLERANCE = 1e-3
"""Largest difference between a captured pass and a plain one, in units of the score: the same kernels run in
both."""


class _Loaded:
    """`legscore.cuda.scorer.Members`: the contexts of one group at a time."""

    def __init__(
        self,
        card: Card,
        cache: PlanCache,
        compiler: TensorRTCompiler,
        arrangement: Arrangement,
        capture: bool,
        say: Say,
    ) -> None:
        self.n_members, self.groups = len(compiler.names), arrangement.groups
        self._card, self._cache, self._compiler, self._batch, self._say = (
            card,
            cache,
            compiler,
            arrangement.batch,
            say,
        )
        self._capture = capture and len(self.groups) == 1
        self._input_bytes = input_bytes(
            self._batch, compiler.members[0].contract, compiler.form.layout, compiler.form.precision
        )
        self._differences = common.differences()
        self._engines: list[Any] = []
        self._contexts: list[Any] = []
        self._scratch: Memory | None = None
        self._graph: Graph | None = None
        self._warm_up: Any = None
        self.plans: dict[int, str] = {}

    def load(self, group: int, x: int, rows: int) -> None:
        self._release()
        self._engines = [self._engine(member) for member in self.groups[group]]
        wanted = fit.aligned(max(1, *(self._differences.scratch(engine) for engine in self._engines)))
        if self._scratch is None or self._scratch.nbytes < wanted:
            if self._scratch is not None:
                self._scratch.free()
            self._scratch = self._card.allocate(wanted)
        self._contexts = [
            common.bind(
                engine, x, rows + 4 * self._batch * place, self._scratch.address, self._scratch.nbytes
            )
            for place, engine in enumerate(self._engines)
        ]
        self._warm()
        if self._capture:
            self._graph = self._captured(x, rows)

    def _engine(self, member: int) -> Any:
        stored, engine = obtain(self._cache, self._compiler, member, self._batch, self._say)
        # TensorRT's builds are not reproducible
        if self.plans.setdefault(member, stored.sha256[:16]) != stored.sha256[:16]:
            raise EngineError(
                f"the plan of {self._compiler.names[member]} was replaced while it was in use; run again"
            )
        if self._compiler.settings.refit:
            self._differences.refit(engine, self._compiler.onnx(member, self._batch), common.LOG)
        return engine

    def _warm(self) -> None:
        """Run every context once, since the first run allocates."""
        self._warm_up = self._warm_up or self._card.stream()
        self._all_members()
        self._card.drain()

    def _all_members(self) -> None:
        for context in self._contexts:
            common.enqueue(context, self._warm_up.handle)

    def _captured(self, x: int, rows: int) -> Graph | None:
        """One pass of all members as a graph that gives what the members give; None, with the reason said."""
        graph = None
        try:
            graph = Graph(Libcuda(), self._warm_up.handle, self._all_members)
            self._compare(graph, x, rows)
        except (CardError, OSError) as error:
            if graph is not None:
                with contextlib.suppress(CardError):  # what came first says more
                    graph.close()
            self._say(f"cuda graph: not used, passes are enqueued one by one ({error})")
            self._warm()  # a capture that failed may have left an error behind, which would end the run later
            return None
        return graph

    def _compare(self, graph: Graph, x: int, rows: int) -> None:
        """CardError unless a launch writes what the members write: a graph may lack work that never reached
        the stream."""
        given, n = self._card.pinned(self._input_bytes), len(self._contexts)
        found = [self._card.pinned(4 * self._batch * n) for _ in range(2)]
        done = self._card.event()
        try:
            # bytes that make finite numbers in FP16 and FP32, 1.0 and near 0 among them
            given.array[:] = np.random.default_rng(0).choice(
                np.array([0x00, 0x3C], np.uint8), given.array.size
            )
            self._card.copy_in(x, given.array, self._warm_up)
            for run, kept in zip(
                (self._all_members, lambda: graph.launch(self._warm_up.handle)), found, strict=True
            ):
                kept.array[:] = 0xFF  # NaN, where nothing is written
                self._card.copy_in(rows, kept.array, self._warm_up)
                run()
                self._card.copy_out(kept.array, rows, self._warm_up)
                self._card.record(done, self._warm_up)
                self._card.synchronize(done)
            plain, launched = (kept.array.view(np.float32) for kept in found)
            if not np.allclose(launched, plain, rtol=0, atol=GRAPH_TOLERANCE, equal_nan=False):
                raise CardError("a captured pass does not give what the members give")
        finally:
            self._card.drain()
            for memory in (given, *found):
                memory.free()

    def enqueue(self, slots: Sequence[int], stream: Any) -> None:
        if self._graph is not None and list(slots) == list(range(len(self._contexts))):
            self._graph.launch(stream.handle)
            return
        for slot in slots:
            common.enqueue(self._contexts[slot], stream.handle)

    def _release(self) -> None:
        graph, self._graph = self._graph, None
        self._contexts.clear()  # contexts before engines: each holds on to what it came from
        self._engines.clear()
        if graph is not None:
            with contextlib.suppress(CardError):  # the scratch goes all the same
                graph.close()

    def close(self) -> None:
        self._release()
        self._warm_up = None
        if self._scratch is not None:
            self._scratch.free()
            self._scratch = None


class TensorRTEngine(CardEngine):
    """Runs an ensemble on one GPU."""

    name = "tensorrt"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        recipe: Recipe,
        gpu: Gpu,
        *,
        both_strands: bool,
        is_singleton: bool = False,
        say: Say = lambda line: None,
    ) -> None:
        """Compile what is missing, settle batch and groups, load.

        Raises:
            EngineError: with what is missing, refused or does not fit.
        """
        card = PyCudaCard(gpu, say)
        super().__init__(members[0].contract, card, both_strands=both_strands, is_singleton=is_singleton)
        self.recipe, self.precision, self.n_members, self.gpu = recipe, recipe.precision, len(members), gpu
        self._loaded: _Loaded | None = None
        self._closed = False
        try:
            in_a_thread(card, lambda told: self._load(members, told), say)
            if recipe.get("tensorrt", "refit"):
                self._check_each(members)
        except BaseException:
            self.close()
            raise

    def _load(self, members: Sequence[Checkpoint], say: Say) -> None:
        compiler = TensorRTCompiler(members, self.recipe, self.gpu)
        cache = PlanCache(cache_folder("plans"), say)
        batches = self.recipe.batches(self.gpu.name)
        self.arrangement = settle(compiler, cache, self.card, batches, self.precision, say)
        capture = bool(self.recipe.get("tensorrt", "cuda_graph"))
        self._loaded = _Loaded(self.card, cache, compiler, self.arrangement, capture, say)
        self._plans = self._loaded.plans
        self.scorer = Scorer(
            self.card,
            self._loaded,
            self.contract,
            batch=self.arrangement.batch,
            layout=compiler.form.layout,
            precision=self.precision,
            is_singleton=self.is_singleton,
            depth=self.depth,
        )

    def _check_each(self, members: Sequence[Checkpoint]) -> None:
        """Every refitted member against FP32: a refit may go wrong without a word."""
        for m, member in enumerate(members):
            probe = fid.probe(member.contract, fid.LEAST, m)
            with reference_engine(member, is_singleton=self.is_singleton) as reference:
                pair = self.score_forward(probe, m), reference.score_forward(probe, 0)
            found = fid.compare([pair], reference_name())
            if shortfall := found.shortfall(self.recipe.settings["fidelity"]):
                raise EngineError(
                    f"refit: {member.name}: {shortfall}; set tensorrt.refit to false in the recipe"
                )

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "precision": self.precision,
            "batch": self.arrangement.batch,
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
            "rewrite": REWRITE,
            "gpu": self.gpu.name,
            "compute": self.gpu.compute,
            "multiprocessors": self.gpu.multiprocessors,
            "tensorrt": common.version(),
            "plans": [self._plans[member] for member in range(self.n_members)],
        }

    def close(self) -> None:
        """Release everything, also after a start that failed."""
        if self._closed:
            return
        self._closed, half_way = True, self.scorer is None
        super().close()
        with contextlib.suppress(CardError):  # a lost card was reported where it was lost
            if self._loaded is not None and half_way:
                with self.card.use():
                    self._loaded.close()
            self.card.close()

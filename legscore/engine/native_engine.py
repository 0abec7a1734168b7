"""The project's own engine for CPUs: the whole network in C++ (kernels/cpu), on AMX tiles where the CPU has
them.

Codes and edits go in as they are. A pool of threads that lives as long as the engine takes stretches of
windows; a thread runs the members in turn over its stretch, both strands and their mean inside. Scores
depend neither on neighbours nor on the order, the number of threads or the form (portable, avx512, amx):
their bits are the same.

When it is opened the form is checked against the portable one: a strand of the first member through the whole
network, one block of every other member, bit for bit. A few windows of every member must stay within the
range of the formats (FP16 between expansion and gate: 65,504): those of the first at opening, the others
while scoring starts, and no scores are given before that has ended. When scoring, a strand that leaves the
range becomes NaN.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import ThreadedEngine
from legscore.engine.native_buffers import NativeBuffers
from legscore.engine.native_library import (
    FORMS,
    library_digest,
    load_library,
    usable_form,
)
from legscore.engine.native_pack import PackedNetwork
from legscore.engine.recipe import Recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.system.cores import usable_cores
from legscore.system.threads import running_pool

STRETCHES_PER_THREAD = 4
"""Stretches that a batch is cut into for each thread, at least, so that all end at about the same time."""
LEFT_RANGE = (
    "engine native: activations of member {} leave the range of the formats (FP16: 65,504); use --engine "
    "openvino"
)
PROBES = 4
"""Windows of each member that must stay within range when the engine is opened."""


class NativeEngine(ThreadedEngine):
    """Runs an ensemble on the CPU with the project's own kernels."""

    name = "native"
    precision = "bf16"

    def __init__(
        self,
        members: Sequence[Checkpoint],
        recipe: Recipe,
        *,
        both_strands: bool,
        is_singleton: bool = False,
        threads: int | None = None,
        form: str | None = None,
    ) -> None:
        """Pack every member and check the form.

        Args:
            threads: how many score at once; as many as cores may be used by default.
            form: one of `native_library.FORMS`; the fastest that runs here by default.

        Raises:
            EngineError: the library or the form is not here, a member is not covered or leaves the range of
            the formats, or the forms disagree.
        """
        self.form = usable_form(form)
        if threads is not None and threads < 1:
            raise EngineError(f"engine native: {threads} threads; at least one is needed")
        super().__init__(members[0].contract, both_strands=both_strands, is_singleton=is_singleton)
        self.recipe, self.n_members = recipe, len(members)
        self.threads = threads or usable_cores()
        self.windows = int(recipe.get("native", "windows"))
        self._library, self._halt = load_library(), ctypes.c_int32(0)
        self._pool = running_pool(self.threads, "legscore-native")
        self._buffers: NativeBuffers | None = None
        self._networks: list[PackedNetwork] = []
        self._checks: list[Future[None]] = []
        try:
            if len({member.architecture for member in members}) > 1:
                raise EngineError("engine native: members of different shapes cannot be scored together")
            self._networks = list(self._pool.map(_packed, members))
            self._buffers = NativeBuffers(self._networks[0].handle, self.threads)
            list(self._pool.map(self._prove, range(self.n_members)))
            self._stay_in_range(0)
            self._checks = [self._pool.submit(self._stay_in_range, m) for m in range(1, self.n_members)]
        except BaseException:
            self.close()
            raise

    def _prove(self, m: int) -> None:
        """The form against the portable one: a whole strand of the first member, one block of another."""
        if self.form == "portable":
            return
        codes = self._probe(m).codes_WL[:1]
        if m == 0:
            ours, theirs = (
                self._stretch(Batch(codes), [0], 0, 1, False, form) for form in (self.form, "portable")
            )
        else:
            ours, theirs = (self.activations(m, codes[0], 1, form) for form in (self.form, "portable"))
        if ours.tobytes() != theirs.tobytes():
            raise EngineError(
                f"engine native: forms {self.form} and portable disagree on member {m + 1}; this CPU or this "
                "build cannot be trusted; use --engine openvino"
            )

    def _stay_in_range(self, m: int) -> None:
        """A few windows of a member, whose activations must stay within the formats."""
        batch = self._probe(m)
        found_MN = self._stretch(batch, [m], 0, batch.n_windows, self.both_strands, self.form)
        if not np.isfinite(found_MN).all():
            raise EngineError(LEFT_RANGE.format(m + 1))

    def _probe(self, m: int) -> Batch:
        from legscore.engine.fidelity import probe

        return Batch(np.ascontiguousarray(probe(self.contract, PROBES // 2, m).expand()))

    def _lent(self) -> contextlib.AbstractContextManager[Any]:
        assert self._buffers is not None
        return self._buffers.lent()

    def activations(self, m: int, codes_L: np.ndarray, depth: int, form: str | None = None) -> np.ndarray:
        """bf16 bits before block `depth` of a forward strand, uint16 [panels, positions, 32], in the
        library's own scale (-log2 e times the activation)."""
        network = self._networks[m]
        n = -(-network.width[depth] // 32)
        out = np.zeros((n, network.length, 32), dtype=np.uint16)
        codes_L = np.ascontiguousarray(codes_L, dtype=np.uint8)
        with self._lent() as buffers:
            done = self._library.legnet_activations(
                FORMS.index(form or self.form), network.handle, buffers, codes_L.ctypes.data, 0,
                int(self.is_singleton), depth, out.ctypes.data,
            )  # fmt: skip
        if done != 1:
            raise EngineError(LEFT_RANGE.format(m + 1))
        return out

    def _score(
        self, batch: Batch, members: list[int], both: bool, tell: Callable[[float], None]
    ) -> np.ndarray:
        batch = checked(batch, self.contract.length)
        scores_MN = np.empty((len(members), batch.n_windows), dtype=np.float32)
        pending: dict[Future[np.ndarray], int] = {}
        size = max(1, min(self.windows, -(-batch.n_windows // (self.threads * STRETCHES_PER_THREAD))))
        for first in range(0, batch.n_windows, size):
            count = min(size, batch.n_windows - first)
            pending[self._pool.submit(self._stretch, batch, members, first, count, both, self.form)] = first
        try:
            waiting = set(pending)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                tell(0.0)
                for future in done:
                    found_MN = future.result()
                    first = pending[future]
                    scores_MN[:, first : first + found_MN.shape[1]] = found_MN
                    tell(float(found_MN.size))
        finally:
            for future in pending:
                future.cancel()
            wait(pending)
        while self._checks:  # what opening left to be done: nothing is scored before it has ended
            self._checks[-1].result()
            self._checks.pop()
        return scores_MN

    def _stretch(
        self, batch: Batch, members: Sequence[int], first: int, count: int, both: bool, form: str
    ) -> np.ndarray:
        """Scores_MN of windows first .. first + count - 1, in a thread of the pool."""
        handles = (ctypes.c_void_p * len(members))(*[self._networks[m].handle for m in members])
        out_MN = np.empty((len(members), count), dtype=np.float32)
        with self._lent() as buffers:
            code = self._library.legnet_score(
                FORMS.index(form), handles, len(members), buffers, batch.codes_WL.ctypes.data,
                batch.window_E.ctypes.data, batch.offset_E.ctypes.data, batch.base_E.ctypes.data,
                len(batch.codes_WL), first, count, int(both), int(self.is_singleton),
                ctypes.byref(self._halt), out_MN.ctypes.data,
            )  # fmt: skip
        if code == 1:
            raise EngineError("scoring was interrupted")
        if code:
            raise EngineError("engine native: a window holds a code beyond 4")
        return out_MN

    def stage_ticks(self) -> dict[str, int]:
        """Ticks of the CPU's counter that each stage took in all threads since the last call."""
        return self._buffers.stage_ticks() if self._buffers else {}

    @property
    def bytes_per_member(self) -> int:
        """Bytes of the packed weights of a member, at most."""
        return max(network.n_bytes for network in self._networks)

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "precision": self.precision,
            "form": self.form,
            "library_sha256": library_digest(),
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.sha256,
        }

    def interrupt(self) -> None:
        self._halt.value = 1
        super().interrupt()

    def close(self) -> None:
        self._halt.value = 1
        super().close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for network in self._networks:
            network.close()
        if self._buffers:
            self._buffers.close()


def _packed(checkpoint: Checkpoint) -> PackedNetwork:
    try:
        return PackedNetwork(checkpoint)
    finally:
        checkpoint.release()


def checked(batch: Batch, length: int) -> Batch:
    """The batch as the library may read it: contiguous, of its types, nothing out of bounds.

    Raises:
        EngineError: it is not a batch of windows of this length.
    """
    codes_WL = np.ascontiguousarray(batch.codes_WL, dtype=np.uint8)
    window_E = np.ascontiguousarray(batch.window_E, dtype=np.int32)
    offset_E = np.ascontiguousarray(batch.offset_E, dtype=np.int16)
    base_E = np.ascontiguousarray(batch.base_E, dtype=np.uint8)
    if codes_WL.ndim != 2 or codes_WL.shape[1] != length:
        raise EngineError(f"engine native: windows of shape {codes_WL.shape}; the model reads {length} bases")
    if not window_E.shape == offset_E.shape == base_E.shape == (len(window_E),):
        raise EngineError("engine native: windows, offsets and bases of edits differ in number")
    for what, values, end in (
        ("window", window_E, len(codes_WL)),
        ("offset", offset_E, length),
        ("base", base_E, 5),
    ):
        if len(values) and not 0 <= values.min() <= values.max() < end:
            raise EngineError(f"engine native: an edit's {what} is outside 0..{end - 1}")
    if codes_WL.size and codes_WL.max() > 4:
        raise EngineError("engine native: a window holds a code beyond 4")
    return Batch(codes_WL, window_E, offset_E, base_E)

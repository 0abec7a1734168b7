"""The mutate–denoise loop on one card: state, random numbers and network stay there, and a step copies
nothing.

`mark_sites` draws the positions to mutate; then, for each pass of the network's fixed rows, `mutate_bases`
writes the input, the network runs, and `keep_bases` takes over its probabilities or draws bases from them
(kernels/denoise.cu). Only constraints (`put` after `bases`) bring probabilities to the host and back. A CUDA
error is final: nothing of a failed batch is given out.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Protocol

import numpy as np

from legscore.cuda import launches
from legscore.cuda.card import Card, CardError, Memory, Pinned
from legscore.dna.contract import BASES
from legscore.errors import EngineError

FP16_MOST = 65504
"""The largest number of mutations that a network in FP16 can be told."""


class Network(Protocol):
    """A compiled generator with fixed rows: FP32 [rows, 6, L] → probabilities FP32 [rows, 4, L], at addresses
    of its own."""

    rows: int

    def enqueue(self, stream: Any) -> None:
        """Put one pass onto the stream."""

    def close(self) -> None: ...


class CardDenoiser:
    """See `legscore.generate.sample.Denoiser`. A subclass makes `network` at the addresses of `_prepare` and
    closes the card."""

    name = "card"

    def __init__(self, card: Card, length: int, precision: str) -> None:
        self.card, self.length, self.precision, self.engine_s = card, length, precision, 0.0
        self.network: Network | None = None
        self._held: list[Memory | Pinned] = []
        self._state: dict[str, Memory] = {}
        self._pinned: Pinned | None = None
        self._designs = self._room = 0

    def _prepare(self, rows: int) -> tuple[int, int]:
        """Addresses of input and output of a pass. Needs `card.use()`; once."""
        self._stream, self._event = self.card.stream(), self.card.event()
        x = self.card.allocate(4 * rows * (len(BASES) + 2) * self.length)
        self._held.append(x)
        out = self.card.allocate(4 * rows * len(BASES) * self.length)
        self._held.append(out)
        self._x, self._out = x.address, out.address
        return x.address, out.address

    def begin(self, bases_N4L: np.ndarray, target_N: np.ndarray, seed_N: np.ndarray) -> None:
        with self.card.use():
            self._reserve(len(bases_N4L))
            self._designs = len(bases_N4L)
            self._send("seeds", np.asarray(seed_N, dtype=np.int64))
            self._send("targets", np.asarray(target_N, dtype=np.float32))
            self._send("hits", np.zeros((self._designs, self.length), dtype=np.uint32))  # steps count from 1
            self._send("bases", np.asarray(bases_N4L, dtype=np.float32))

    def step(self, number: int, n_mutations: int, told: int, draw: bool = False) -> None:
        if self.network is None:
            raise EngineError("this engine is closed")
        if told > FP16_MOST and self.precision == "fp16":
            raise EngineError(
                f"{told:,} mutations cannot be told in fp16 (at most {FP16_MOST:,}); use --precision fp32"
            )
        at = {name: memory.address for name, memory in self._state.items()}
        shape = {"length": self.length, "step": number}
        with self.card.use():
            self._launch(
                launches.mark_sites(
                    at["seeds"], at["hits"], designs=self._designs, mutations=n_mutations, **shape
                ),
            )
            for first in range(0, self._designs, self.network.rows):
                count = min(self.network.rows, self._designs - first)
                self._launch(
                    launches.mutate_bases(
                        at["bases"],
                        at["seeds"],
                        at["hits"],
                        at["targets"],
                        self._x,
                        first=first,
                        count=count,
                        rows=self.network.rows,
                        told=told,
                        **shape,
                    )
                )
                self._run(self.network)
                self._launch(
                    launches.keep_bases(
                        self._out, at["seeds"], at["bases"], first=first, count=count, draw=draw, **shape
                    )
                )
            self._wait()

    def _run(self, network: Network) -> None:
        """A pass, timed alone: what was queued before it is waited for first."""
        self._wait()
        began = time.perf_counter()
        network.enqueue(self._stream)
        self._wait()
        self.engine_s += time.perf_counter() - began

    def _launch(self, launch: launches.Launch) -> None:
        self.card.launch(launch, self._stream)

    def _wait(self) -> None:
        self.card.record(self._event, self._stream)
        self.card.synchronize(self._event)

    def probabilities(self, x_N6L: np.ndarray) -> np.ndarray:
        """The network alone: float32 [N, 6, L], N at most its rows, → probabilities [N, 4, L]; for comparing
        engines."""
        if self.network is None:
            raise EngineError("this engine is closed")
        rows = np.zeros((self.network.rows, *x_N6L.shape[1:]), dtype=np.float32)
        rows[: len(x_N6L)] = x_N6L
        with self.card.use():
            pinned = self.card.pinned(rows.nbytes)
            try:
                pinned.array[:] = rows.view(np.uint8).reshape(-1)
                self.card.copy_in(self._x, pinned.array, self._stream)
                self._run(self.network)
                nbytes = 4 * len(x_N6L) * len(BASES) * self.length
                self.card.copy_out(pinned.array[:nbytes], self._out, self._stream)
                self._wait()
                return (
                    pinned.array[:nbytes].view(np.float32).reshape(len(x_N6L), len(BASES), self.length).copy()
                )
            finally:
                pinned.free()

    def bases(self) -> np.ndarray:
        assert self._pinned is not None
        nbytes = 4 * self._designs * len(BASES) * self.length
        with self.card.use():
            self.card.copy_out(self._pinned.array[:nbytes], self._state["bases"].address, self._stream)
            self._wait()
        return (
            self._pinned.array[:nbytes]
            .view(np.float32)
            .reshape(self._designs, len(BASES), self.length)
            .copy()
        )

    def put(self, bases_N4L: np.ndarray) -> None:
        with self.card.use():
            self._send("bases", np.asarray(bases_N4L, dtype=np.float32))

    def _send(self, name: str, values: np.ndarray) -> None:
        assert self._pinned is not None
        view = self._pinned.array[: values.nbytes]
        view[:] = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        self.card.copy_in(self._state[name].address, view, self._stream)
        self._wait()  # the pinned memory is used again

    def _reserve(self, designs: int) -> None:
        """Memory for a batch; kept for later ones that are no larger."""
        if designs <= self._room:
            return
        self._release()
        each = {"seeds": 8, "targets": 4, "hits": 4 * self.length, "bases": 4 * len(BASES) * self.length}
        for name, nbytes in each.items():
            self._state[name] = self.card.allocate(designs * nbytes)
        self._pinned = self.card.pinned(designs * max(each.values()))
        self._room = designs

    def _release(self) -> None:
        held: list[Memory | Pinned] = [*self._state.values(), *([self._pinned] if self._pinned else [])]
        self._state, self._pinned, self._room = {}, None, 0
        for memory in held:
            memory.free()

    def describe(self) -> dict[str, Any]:
        """What defines the designs, for the output's metadata."""
        return {"engine": self.name, "precision": self.precision}

    def close(self) -> None:
        """Release everything, also after a start that failed."""
        network, self.network = self.network, None
        held, self._held = self._held, []
        with contextlib.suppress(CardError), self.card.use():  # a lost card was reported where it was lost
            if network is not None:
                network.close()
            self._release()
            for memory in held:
                memory.free()

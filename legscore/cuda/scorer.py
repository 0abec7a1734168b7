"""Batches through one card: copy in, encode, score, average, copy back, with the next batch already on its
way.

Three streams: codes and edits are copied in on one, all passes run in order on the second, scores are copied
back on the third; events order them. Each batch in flight has a slot (pinned and device memory of its own),
so the card never waits for the host: while batch k is scored, batch k + 1 is copied in and queued behind it.

    begin:  slot ← free; pinned ← batch; copy in; passes of mutate?, one_hot, members, average; copy back
    finish: wait for each pass (progress), then for the copy back; scores_MN; slot → free slots
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from legscore.cuda import launches
from legscore.cuda.card import Card, CardError, Memory, Pinned
from legscore.dna.batch import Batch
from legscore.dna.contract import Contract

ALIGNMENT = 256


class Members(Protocol):
    """Compiled members. Those of a loaded group read one input and write FP32 rows, `batch` each, one after
    another."""

    n_members: int
    groups: list[list[int]]
    """Members that are in memory at the same time; all of them, unless memory is short."""

    def load(self, group: int, x: int, rows: int) -> None:
        """Make a group ready to read the input at address `x` and write rows_MB at `rows` (its first member
        first). What was loaded before is released; nothing of it may be running."""

    def enqueue(self, slots: Sequence[int], stream: Any) -> None:
        """Put a pass of the loaded group's members at these places in the group onto the stream, in this
        order."""

    def close(self) -> None: ...


@dataclass
class _Slot:
    """Memory of one batch in flight; grows to the largest batch seen and is only touched while the slot is
    free."""

    ready: Any
    scored: Any
    done: Any
    passed: list[Any] = field(default_factory=list)
    codes: Memory | None = None
    scores: Memory | None = None
    pinned_in: Pinned | None = None
    pinned_out: Pinned | None = None

    def release(self) -> None:
        held = (self.codes, self.scores, self.pinned_in, self.pinned_out)
        self.codes = self.scores = self.pinned_in = self.pinned_out = None
        for memory in held:
            if memory is not None:
                memory.free()


@dataclass(frozen=True)
class Flight:
    """A batch on its way: its slot, the shape of its scores, and windows × members of each pass."""

    slot: _Slot
    shape: tuple[int, int]
    work: list[int]


class Scorer:
    """Runs `members` over batches on `card`."""

    def __init__(
        self,
        card: Card,
        members: Members,
        contract: Contract,
        *,
        batch: int,
        layout: str,
        precision: str,
        is_singleton: bool,
        depth: int = 2,
    ) -> None:
        """Allocate what does not depend on the batches, and load the first group of members. Needs
        `card.use()`."""
        self.card, self.members, self.contract = card, members, contract
        self.batch, self.layout, self.precision, self.is_singleton = batch, layout, precision, is_singleton
        self._copy_in, self._compute, self._copy_out = card.stream(), card.stream(), card.stream()
        self._largest = max(len(group) for group in members.groups)
        self._x = card.allocate(launches.input_bytes(batch, contract, layout, precision))
        self._rows = card.allocate(4 * batch * self._largest)
        self._mutated = card.allocate(batch * contract.length)
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._slots = [_Slot(card.event(), card.event(), card.event()) for _ in range(depth)]
        for slot in self._slots:
            self._free.put(slot)
        self._loaded = -1
        try:
            # each once: what does not fit shows before the first batch
            for group in reversed(range(len(members.groups))):
                self._load(group)
        except BaseException:
            self.close()
            raise

    def begin(self, batch: Batch, chosen: Sequence[int], both: bool) -> Flight:
        """Put a batch onto the card; waits for a free slot. Needs `card.use()`; one thread at a time."""
        slot = self._free.get()
        try:
            return self._begin(slot, batch, chosen, both)
        except BaseException as first:
            try:
                self.card.drain()  # whatever was queued may still touch the slot's memory
            except CardError:
                if not isinstance(first, CardError):  # else what came first says more
                    raise
            finally:
                self._free.put(slot)
            raise

    def finish(self, flight: Flight, tell: Callable[[int], None]) -> np.ndarray:
        """Wait for a batch and return scores_MN, float32 [members chosen, windows]. Needs `card.use()`;
        batches in the order they were begun. `tell` receives windows × members after each pass; what it
        raises passes."""
        slot, (n_members, n_windows) = flight.slot, flight.shape
        try:
            for event, work in zip(slot.passed, flight.work, strict=False):
                self.card.synchronize(event)
                tell(work)
            self.card.synchronize(slot.done)
            nbytes = 4 * n_members * n_windows
            if nbytes == 0 or slot.pinned_out is None:
                return np.empty(flight.shape, dtype=np.float32)
            return slot.pinned_out.array[:nbytes].view(np.float32).reshape(flight.shape).copy()
        finally:
            try:
                # also when `tell` raised: copies into the slot may be under way
                self.card.synchronize(slot.done)
            finally:
                self._free.put(slot)

    def close(self) -> None:
        """Wait for what runs, then free everything. Needs `card.use()`."""
        frees = [memory.free for memory in (self._x, self._rows, self._mutated)]
        for step in (self.card.drain, self.members.close, *(slot.release for slot in self._slots), *frees):
            with contextlib.suppress(CardError):  # the card is lost, which was reported where it happened
                step()
        self._slots, self._free = [], queue.SimpleQueue()  # events and streams go while the card is current
        self._copy_in = self._compute = self._copy_out = None

    def _load(self, group: int) -> None:
        if group != self._loaded:
            self.card.drain()
            self._loaded = -1
            self.members.load(group, self._x.address, self._rows.address)
            self._loaded = group

    def _begin(self, slot: _Slot, batch: Batch, chosen: Sequence[int], both: bool) -> Flight:
        card, work = self.card, list[int]()
        shape = (len(chosen), batch.n_windows)
        scores = 4 * shape[0] * shape[1]
        if scores == 0:
            card.record(slot.done, self._compute)
            return Flight(slot, shape, work)
        codes, edits = self._send(slot, batch, scores)
        assert slot.scores is not None and slot.pinned_out is not None  # noqa: PT018 (for the type checker: _send made them)
        card.wait(self._compute, slot.ready)
        for first, positions in self._by_group(chosen):
            for start, count in passes(batch.n_windows, self.batch, both):
                source = self._window_codes(batch, codes, edits, start, count)
                card.launch(
                    launches.one_hot(
                        source,
                        self._x.address,
                        count,
                        self.batch,
                        self.contract,
                        both=both,
                        is_singleton=self.is_singleton,
                        layout=self.layout,
                        precision=self.precision,
                    ),
                    self._compute,
                )
                self.members.enqueue(positions, self._compute)
                for at, position, n in runs(positions):
                    card.launch(
                        launches.average_strands(
                            self._rows.address + 4 * self.batch * position,
                            slot.scores.address + 4 * batch.n_windows * (first + at),
                            members=n,
                            batch=self.batch,
                            windows=count,
                            both=both,
                            columns=batch.n_windows,
                            start=start,
                        ),
                        self._compute,
                    )
                if len(work) == len(slot.passed):
                    slot.passed.append(card.event())
                card.record(slot.passed[len(work)], self._compute)
                work.append(count * len(positions))
        card.record(slot.scored, self._compute)
        card.wait(self._copy_out, slot.scored)
        card.copy_out(slot.pinned_out.array[:scores], slot.scores.address, self._copy_out)
        card.record(slot.done, self._copy_out)
        return Flight(slot, shape, work)

    def _send(self, slot: _Slot, batch: Batch, scores: int) -> tuple[int, tuple[int, int, int]]:
        """Copy codes and edits in; addresses of codes_WL and of window_E, offset_E, base_E."""
        parts = [
            np.ascontiguousarray(part, dtype=kind).view(np.uint8).reshape(-1)
            for part, kind in (
                (batch.codes_WL, np.uint8),
                (batch.window_E, np.int32),
                (batch.offset_E, np.int16),
                (batch.base_E, np.uint8),
            )
        ]
        begins, total = [], 0
        for part in parts:
            begins.append(total)
            total += -(-part.size // ALIGNMENT) * ALIGNMENT
        self._reserve(slot, total, scores)
        assert slot.codes is not None and slot.pinned_in is not None  # noqa: PT018 (for the type checker)
        for begin, part in zip(begins, parts, strict=True):
            slot.pinned_in.array[begin : begin + part.size] = part
        self.card.copy_in(slot.codes.address, slot.pinned_in.array[:total], self._copy_in)
        self.card.record(slot.ready, self._copy_in)
        codes, window, offset, base = (slot.codes.address + begin for begin in begins)
        return codes, (window, offset, base)

    def _reserve(self, slot: _Slot, codes: int, scores: int) -> None:
        had = [0 if held is None else held.nbytes for held in (slot.codes, slot.scores)]
        if had[0] >= codes and had[1] >= scores:
            return
        codes, scores = max(codes, had[0]), max(scores, had[1])
        slot.release()
        slot.codes, slot.pinned_in = self.card.allocate(codes), self.card.pinned(codes)
        slot.scores, slot.pinned_out = self.card.allocate(scores), self.card.pinned(scores)

    def _window_codes(
        self, batch: Batch, codes: int, edits: tuple[int, int, int], start: int, count: int
    ) -> int:
        """Address of the codes of scored windows start..start+count-1, edited where there are edits among
        them."""
        plain, length = len(batch.codes_WL), self.contract.length
        if start + count <= plain:
            return codes + start * length
        self.card.launch(
            launches.mutate(
                codes, edits, self._mutated.address, plain=plain, length=length, start=start, count=count
            ),
            self._compute,
        )
        return self._mutated.address

    def _by_group(self, chosen: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """For each stretch of the chosen members that lie in one group, which is loaded then: where the
        stretch begins among the chosen, and the members' places in the group."""
        place = {
            member: (g, i) for g, group in enumerate(self.members.groups) for i, member in enumerate(group)
        }
        start = 0
        while start < len(chosen):
            group = place[chosen[start]][0]
            stop = start
            while stop < len(chosen) and place[chosen[stop]][0] == group:
                stop += 1
            self._load(group)
            yield start, [place[member][1] for member in chosen[start:stop]]
            start = stop


def passes(n_windows: int, batch: int, both: bool) -> Iterator[tuple[int, int]]:
    """(first window, windows) of each pass of a fixed number of rows; what the last one lacks is padding."""
    step = batch // 2 if both else batch
    return ((start, min(step, n_windows - start)) for start in range(0, n_windows, step))


def runs(positions: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Stretches of consecutive numbers: where each begins in the list, its first number, its length."""
    start = 0
    for stop in range(1, len(positions) + 1):
        if stop == len(positions) or positions[stop] != positions[stop - 1] + 1:
            yield start, positions[start], stop - start
            start = stop

"""The mutate–denoise loop (cold diffusion), as published, batched over designs.

From a random start, n counts down from `start` to 1 in `steps` steps; each step permutes the four channel
values at up to n random positions, tells the network the expression wanted and n + `shift` mutations (more
than there are, which makes it change more), and feeds its softmax output on. The last output's arg max is the
design.

That is `feed` "soft". With "sample", bases are drawn from the softmax output at every step but the last, and
fed on as plain sequences, which is what the network saw in training: the loop then cannot feed on its own
certainty, which drives a briefly trained generator into repeats of one base.

`hold` is called after every step with the probabilities, to keep constraints (`legscore.design.constraints`).
Source: LegNet-Generator (Penzar et al. 2023); random numbers are `legscore.generate.draws`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from legscore.errors import LegscoreError
from legscore.generate.draws import start_codes

Hold = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(probabilities float32 [N, 4, L], numbers of the designs int64 [N]) → probabilities."""


FEEDS = ("soft", "sample")
BATCH = 512
"""Designs made at a time."""


@dataclass(frozen=True)
class Schedule:
    """Steps of the loop: how many, how many mutations the first makes, how many more the network is told, and
    what is fed on."""

    steps: int = 100
    shift: int = 30
    start: int = 100
    feed: str = "soft"

    def __post_init__(self) -> None:
        if self.feed not in FEEDS:
            raise LegscoreError(f"feed is {self.feed!r}; known are {', '.join(FEEDS)}")
        for name, least in (("steps", 1), ("shift", 0), ("start", 1)):
            if not least <= getattr(self, name) <= 100_000:
                raise LegscoreError(f"{name} is {getattr(self, name)}; it must be {least} to 100,000")

    def mutations(self) -> list[int]:
        """Positions drawn in each step: `start` down to 1 (one less each step when steps equals start)."""
        return [-(-self.start * left // self.steps) for left in range(self.steps, 0, -1)]


class Denoiser(Protocol):
    """A generator on an engine, which holds the probabilities of a batch of designs between steps."""

    name: str
    precision: str
    length: int
    engine_s: float
    """Seconds spent in the network so far."""

    def begin(self, bases_N4L: np.ndarray, target_N: np.ndarray, seed_N: np.ndarray) -> None:
        """Take a batch: probabilities of A,G,C,T float32 [N, 4, L], the expression wanted float32 [N], seeds
        int64 [N]."""

    def step(self, number: int, n_mutations: int, told: int, draw: bool = False) -> None:
        """Permute as `draws.shuffles(seeds, number, n_mutations, L)` says, then replace the probabilities by
        the network's, or with `draw` by one base for each position drawn from them (`draws.drawn`)."""

    def bases(self) -> np.ndarray:
        """The probabilities, float32 [N, 4, L]."""

    def put(self, bases_N4L: np.ndarray) -> None:
        """Replace the probabilities."""

    def describe(self) -> dict[str, Any]:
        """What defines the designs, for the output's metadata."""

    def close(self) -> None:
        """Release everything."""


def one_hot_bases(codes_NL: np.ndarray) -> np.ndarray:
    """float32 [N, 4, L] of codes 0..3."""
    return (codes_NL[:, None, :] == np.arange(4, dtype=np.uint8)[None, :, None]).astype(np.float32)


def sample(
    denoiser: Denoiser,
    target_N: np.ndarray,
    seed_N: np.ndarray,
    schedule: Schedule,
    *,
    start_NL: np.ndarray | None = None,
    hold: Hold | None = None,
    batch: int = BATCH,
    tick: Callable[[int], object] = lambda design_steps: None,
) -> tuple[np.ndarray, float]:
    """Make designs.

    Args:
        target_N: float32 [N], the expression wanted.
        seed_N: int64 [N], a seed for each design.
        start_NL: uint8 [N, L], sequences to start from instead of random ones.
        hold: keeps constraints, after every step.
        batch: designs at a time.
        tick: receives designs × steps done.

    Returns:
        float32 [N, 4, L], the last step's probabilities, and the seconds that the loop took.
    """
    began, found = time.perf_counter(), []
    for first in range(0, len(target_N), batch):
        rows = np.arange(first, min(first + batch, len(target_N)))
        codes = start_codes(seed_N[rows], denoiser.length) if start_NL is None else start_NL[rows]
        bases = one_hot_bases(codes)
        denoiser.begin(bases if hold is None else hold(bases, rows), target_N[rows], seed_N[rows])
        for number, n in enumerate(schedule.mutations(), start=1):
            draw = schedule.feed == "sample" and number < schedule.steps
            denoiser.step(number, n, n + schedule.shift, draw)
            if hold is not None:
                denoiser.put(hold(denoiser.bases(), rows))
            tick(len(rows))
        found.append(denoiser.bases())
    empty = np.empty((0, 4, denoiser.length), dtype=np.float32)
    return np.concatenate(found) if found else empty, time.perf_counter() - began

"""Candidates for designs, by any method, and the choice among them.

A round makes K candidates for each design that still lacks one; of these the one whose score is nearest to
the target and which is far enough from every design already taken is taken. Designs left without one get
another round with other seeds, at most ROUNDS in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from legscore.design import hamming
from legscore.design.constraints import Constraints
from legscore.design.judge import Judge, mean_and_sd
from legscore.design.search import Found, evolve, greedy
from legscore.generate.draws import start_codes
from legscore.generate.sample import Denoiser, Schedule, one_hot_bases, sample

ROUNDS = 6
Tick = Callable[[int], object]


@dataclass
class Producer:
    """Makes candidates.

    Attributes:
        method: `generator`, `greedy` or `evolve`.
        told_N: what the generator is told instead of `target_N`, float32 [N].
        calls: predictor calls for each design: candidates of the generator, or the budget of a search.
        start_NL: uint8 [N, L], what each design starts from; None for random starts.
        generator_s, engine_s: seconds of the mutate–denoise loop so far, and how many of them in the engine.
    """

    method: str
    judge: Judge
    constraints: Constraints
    target_N: np.ndarray
    seed: int
    calls: int
    schedule: Schedule
    told_N: np.ndarray
    denoiser: Denoiser | None = None
    start_NL: np.ndarray | None = None
    tick: Tick = lambda done: None
    generator_s: float = 0.0
    engine_s: float = field(default=0.0)

    @property
    def per_design(self) -> int:
        """Candidates, and so seeds, of a design in a round."""
        return self.calls if self.method == "generator" else 1

    def seeds(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Seeds of a round's candidates, int64 [rows, K]: consecutive from `seed` on in the first round."""
        k = self.per_design
        return self.seed + (number * len(self.target_N) + rows)[:, None] * k + np.arange(k)

    def round(self, rows: np.ndarray, number: int) -> tuple[Found, np.ndarray]:
        """Candidates of some designs, and their seeds int64 [rows, K] (one for all of a search's)."""
        seeds = self.seeds(rows, number)
        if self.method == "generator":
            return self._generated(rows, seeds), seeds
        starts = self._starts(rows, seeds[:, 0])
        constraints = self.constraints.of(rows)
        if self.method == "greedy":
            return greedy(self.judge, starts, self.target_N[rows], constraints, self.calls, self.tick), seeds
        rng = np.random.default_rng([self.seed, number, len(rows)])
        return evolve(self.judge, starts, self.target_N[rows], constraints, self.calls, rng, self.tick), seeds

    def _starts(self, rows: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """What a search starts from: made to satisfy the constraints with as few changes as possible."""
        codes = start_codes(seeds, self.constraints.length) if self.start_NL is None else self.start_NL[rows]
        return self.constraints.settle(one_hot_bases(codes) * 0.97 + 0.0075, rows)

    def _generated(self, rows: np.ndarray, seeds: np.ndarray) -> Found:
        assert self.denoiser is not None
        k = seeds.shape[1]
        index = rows.repeat(k)
        hold = None
        if self.constraints.anything:
            hold = lambda bases, numbers: self.constraints.hold(bases, index[numbers])
        before = self.denoiser.engine_s
        bases, seconds = sample(
            self.denoiser,
            self.told_N[index],
            seeds.ravel(),
            self.schedule,
            hold=hold,
            tick=self.tick,
            start_NL=None if self.start_NL is None else self.start_NL[index],
        )
        self.generator_s += seconds
        self.engine_s += self.denoiser.engine_s - before
        codes = self.constraints.settle(bases, index)
        scores = self.judge.scores(codes).reshape(-1, len(rows), k)
        return Found(
            codes.reshape(len(rows), k, -1),
            scores,
            np.full((len(rows), k), self.schedule.steps, dtype=np.int32),
        )


@dataclass(frozen=True)
class Chosen:
    """Designs taken: which of the N (ascending), codes uint8 [C, L], mean score and SD float32 [C], steps and
    seed int64 [C]."""

    row_C: np.ndarray
    codes_CL: np.ndarray
    score_C: np.ndarray
    sd_C: np.ndarray
    steps_C: np.ndarray
    seed_C: np.ndarray


def choose(producer: Producer, min_distance: int) -> Chosen:
    """Rounds of candidates until every design is taken, or ROUNDS are over."""
    n, length = len(producer.target_N), producer.constraints.length
    codes = np.zeros((n, length), dtype=np.uint8)
    score, sd = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    steps, seed, taken = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, dtype=bool)
    pool, filled, seen = np.empty((n, length), dtype=np.uint8), 0, set[bytes]()
    for number in range(ROUNDS):
        rows = np.flatnonzero(~taken)
        if not len(rows):
            break
        found, seeds = producer.round(rows, number)
        k = found.codes_NKL.shape[1]
        mean, spread = (
            part.reshape(len(rows), k) for part in mean_and_sd(found.scores_MNK.reshape(-1, len(rows) * k))
        )
        order = np.argsort(np.abs(mean - producer.target_N[rows][:, None]), axis=1, kind="stable")
        for i, row in enumerate(rows):
            candidates = found.codes_NKL[i, order[i]]
            new = np.array([min_distance < 1 or codes_.tobytes() not in seen for codes_ in candidates])
            if min_distance > 1:
                new &= hamming.spread_out(candidates, pool[:filled], min_distance)
            if not new.any():
                continue
            best = order[i, int(new.argmax())]
            codes[row], taken[row] = found.codes_NKL[i, best], True
            score[row], sd[row], steps[row] = mean[i, best], spread[i, best], found.steps_NK[i, best]
            seed[row] = seeds[i, best % seeds.shape[1]]
            pool[filled], filled = codes[row], filled + 1
            seen.add(codes[row].tobytes())
    rows = np.flatnonzero(taken)
    return Chosen(rows, codes[rows], score[rows], sd[rows], steps[rows], seed[rows])

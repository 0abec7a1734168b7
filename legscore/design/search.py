"""Straightforward searches to compare the generator with, at equal numbers of predictor calls.

- `greedy`: the best single-base change of all (saturation mutagenesis), again and again, until none improves
  or the calls are spent.
- `evolve`: a population for each design; parents chosen by tournament, two-point crossover, mutation, the
  best survive.

Both ask the predictor they are judged by, and so learn its mistakes: compare their designs by predictors that
they did not see. Constraints are kept at every step: a change that breaks one is not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from legscore.design.constraints import FREE, Constraints
from legscore.design.judge import Judge

Tick = Callable[[int], object]
POPULATION = 32
RETRIES = 8


@dataclass(frozen=True)
class Found:
    """Candidates of N designs: codes uint8 [N, K, L], scores_MNK float32, steps int32 [N, K] (generations or
    changes made)."""

    codes_NKL: np.ndarray
    scores_MNK: np.ndarray
    steps_NK: np.ndarray


def greedy(
    judge: Judge, start_NL: np.ndarray, target_N: np.ndarray, constraints: Constraints, calls: int, tick: Tick
) -> Found:
    """Steepest descent of |score - target| by single-base changes, at most `calls` inserts scored for each
    design."""
    codes, n = start_NL.copy(), len(start_NL)
    scores = judge.scores(codes)
    tick(n)
    spent, steps = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int32)
    going = np.arange(n)
    while len(going):
        row, place, base = _single_changes(codes[going], constraints, going)
        counts = np.bincount(row, minlength=len(going))
        can = (counts > 0) & (spent[going] + counts + 1 <= calls)
        keep = can[row]
        row, place, base = (np.cumsum(can) - 1)[row[keep]], place[keep], base[keep]
        going, counts = going[can], counts[can]
        if not len(going):
            break
        found = judge.changes(codes[going], row, place, base)
        tick(len(row))
        spent[going] += counts + 1  # the insert itself goes along
        error = np.abs(found.mean(axis=0, dtype=np.float64) - target_N[going][row])
        order = np.lexsort((error, row))
        first = order[np.searchsorted(row[order], np.arange(len(going)))]
        better = error[first] < np.abs(scores[:, going].mean(axis=0, dtype=np.float64) - target_N[going])
        chosen, going = first[better], going[better]
        codes[going, place[chosen]] = base[chosen]
        scores[:, going] = found[:, chosen]
        steps[going] += 1
    return Found(codes[:, None], scores[:, :, None], steps[:, None])


def _single_changes(
    codes: np.ndarray, constraints: Constraints, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every allowed single-base change of some designs: (position in `rows`, place, new base), sorted by the
    first."""
    n, length = codes.shape
    row, place, step = (
        axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(length), np.arange(1, 4), indexing="ij")
    )
    base = (codes[row, place] + step) % 4
    free = constraints.kept_NL[rows][row, place] == FREE
    row, place, base = row[free], place[free], base[free].astype(np.uint8)
    if constraints.restrains:
        changed = codes[row]
        changed[np.arange(len(row)), place] = base
        allowed = ~constraints.violated(changed, rows[row])
        row, place, base = row[allowed], place[allowed], base[allowed]
    return row, place, base


def evolve(
    judge: Judge,
    start_NL: np.ndarray,
    target_N: np.ndarray,
    constraints: Constraints,
    calls: int,
    rng: np.random.Generator,
    tick: Tick,
) -> Found:
    """A population of at most POPULATION for each design, at most `calls` inserts scored for each."""
    n, length = start_NL.shape
    size = max(1, min(POPULATION, calls // 2))
    rows = np.arange(n).repeat(size)
    free = constraints.kept_NL == FREE
    # the first of each is the start itself
    heavy = np.tile(np.where(np.arange(size) == 0, 0, length // 4), n)
    people = _mutants(np.repeat(start_NL, size, axis=0), rows, heavy, free, constraints, rng)
    scores = judge.scores(people).reshape(-1, n, size)
    tick(len(people))
    people = people.reshape(n, size, length)
    generations, left = 0, calls - size
    while left >= size:
        error = _error(scores, target_N)
        mother, father = (
            np.take_along_axis(people, _tournament(error, size, rng)[:, :, None], axis=1) for _ in range(2)
        )
        children = _crossed(mother, father, rng)
        few = 1 + rng.binomial(3, 0.25, n * size)
        crossed = children.reshape(-1, length)
        broken = constraints.violated(crossed, rows)
        crossed[broken] = mother.reshape(-1, length)[broken]
        young = _mutants(crossed, rows, few, free, constraints, rng)
        young_scores = judge.scores(young).reshape(-1, n, size)
        tick(len(young))
        people = np.concatenate([people, young.reshape(n, size, length)], axis=1)
        scores = np.concatenate([scores, young_scores], axis=2)
        best = np.argsort(_error(scores, target_N), axis=1, kind="stable")[:, :size]
        people = np.take_along_axis(people, best[:, :, None], axis=1)
        scores = np.take_along_axis(scores, best[None], axis=2)
        generations, left = generations + 1, left - size
    return Found(people, scores, np.full((n, size), generations, dtype=np.int32))


def _error(scores_MNK: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    return np.abs(scores_MNK.mean(axis=0, dtype=np.float64) - target_N[:, None])


def _tournament(error_NK: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The better of two drawn, int64 [N, size]."""
    n = len(error_NK)
    one, two = (rng.integers(0, error_NK.shape[1], (n, size)) for _ in range(2))
    first = np.take_along_axis(error_NK, one, axis=1) <= np.take_along_axis(error_NK, two, axis=1)
    return np.where(first, one, two)


def _crossed(mother: np.ndarray, father: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two-point crossover, [N, K, L]."""
    n, size, length = mother.shape
    cuts = np.sort(rng.integers(0, length + 1, (n, size, 2)), axis=2)
    places = np.arange(length)
    inside = (places >= cuts[:, :, :1]) & (places < cuts[:, :, 1:])
    return np.where(inside, father, mother)


def _mutants(
    codes: np.ndarray,
    rows: np.ndarray,
    count: np.ndarray,
    free: np.ndarray,
    constraints: Constraints,
    rng: np.random.Generator,
) -> np.ndarray:
    """Copies with count[i] substitutions at free places; where that breaks a constraint, other ones are
    tried, fewer each time, and after RETRIES the copy stays as it was."""
    made, waiting, count = codes.copy(), np.flatnonzero(count > 0), count.copy()
    for _ in range(RETRIES):
        if not len(waiting):
            break
        tried = codes[waiting]
        for change in range(int(count[waiting].max())):
            among = np.flatnonzero(count[waiting] > change)
            weight = free[rows[waiting[among]]]
            place = (rng.random(weight.shape) * weight).argmax(axis=1)
            movable = weight[np.arange(len(among)), place]
            step = rng.integers(1, 4, len(among)) * movable
            tried[among, place] = (tried[among, place] + step) % 4
        good = ~constraints.violated(tried, rows[waiting])
        made[waiting[good]] = tried[good]
        waiting = waiting[~good]
        count[waiting] = np.maximum(count[waiting] // 2, 1)
    return made

"""What every design must hold to: bases and motifs kept, motifs avoided, GC content, runs of one base.

Checked before work starts (a set of constraints that no insert satisfies is an error that says which), kept
at every step of the loop (`Constraints.hold`), and checked once more on the finished designs by
`legscore.design.final_check`, which knows nothing of this module. Motifs and runs are looked for across the
junctions with the flanks, on both strands.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from legscore.design.automaton import IMPOSSIBLE, IS_GC, Automaton
from legscore.design.motifs import both_strands, read_motif
from legscore.dna.contract import BASES, Contract
from legscore.errors import InputError

FREE = 255
SMALLEST = 1e-6
"""Probabilities below count as this, so that no base is ruled out by the network alone."""


@dataclass(frozen=True)
class Rules:
    """Constraints as given, checked for form.

    Attributes:
        avoid: motifs or enzymes, both strands.
        gc: lowest and highest share of G and C in the insert.
        homopolymer: longest run of one base.
        keep: `PLACE:BASES`, `FIRST-LAST` (as in the sequence started from), or a motif that every design
            holds.
    """

    avoid: tuple[str, ...] = ()
    gc: tuple[float, float] | None = None
    homopolymer: int | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gc is not None and not 0 <= self.gc[0] <= self.gc[1] <= 1:
            raise InputError(
                f"--gc {self.gc[0]:g}-{self.gc[1]:g}: a range within 0-1, or 0-100 percent, lowest first"
            )
        if self.homopolymer is not None and self.homopolymer < 1:
            raise InputError(f"--max-homopolymer {self.homopolymer}: at least 1")

    @property
    def motifs(self) -> dict[str, str]:
        """What is avoided, {as given: IUPAC}."""
        return {text: read_motif(text, "--avoid") for text in self.avoid}

    def gc_counts(self, length: int) -> tuple[int, int]:
        """Fewest and most G and C of an insert. InputError when no whole number lies between."""
        if self.gc is None:
            return 0, length
        low, high = int(np.ceil(self.gc[0] * length - 1e-9)), int(np.floor(self.gc[1] * length + 1e-9))
        if low > high:
            raise InputError(
                f"--gc {self.gc[0]:g}-{self.gc[1]:g}: no number of bases out of {length} lies in this range"
            )
        return low, high


class Constraints:
    """Rules for N designs in one construct; `kept_NL` uint8 [N, L] holds the bases that each must keep, FREE
    elsewhere."""

    def __init__(self, rules: Rules, contract: Contract, length: int, kept_NL: np.ndarray) -> None:
        self.rules, self.length, self.kept_NL = rules, length, kept_NL
        self.gc_low, self.gc_high = rules.gc_counts(length)
        self.automaton, self._flanks = automaton_of(rules, contract), (contract.flank5, contract.flank3)
        self.restrains = bool(rules.avoid or rules.gc or rules.homopolymer)
        """Whether there is more than kept bases."""

    def of(self, rows: np.ndarray) -> Constraints:
        """The same rules for some of the designs."""
        chosen = copy.copy(self)
        chosen.kept_NL = self.kept_NL[rows]
        return chosen

    @property
    def anything(self) -> bool:
        """Whether there is anything to keep to."""
        return self.restrains or bool((self.kept_NL != FREE).any())

    def possible(self) -> np.ndarray:
        """Whether each design's constraints can be satisfied, bool [N]."""
        nothing = np.zeros((len(self.kept_NL), 4, self.length), dtype=np.float32)
        return self.automaton.best(_values(nothing, self.kept_NL), self.gc_low, self.gc_high)[1]

    def check_possible(self) -> None:
        """InputError, saying what stands in the way, unless every design's constraints can be satisfied."""
        kept = np.unique(self.kept_NL, axis=0)
        value = _values(np.zeros((len(kept), 4, self.length), dtype=np.float32), kept)
        possible = self.automaton.best(value, self.gc_low, self.gc_high)[1]
        if possible.all():
            return
        row, value = kept[~possible][0], value[~possible][:1]
        if self.automaton.best(value, 0, self.length)[1][0]:
            is_kept = row != FREE
            fixed_gc = int(IS_GC[row[is_kept]].sum())
            low, high = fixed_gc, fixed_gc + int((~is_kept).sum())
            reach = (
                f"the kept bases alone allow {low}-{high} G and C, {self.gc_low}-{self.gc_high} are asked for"
            )
            if self.gc_low > high or self.gc_high < low:
                raise InputError(
                    f"impossible constraints: GC content out of reach: {reach}; change --gc or --keep"
                )
            raise InputError(
                f"impossible constraints: GC content out of reach: no insert of {self.length} bases with "
                f"{self.gc_low}-"
                f"{self.gc_high} G and C goes with what is avoided and kept; widen --gc"
            )
        raise InputError(
            f"impossible constraints: {_culprits(self.rules, value, self.length, self._flanks)}; change one"
        )

    def settle(self, probability_N4L: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The most probable design of each row that satisfies everything, uint8 [N, L]. The arg max where
        that already does."""
        value = _values(np.log(np.maximum(probability_N4L, SMALLEST)), self.kept_NL[rows])
        codes = value.argmax(axis=1).astype(np.uint8)
        bad = np.flatnonzero(self.violated(codes, rows))
        if len(bad):
            codes[bad], possible = self.automaton.best(value[bad], self.gc_low, self.gc_high)
            if not possible.all():
                raise AssertionError("constraints that were possible before work started are not")
        return codes

    def hold(self, probability_N4L: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Probabilities moved so that constraints hold: kept bases certain, GC content shifted into range,
        and where the arg max still holds a pattern, the values of two bases exchanged wherever the best
        insert without one differs."""
        kept = self.kept_NL[rows]
        held = np.where(
            (kept != FREE)[:, None, :], (kept[:, None, :] == np.arange(4)[None, :, None]), probability_N4L
        )
        held = held.astype(np.float32)
        if not self.restrains:
            return held
        if self.rules.gc is not None:
            self._shift_gc(held, kept)
        codes = held.argmax(axis=1)
        bad = np.flatnonzero(self.automaton.refuses(codes))
        if not len(bad):
            return held
        value = _values(np.log(np.maximum(held[bad], SMALLEST)), kept[bad])
        wanted, _ = self.automaton.best(value, 0, self.length)
        at, place = np.nonzero(wanted != codes[bad])
        row, new, old = bad[at], wanted[at, place], codes[bad][at, place]
        held[row, new, place], held[row, old, place] = held[row, old, place], held[row, new, place]
        return held

    def _shift_gc(self, held: np.ndarray, kept: np.ndarray) -> None:
        """Multiply the probabilities of G and C by one factor a row, the smallest that brings the arg max
        into range."""
        count_N = (np.maximum(held[:, 1], held[:, 2]) > np.maximum(held[:, 0], held[:, 3])).sum(axis=1)
        for rows, place in ((count_N < self.gc_low, self.gc_low - 1), (count_N > self.gc_high, self.gc_high)):
            if not rows.any():
                continue
            log = np.log(np.maximum(held[rows], SMALLEST))
            lead_RL = np.maximum(log[:, 1], log[:, 2]) - np.maximum(log[:, 0], log[:, 3])
            edge = np.sort(-lead_RL, axis=1)[:, place] + (0.01 if place == self.gc_low - 1 else -0.01)
            factor = np.exp(np.clip(edge, -30, 30))[:, None, None]
            free = (kept[rows] == FREE)[:, None, :]
            held[rows, 1:3] *= np.where(free, factor, 1).astype(np.float32)
            held[rows] /= held[rows].sum(axis=1, keepdims=True)

    def violated(self, codes_NL: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which of `rows`' inserts break a constraint, bool [N]."""
        kept = self.kept_NL[rows]
        broken = ((kept != FREE) & (kept != codes_NL)).any(axis=1)
        if self.restrains:
            gc = IS_GC[codes_NL].sum(axis=1)
            broken |= (gc < self.gc_low) | (gc > self.gc_high) | self.automaton.refuses(codes_NL)
        return broken


def automaton_of(rules: Rules, contract: Contract) -> Automaton:
    """What may not be in an insert of this construct."""
    patterns = [p for motif in rules.motifs.values() for p in both_strands(motif, "--avoid")]
    if rules.homopolymer is not None:
        patterns += [base * (rules.homopolymer + 1) for base in BASES]
    return Automaton(patterns, contract.flank5, contract.flank3)


def _values(log_N4L: np.ndarray, kept_NL: np.ndarray) -> np.ndarray:
    """Log probabilities with IMPOSSIBLE for every base other than the kept one."""
    other = (kept_NL != FREE)[:, None, :] & (kept_NL[:, None, :] != np.arange(4)[None, :, None])
    return np.where(other, np.float32(IMPOSSIBLE), log_N4L)


def _culprits(rules: Rules, value: np.ndarray, length: int, flanks: tuple[str, str]) -> str:
    """Which avoided motif, or run of bases, no insert with the kept bases can do without, alone or
    together."""
    kept = " with the bases to keep" if (value < 0).any() else ""
    for text, motif in rules.motifs.items():
        if not Automaton(both_strands(motif, "--avoid"), *flanks).best(value, 0, length)[1][0]:
            name = text if text.upper() == motif else f"{text} ({motif})"
            return f"every insert{kept} holds {name}, which is to be avoided"
    if rules.homopolymer is not None:
        runs = [base * (rules.homopolymer + 1) for base in BASES]
        if not Automaton(runs, *flanks).best(value, 0, length)[1][0]:
            return f"every insert{kept} has a run of more than {rules.homopolymer} equal bases"
    return f"no insert{kept} is without all of {', '.join(rules.avoid)}" + (
        f" and runs longer than {rules.homopolymer}" if rules.homopolymer is not None else ""
    )


def parse_gc(text: str) -> tuple[float, float]:
    """`0.3-0.5` or `30-50` → shares. InputError otherwise."""
    parts = text.replace("%", "").split("-")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise InputError(f"--gc {text}: write LOWEST-HIGHEST, such as 0.3-0.5 or 30-50") from None
    return (low / 100, high / 100) if high > 1 else (low, high)

"""Motifs as scores of words, with exact p-values.

The score of a word is the sum over its positions of log2((n p + a b) / (n + a) / b): p is the motif's
probability of the base, n its sites, b the background and a the PSEUDOCOUNT. Each term is rounded to 1/UNITS
bit, so that scores are whole numbers, and the chance of every score among random words of the background
follows exactly, by convolution over positions. The background is that of the file (uniform without one),
averaged over both strands. Both strands are scanned.

Plain numpy on purpose: a variant changes a few words in each of many short rows, and all of them are looked
up at once, where libraries scan one long sequence a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from legscore.attribute.meme_files import LETTERS, Motif, MotifFile
from legscore.dna.contract import BASES, COMPLEMENT, N_CODE

PSEUDOCOUNT = 0.1
UNITS = 1000
"""Units of score in a bit."""
UNKNOWN = -10_000_000
"""Score of an unknown base, in units: no word with one is ever a hit."""
MOST_P = 1e-4
"""Largest p-value of a hit, unless asked for otherwise."""
STRANDS = "+-"
BLOCK = 5
"""Bases that are looked up at once."""
_N_CODES = N_CODE + 1
_DIGITS = np.stack(np.unravel_index(np.arange(_N_CODES**BLOCK), (_N_CODES,) * BLOCK), axis=1)
"""Codes of the bases of each block, [blocks, BLOCK]."""
UNIFORM_B = np.full(len(LETTERS), 1 / len(LETTERS))


@dataclass(frozen=True)
class MotifScores:
    """Scores of one motif, in units.

    Attributes:
        score_WC: int32 [width, 5], score of each base (codes A, G, C, T, N) at each position.
        background_C: float64 [4], chance of each base.
    """

    score_WC: np.ndarray
    background_C: np.ndarray

    @classmethod
    def of(cls, motif: Motif, background_B: np.ndarray) -> MotifScores:
        """Scores of a motif against a background, float64 [4], A, C, G, T."""
        p_WB, n = motif.probability_WB, motif.sites
        odds_WB = (n * p_WB + PSEUDOCOUNT * background_B) / (n + PSEUDOCOUNT) / background_B
        score_WB = np.rint(UNITS * np.log2(odds_WB)).astype(np.int32)
        order = [LETTERS.index(base) for base in BASES]
        unknown = np.full((len(motif), 1), UNKNOWN, dtype=np.int32)
        return cls(np.hstack([score_WB[:, order], unknown]), background_B[order])

    def __len__(self) -> int:
        return len(self.score_WC)

    @property
    def lowest(self) -> int:
        """The least score of a word."""
        return int(self.score_WC[:, :N_CODE].min(axis=1).sum())

    @cached_property
    def tail(self) -> np.ndarray:
        """Chance of a score of `lowest` + s or more, float64 [scores]."""
        chance = np.ones(1)
        for row in self.score_WC[:, :N_CODE]:
            step = row - row.min()
            longer = np.zeros(len(chance) + int(step.max()))
            for base, add in enumerate(step):
                longer[add : add + len(chance)] += self.background_C[base] * chance
            chance = longer
        return np.minimum(np.cumsum(chance[::-1])[::-1], 1.0)

    def p_of(self, scores: np.ndarray) -> np.ndarray:
        """p-values of scores of words without unknown bases."""
        return np.asarray(self.tail[scores - self.lowest])

    def bound(self, most_p: float) -> int:
        """The least score whose p-value is at most `most_p`; above every score where none is."""
        return self.lowest + int(np.searchsorted(-self.tail, -most_p))

    @cached_property
    def tables(self) -> np.ndarray:
        """int32 [2 strands, blocks, block's number]: what each block of a word adds, read on the + and on the
        - strand."""
        other_WC = self.score_WC[::-1][:, COMPLEMENT]
        tables = []
        for score_WC in (self.score_WC, other_WC):
            blocks = [score_WC[first : first + BLOCK] for first in range(0, len(self), BLOCK)]
            tables.append([sum(row[_DIGITS[:, j]] for j, row in enumerate(block)) for block in blocks])
        return np.array(tables, dtype=np.int32)


def background_of(file: MotifFile) -> np.ndarray:
    """float64 [4], A, C, G, T: what a file says, else uniform; averaged over both strands."""
    given = UNIFORM_B if file.background_B is None else file.background_B
    return np.asarray((given + given[::-1]) / 2)


def block_numbers(codes_NL: np.ndarray) -> np.ndarray:
    """The number of the block of bases that begins at each place, uint16 [N, L]; bases behind the end are
    unknown."""
    n, length = codes_NL.shape
    padded = np.full((n, length + BLOCK - 1), N_CODE, dtype=np.uint16)
    padded[:, :length] = codes_NL
    numbers = np.zeros((n, length), dtype=np.uint16)
    for j in range(BLOCK):
        numbers *= _N_CODES
        numbers += padded[:, j : j + length]
    return numbers


def scores_at(numbers_NL: np.ndarray, table_KI: np.ndarray, place_P: np.ndarray) -> np.ndarray:
    """Scores of the words that begin at `place_P` (row × L + column), int32; they end within their rows."""
    flat = numbers_NL.ravel()
    found = table_KI[0][flat[place_P]]
    for k in range(1, len(table_KI)):
        found += table_KI[k][flat[place_P + k * BLOCK]]
    return np.asarray(found)

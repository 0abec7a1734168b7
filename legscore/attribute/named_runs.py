"""Runs of high contribution, named by the motifs that fit their bases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from legscore.attribute.contributions import Contributions
from legscore.attribute.high_runs import HighRun
from legscore.attribute.meme_files import LETTERS
from legscore.attribute.motif_scores import STRANDS, block_numbers, scores_at
from legscore.attribute.open_motifs import ScoredMotifs
from legscore.dna.contract import BASES, N_CODE

NO_HIT = "."
_CODE = np.array([*(BASES.index(letter) for letter in LETTERS), N_CODE], dtype=np.uint8)
"""Index in `ACGT` → code; the last is that of -1."""


def named_runs(found: Contributions, runs: Sequence[HighRun], motifs: ScoredMotifs) -> list[str]:
    """For each run its best hit, the one of the smallest p-value, as motif|strand|offset in the tile|p-value;
    NO_HIT where none is. A hit and a run share at least half the bases of the shorter one."""
    numbers_TL = block_numbers(_CODE[found.base_TL])
    length = numbers_TL.shape[1]
    named = [NO_HIT] * len(runs)
    for i, run in enumerate(runs):
        best = motifs.most_p
        for title, scores in zip(motifs.titles, motifs.scores, strict=True):
            column = _columns(run, len(scores), length)
            for strand, table in enumerate(scores.tables if len(column) else ()):
                score = scores_at(numbers_TL, table, run.tile * length + column)
                top = int(score.argmax())
                if score[top] < scores.bound(best):
                    continue
                p = float(scores.p_of(score[top]))
                if p < best or named[i] == NO_HIT:
                    best, named[i] = p, f"{title}|{STRANDS[strand]}|{column[top]}|{p:.3g}"
    return named


def _columns(run: HighRun, width: int, length: int) -> np.ndarray:
    """Where words of this width may begin that share half their bases, or half of the run's, with the run."""
    column = np.arange(max(0, run.start - width + 1), min(run.stop, length - width + 1))
    shared = np.minimum(run.stop, column + width) - np.maximum(run.start, column)
    return column[2 * shared >= min(width, run.stop - run.start)]

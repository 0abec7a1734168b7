"""A MEME file → motifs that can be scanned for, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legscore.attribute.meme_files import Motif, read_meme
from legscore.attribute.motif_scores import PSEUDOCOUNT, MotifScores, background_of
from legscore.errors import InputError
from legscore.system.log import Say

MOST_TOLD = 8


@dataclass(frozen=True)
class ScoredMotifs:
    """The motifs of a file in its order.

    Attributes:
        titles: their names as they are written in outputs. scores: of each.
        background_B: float64 [4], A, C, G, T. most_p: largest p-value of a hit.
    """

    titles: tuple[str, ...]
    scores: tuple[MotifScores, ...]
    background_B: np.ndarray
    most_p: float


def open_motifs(path: str, most_p: float, say: Say) -> ScoredMotifs:
    """Read motifs and get their scores ready.

    Args:
        path: of a MEME file. most_p: largest p-value of a hit. say: receives lines about them.

    Raises:
        InputError: it is no file of DNA motifs, or none of them can have a hit.
    """
    file = read_meme(path)
    background_B = background_of(file)
    scores = tuple(MotifScores.of(motif, background_B) for motif in file.motifs)
    never = [motif for motif, one in zip(file.motifs, scores, strict=True) if one.tail[-1] > most_p]
    if len(never) == len(scores):
        raise InputError(f"{path}: no word of any motif has a p-value of {most_p:g} or less; raise --motif-p")
    said = "the file" if file.background_B is not None else "equal frequencies"
    shares = ", ".join(f"{base} {share:.3f}" for base, share in zip("ACGT", background_B, strict=True))
    say(f"motifs: {len(scores):,} of {path}, both strands, p at most {most_p:g}")
    say(f"        background of {said}, averaged over strands: {shares}; pseudocount {PSEUDOCOUNT}")
    if never:
        say(f"        {_some(never)}: even the best word has a larger p-value, so none is ever a hit")
    return ScoredMotifs(tuple(motif.written for motif in file.motifs), scores, background_B, most_p)


def _some(motifs: Sequence[Motif]) -> str:
    more = len(motifs) - MOST_TOLD
    named = ", ".join(motif.title for motif in motifs[:MOST_TOLD])
    return f"{named} and {more:,} more" if more > 0 else named

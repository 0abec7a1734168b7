"""The windows of a distillation: groups of a reference and changes of it, some held out from training.

What is held out shares no 20 bases in a row with what is trained on, on either strand: figures of held-out
windows are figures of DNA that the student never saw. All of it is a function of the sources and the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legscore.distill.options import WINDOWS_A_GROUP
from legscore.distill.sources import Source
from legscore.dna.contract import N_CODE, reverse_complement
from legscore.errors import InputError

SHARED_BASES = 20
SINGLE_CHANGES = 2
SEVERAL = (3, 15)
"""Fewest and most changes of the last window of a group."""
AT_ONCE = 8_192
"""Groups whose 20-mers are made together: 16 MB for inserts of 80 bases."""
MOST_ROUNDS = 20


@dataclass(frozen=True)
class DrawnGroups:
    """inserts_GKL: uint8 codes [groups, 4, insert]: reference, two single changes of it, one with several.
    The first `held_out` groups are kept from training; of the others each source gave `given`."""

    inserts_GKL: np.ndarray
    held_out: int
    given: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.inserts_GKL)

    @property
    def sha256(self) -> str:
        """Of all windows and of which are held out."""
        digest = hashlib.sha256(str((self.inserts_GKL.shape, self.held_out)).encode())
        digest.update(np.ascontiguousarray(self.inserts_GKL))
        return digest.hexdigest()


def draw_groups(
    sources: Sequence[tuple[float, Source]],
    n_groups: int,
    held_out: int,
    seed: int,
    kept_apart: Sequence[np.ndarray] = (),
    held_from: Sequence[tuple[float, Source]] | None = None,
) -> DrawnGroups:
    """Draw the groups; those held out first, then others until enough share nothing with them.

    Args:
        sources: with their shares of the groups, also of those held out.
        kept_apart: more inserts [.., insert] that training shares nothing with.
        held_from: what is held out is drawn from these sources instead.

    Raises:
        InputError: the sources do not give enough that shares nothing with what is held out.
    """
    rng = np.random.default_rng([seed, 41])
    held = with_changes(drawn_inserts(held_from or sources, held_out, rng)[0], rng)
    apart = kmers_apart([held, *kept_apart])
    found, wanted = [held], n_groups - len(held)
    given = np.zeros(len(sources), dtype=np.int64)
    for _ in range(MOST_ROUNDS):
        if wanted <= 0:
            return DrawnGroups(np.concatenate(found), len(held), tuple(given.tolist()))
        references, source_N = drawn_inserts(sources, wanted, rng)
        candidates = with_changes(references, rng)
        free = share_nothing(candidates, apart)
        found.append(candidates[free])
        given += np.bincount(source_N[free], minlength=len(sources))
        wanted -= len(found[-1])
    raise InputError(
        f"only {n_groups - wanted:,} of {n_groups:,} groups of windows share no {SHARED_BASES} bases with "
        "those held out; give more --tiles, --fasta or --measured sequences, or ask for fewer --labels"
    )


def drawn_inserts(
    sources: Sequence[tuple[float, Source]], n_groups: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Inserts from all sources, mixed, uint8 [n_groups, insert], and the source of each, int64 [n_groups];
    fewer, where no source has more to give."""
    of_source = rng.choice(len(sources), n_groups, p=[share for share, _ in sources])
    counts = _within(np.bincount(of_source, minlength=len(sources)), [source.most for _, source in sources])
    references = np.concatenate(
        [source.draw(int(n), rng) for (_, source), n in zip(sources, counts, strict=True)]
    )
    order = rng.permutation(len(references))
    return references[order], np.repeat(np.arange(len(sources)), counts)[order]


def _within(counts: np.ndarray, most: Sequence[int | None]) -> np.ndarray:
    """Counts within what each source can give: what is over comes from the first others that have more."""
    bounds = [int(counts.sum()) if bound is None else bound for bound in most]
    found = np.minimum(counts, bounds)
    for k, bound in enumerate(bounds):
        found[k] += min(int(counts.sum() - found.sum()), max(bound - int(found[k]), 0))
    return found


def with_changes(reference_GL: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each reference with two single changes at different places, and one window with several changes."""
    groups, length = reference_GL.shape
    inserts = np.repeat(reference_GL[:, None], WINDOWS_A_GROUP, axis=1)
    order = rng.random((groups, length)).argsort(axis=1)
    row = np.arange(groups)
    for k in range(SINGLE_CHANGES):
        place = order[:, k % length]
        other = rng.integers(1, 4, groups, dtype=np.uint8)
        inserts[row, 1 + k, place] = (inserts[row, 1 + k, place] + other) % 4
    rank = rng.random((groups, length)).argsort(axis=1).argsort(axis=1)
    changed = rank < rng.integers(SEVERAL[0], SEVERAL[1] + 1, (groups, 1))
    others = rng.integers(1, 4, (groups, length), dtype=np.uint8)
    inserts[:, -1] = np.where(changed, (inserts[:, -1] + others) % 4, inserts[:, -1])
    return inserts


def kmers_of(codes_NL: np.ndarray) -> np.ndarray:
    """Every 20 bases in a row as a number, uint64 [N, L - 19]; of shorter rows the whole row."""
    k = min(SHARED_BASES, codes_NL.shape[1])
    windows = np.zeros((len(codes_NL), codes_NL.shape[1] - k + 1), dtype=np.uint64)
    for i in range(k):
        windows = windows * np.uint64(4) + codes_NL[:, i : i + windows.shape[1]].astype(np.uint64)
    return windows


def kmers_apart(inserts: Sequence[np.ndarray]) -> np.ndarray:
    """The distinct k-mers of inserts [.., insert] on both strands, sorted; those with N are left out."""
    found = [np.empty(0, np.uint64)]
    for some in inserts:
        flat = some.reshape(-1, some.shape[-1])
        for start in range(0, len(flat), 4 * AT_ONCE):
            both = [strand := flat[start : start + 4 * AT_ONCE], reverse_complement(strand)]
            found.append(np.unique(np.concatenate([_known_kmers(one) for one in both])))
    return np.unique(np.concatenate(found))


def _known_kmers(codes_NL: np.ndarray) -> np.ndarray:
    """k-mers without N, uint64."""
    kmers = kmers_of(codes_NL)
    if not (unknown_NL := codes_NL >= N_CODE).any():
        return kmers.ravel()
    k = codes_NL.shape[1] - kmers.shape[1] + 1
    before = np.pad(np.cumsum(unknown_NL, axis=1), ((0, 0), (1, 0)))
    return kmers[before[:, k:] == before[:, :-k]]


def share_nothing(inserts_GKL: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """bool [groups]: none of a group's windows holds one of the k-mers, which are sorted."""
    free = np.empty(len(inserts_GKL), dtype=bool)
    for start in range(0, len(inserts_GKL), AT_ONCE):
        some = inserts_GKL[start : start + AT_ONCE]
        found = kmers_of(some.reshape(-1, some.shape[-1])).reshape(len(some), -1)
        at = np.minimum(np.searchsorted(apart, found), len(apart) - 1)
        free[start : start + AT_ONCE] = (apart[at] != found).all(axis=1)
    return free

"""Where the windows of a distillation come from: random DNA, tables of sequences, genomes.

Whatever the source, what is drawn are inserts of one length without N.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from legscore.distill.input_rows import open_rows, roles_of
from legscore.dna.codes import text_to_codes, unique_rows
from legscore.dna.contract import CODE_OF_BYTE, N_CODE, Contract, reverse_complement
from legscore.errors import InputError
from legscore.input.roles import role_array
from legscore.rows.reading import SNIFF_ROWS, Reading, decide_sequence_is
from legscore.rows.schema import OK
from legscore.system.log import Say
from legscore.variants.genome import Genome

SHARES = {"random": 0.35, "measured": 0.25, "tiles": 0.40}
"""Of the groups that are drawn, where all sources are given; of fewer in proportion."""
MOST_INSERTS = 2_000_000
"""Of a table that are kept; rows of a larger one are left out at random."""
MOST_HELD_OUT = 0.2
"""Of the inserts of a small table or genome that is held out and checked: training has the others."""
PART_ROWS = 65_536
GC_BETA = (14.0, 22.0)
"""GC content of random inserts: beta distributed, 0.39 ± 0.08, as promoters of yeast are."""
TRIES = 20


class Source(Protocol):
    """Draws inserts. `kind`: random, measured, tiles or genome. `most`: so many at once at most; None for no
    bound."""

    @property
    def kind(self) -> str: ...

    @property
    def most(self) -> int | None: ...

    def parted(self, taken: float, least: int, rng: np.random.Generator) -> tuple[Source, Source]:
        """What is held out is drawn from the first, training from the second; both are this one, where it is
        large.

        Args:
            taken: inserts that what is held out would take. least: of these to keep even so.
        """

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """uint8 codes [n, insert], none of them N."""


@dataclass(frozen=True)
class RandomDna:
    """Bases drawn independently, with a GC content of its own in every insert."""

    insert: int
    kind: str = "random"
    most: int | None = None

    def parted(self, taken: float, least: int, rng: np.random.Generator) -> tuple[Source, Source]:
        return self, self

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        gc_N = rng.beta(*GC_BETA, n)[:, None]
        is_gc = rng.random((n, self.insert)) < gc_N
        second = rng.integers(0, 2, (n, self.insert), dtype=np.uint8)
        return np.where(is_gc, 1 + second, 3 * second).astype(np.uint8)  # A,G,C,T = 0..3


@dataclass(frozen=True)
class Listed:
    """Inserts of tables, each once before any comes again."""

    inserts_NL: np.ndarray
    kind: str
    most: int | None = None

    def parted(self, taken: float, least: int, rng: np.random.Generator) -> tuple[Source, Source]:
        n = len(self.inserts_NL)
        if n < 2:  # drawn again and again, it would pass for many
            return replace(self, most=n), self
        if n >= taken / MOST_HELD_OUT:
            return self, self
        kept = max(int(MOST_HELD_OUT * n), min(least, n // 2), 1)
        order = rng.permutation(n)
        held, others = self.inserts_NL[order[:kept]], self.inserts_NL[order[kept:]]
        return Listed(held, self.kind, kept), Listed(others, self.kind)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        passes = [rng.permutation(len(self.inserts_NL)) for _ in range(-(-n // len(self.inserts_NL)))]
        return self.inserts_NL[np.concatenate(passes)[:n]] if n else self.inserts_NL[:0]


@dataclass(frozen=True)
class OfGenome:
    """Windows of a genome from anywhere, on either strand, or of `places`: the first of them, and how many;
    after the last comes the first again."""

    genome: Genome
    insert: int
    kind: str = "genome"
    most: int | None = None
    places: tuple[int, int] | None = None

    def parted(self, taken: float, least: int, rng: np.random.Generator) -> tuple[Source, Source]:
        whole = sum(max(length - self.insert + 1, 0) for length in self.genome.lengths.values())
        # a window shares bases with nearly all that begin within its length on either side
        if not whole or whole >= 2 * self.insert * taken / MOST_HELD_OUT:
            return self, self
        kept = max(int(MOST_HELD_OUT * whole), min(least * self.insert, whole // 2), 1)
        first = int(rng.integers(whole))
        held = replace(self, places=(first, kept), most=max(kept // self.insert, 1))
        return held, replace(self, places=((first + kept) % whole, whole - kept))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        names = [name for name, length in self.genome.lengths.items() if length >= self.insert]
        if not names:
            raise InputError(f"--fasta {self.genome.path}: no contig holds {self.insert} bases")
        starts = np.array([self.genome.lengths[name] - self.insert + 1 for name in names])
        found, left = [np.empty((0, self.insert), np.uint8)], n
        for _ in range(TRIES):
            if left:
                found.append(self._some(names, starts, left, rng)[:left])
                left -= len(found[-1])
        if left:
            raise InputError(f"--fasta {self.genome.path}: hardly a window without N; is it masked?")
        return np.concatenate(found)

    def _some(self, names: list[str], starts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        ends = np.cumsum(starts)
        first, count = self.places or (0, int(ends[-1]))
        place_N = (first + rng.integers(0, count, n)) % ends[-1]
        contig_N = np.searchsorted(ends, place_N, side="right")
        codes = np.empty((n, self.insert), dtype=np.uint8)
        for contig in np.unique(contig_N):
            rows = np.flatnonzero(contig_N == contig)
            begin = place_N[rows] - (ends[contig] - starts[contig])
            letters = self.genome.contig(names[contig])
            codes[rows] = CODE_OF_BYTE[letters[begin[:, None] + np.arange(self.insert)]]
        other = rng.random(n) < 0.5
        codes[other] = reverse_complement(codes[other])
        return codes[(codes < N_CODE).all(axis=1)]


def open_sources(
    contract: Contract,
    insert: int,
    tiles: tuple[str, ...],
    fasta: tuple[str, ...],
    measured: tuple[str, ...],
    seed: int,
    say: Say,
) -> list[tuple[float, Source]]:
    """Sources with their shares of the groups, which add up to 1.

    Raises:
        InputError: a table or genome that cannot be read or holds no usable insert.
    """
    sources: list[tuple[float, Source]] = [(SHARES["random"], RandomDna(insert))]
    if measured:
        sources.append((SHARES["measured"], read_listed("measured", measured, contract, insert, seed, say)))
    genomic: list[Source] = [read_listed("tiles", tiles, contract, insert, seed, say)] if tiles else []
    genomic += [OfGenome(Genome(Path(path)), insert) for path in fasta]
    sources += [(SHARES["tiles"] / len(genomic), source) for source in genomic]
    whole = sum(share for share, _ in sources)
    return [(share / whole, source) for share, source in sources]


def read_listed(
    kind: str, paths: tuple[str, ...], contract: Contract, insert: int, seed: int, say: Say
) -> Listed:
    """The distinct inserts of tables (`sequence` column, or that of references where rows are changes).

    Args:
        contract: of the ensemble, whose adapters and windows the sequences may carry.
        seed: which rows are left out of more than MOST_INSERTS.

    Raises:
        InputError: no readable table, or no insert of this length without N in it.
    """
    found = []
    for path in paths:
        inserts, n_rows = _inserts_of(path, contract, insert, np.random.default_rng([seed, 31]))
        say(f"{path}: {len(inserts):,} inserts of {insert} bases in {n_rows:,} rows")
        if not len(inserts):
            raise InputError(
                f"{path}: no insert of {insert} bases without N; name their length with --insert"
            )
        found.append(inserts)
    inserts_NL = np.concatenate(found)
    return Listed(inserts_NL[unique_rows(inserts_NL)[0]], kind)


def _inserts_of(
    path: str, contract: Contract, insert: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    opened = open_rows(path)
    column = roles_of(opened).sequence_columns[0]
    head = role_array(next(opened.parts([column], SNIFF_ROWS)), "ref_sequence", column)
    one_length = replace(contract, insert_min=insert, insert_max=insert)
    reading = Reading(one_length, decide_sequence_is(head, contract))
    end = contract.length - len(contract.flank3)
    share, found = MOST_INSERTS / max(opened.n_rows, 1), [np.empty((0, insert), np.uint8)]
    for part in opened.parts([column], PART_ROWS):
        sequences = text_to_codes(role_array(part, "ref_sequence", column))
        usable = reading.fit(sequences) == OK
        if share < 1:
            usable &= rng.random(len(usable)) < share
        inserts = reading.build(sequences, np.flatnonzero(usable))[:, end - insert : end]
        found.append(inserts[(inserts < N_CODE).all(axis=1)])
    return np.concatenate(found), opened.n_rows

"""Alleles in a canonical form: trimmed and left-aligned against the genome, so that equal changes written
differently are equal.

An allele becomes: the bases [start, end) of the contig are replaced by `inserted`. Common letters are taken
off the right end first, then the left; what is then a pure insertion or deletion moves left as far as it can.
The VCF anchor base is so never part of a change. Everything is vectorised over alleles; loops run over
letters, with ever fewer alleles in them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.codes import Sequences, text_to_codes
from legscore.rows.schema import OK, STATUS_CODE
from legscore.variants.genome import NO_BASE, UPPER

ON_MISMATCH = ("status", "fail", "use-fasta")
FIRST = np.arange(256, dtype=np.uint8)
"""Letter → the base that a VCF writes for it: the alphabetically first where the genome has an ambiguity
code."""
for _code, _base in zip("RYSWKMBDHV", "ACCAGACAAA", strict=True):
    FIRST[ord(_code)] = ord(_base)
FARTHEST = 1 << 40
"""No contig is longer."""
NOT_SEQUENCE = r"^<|[\[\]]|^\*$|^\.|\.$"
"""Symbolic, breakend, overlapping-deletion and missing alleles."""


def any_case(*words: str) -> pa.Array:
    """Words in every mixture of upper and lower case."""
    cases = (itertools.product(*zip(word, word.upper(), strict=True)) for word in words)
    return pa.array(["".join(letters) for found in cases for letters in found], pa.large_string())


LIKE_BASES = any_case("na", "nan", "nat")
"""What programs write for a missing value and what reads as bases."""


@dataclass(frozen=True)
class Changes:
    """Canonical alleles of one contig.

    Attributes:
        status_A: uint8, codes of `schema.STATUSES`.
        start_A, end_A: int64, replaced bases, 0-based half-open (start == end for an insertion); for alleles
            that are not ok what they cover as written.
        inserted: uint8 letters; allele a has inserted[at_A[a] : at_A[a] + n_A[a]].
    """

    status_A: np.ndarray
    start_A: np.ndarray
    end_A: np.ndarray
    inserted: np.ndarray
    at_A: np.ndarray
    n_A: np.ndarray

    def take(self, rows: np.ndarray) -> Changes:
        """Those alleles, in that order; letters are shared."""
        return Changes(
            self.status_A[rows],
            self.start_A[rows],
            self.end_A[rows],
            self.inserted,
            self.at_A[rows],
            self.n_A[rows],
        )


def spread(length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Letters of texts laid end to end: which text each belongs to, and its place in it (int64 [sum of
    lengths])."""
    text = np.repeat(np.arange(len(length)), length)
    return text, np.arange(len(text)) - (np.cumsum(length) - length)[text]


def canonical(
    contig: np.ndarray,
    pos_A: np.ndarray,
    ref: pa.Array,
    alt: pa.Array,
    *,
    use_fasta: bool = False,
    align: bool = True,
) -> Changes:
    """Check, trim and left-align alleles of one contig.

    Args:
        contig: uint8 letters.
        pos_A: int64, 1-based position of the first letter of ref.
        ref, alt: text; a null is `null_sequence`, and so is an ALT that reads NA or NaN beside a REF that
            does not begin with N.
        use_fasta: take the genome's letters for a REF that differs, instead of `ref_mismatch`.
        align: False trims from the left first and moves nothing: alleles stay where they are written.
    """
    n = len(pos_A)
    refs, alts = text_to_codes(ref, UPPER), text_to_codes(alt, UPPER)
    start = pos_A - 1
    status = np.full(n, OK, dtype=np.uint8)

    def mark(where: np.ndarray, name: str) -> None:
        status[where & (status == OK)] = STATUS_CODE[name]

    mark(refs.is_null | alts.is_null | (refs.length == 0) | (alts.length == 0), "null_sequence")
    if len(like := np.flatnonzero(pc.is_in(alt, LIKE_BASES).to_numpy(zero_copy_only=False))):
        like = like[~refs.is_null[like] & (refs.length[like] > 0)]
        mark(np.isin(np.arange(n), like[refs.flat[refs.start[like]] != ord("N")]), "null_sequence")
    odd_alt = _holds(alts, NO_BASE)
    other = np.zeros(n, dtype=bool)
    if odd_alt.any():
        other = np.asarray(
            pc.fill_null(pc.match_substring_regex(alt, NOT_SEQUENCE), False).to_numpy(zero_copy_only=False)
        )
    mark(_holds(refs, NO_BASE) | (odd_alt & ~other), "invalid_base")
    outside = (start < 0) | (start + refs.length > len(contig))
    mark(outside, "edge")
    checked = np.flatnonzero(
        (status == OK) | (status == STATUS_CODE["null_sequence"]) & ~outside & ~refs.is_null
    )
    differs = np.zeros(n, dtype=bool)
    differs[checked] = ~_reads(contig, start[checked], refs, checked)
    if not use_fasta and differs.any():
        rows = np.flatnonzero(differs & ~odd_alt & (status == OK) & (start + alts.length <= len(contig)))
        swapped = np.zeros(n, dtype=bool)
        swapped[rows] = _reads(contig, start[rows], alts, rows)
        mark(swapped, "ref_alt_swapped")
        mark(differs, "ref_mismatch")
    mark(odd_alt, "unsupported_allele")

    ok = np.flatnonzero(status == OK)
    letters = _ref_letters(refs, contig, start, np.flatnonzero(differs)) if use_fasta else refs.flat
    left, right = _trim(letters, refs, alts, ok, right_first=align)
    begin, end = start + left, start + refs.length - right
    n_inserted, at = alts.length - left - right, alts.start + left
    unsupported = status != OK
    n_inserted[unsupported] = 0
    mark((begin == end) & (n_inserted == 0), "ref_equals_alt")
    movable = np.flatnonzero((status == OK) & align)
    shift = _left_align(contig, begin, end, alts.flat, at, n_inserted, movable)
    flat, at = _rotate(alts.flat, at, n_inserted, shift)
    return Changes(status, begin - shift, end - shift, flat, at, n_inserted)


def _holds(texts: Sequences, letter: int) -> np.ndarray:
    """bool [N]: whether each text holds the letter."""
    holds = np.zeros(len(texts), dtype=bool)
    at = np.flatnonzero(texts.flat == letter)
    if len(at):
        holds[np.searchsorted(texts.start, at, side="right") - 1] = True
    return holds


def clipped(positions: pa.Array) -> np.ndarray:
    """Positions as int64, 0 where null; those that no genome has are drawn in to FARTHEST, so that sums with
    them stay numbers."""
    whole = pc.fill_null(positions, 0).to_numpy(zero_copy_only=False)
    return np.clip(whole, -FARTHEST, FARTHEST)


def reads(contig: np.ndarray, start_A: np.ndarray, texts: Sequences) -> np.ndarray:
    """bool [A]: whether the contig (uint8 letters) reads each text at its start (int64, 0-based); False for
    texts that are null, empty or reach beyond it."""
    inside = (texts.length > 0) & ~texts.is_null & (start_A >= 0) & (start_A + texts.length <= len(contig))
    rows, found = np.flatnonzero(inside), np.zeros(len(texts), dtype=bool)
    found[rows] = _reads(contig, start_A[rows], texts, rows)
    return found


def _reads(contig: np.ndarray, start: np.ndarray, texts: Sequences, rows: np.ndarray) -> np.ndarray:
    """bool [rows]: whether the contig reads each text from its start on."""
    text, place = spread(texts.length[rows])
    genome = contig[start[text] + place]
    given = texts.flat[texts.start[rows][text] + place]
    wrong = np.bincount(text[(given != genome) & (given != FIRST[genome])], minlength=len(rows))
    return np.asarray(wrong == 0)


def _ref_letters(refs: Sequences, contig: np.ndarray, start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The letters of all REFs, with the genome's in `rows`."""
    letters = refs.flat.copy()
    text, place = spread(refs.length[rows])
    letters[refs.start[rows][text] + place] = contig[start[rows][text] + place]
    return letters


def _trim(
    ref_letters: np.ndarray, refs: Sequences, alts: Sequences, rows: np.ndarray, *, right_first: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Letters to take off the left and the right of both alleles, int64 [N]; 0 where not in `rows`."""
    left, right = np.zeros(len(refs), dtype=np.int64), np.zeros(len(refs), dtype=np.int64)
    shorter = np.minimum(refs.length, alts.length)
    for off, at_right in ((right, True), (left, False)) if right_first else ((left, False), (right, True)):
        active = rows
        while len(active):
            active = active[left[active] + right[active] < shorter[active]]
            ours = refs.start[active] + (refs.length[active] - 1 - off[active] if at_right else off[active])
            theirs = alts.start[active] + (alts.length[active] - 1 - off[active] if at_right else off[active])
            active = active[ref_letters[ours] == alts.flat[theirs]]
            off[active] += 1
    return left, right


def _left_align(
    contig: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    letters: np.ndarray,
    at: np.ndarray,
    n: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Bases by which each pure insertion or deletion can move left, int64 [N]."""
    shift = np.zeros(len(start), dtype=np.int64)
    active = rows[(n[rows] == 0) | (start[rows] == end[rows])]
    while len(active):
        active = active[start[active] - shift[active] > 0]
        moved = shift[active]
        before = contig[start[active] - moved - 1]
        last = np.empty(len(active), dtype=np.uint8)
        inserts = n[active] > 0
        some = active[inserts]
        last[inserts] = letters[at[some] + (n[some] - 1 - shift[some]) % n[some]]
        last[~inserts] = contig[end[active[~inserts]] - moved[~inserts] - 1]
        active = active[before == last]
        shift[active] += 1
    return shift


def _rotate(
    letters: np.ndarray, at: np.ndarray, n: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inserted letters after the move to the left, laid end to end, and where each allele's begin."""
    text, place = spread(n)
    source = at[text] + (place - shift[text]) % np.maximum(n[text], 1)
    return letters[source], np.cumsum(n) - n

"""What the haplotypes of one tile carry → its rows: distinct haplotypes, each with a status and its two
sequences.

A tile's haplotypes are known when at most one genotype of the sample there is heterozygous, or when all that
are heterozygous are phased together (| and the same PS). Otherwise their carriers go into a row of status
`missing_genotype`, as do those with a missing allele, in a record without ALT or a block of a gVCF too:
neither is ever taken for the reference. What cannot be applied to the genome (symbolic alleles, breakends,
`*` without a deletion on the same haplotype) is `unsupported_allele`. Alleles on one haplotype that replace
the same bases, or insert at the same place, give `allele_conflict`; the same change written twice counts
once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from legscore.rows.schema import OK, STATUS_CODE, STATUSES
from legscore.variants.genotypes import MISSING, Genotypes, columns
from legscore.variants.haplotype_windows import Change, construct, oriented, refill
from legscore.variants.sites import UNSPECIFIED

STAR = "*"
MISMATCHES = (STATUS_CODE["ref_mismatch"], STATUS_CODE["ref_alt_swapped"])


@dataclass(frozen=True)
class Allele:
    """One ALT in a tile: as `canonical` places it, and as it is written (trimmed, not moved), for use beside
    others."""

    record: int
    number: int
    label: str
    pos: int
    ref: str
    alt: str
    status: int
    aligned: Change
    written: Change

    def overlaps(self, other: Allele) -> bool:
        """Whether the REFs of both have a base in common."""
        return self.pos < other.pos + len(other.ref) and other.pos < self.pos + len(self.ref)

    def is_again(self, other: Allele) -> bool:
        """Whether both are one change, written twice: equal once aligned, by records that overlap (two
        deletions from one run of A's, in records that lie apart, are two)."""
        return self.aligned == other.aligned and self.overlaps(other)


@dataclass(frozen=True)
class HaplotypeRow:
    """One row of the output: a haplotype of a tile, or what its carriers have in common. `offset` is the
    index in the tile of the first base that an allele changes, 5'→3'."""

    tile: int
    carried: Sequence[Allele]
    status: int
    n_carriers: int
    n_samples: int
    offset: int | None
    ref: str | None
    alt: str | None


@dataclass(frozen=True)
class Tile:
    """A tile on its contig (uint8 letters): row of the frame, 0-based half-open ends, strand, whether it
    leaves the contig, and how changes of length are made."""

    number: int
    contig: np.ndarray
    start: int
    end: int
    minus: bool
    edge: bool
    indel: str
    anchor: str

    def rows(
        self, alleles: Sequence[Allele], others: Sequence[int], genotypes: dict[int, Genotypes]
    ) -> Iterator[HaplotypeRow]:
        """The tile's haplotypes: what is not known first, then by number of carriers.

        Args:
            alleles: those in the tile, in the order of the file.
            others: numbers of further records that say something of the tile.
            genotypes: of all these records.
        """
        records = sorted({allele.record for allele in alleles} | set(others))
        known = {(allele.record, allele.number): allele for allele in alleles}
        haplotypes_HR, sample_H, unclear_H = columns([genotypes[record] for record in records])
        for r, record in enumerate(records):
            here = [MISSING, *(number for one, number in known if one == record)]
            haplotypes_HR[~np.isin(haplotypes_HR[:, r], here), r] = 0
        if all(allele.alt in UNSPECIFIED for allele in alleles) and not haplotypes_HR.any():
            return  # only blocks of reference
        missing = (haplotypes_HR == MISSING).any(axis=1) | (unclear_H == "missing_genotype")
        conflict = (unclear_H == "allele_conflict") & ~missing
        for why, rows in (("missing_genotype", missing), ("allele_conflict", conflict)):
            if rows.any():
                yield self._row([], STATUS_CODE[why], sample_H[rows])
        clear = np.flatnonzero(~missing & ~conflict)
        if not len(clear):
            return
        wrong = [allele.status for allele in alleles if allele.status in MISMATCHES]
        kinds, of = distinct(haplotypes_HR[clear])
        for kind in np.argsort(-np.bincount(of), kind="stable"):
            carried = [known[r, int(n)] for r, n in zip(records, kinds[kind], strict=True) if n > 0]
            yield self._haplotype(carried, wrong, sample_H[clear[of == kind]])

    def _haplotype(self, carried: list[Allele], wrong: list[int], samples: np.ndarray) -> HaplotypeRow:
        """The row of one haplotype that is known.

        Args:
            wrong: statuses of alleles in the tile whose REF is not the genome's.
            samples: the sample of each of its carriers.
        """
        stars, carried = _split(carried)
        unlike = STATUS_CODE["ref_equals_alt"]
        bad = [*wrong, *(allele.status for allele in carried if allele.status not in (OK, unlike))]
        for star in stars:  # it says that another record deletes the base; that one has to be there
            if not any(other.overlaps(star) and len(other.ref) > 1 for other in carried):
                bad.append(star.status)
                carried = [*carried, star]
        carried = [allele for allele in carried if allele.status == OK or allele.status in bad]
        status, text = min(bad, default=OK), None
        if status == OK and self.edge:
            status = STATUS_CODE["edge"]
        if status == OK and not carried:
            status = STATUS_CODE["ref_equals_alt"]
        if status == OK:
            status, text = self._apply(carried)
        return self._row(carried, status, samples, text)

    def _apply(self, carried: list[Allele]) -> tuple[int, str | None]:
        """Status and sequence of the tile with alleles that are all ok."""
        once: list[Allele] = []
        for allele in carried:
            if not any(allele.is_again(other) for other in once):
                once.append(allele)
        changes = [once[0].aligned] if len(once) == 1 else sorted(allele.written for allele in once)
        for one, two in itertools.pairwise(changes):
            if two[0] < one[1] or (one[0] == one[1] == two[0] == two[1]):
                return STATUS_CODE["allele_conflict"], None
        of_length = any(end - start != 1 or len(letters) != 1 for start, end, letters in changes)
        if self.indel == "construct" and of_length:
            return OK, construct(self.contig, changes, self.start, self.end, self.minus)
        text = refill(self.contig, changes, self.start, self.end, self.minus, self.anchor)
        return (STATUS_CODE["edge"], None) if text is None else (OK, text)

    def _row(
        self, carried: Sequence[Allele], status: int, samples: np.ndarray, alt: str | None = None
    ) -> HaplotypeRow:
        unknown = STATUSES[status] in ("missing_genotype", "allele_conflict") and not carried
        ref = None if unknown or self.edge else oriented(self.contig[self.start : self.end], self.minus)
        offset = min(map(self._offset, carried), default=None)
        n_samples = len(np.unique(samples))
        return HaplotypeRow(self.number, carried, status, len(samples), n_samples, offset, ref, alt)

    def _offset(self, allele: Allele) -> int:
        start, end, _ = allele.aligned
        return max(0, self.end - max(start, end) if self.minus else start - self.start)


def _split(carried: list[Allele]) -> tuple[list[Allele], list[Allele]]:
    """`*` alleles, and the others."""
    stars = [allele for allele in carried if allele.alt == STAR]
    return stars, [allele for allele in carried if allele.alt != STAR]


def distinct(alleles_HR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of numbers from 0, in order, and which of them each row is: as np.unique over axis 0, but
    as one number a row where that fits, which sorts ten times faster."""
    widest = int(alleles_HR.max(initial=0)) + 1
    if widest ** alleles_HR.shape[1] >= 1 << 62:
        kinds, of = np.unique(alleles_HR, axis=0, return_inverse=True)
        return kinds, of.ravel()
    key = alleles_HR @ np.array([widest**r for r in range(alleles_HR.shape[1])][::-1], dtype=np.int64)
    _, first, of = np.unique(key, return_index=True, return_inverse=True)
    return alleles_HR[first], of

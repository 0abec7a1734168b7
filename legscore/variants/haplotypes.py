"""Phased alleles of samples applied together: one row per distinct haplotype and tile, with its carriers
counted.

Within a tile a sample's haplotypes are known when at most one of its genotypes there is heterozygous, or when
all that are heterozygous are phased together (| and the same PS). Otherwise they are not, and their carriers
go into a row of status `missing_genotype`, as do those with a missing allele: neither is ever taken for the
reference. Alleles on one haplotype that replace the same bases, or insert at the same place, give
`allele_conflict`; the same change written twice counts once. `*` says only that another record deletes the
base.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from legscore.errors import InputError
from legscore.rows.schema import OK, STATUS_CODE, STATUSES
from legscore.system.log import Say
from legscore.variants.alleles import Changes, canonical
from legscore.variants.build import FIELDS, PAIR, STATUS, Builder, listed
from legscore.variants.genotypes import MISSING, Genotypes, columns, read_genotypes
from legscore.variants.haplotype_windows import Change, construct, refill, turned
from legscore.variants.options import Setting
from legscore.variants.output import coded, status_column
from legscore.variants.places import LABELS, Placer
from legscore.variants.records import Block, Records, VcfRecords

SCHEMA = pa.schema(
    [
        *FIELDS,
        pa.field("n_alleles", pa.int32()),
        pa.field("n_carriers", pa.int64()),
        pa.field("n_samples", pa.int64()),
        *PAIR,
        STATUS,
    ]
)
STAR = "*"


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

    def is_again(self, other: Allele) -> bool:
        """Whether both are one change, written twice: equal once aligned, by records that overlap (two
        deletions from one run of A's, in records that lie apart, are two)."""
        overlap = self.pos < other.pos + len(other.ref) and other.pos < self.pos + len(self.ref)
        return self.aligned == other.aligned and overlap


@dataclass
class HaplotypeCounts:
    """Rows by status, haplotypes by status, records used."""

    records: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    carriers: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        yield f"records in tiles: {self.records:,}"
        yield f"haplotypes of samples in tiles: {sum(self.carriers.values()):,} ({listed(self.carriers)})"
        yield (
            f"rows: {sum(self.rows.values()):,} distinct haplotypes in tiles ({listed(self.rows) or 'none'})"
        )


class HaplotypeBuilder:
    """Reads a VCF twice: first for the alleles that lie in tiles, then for the genotypes of their records."""

    def __init__(
        self, setting: Setting, records: Records, samples: Sequence[str], say: Say = lambda line: None
    ) -> None:
        if setting.tiles is None or not isinstance(records, VcfRecords):
            raise InputError("--haplotypes needs a VCF or BCF, and tiles from --promoters or --regions")
        if setting.options.region:
            raise InputError("--haplotypes reads whole files; leave --region out, or cut the VCF first")
        self._setting, self._records, self._samples, self.counts = (
            setting,
            records,
            list(samples),
            HaplotypeCounts(),
        )
        self._builder = Builder(setting, records, say)
        self._placer = Placer(setting)
        frame = setting.tiles.frame
        self._start, self._end = frame["start"].to_numpy(), frame["end"].to_numpy()
        self._minus, self._edge = frame["strand"].to_numpy() == "-", frame["edge"].to_numpy()

    def tables(self) -> Iterator[pa.Table]:
        """One table per contig, by tile, haplotypes by their number of carriers."""
        alleles = self._alleles()
        wanted = np.unique(
            [allele.record for found in alleles.values() for group in found.values() for allele in group]
        )
        self.counts.records = len(wanted)
        waiting = {
            name: {allele.record for group in found.values() for allele in group}
            for name, found in alleles.items()
        }
        last = {name: max(numbers) for name, numbers in waiting.items()}
        held: dict[int, Genotypes] = {}
        left = sorted(alleles, key=lambda name: last[name])
        for number, genotypes in read_genotypes(self._records.path, self._samples, wanted):
            held[number] = genotypes
            while left and last[left[0]] <= number:
                name = left.pop(0)
                yield self._contig(name, alleles.pop(name), held)
                for old in waiting[name]:
                    held.pop(old, None)
        if left:
            raise InputError(f"{self._records.name} changed while it was read")

    def _alleles(self) -> dict[str, dict[int, list[Allele]]]:
        """{contig of the FASTA: {tile: alleles in it, in the order of the file}}"""
        found: dict[str, dict[int, list[Allele]]] = {}
        for block in self._records.blocks():
            names = block.chrom.dictionary_encode()
            which = names.indices.to_numpy(zero_copy_only=False)
            number = np.arange(len(block)) - np.searchsorted(block.record_A, block.record_A) + 1
            self._builder.resolve(names.dictionary.to_pylist())
            for code, name in enumerate(names.dictionary.to_pylist()):
                target = self._builder.contigs.get(name)
                if target is not None:
                    into = found.setdefault(target, defaultdict(list))
                    self._place(block, np.flatnonzero(which == code), target, number, into)
        return {name: tiles for name, tiles in found.items() if tiles}

    def _place(
        self, block: Block, rows: np.ndarray, name: str, number: np.ndarray, found: dict[int, list[Allele]]
    ) -> None:
        contig, take = self._setting.genome.contig(name), pa.array(rows)
        use_fasta = self._setting.options.on_mismatch == "use-fasta"
        given = (
            block.pos.take(take).to_numpy(zero_copy_only=False),
            block.ref.take(take),
            block.alt.take(take),
        )
        aligned = canonical(contig, *given, use_fasta=use_fasta)
        written = canonical(contig, *given, use_fasta=use_fasta, align=False)
        places = self._placer(name, aligned)
        for a, tile in zip(places.allele_R.tolist(), places.tile_R.tolist(), strict=True):
            row = int(rows[a])
            chrom, pos, ref, alt = (
                str(block.chrom[row]),
                block.pos[row].as_py(),
                str(block.ref[row]),
                str(block.alt[row]),
            )
            label = block.variant_id[row].as_py() or f"{chrom}:{pos}:{ref}:{alt}"
            status, one, two = int(aligned.status_A[a]), _one(aligned, a), _one(written, a)
            found[tile].append(
                Allele(int(block.record_A[row]), int(number[row]), label, pos, ref, alt, status, one, two)
            )

    def _contig(self, name: str, tiles: dict[int, list[Allele]], held: dict[int, Genotypes]) -> pa.Table:
        contig = self._setting.genome.contig(name)
        rows: list[_Row] = []
        for tile in sorted(tiles):
            rows.extend(self._tile(contig, tile, tiles[tile], held))
        return self._table(name, rows)

    def _tile(
        self, contig: np.ndarray, tile: int, alleles: list[Allele], held: dict[int, Genotypes]
    ) -> Iterator[_Row]:
        records = list(dict.fromkeys(allele.record for allele in alleles))
        known = {(allele.record, allele.number): allele for allele in alleles}
        haplotypes_HR, sample_H, unclear_H = columns([held[record] for record in records])
        for r, record in enumerate(records):
            elsewhere = ~np.isin(
                haplotypes_HR[:, r], [MISSING, *(number for one, number in known if one == record)]
            )
            haplotypes_HR[elsewhere, r] = 0
        missing = (haplotypes_HR == MISSING).any(axis=1) | (unclear_H == "missing_genotype")
        conflict = (unclear_H == "allele_conflict") & ~missing
        for why, rows in (("missing_genotype", missing), ("allele_conflict", conflict)):
            if rows.any():
                yield self._row(tile, [], STATUS_CODE[why], sample_H[rows], None, None)
        clear = np.flatnonzero(~missing & ~conflict)
        if not len(clear):
            return
        kinds, of = distinct(haplotypes_HR[clear])
        reference = turned(contig[max(self._start[tile], 0) : self._end[tile]], bool(self._minus[tile]))
        for kind in np.argsort(-np.bincount(of), kind="stable"):
            carried = [known[r, int(n)] for r, n in zip(records, kinds[kind], strict=True) if n > 0]
            carried = [allele for allele in carried if allele.alt != STAR]
            bad = [
                allele.status
                for allele in alleles
                if STATUSES[allele.status] in ("ref_mismatch", "ref_alt_swapped")
            ]
            bad += [
                allele.status
                for allele in carried
                if allele.status != OK and STATUSES[allele.status] != "ref_equals_alt"
            ]
            carried = [allele for allele in carried if allele.status == OK or allele.status in bad]
            status, text = min(bad, default=OK), None
            if status == OK and self._edge[tile]:
                status = STATUS_CODE["edge"]
            if status == OK and not carried:
                status = STATUS_CODE["ref_equals_alt"]
            if status == OK:
                status, text = self._apply(contig, tile, carried)
            yield self._row(
                tile,
                carried,
                status,
                sample_H[clear[of == kind]],
                None if self._edge[tile] else reference,
                text,
            )

    def _apply(self, contig: np.ndarray, tile: int, carried: list[Allele]) -> tuple[int, str | None]:
        distinct: list[Allele] = []
        for allele in carried:
            if not any(allele.is_again(other) for other in distinct):
                distinct.append(allele)
        changes = (
            [distinct[0].aligned] if len(distinct) == 1 else sorted(allele.written for allele in distinct)
        )
        for one, two in itertools.pairwise(changes):
            if two[0] < one[1] or (one[0] == one[1] == two[0] == two[1]):
                return STATUS_CODE["allele_conflict"], None
        start, end, minus = int(self._start[tile]), int(self._end[tile]), bool(self._minus[tile])
        if self._setting.options.indel == "construct" and any(
            e - s != 1 or len(x) != 1 for s, e, x in changes
        ):
            return OK, construct(contig, changes, start, end, minus)
        text = refill(contig, changes, start, end, minus, self._setting.options.anchor)
        return (STATUS_CODE["edge"], None) if text is None else (OK, text)

    def _row(
        self,
        tile: int,
        carried: list[Allele],
        status: int,
        samples: np.ndarray,
        ref: str | None,
        alt: str | None,
    ) -> _Row:
        self.counts.rows[STATUSES[status]] += 1
        self.counts.carriers[STATUSES[status]] += len(samples)
        return _Row(tile, carried, status, len(samples), len(np.unique(samples)), ref, alt)

    def _offset(self, tile: int, allele: Allele) -> int:
        """Index in the tile of the first base that an allele changes, 5'→3'."""
        start, end, _ = allele.aligned
        return max(
            0, int(self._end[tile] - max(start, end) if self._minus[tile] else start - self._start[tile])
        )

    def _table(self, name: str, rows: list[_Row]) -> pa.Table:
        tile = np.array([row.tile for row in rows], dtype=np.int64)
        first = [min(row.carried, key=lambda allele: allele.pos) if row.carried else None for row in rows]
        single = [row.carried[0] if len(row.carried) == 1 else None for row in rows]
        offset = [min((self._offset(row.tile, a) for a in row.carried), default=None) for row in rows]
        labels = {name: self._placer.label(name, tile) for name in LABELS}
        columns = {
            "variant_id": pa.array(
                [";".join(a.label for a in row.carried) or None for row in rows], pa.large_string()
            ),
            "chrom": coded(np.zeros(len(rows), dtype=np.int64), pa.array([name], pa.string())),
            "pos": pa.array([allele.pos if allele else None for allele in first], pa.int64()),
            "ref": pa.array([allele.ref if allele else None for allele in single], pa.large_string()),
            "alt": pa.array([allele.alt if allele else None for allele in single], pa.large_string()),
            **labels,
            "offset": pa.array(offset, pa.int64()),
            "n_alleles": pa.array([len(row.carried) for row in rows], pa.int32()),
            "n_carriers": pa.array([row.n_carriers for row in rows], pa.int64()),
            "n_samples": pa.array([row.n_samples for row in rows], pa.int64()),
            "ref_sequence": pa.array([row.ref for row in rows], pa.large_string()),
            "alt_sequence": pa.array([row.alt for row in rows], pa.large_string()),
            "status": status_column(np.array([row.status for row in rows])),
        }
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


@dataclass(frozen=True)
class _Row:
    tile: int
    carried: list[Allele]
    status: int
    n_carriers: int
    n_samples: int
    ref: str | None
    alt: str | None


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


def _one(changes: Changes, a: int) -> Change:
    at, n = int(changes.at_A[a]), int(changes.n_A[a])
    return int(changes.start_A[a]), int(changes.end_A[a]), changes.inserted[at : at + n].tobytes()

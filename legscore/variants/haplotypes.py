"""Phased alleles of samples applied together: one row per distinct haplotype and tile, with its carriers
counted. `haplotype_rows` says what a haplotype carries and when it is known."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from legscore.errors import InputError
from legscore.rows.schema import STATUS_CODE, STATUSES
from legscore.system.log import Say
from legscore.variants.allele_blocks import Block, Records
from legscore.variants.alleles import Changes, canonical
from legscore.variants.build import FIELDS, PAIR, STATUS, Builder
from legscore.variants.counts import listed
from legscore.variants.genotypes import MISSING, GenotypeParser, Genotypes
from legscore.variants.haplotype_rows import Allele, HaplotypeRow, Tile
from legscore.variants.haplotype_windows import Change
from legscore.variants.intervals import Intervals
from legscore.variants.options import Setting
from legscore.variants.output import coded, status_column
from legscore.variants.places import LABELS, Placer
from legscore.variants.records import VcfRecords
from legscore.variants.sites import Site, is_symbol, read_sites

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


class ContigTiles:
    """Tiles of one contig, and what the file's records say of each."""

    def __init__(self, tile_T: np.ndarray, start_T: np.ndarray, end_T: np.ndarray) -> None:
        """tile_T: rows of the tiles' frame; start_T, end_T: int64, 0-based half-open."""
        self._tile = tile_T
        self._intervals = Intervals(start_T, end_T)
        order = np.argsort(start_T, kind="stable")
        self._starts = start_T[order].tolist()
        self._reach = np.maximum.accumulate(end_T[order]).tolist()
        self.alleles: dict[int, list[Allele]] = defaultdict(list)
        self.others: dict[int, list[int]] = defaultdict(list)
        self.alleles_of: dict[int, list[Allele]] = defaultdict(list)
        self.genotypes: dict[int, Genotypes] = {}

    def add(self, tile: int, allele: Allele) -> None:
        """Note an allele that lies in a tile."""
        self.alleles[tile].append(allele)
        self.alleles_of[allele.record].append(allele)

    def under(self, start: int, end: int) -> list[int]:
        """Tiles that a stretch overlaps."""
        first = bisect.bisect_right(self._reach, start)
        if first == len(self._starts) or self._starts[first] >= end:
            return []
        _, found = self._intervals.overlapping(np.array([start]), np.array([end]))
        return [int(tile) for tile in self._tile[found]]

    def take(self, site: Site, genotypes: Callable[[], Genotypes]) -> bool:
        """Keep what a record says of the tiles: genotypes of its alleles in them, of carriers that are not
        known, and of alleles that cover a tile without naming its bases. Whether there was anything.

        Raises:
            InputError: the record is not the one that was read before.
        """
        ours = self.alleles_of.get(site.number, [])
        if any(
            (allele.pos, allele.ref) != (site.pos, site.ref)
            or allele.alt != (site.alts[allele.number - 1] if allele.number <= len(site.alts) else None)
            for allele in ours
        ):
            raise InputError(f"{site.where} is not the record that was read before: the file has changed")
        tiles = self.under(site.start, site.end)
        if not ours and not tiles:
            return False
        found = genotypes()
        symbols = [
            n for n, alt in enumerate(site.alts, 1) if is_symbol(alt) and (found.alleles_SP == n).any()
        ]
        unknown = bool((found.alleles_SP == MISSING).any())
        if ours or (tiles and (unknown or symbols)):
            self.genotypes[site.number] = found
        for tile in tiles if unknown or symbols else ():
            self.others[tile].append(site.number)
            there = {allele.number for allele in self.alleles[tile] if allele.record == site.number}
            self.alleles[tile] += [_symbolic(site, number) for number in symbols if number not in there]
        return site.number in self.genotypes


def _symbolic(site: Site, number: int) -> Allele:
    alt, whole = site.alts[number - 1], (site.start, site.end, b"")
    label = f"{site.chrom}:{site.pos}:{site.ref}:{alt}"
    status = STATUS_CODE["unsupported_allele"]
    return Allele(site.number, number, label, site.pos, site.ref, alt, status, whole, whole)


class HaplotypeBuilder:
    """Reads a VCF twice: first for the alleles that lie in tiles, then for the genotypes of all records that
    say something of a tile. Memory holds the alleles of the file and the genotypes of one contig."""

    def __init__(
        self, setting: Setting, records: Records, samples: Sequence[str], say: Say = lambda line: None
    ) -> None:
        options = setting.options
        if setting.tiles is None or options.centered or not isinstance(records, VcfRecords):
            raise InputError("--haplotypes needs a VCF or BCF, and tiles from --promoters or --tiles")
        if options.region:
            raise InputError("--haplotypes reads whole files; leave --region out, or cut the VCF first")
        if options.keep_outside:
            raise InputError("--keep-outside is about single alleles; --haplotypes does not go with it")
        self._setting, self._records, self._samples = setting, records, list(samples)
        self.counts = HaplotypeCounts()
        self._builder = Builder(setting, records, say)
        self._placer = Placer(setting)
        frame = setting.tiles.frame
        self._start, self._end = frame["start"].to_numpy(), frame["end"].to_numpy()
        self._minus, self._edge = frame["strand"].to_numpy() == "-", frame["edge"].to_numpy()
        self._contigs = {
            name: ContigTiles(tiles, self._start[tiles], self._end[tiles])
            for name, tiles in setting.tiles.by_contig().items()
        }

    def tables(self) -> Iterator[pa.Table]:
        """One table per contig, by tile, haplotypes by their number of carriers."""
        n_records, last = self._read_alleles()
        closing: dict[int, list[str]] = defaultdict(list)
        for name, number in last.items():
            closing[number].append(name)
        parse, n_read = GenotypeParser(), 0
        for site, values in read_sites(self._records.path, self._samples):
            n_read += 1
            target = self._builder.contigs.get(site.chrom)
            if target in self._contigs:
                taken = self._contigs[target].take(site, lambda: parse(site, *values()))  # noqa: B023
                self.counts.records += taken
            for name in closing.get(site.number, ()):
                yield self._contig(name)
        if n_read != n_records:
            raise InputError(
                f"{self._records.name} changed while it was read: {n_records:,} records, then {n_read:,}"
            )

    def _read_alleles(self) -> tuple[int, dict[str, int]]:
        """Find the alleles in tiles.

        Returns:
            Records of the file, and the last of them on each contig of the FASTA that has tiles.
        """
        n_records = 0
        last: dict[str, int] = {}
        for block in self._records.blocks():
            names = block.chrom.dictionary_encode()
            which = names.indices.to_numpy(zero_copy_only=False)
            number = np.arange(len(block)) - np.searchsorted(block.record_A, block.record_A) + 1
            self._builder.resolve(list(block.last_record))
            for name, record in block.last_record.items():
                target = self._builder.contigs.get(name)
                if target in self._contigs:
                    last[target] = max(record, last.get(target, -1))
            for code, name in enumerate(names.dictionary.to_pylist()):
                target = self._builder.contigs.get(name)
                if target in self._contigs:
                    self._place(block, np.flatnonzero(which == code), target, number)
            n_records += block.n_records
        return n_records, last

    def _place(self, block: Block, rows: np.ndarray, name: str, number: np.ndarray) -> None:
        contig, take = self._setting.genome.contig(name), pa.array(rows)
        use_fasta = self._setting.options.on_mismatch == "use-fasta"
        given = (
            block.pos.take(take).to_numpy(zero_copy_only=False),
            block.ref.take(take),
            block.alt.take(take),
        )
        aligned = canonical(contig, *given, use_fasta=use_fasta)
        written = canonical(contig, *given, use_fasta=use_fasta, align=False)
        if self._setting.options.on_mismatch == "fail":
            self._builder.refuse_mismatches(block, rows, aligned, contig)
        places = self._placer(name, aligned)
        for a, tile in zip(places.allele_R.tolist(), places.tile_R.tolist(), strict=True):
            row = int(rows[a])
            chrom, pos = str(block.chrom[row]), block.pos[row].as_py()
            ref, alt = str(block.ref[row]), str(block.alt[row])
            label = block.variant_id[row].as_py() or f"{chrom}:{pos}:{ref}:{alt}"
            status, one, two = int(aligned.status_A[a]), _change_of(aligned, a), _change_of(written, a)
            self._contigs[name].add(
                tile,
                Allele(int(block.record_A[row]), int(number[row]), label, pos, ref, alt, status, one, two),
            )

    def _contig(self, name: str) -> pa.Table:
        """The rows of a contig, whose tiles are let go of."""
        contig, found = self._setting.genome.contig(name), self._contigs.pop(name)
        options = self._setting.options
        rows: list[HaplotypeRow] = []
        for number in sorted(found.alleles.keys() | found.others.keys()):
            tile = Tile(
                number,
                contig,
                int(self._start[number]),
                int(self._end[number]),
                bool(self._minus[number]),
                bool(self._edge[number]),
                options.indel,
                options.anchor,
            )
            alleles = sorted(found.alleles[number], key=lambda allele: (allele.record, allele.number))
            rows.extend(tile.rows(alleles, found.others[number], found.genotypes))
        for row in rows:
            self.counts.rows[STATUSES[row.status]] += 1
            self.counts.carriers[STATUSES[row.status]] += row.n_carriers
        return self._table(name, rows)

    def _table(self, name: str, rows: list[HaplotypeRow]) -> pa.Table:
        tile = np.array([row.tile for row in rows], dtype=np.int64)
        first = [min(row.carried, key=lambda allele: allele.pos) if row.carried else None for row in rows]
        single = [row.carried[0] if len(row.carried) == 1 else None for row in rows]
        columns = {
            "variant_id": pa.array(
                [";".join(a.label for a in row.carried) or None for row in rows], pa.large_string()
            ),
            "chrom": coded(np.zeros(len(rows), dtype=np.int64), pa.array([name], pa.string())),
            "pos": pa.array([allele.pos if allele else None for allele in first], pa.int64()),
            "ref": pa.array([allele.ref if allele else None for allele in single], pa.large_string()),
            "alt": pa.array([allele.alt if allele else None for allele in single], pa.large_string()),
            **{label: self._placer.label(label, tile) for label in LABELS},
            "offset": pa.array([row.offset for row in rows], pa.int64()),
            "n_alleles": pa.array([len(row.carried) for row in rows], pa.int32()),
            "n_carriers": pa.array([row.n_carriers for row in rows], pa.int64()),
            "n_samples": pa.array([row.n_samples for row in rows], pa.int64()),
            "ref_sequence": pa.array([row.ref for row in rows], pa.large_string()),
            "alt_sequence": pa.array([row.alt for row in rows], pa.large_string()),
            "status": status_column(np.array([row.status for row in rows], dtype=np.int64)),
        }
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _change_of(changes: Changes, a: int) -> Change:
    """One allele of many, as `haplotype_windows` takes it."""
    at, n = int(changes.at_A[a]), int(changes.n_A[a])
    return int(changes.start_A[a]), int(changes.end_A[a]), changes.inserted[at : at + n].tobytes()

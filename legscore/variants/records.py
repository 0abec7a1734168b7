"""VCF and BCF → blocks of alleles, one per ALT, in the order of the file; tables give the same blocks
(`allele_tables`).

Read with pysam; an index, proved to be the file's own, allows --region. A record that htslib cannot read is
an InputError with its line number.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.variants.allele_blocks import BLOCK_RECORDS, Block, Records
from legscore.variants.allele_tables import TableRecords
from legscore.variants.vcf_file import check_line_ends, first_column, is_vcf, open_vcf, unreadable
from legscore.variants.vcf_index import index_of, prove_index, remake
from legscore.variants.vcf_regions import parse_regions


def open_records(
    path: str | Path,
    regions: Sequence[str] = (),
    *,
    numbered: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Records:
    """A VCF or BCF by its extension, else a table.

    Args:
        regions: as --region; of an indexed VCF or BCF only.
        numbered: with regions, `record_A` counts the records of the whole file, not those of the regions.
        columns: {role: column} of a table, where the user has chosen.

    Raises:
        InputError: it cannot be read, or has not what was asked for.
    """
    if is_vcf(path):
        if columns:
            raise InputError(f"--column {next(iter(columns))}=… is about tables; {path} is none")
        return VcfRecords(Path(path), regions, numbered=numbered)
    if regions:
        raise InputError(f"--region {regions[0]} needs an indexed VCF or BCF; {path} is a table")
    return TableRecords(path, columns)


class VcfRecords(Records):
    """Records of the file, or those that overlap regions, each once. An index finds them; their numbers in
    the whole file only reading from its beginning tells."""

    def __init__(self, path: Path, regions: Sequence[str] = (), *, numbered: bool = False) -> None:
        self.path, self.name, self._numbered = path, str(path), numbered
        with open_vcf(path) as file:
            header = file.header
            self.lengths = {name: header.contigs[name].length for name in header.contigs}
            self.contigs = list(self.lengths)
            is_text = file.format == "VCF"
            self._lone_returns = is_text and not len(header.samples)
        if is_text and not self.contigs:
            self.contigs = first_column(path)
        self._regions = parse_regions(regions, self.contigs, path)
        self._index = index_of(path)
        self._indexed: set[str] = set()
        if regions and not numbered:
            if self._index is None:
                raise InputError(
                    f"--region needs an index: make one with: {remake(path)} (the file must be packed with "
                    "bgzip)"
                )
            self._indexed = set(prove_index(path, self._index, self.contigs))

    def blocks(self) -> Iterator[Block]:
        """The alleles, block by block, in the order of the file, or of the regions.

        Raises:
            InputError: a record cannot be read; its line is named where the whole file is read.
        """
        n_read = 0
        chosen = bool(self._regions) and self._numbered
        fetched = bool(self._regions) and not chosen
        if self._lone_returns and not fetched:
            check_line_ends(self.path)
        with open_vcf(self.path, self._index if fetched else None) as file:
            file.subset_samples([])
            records: Iterator[Any] = self._fetched(file) if fetched else iter(file)
            while True:
                rows, chrom, trouble = _without_comments(*_fill(records, with_stops=chosen))
                if len(rows):
                    inside = [i for i in range(len(rows)) if self._inside(rows, i)] if chosen else None
                    yield _block(rows, chrom, n_read, inside)
                    n_read += len(rows)
                if trouble is not None and fetched:
                    raise InputError(
                        f"{self.path}: a record in --region cannot be read ({first_line(trouble)}); read the "
                        "whole file, without --region, to see which"
                    ) from trouble
                if trouble is not None:
                    raise unreadable(self.path, n_read, trouble) from trouble
                if len(rows) < BLOCK_RECORDS:
                    return

    def _fetched(self, file: Any) -> Iterator[Any]:
        """The records of the regions, by the index."""
        for name, stretches in self._regions.items():
            before = 0
            if name not in self._indexed:  # the header names it, and no record is there
                continue
            for start, stop in stretches:
                for record in file.fetch(name, start, stop):
                    if record.start >= before:  # else it reaches here from the stretch before, which had it
                        yield record
                before = stop

    def _inside(self, rows: Rows, i: int) -> bool:
        """Whether a record overlaps a region."""
        regions = self._regions.get(rows.chrom[i], ())
        return any(rows.pos[i] - 1 < stop and rows.stop[i] > start for start, stop in regions)


@dataclass(frozen=True)
class Rows:
    """Fields of records as pysam gives them, a list of each: a tuple for each record costs more to make and
    to take apart. `stop`, the end of what a record spans, is there where it was asked for."""

    chrom: list[str]
    pos: list[int]
    ids: list[str | None]
    ref: list[str]
    alts: list[tuple[str, ...]]
    stop: list[int]

    def __len__(self) -> int:
        return len(self.alts)

    def first(self, n: int) -> Rows:
        """The first `n` records."""
        return Rows(self.chrom[:n], self.pos[:n], self.ids[:n], self.ref[:n], self.alts[:n], self.stop[:n])


def _fill(records: Iterator[Any], with_stops: bool) -> tuple[Rows, Exception | None]:
    """Up to BLOCK_RECORDS records, and what stopped the reading, if anything did."""
    rows, trouble, n = Rows([], [], [], [], [], []), None, 0
    chrom, pos, ids = rows.chrom.append, rows.pos.append, rows.ids.append
    ref, alts = rows.ref.append, rows.alts.append
    collecting = gc.isenabled()
    gc.disable()  # else it looks at all of these tuples of ALTs again and again
    try:
        for record in itertools.islice(records, BLOCK_RECORDS):
            chrom(record.chrom)
            pos(record.pos)
            ids(record.id)
            ref(record.ref)
            if with_stops:
                rows.stop.append(record.stop)
            alts(record.alts or ())
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        n, trouble = len(rows), error
    finally:
        if collecting:
            gc.enable()
    return rows if trouble is None else rows.first(n), trouble


def _without_comments(
    rows: Rows, trouble: Exception | None
) -> tuple[Rows, pa.DictionaryArray, Exception | None]:
    """The rows before the first that is a comment, which htslib takes for a record where it has tabs, and
    their contigs."""
    chrom = pa.array(rows.chrom, pa.large_string()).dictionary_encode()
    if not any(name.startswith("#") for name in chrom.dictionary.to_pylist()):
        return rows, chrom, trouble
    first = next(i for i, name in enumerate(rows.chrom) if name.startswith("#"))
    return rows.first(first), chrom[:first], ValueError("a comment stands among the records")


def _block(rows: Rows, chrom: pa.DictionaryArray, before: int, chosen: list[int] | None) -> Block:
    """Alleles of rows (`chrom` names their contigs), of the chosen ones where these are given; the first row
    is record `before` of the file."""
    n_alts = np.fromiter(map(len, rows.alts), dtype=np.int64, count=len(rows))
    alts = rows.alts if chosen is None else [rows.alts[i] for i in chosen]
    used = np.arange(len(rows)) if chosen is None else np.array(chosen, dtype=np.int64)
    record = np.repeat(used, n_alts[used])
    take = pa.array(record)
    return Block(
        before + record,
        chrom.take(take).dictionary_decode(),
        pa.array(rows.pos, pa.int64()).take(take),
        pa.array(rows.ref, pa.large_string()).take(take),
        pa.array(list(itertools.chain.from_iterable(alts)), pa.large_string()),
        pa.array(rows.ids, pa.large_string()).take(take),
        len(used),
        int(np.count_nonzero(n_alts[used] == 0)),
        last_record=_last(chrom, before) if chosen is None else {},
    )


def _last(chrom: pa.DictionaryArray, before: int) -> dict[str, int]:
    """The last record of each contig, the first being number `before`."""
    which = chrom.indices.to_numpy()
    return {
        chrom.dictionary[int(code)].as_py(): before + int(np.flatnonzero(which == code)[-1])
        for code in np.unique(which)
    }

"""VCF and BCF → blocks of alleles, one per ALT, in the order of the file; tables give the same blocks
(`allele_tables`).

Read with pysam; an index, proved to be the file's own, allows --region. A record that htslib cannot read is
an InputError with its line number.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
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
            if not self._regions:
                records: Iterator[Row] = ((r.chrom, r.pos, r.id, r.ref, r.alts, 0) for r in file)
            else:
                records = map(_fields, file) if chosen else self._fetched(file)
            while True:
                rows, chrom, trouble = _without_comments(*_fill(records))
                if rows:
                    inside = [i for i, row in enumerate(rows) if self._inside(row)] if chosen else None
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

    def _fetched(self, file: Any) -> Iterator[Row]:
        """The records of the regions, by the index."""
        for name, stretches in self._regions.items():
            before = 0
            if name not in self._indexed:  # the header names it, and no record is there
                continue
            for start, stop in stretches:
                for record in file.fetch(name, start, stop):
                    if record.start >= before:  # else it reaches here from the stretch before, which had it
                        yield _fields(record)
                before = stop

    def _inside(self, row: Row) -> bool:
        """Whether a record overlaps a region."""
        return any(row[1] - 1 < stop and row[5] > start for start, stop in self._regions.get(row[0], ()))


Row = tuple[str, int, "str | None", str, "tuple[str, ...] | None", int]
"""chrom, pos, id, ref, alts, and the end of what the record spans (for regions; else 0)."""


def _fields(r: Any) -> Row:
    return (r.chrom, r.pos, r.id, r.ref, r.alts, r.stop)


def _fill(records: Iterator[Row]) -> tuple[list[Row], Exception | None]:
    """Up to BLOCK_RECORDS records, and what stopped the reading, if anything did."""
    rows: list[Row] = []
    collecting = gc.isenabled()
    gc.disable()  # else it looks at all of these tuples again and again
    try:
        rows.extend(itertools.islice(records, BLOCK_RECORDS))
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        return rows, error
    finally:
        if collecting:
            gc.enable()
    return rows, None


def _without_comments(
    rows: list[Row], trouble: Exception | None
) -> tuple[list[Row], pa.DictionaryArray, Exception | None]:
    """The rows before the first that is a comment, which htslib takes for a record where it has tabs, and
    their contigs."""
    chrom = pa.array([row[0] for row in rows], pa.large_string()).dictionary_encode()
    if not any(name.startswith("#") for name in chrom.dictionary.to_pylist()):
        return rows, chrom, trouble
    first = next(i for i, row in enumerate(rows) if row[0].startswith("#"))
    return rows[:first], chrom[:first], ValueError("a comment stands among the records")


def _block(rows: list[Row], chrom: pa.DictionaryArray, before: int, chosen: list[int] | None) -> Block:
    """Alleles of rows (`chrom` names their contigs), of the chosen ones where these are given; the first row
    is record `before` of the file."""
    _, pos, ids, ref, alts, _ = zip(*rows, strict=True)
    n_alts = np.fromiter((len(a) if a else 0 for a in alts), dtype=np.int64, count=len(rows))
    if chosen is not None:
        alts = tuple(alts[i] for i in chosen)
    used = np.arange(len(rows)) if chosen is None else np.array(chosen, dtype=np.int64)
    record = np.repeat(used, n_alts[used])
    take = pa.array(record)
    flat = pa.array(list(itertools.chain.from_iterable(a for a in alts if a)), pa.large_string())
    return Block(
        before + record,
        chrom.take(take).dictionary_decode(),
        pa.array(pos, pa.int64()).take(take),
        pa.array(ref, pa.large_string()).take(take),
        flat,
        pa.array(ids, pa.large_string()).take(take),
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

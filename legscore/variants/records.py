"""VCF, BCF and tables of alleles → blocks of alleles, one per ALT, in the order of the file.

VCF and BCF are read with pysam (an index allows --region); tables through `legscore.input.read`. A record
that htslib cannot read is an InputError with its line number.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError, nearest, shorten
from legscore.input.read import is_text, open_input
from legscore.input.source import READ_ERRORS, first_line
from legscore.input.text import TextSource
from legscore.variants.vcf_file import first_column, is_vcf, open_vcf, unreadable

BLOCK_RECORDS = 32_768
ALIASES: Mapping[str, tuple[str, ...]] = {
    "chrom": ("chrom", "CHROM", "#CHROM", "chr", "chromosome", "contig", "seqname"),
    "pos": ("pos", "POS", "position"),
    "ref": ("ref", "REF", "ref_allele", "reference"),
    "alt": ("alt", "ALT", "alt_allele", "alternate"),
    "variant_id": ("variant_id", "id", "ID", "rsid"),
}
"""Columns of a table, any of these names. `pos` is 1-based; `variant_id` may be missing."""


@dataclass(frozen=True)
class Block:
    """Alleles of consecutive records.

    Attributes:
        record_A: int64, record (row of a table) from 0 that each allele belongs to.
        chrom, pos, ref, alt, variant_id: Arrow arrays, one entry per allele; text as written, pos int64
            1-based; variant_id null where the file has none.
        n_records, n_without_alt: records in the block; those with no alternate allele.
        carried: other columns of a table, one row per allele.
    """

    record_A: np.ndarray
    chrom: pa.Array
    pos: pa.Array
    ref: pa.Array
    alt: pa.Array
    variant_id: pa.Array
    n_records: int
    n_without_alt: int
    carried: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.record_A)


class Records(ABC):
    """Where alleles come from. `contigs` are the names that the source states or holds; `lengths` those it
    states."""

    name: str
    contigs: list[str]
    lengths: dict[str, int | None]
    carries: pa.Schema = pa.schema([])

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """The alleles, block by block, in the order of the source."""


def open_records(path: str | Path, regions: Sequence[str] = (), *, numbered: bool = False) -> Records:
    """A VCF or BCF by its extension, else a table. InputError when it cannot be read.

    Args:
        numbered: with regions, `record_A` counts the records of the whole file, not those of the regions.
    """
    if is_vcf(path):
        return VcfRecords(Path(path), regions, numbered=numbered)
    if regions:
        raise InputError(f"--region {regions[0]} needs an indexed VCF or BCF; {path} is a table")
    return TableRecords(path)


class VcfRecords(Records):
    """Records of the file, or those that overlap regions, each once. An index finds them; their numbers in
    the whole file only reading from its beginning tells."""

    def __init__(self, path: Path, regions: Sequence[str] = (), *, numbered: bool = False) -> None:
        self.path, self.name, self._numbered = path, str(path), numbered
        with open_vcf(path) as file:
            header = file.header
            self.lengths = {name: header.contigs[name].length for name in header.contigs}
            self.contigs = list(self.lengths)
            text = file.format == "VCF"
            if regions and file.index is None:
                raise InputError(
                    f"--region needs an index: make one with: bcftools index -t {path} (the file must be "
                    "packed with bgzip)"
                )
            if text and not self.contigs:
                self.contigs = first_column(path)
            self._regions = regions_of(regions, self.contigs, file, path)

    def blocks(self) -> Iterator[Block]:
        n_read = 0
        with open_vcf(self.path) as file:
            file.subset_samples([])
            chosen = bool(self._regions) and self._numbered
            if not self._regions:
                records: Iterator[Row] = ((r.chrom, r.pos, r.id, r.ref, r.alts, 0) for r in file)
            else:
                records = map(_fields, file) if chosen else self._fetched(file)
            while True:
                rows, trouble = _fill(records)
                if rows:
                    yield _block(
                        rows,
                        n_read,
                        [i for i, row in enumerate(rows) if self._inside(row)] if chosen else None,
                    )
                    n_read += len(rows)
                if trouble is not None:
                    raise unreadable(self.path, n_read, trouble) from trouble
                if len(rows) < BLOCK_RECORDS:
                    return

    def _fetched(self, file: Any) -> Iterator[Row]:
        for name, stretches in self._regions.items():
            before = 0
            for start, stop in stretches:
                for record in file.fetch(name, start, stop):
                    if record.start >= before:  # else it reaches here from the stretch before, which had it
                        yield _fields(record)
                before = stop

    def _inside(self, row: Row) -> bool:
        return any(row[1] - 1 < stop and row[5] > start for start, stop in self._regions.get(row[0], ()))


Row = tuple[str, int, "str | None", str, "tuple[str, ...] | None", int]
"""chrom, pos, id, ref, alts, and the end of what the record spans (for regions; else 0)."""


def _fields(r: Any) -> Row:
    return (r.chrom, r.pos, r.id, r.ref, r.alts, r.stop)


def regions_of(
    regions: Sequence[str], contigs: Sequence[str], file: Any, path: Path
) -> dict[str, list[tuple[int, int]]]:
    """--region as {contig: stretches, 0-based half-open, in order and apart}. InputError for one that is not
    understood."""
    found: dict[str, list[tuple[int, int]]] = {}
    for region in regions:
        name = region.rsplit(":", 1)[0] if region not in contigs else region
        if name not in contigs:
            raise InputError(f"--region {region}: {path} has no contig {name!r}{nearest(name, contigs)}")
        try:
            _, _, start, stop = file.parse_region(region=region)
        except READ_ERRORS as error:
            raise InputError(
                f"--region {region}: {first_line(error)}; write CHROM or CHROM:FROM-TO (1-based)"
            ) from error
        found.setdefault(name, []).append((start, stop))
    for name, stretches in found.items():
        apart: list[tuple[int, int]] = []
        for start, stop in sorted(stretches):
            if apart and start <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(stop, apart[-1][1]))
            else:
                apart.append((start, stop))
        found[name] = apart
    return found


def _fill(records: Iterator[Row]) -> tuple[list[Row], Exception | None]:
    """Up to BLOCK_RECORDS records, and what stopped the reading, if anything did."""
    rows: list[Row] = []
    try:
        rows.extend(itertools.islice(records, BLOCK_RECORDS))
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        return rows, error
    return rows, None


def _block(rows: list[Row], before: int, chosen: list[int] | None) -> Block:
    """Alleles of rows, of the chosen ones where these are given; the first row is record `before` of the
    file."""
    chrom, pos, ids, ref, alts, _ = zip(*rows, strict=True)
    n_alts = np.fromiter((len(a) if a else 0 for a in alts), dtype=np.int64, count=len(rows))
    if chosen is not None:
        alts = tuple(alts[i] for i in chosen)
    used = np.arange(len(rows)) if chosen is None else np.array(chosen, dtype=np.int64)
    record = np.repeat(used, n_alts[used])
    take = pa.array(record)
    flat = pa.array(list(itertools.chain.from_iterable(a for a in alts if a)), pa.large_string())
    return Block(
        before + record,
        pa.array(chrom, pa.large_string()).take(take),
        pa.array(pos, pa.int64()).take(take),
        pa.array(ref, pa.large_string()).take(take),
        flat,
        pa.array(ids, pa.large_string()).take(take),
        len(used),
        int(np.count_nonzero(n_alts[used] == 0)),
    )


class TableRecords(Records):
    """A Parquet, Arrow, CSV or TSV file with the columns of ALIASES; several ALTs may be separated by
    commas."""

    def __init__(self, path: str | Path) -> None:
        self._input = open_input([path])
        self.name, names = self._input.name, self._input.schema.names
        self._column: dict[str, str] = {}
        for role, aliases in ALIASES.items():
            present = [alias for alias in aliases if alias in names]
            if len(present) > 1:
                raise InputError(f"{path} has both {present[0]!r} and {present[1]!r}; leave one of them out")
            if present:
                self._column[role] = present[0]
            elif role != "variant_id":
                raise InputError(
                    f"{path} has no column for {role}{nearest(role, names)}: needed are chrom, pos "
                    "(1-based), ref, alt; "
                    f"it has {shorten(names)}"
                )
        self._check_types(path)
        used = set(self._column.values())
        self.carries = pa.schema([field for field in self._input.schema if field.name not in used])
        chrom = [_text(batch.column(0)) for batch in self._input.batches([self._column["chrom"]])]
        self.contigs = [name for name in pa.chunked_array(chrom).unique().to_pylist() if name is not None]
        self.lengths = {}

    def _check_types(self, path: str | Path) -> None:
        for role, column in self._column.items():
            kind = self._input.schema.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            source = self._input.sources[0]
            if role == "pos" and isinstance(source, TextSource) and column in source.not_whole:
                row, text = source.not_whole[column]
                raise InputError(
                    f"{path}: column {column!r} reads {text!r} in row {row}; positions are whole numbers "
                    "(1-based)"
                )
            if role == "pos" and not isinstance(source, TextSource) and not pa.types.is_integer(kind):
                raise InputError(
                    f"{path}: column {column!r} is {kind}; positions must be whole numbers (1-based)"
                )
            if role != "pos" and not (is_text(kind) or (role == "chrom" and pa.types.is_integer(kind))):
                raise InputError(f"{path}: column {column!r} is {kind}; {role} must be text")

    def blocks(self) -> Iterator[Block]:
        columns = [*self._column.values(), *self.carries.names]
        for part in self._input.parts(columns, BLOCK_RECORDS):
            given = {role: part.column(name) for role, name in self._column.items()}
            alts = pc.split_pattern(_text(given["alt"]), ",")
            record = pc.list_parent_indices(alts).to_numpy().astype(np.int64)
            flat = pc.list_flatten(alts)
            there = ~np.asarray(pc.equal(flat, ".").to_numpy(zero_copy_only=False))
            record, flat = record[there], flat.filter(pa.array(there))
            take = pa.array(record)
            n = part.table.num_rows
            ids = _text(given["variant_id"]) if "variant_id" in given else pa.nulls(n, pa.large_string())
            yield Block(
                part.first_row + record,
                _text(given["chrom"]).take(take),
                given["pos"].cast(pa.int64()).take(take),
                _text(given["ref"]).take(take),
                flat,
                ids.take(take),
                n,
                n - len(np.unique(record)),
                part.table.select(self.carries.names).take(take) if len(self.carries) else None,
            )


def _text(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.large_string())

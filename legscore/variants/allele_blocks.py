"""Alleles as they are handed on: a block holds those of consecutive records, one per ALT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

BLOCK_RECORDS = 32_768


@dataclass(frozen=True)
class Block:
    """Alleles of consecutive records.

    Attributes:
        record_A: int64, record (row of a table) from 0 that each allele belongs to.
        chrom, pos, ref, alt, variant_id: Arrow arrays, one entry per allele; text as written, pos int64
            1-based; variant_id null where the file has none.
        n_records, n_without_alt: records in the block; those with no alternate allele.
        carried: other columns of a table, one row per allele.
        is_table: whether a REF that reads NA may be a missing value (`allele_tables.unread`).
        unordered: whether `ref` and `alt` may have changed places (`allele_tables.ordered`).
        last_record: number of the last record of each contig, those without an alternate allele included;
            of a whole VCF or BCF only.
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
    is_table: bool = False
    unordered: bool = False
    last_record: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.record_A)


class Records(ABC):
    """Where alleles come from. `contigs` are the names that the source states or holds; `lengths` those it
    states; `notes` lines about what was left out of it."""

    name: str
    contigs: list[str]
    lengths: dict[str, int | None]
    notes: tuple[str, ...] = ()
    carries: pa.Schema = pa.schema([])

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """The alleles, block by block, in the order of the source."""

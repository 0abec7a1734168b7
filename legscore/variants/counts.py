"""What happened to records and alleles, counted for the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from legscore.errors import shorten
from legscore.rows.schema import OK, STATUS_CODE, STATUSES
from legscore.variants.alleles import Changes

KINDS = ("SNV", "MNV", "insertion", "deletion", "delins", "unsupported", "faulty")


@dataclass
class Counts:
    """What happened, for the summary: records, alleles by kind, rows by status, alleles in no tile by
    status."""

    records: int = 0
    without_alt: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    contigs: Counter[str] = field(default_factory=Counter)

    def add_alleles(self, changes: Changes) -> None:
        """Count alleles of one contig by kind."""
        replaced, n, kinds = changes.end_A - changes.start_A, changes.n_A, self.kinds
        ok = changes.status_A == OK
        kinds["SNV"] += int(np.count_nonzero(ok & (replaced == 1) & (n == 1)))
        kinds["MNV"] += int(np.count_nonzero(ok & (replaced > 1) & (n == replaced)))
        kinds["insertion"] += int(np.count_nonzero(ok & (replaced == 0)))
        kinds["deletion"] += int(np.count_nonzero(ok & (n == 0)))
        kinds["delins"] += int(np.count_nonzero(ok & (replaced > 0) & (n > 0) & (n != replaced)))
        unsupported = changes.status_A == STATUS_CODE["unsupported_allele"]
        kinds["unsupported"] += int(np.count_nonzero(unsupported))
        kinds["faulty"] += int(np.count_nonzero(~ok & ~unsupported))

    def lines(self) -> Iterator[str]:
        none = f", {self.without_alt:,} without an alternate allele" if self.without_alt else ""
        kinds = ", ".join(f"{kind} {self.kinds[kind]:,}" for kind in KINDS if self.kinds[kind])
        yield f"records: {self.records:,}{none}; alleles: {kinds or 'none'}"
        if self.outside:
            yield f"outside every tile: {sum(self.outside.values()):,} alleles ({listed(self.outside)})"
        if self.contigs:
            named = shorten([f"{name} {n:,}" for name, n in self.contigs.most_common()], 8)
            yield f"         on contigs that the FASTA does not have: {named}"
        yield f"rows: {sum(self.rows.values()):,} ({listed(self.rows) or 'none'})"


def listed(counts: Counter[str]) -> str:
    """`ok 3, edge 1`, in the order of STATUSES; others (`miss` of a lookup) come last."""
    names = (*STATUSES, *sorted(set(counts) - set(STATUSES)))
    return ", ".join(f"{name} {counts[name]:,}" for name in names if counts[name])

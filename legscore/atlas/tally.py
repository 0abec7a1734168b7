"""What a lookup counted, and whether its input fits the atlas: nothing that matches nowhere passes in
silence."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.atlas.contents import Contents
from legscore.atlas.found_rows import FOUND, HIT, MISS, FoundRows
from legscore.atlas.options import LookupOptions
from legscore.errors import InputError
from legscore.rows.schema import STATUSES
from legscore.run.record import WHAT_TO_CHECK, mostly_unscored
from legscore.system.log import RunLog

OF_MISSES = {"miss": "rows are changes that the atlas does not hold: --score-misses scores them"}
SEVERAL = 10
"""From so many alleles on, more of one kind than of all others say what the input is."""


class Tally:
    """Counts the rows of a lookup: by status, hits and misses."""

    def __init__(self, options: LookupOptions, contents: Contents) -> None:
        self._options, self._contents = options, contents
        self._source = options.shown.get(options.source, options.source)
        self.by_status: Counter[str] = Counter()
        self.hits = self.misses = self.rows = self.alleles = 0

    def add(self, rows: pa.Table, made: pa.Table) -> None:
        """Count rows: as they were found, and as they come out."""
        found = rows[FOUND].to_numpy()
        self.hits += int(np.count_nonzero(found == HIT))
        self.misses += int(np.count_nonzero(found == MISS))
        self.rows += len(found)
        for counted in made["status"].combine_chunks().value_counts().to_pylist() if len(found) else ():
            self.by_status[counted["values"]] += counted["counts"]

    def check(self, rows: FoundRows, log: RunLog) -> None:
        """Once all rows are counted.

        Raises:
            InputError: the input is of another genome than the atlas, or the atlas has none of its changes.
        """
        alleles, where = rows.by_allele_status, self._contents.folder
        on_contigs = sum(alleles.values())
        self.alleles = on_contigs + rows.n_lost
        if rows.n_lost and not on_contigs:
            raise InputError(
                f"{self._source}: none of its {rows.n_lost:,} alleles lies on a contig of the genome that "
                f"the atlas {where} was made of; say which is which with --contig-map NAME=FASTA_NAME"
            )
        wrong = alleles["ref_mismatch"] + alleles["ref_alt_swapped"]
        unread = sum(alleles[name] for name in ("null_sequence", "invalid_base", "edge"))
        read = on_contigs - unread
        if wrong > 1 and (wrong == read or (wrong >= SEVERAL and 2 * wrong > read)):
            raise InputError(
                f"{self._source}: REF is not what the genome reads in {wrong:,} of {read:,} alleles: "
                f"it is of another genome build than the atlas {where}, or its positions count from 0"
            )
        if self.misses and not self.hits and not self._options.score_misses:
            raise InputError(
                f"{self._source}: the atlas {where} has none of the {self.misses:,} changes that lie in its "
                f"tiles; {self._what_it_has()}. Add --score-misses to score them"
            )
        if not rows.n_in_tiles and rows.counts.outside["no_window"]:
            log.warn(
                "outside",
                f"{self._source}: no allele lies in a tile of the atlas {where}, so no row has a score "
                "(status no_window)",
            )
        if told := mostly_unscored(self.by_status, {**WHAT_TO_CHECK, **OF_MISSES}):
            log.warn("most rows without a score", told)

    def _what_it_has(self) -> str:
        indels = " and insertions and deletions of one" if self._contents.manifest["indels"] else ""
        return f"it holds changes of one base{indels}"

    def record(self) -> dict[str, Any]:
        """What the record says of it."""
        names = (*STATUSES, "miss")
        return {
            "rows": self.rows,
            "alleles": self.alleles,
            "status": {name: self.by_status[name] for name in names if self.by_status[name]},
            "hits": self.hits,
            "misses": self.misses,
        }

    def lines(self) -> list[str]:
        """Lines for the user."""
        scored = "scored on the spot" if self._options.score_misses else "without a score"
        missed = f", {self.misses:,} missed ({scored})" if self.misses else ""
        return [f"lookup: {self.hits:,} found in the atlas{missed}"]

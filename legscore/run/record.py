"""What a run counted, and what its record says."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from legscore.output.part_file import Scored
from legscore.rows.schema import STATUSES
from legscore.run.options import Options, Staging
from legscore.system.cores import usable_cores

if TYPE_CHECKING:
    from legscore.run.rescore_check import PartCheck


def circumstances(
    options: Options, staging: Staging, summary: Summary, started: datetime.datetime, n_members: int
) -> dict[str, Any]:
    """What a record holds beyond what defines the scores: paths, times, counts, rates (per second)."""
    seconds = max(summary.seconds, 1e-9)
    rows, windows = summary.rows - summary.rows_resumed, summary.windows_scored - summary.windows_resumed
    return {
        "command": staging.command,
        "inputs": [str(path) for path in staging.shown_inputs or options.inputs],
        "output": options.output,
        "model_paths": [str(path) for path in options.models],
        "started": started.isoformat(timespec="seconds"),
        "host": platform.node(),
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "libraries": {"numpy": np.__version__, "pyarrow": pa.__version__},
        "threads": usable_cores(),
        "seconds": round(summary.seconds, 3),
        "rows": summary.rows,
        "status": summary.status_counts,
        "windows_asked": summary.windows_asked,
        "windows_scored": summary.windows_scored,
        "windows_x_members_scored": summary.member_windows,
        "windows_x_members_of_all": round(
            summary.member_windows / max(summary.windows_scored * n_members, 1), 4
        ),
        "rows_resumed": summary.rows_resumed,
        "parts_damaged": summary.parts_damaged,
        "rows_per_s": round(rows / seconds, 1),
        "windows_per_s": round(windows / seconds, 1),
        "window_members_per_s": round((summary.member_windows - summary.member_windows_resumed) / seconds, 1),
    }


WHAT_TO_CHECK = {
    "ref_mismatch": "REFs differ from the genome: another build, or 0-based positions?",
    "ref_alt_swapped": "REFs are ALT's, and ALTs the genome's: are the two columns exchanged?",
    "ref_equals_alt": "rows have equal sequences, which have no effect: is it the right column of alleles?",
    "contig_missing": "rows lie on contigs that the genome does not have: another --fasta, or --contig-map?",
    "edge": "changes or tiles reach beyond their sequence or contig: other positions than were meant?",
    "null_sequence": "rows have no sequence: is it the right --column?",
    "invalid_base": "sequences hold letters that are no bases, or more N's than --max-n: is it DNA?",
    "mostly_n": "sequences are mostly N's",
    "too_short": "sequences are shorter than the models read: --sequence-is, or models of another assay?",
    "too_long": "sequences are longer than the models read: --sequence-is, or models of another assay?",
    "adapter_mismatch": "oligos do not have the models' adapters: --sequence-is insert?",
    "unsupported_allele": "alleles are symbolic or no bases",
    "missing_genotype": "haplotypes are not known: no-calls, or genotypes without a phase",
    "allele_conflict": "haplotypes hold changes that cannot stand together",
    "in_training": "rows lie in folds that every member was trained on",
    "nonfinite": "scores are not finite: a damaged model, or a precision too low for it?",
}
"""Status → what may be wrong when it is the status of most rows, after `83 of 100 `."""


def mostly_unscored(
    by_status: Mapping[str, int], what_to_check: Mapping[str, str] = WHAT_TO_CHECK
) -> str | None:
    """One line when more than half of the rows have no score, about their commonest status; else None.

    Alleles in no tile (`no_window`), which are rows only when asked for, do not count.
    """
    counts = {name: n for name, n in by_status.items() if name != "no_window"}
    rows, scored = sum(counts.values()), counts.pop("ok", 0)
    if rows - scored <= rows / 2:
        return None
    name = max(counts, key=lambda status: counts[status])
    return f"most rows have no score: {counts[name]:,} of {rows:,} {what_to_check[name]} (status {name})"


def python_call(function: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of a call from Python: the function, and the arguments that were given.

    Args:
        function: its full name; arguments: by name. Callables, None, False and empty ones are left out.
    """
    said = {
        name: value
        for name, value in arguments.items()
        if not (
            value is None
            or value is False
            or callable(value)
            or (isinstance(value, Sized) and not len(value))
        )
    }
    return {"function": function, "arguments": json.loads(json.dumps(said, default=_plain))}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) else str(value)


@dataclass
class Summary:
    """What happened: rows by status, windows asked for and scored, windows × members scored, seconds of
    scoring; rows whose results were there already, and parts that were there but damaged; of a cascade what
    each part tells of its choice."""

    rows: int = 0
    by_status: np.ndarray = field(default_factory=lambda: np.zeros(len(STATUSES), dtype=np.int64))
    windows_asked: int = 0
    windows_scored: int = 0
    member_windows: int = 0
    seconds: float = 0.0
    rows_resumed: int = 0
    windows_resumed: int = 0
    member_windows_resumed: int = 0
    parts_damaged: int = 0
    checks: list[PartCheck] = field(default_factory=list)

    def add(self, scored: Scored, *, resumed: bool) -> None:
        n = len(scored.results.status_N)
        self.rows += n
        self.by_status += np.bincount(scored.results.status_N, minlength=len(STATUSES))
        self.windows_asked += scored.windows_asked
        self.windows_scored += scored.windows_scored
        self.member_windows += scored.member_windows
        if scored.results.scored_by_N is not None:
            from legscore.run.rescore_check import PartCheck

            self.checks.append(PartCheck.of(scored.results))
        if resumed:
            self.rows_resumed += n
            self.windows_resumed += scored.windows_scored
            self.member_windows_resumed += scored.member_windows

    def take(self, other: Summary) -> None:
        """Add what another one counted."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    @property
    def status_counts(self) -> dict[str, int]:
        return {name: int(count) for name, count in zip(STATUSES, self.by_status, strict=True) if count}

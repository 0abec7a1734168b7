"""Rows in memory → results: windowed and scored part by part, overlapping, as a run on files does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.errors import InputError
from legscore.rows.reduce import Results, reduce_scores
from legscore.rows.schema import OK, SEQUENCE_IS, STATUSES
from legscore.rows.window import Windower, Windows
from legscore.run.memory_results import Effects
from legscore.run.memory_rows import MemoryRows
from legscore.run.settings import resolve_rc
from legscore.run.stream import in_flight
from legscore.system.notebook import Bar, progress_bar

WHAT = {"sequence": "sequence", "pair": "pair", "edit": "change"}
"""What messages call a row, by its kind."""

MEANS = {
    "null_sequence": "a value is missing",
    "invalid_base": "a letter is no base",
    "mostly_n": "more than half of it is N",
    "adapter_mismatch": "its adapters are not the models'",
    "ref_mismatch": "the sequence has another base there",
    "ref_equals_alt": "nothing changes",
    "edge": "the offset leaves the sequence",
    "unsupported_allele": "the allele is not a single base",
}
"""What a row without a score has, by its status; of lengths the contract says more."""


class RowScorer:
    """Scores rows with one engine, `step` rows at a time; threads may share it."""

    def __init__(self, contract: Contract, engine: Engine, rc: str, step: int, bar: Bar) -> None:
        self._contract, self._engine, self._rc, self._step, self._bar = contract, engine, rc, step, bar

    def scores(self, rows: MemoryRows, sequence_is: str, invalid: str, *, per_member: bool) -> np.ndarray:
        """Scores of sequences, float32 [N]; of each member, [members, N]."""
        results = self.results(rows, self.sequence_is(rows, sequence_is, invalid), invalid, per_member)
        if per_member:
            return np.concatenate([r.per_model["score_per_model"] for r in results]).T
        return np.concatenate([r.columns["score"] for r in results])

    def effects(self, rows: MemoryRows, sequence_is: str, invalid: str) -> Effects:
        """Effects of pairs or edits."""
        results = self.results(rows, self.sequence_is(rows, sequence_is, invalid), invalid)
        columns = {name: np.concatenate([r.columns[name] for r in results]) for name in results[0].columns}
        return Effects(status=statuses(results), **columns)

    def sequence_is(self, rows: MemoryRows, asked: str, invalid: str) -> str:
        """What the sequences are. ValueError for a word that is not known, here or for `invalid`."""
        if invalid not in ("raise", "nan"):
            raise ValueError(f"invalid is {invalid!r}; it must be 'raise' or 'nan'")
        if asked not in (*SEQUENCE_IS, "auto"):
            raise ValueError(f"sequence_is is {asked!r}; known are {', '.join(SEQUENCE_IS)}, auto")
        decided = rows.decide_sequence_is(self._contract) if asked == "auto" else asked
        resolve_rc(self._contract, self._rc, decided)
        return decided

    def results(
        self, rows: MemoryRows, sequence_is: str, invalid: str, per_member: bool = False
    ) -> list[Results]:
        """Results of the rows, part by part, in order."""
        windower = Windower(self._contract, rows.roles.kind, sequence_is, self._rc)
        start = 0

        def windows() -> Iterator[Windows]:
            nonlocal start
            for columns in rows.parts(self._step):
                windowed = windower(columns)
                bad = np.flatnonzero(windowed.status_N != OK)
                if invalid == "raise" and len(bad):
                    status = STATUSES[windowed.status_N[bad[0]]]
                    raise InputError(
                        f"{WHAT[rows.roles.kind.name]} {start + bad[0]} has status {status} "
                        f"(read as {sequence_is}){self._meaning(status, sequence_is)}; "
                        "pass invalid='nan' to score the others"
                    )
                start += len(windowed.status_N)
                yield windowed

        with progress_bar(self._bar, "scoring", rows.n_rows) as advance:

            def submit(windowed: Windows) -> Future[np.ndarray]:
                n = len(windowed.status_N)
                return self._engine.submit(windowed.batch, watch=lambda share: advance(share * n))

            scored = in_flight(windows(), submit, self._engine.depth)
            reduced = (
                reduce_scores(s, w.index_NKS, w.status_N, w.n_count_N, per_model=per_member)
                for w, s in scored
            )
            return [_finite(results, invalid) for results in reduced]

    def _meaning(self, status: str, sequence_is: str) -> str:
        """`: a letter is no base`, after a status."""
        contract = self._contract
        if status not in ("too_short", "too_long"):
            return f": {MEANS[status]}" if status in MEANS else ""
        if sequence_is == "window":
            return f": windows have {contract.length} bases"
        lengths = dict.fromkeys((contract.insert_min, contract.insert_max))
        return f": inserts have {' to '.join(map(str, lengths))} bases"


def statuses(results: Sequence[Results]) -> np.ndarray:
    """Statuses of the rows of all parts, text [N]."""
    return np.array(STATUSES)[np.concatenate([r.status_N for r in results])]


def _finite(results: Results, invalid: str) -> Results:
    if invalid == "raise" and (results.status_N != OK).any():
        raise InputError("a score is not finite (status nonfinite); pass invalid='nan' to get the others")
    return results

"""An ensemble that scores sequences and tables in memory: same engine, windows, strands and statuses as a run
on files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.fidelity import Fidelity
from legscore.engine.open_engine import open_engine
from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.model.student import check_students
from legscore.rows.schema import checked_columns
from legscore.run.memory_results import Effects, SaturationMaps
from legscore.run.memory_rows import named_sequences, rows_of
from legscore.run.options import Options
from legscore.run.plan import part_rows
from legscore.run.python_words import speaks_python, warn_of_notice
from legscore.run.row_scorer import RowScorer
from legscore.run.saturation_maps import saturation_of
from legscore.run.settings import check_singleton, resolve_rc
from legscore.system.log import Say
from legscore.system.notebook import Bar
from legscore.system.notebook_tables import facts_as_html


class Ensemble:
    """A loaded ensemble on an engine, as `legscore.load_ensemble` gives it.

    Close it, or use it in a `with` statement. Threads may share it: their calls are scored one after the
    other, each with its own result. It can be pickled: what is written are the paths of its models, their
    hashes, and how it was loaded, and who unpickles it loads it anew. It does not survive a fork.

    Example:
        ```python
        with legscore.load_ensemble("models/") as ensemble:
            scores = ensemble.score(frame, columns={"sequence": "promoter"})
        ```
    """

    def __init__(
        self,
        members: Sequence[Checkpoint],
        engine: Engine,
        rc: str,
        request: Request,
        rows_at_once: int | None = None,
        bar: Bar = None,
    ) -> None:
        self._members, self._engine, self._rc, self._request = list(members), engine, rc, request
        self._bar, self._given_rows = bar, rows_at_once
        step = rows_at_once or part_rows(len(members), engine.name)
        self._scorer = RowScorer(self.contract, engine, rc, step, bar)

    @property
    def contract(self) -> Contract:
        """What the models read and what their score means."""
        return self._members[0].contract

    @property
    def fidelity(self) -> Fidelity | None:
        """Measured agreement of the engine with FP32; None where it is FP32's reference itself."""
        return self._engine.fidelity

    @property
    def members(self) -> tuple[Checkpoint, ...]:
        """The checkpoints, in the order of `per_member` scores."""
        return tuple(self._members)

    @property
    def engine(self) -> dict[str, Any]:
        """Engine, versions, precision: what goes into a file's metadata."""
        return self._engine.describe()

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        n = len(self)
        return (
            f"<Ensemble of {n} model{'' if n == 1 else 's'} on {self._engine.name}"
            f"{f' ({self._engine.precision})' if self._engine.precision else ''}: {self.contract.describe()}>"
        )

    def _repr_html_(self) -> str:
        names = ", ".join(member.name for member in self._members)
        facts = {
            "models": f"{len(self)}: {names}",
            "engine": f"{self._engine.name} {self._engine.precision}",
            "fidelity": str(self.fidelity or "the FP32 reference itself"),
            "reads": self.contract.describe(),
        }
        return facts_as_html("Ensemble", facts)

    def __reduce__(self) -> tuple[Any, ...]:
        if unsaved := [member.name for member in self._members if not (member.path and member.sha256)]:
            raise TypeError(f"model {unsaved[0]} is in no file: save it, and load the ensemble from there")
        paths = [os.path.abspath(member.path) for member in self._members]
        hashes = [member.sha256 for member in self._members]
        return _reopened, (paths, hashes, self._request, self._rc, self._given_rows, self._bar)

    @speaks_python
    def score(
        self,
        sequences: Any,
        *,
        columns: Mapping[str, str] | None = None,
        sequence_is: str = "auto",
        per_member: bool = False,
        invalid: str = "raise",
    ) -> np.ndarray:
        """Scores of N sequences.

        Args:
            sequences: list, numpy array, Arrow array, polars or pandas Series of N texts; or a table (polars,
                pandas, pyarrow, DuckDB, anything with `__arrow_c_stream__`) with a column `sequence`.
            columns: column of a role, where a table calls it otherwise: `{"sequence": "dna"}`.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            per_member: return each member's scores instead of their mean.
            invalid: `raise` an InputError at the first sequence without a score (one of which more than half
                of the bases are no A, C, G or T included), or give it `nan`.

        Returns:
            float32 [N], or [members, N] with `per_member`; unit in `contract.output`.

        Raises:
            InputError: no texts, or with `invalid="raise"` the first sequence that cannot be scored.
            ValueError: `sequence_is` or `invalid` is not known.

        Example:
            ```python
            ensemble.score(["ACGTTTGACAGCTAGCTCAGTCCTAGGTATAATGCTAGC"])  # array([3.41], dtype=float32)
            ```
        """
        rows = rows_of("sequence", {"sequences": sequences}, columns)
        return self._scorer.scores(rows, sequence_is, invalid, per_member=per_member)

    @speaks_python
    def effects(
        self,
        ref: Any,
        alt: Any = None,
        *,
        columns: Mapping[str, str] | None = None,
        sequence_is: str = "auto",
        invalid: str = "raise",
    ) -> Effects:
        """Effects of N pairs of sequences: alt - ref within each member, then mean and SD over members.

        Args:
            ref: N sequences, in any container that `score` takes; or, without `alt`, a table with the columns
                `ref_sequence` and `alt_sequence`.
            alt: what they are changed to, N sequences.
            columns: column of a role, where a table calls it otherwise.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            invalid: `raise` an InputError at the first pair without an effect, or give it `nan`. Equal
                sequences are one (status `ref_equals_alt`).

        Returns:
            Effects of N pairs: arrays of float32 [N], and their statuses.

        Raises:
            InputError: as `score`, or `ref` and `alt` differ in length.
            ValueError: `sequence_is` or `invalid` is not known.

        Example:
            ```python
            ensemble.effects(frame["ref"], frame["alt"]).effect  # float32 [N]
            ```
        """
        given = {"ref": ref} if alt is None else {"ref": ref, "alt": alt}
        rows = rows_of("pair", given, columns)
        return self._scorer.effects(rows, sequence_is, invalid)

    @speaks_python
    def score_edits(
        self,
        sequences: Any,
        offset: Any = None,
        alt_base: Any = None,
        *,
        ref_base: Any = None,
        columns: Mapping[str, str] | None = None,
        sequence_is: str = "auto",
        invalid: str = "raise",
    ) -> Effects:
        """Effects of N single-base changes, each in its own sequence or all in one.

        A sequence that stands in many rows is read once, so that this is faster than `effects` on spelt-out
        pairs.

        Args:
            sequences: N sequences in any container that `score` takes, or one text for all; or, alone, a
                table with the columns `sequence`, `offset` and `alt_base` (`ref_base` and `refill` are read
                too).
            offset: places of the changes, N whole numbers from 0, on the sequence's own strand.
            alt_base: N bases that come in.
            ref_base: N bases that should be there; a row where another one is has status `ref_mismatch`.
            columns: column of a role, where a table calls it otherwise.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            invalid: `raise` an InputError at the first change without an effect, or give it `nan`.

        Returns:
            Effects of N changes: arrays of float32 [N], and their statuses.

        Raises:
            InputError: as `score`; columns that are missing, or differ in length.
            ValueError: `sequence_is` or `invalid` is not known.

        Example:
            ```python
            ensemble.score_edits(promoter, offset=[10, 11], alt_base=["A", "T"]).effect  # float32 [2]
            ```
        """
        given = {"sequences": sequences, "offset": offset, "alt_base": alt_base, "ref_base": ref_base}
        rows = rows_of("edit", {name: value for name, value in given.items() if value is not None}, columns)
        return self._scorer.effects(rows, sequence_is, invalid)

    @speaks_python
    def saturate(
        self,
        sequences: Any,
        *,
        columns: Mapping[str, str] | None = None,
        sequence_is: str = "auto",
        invalid: str = "raise",
    ) -> SaturationMaps:
        """Effects of every single-base change of N sequences: their saturation maps.

        Args:
            sequences: N sequences in any container that `score` takes; or a table with a column `sequence`
                (and one of `tile_id`, `promoter`, `gene`, `gene_id`, `id` or `name`, which names the maps).
            columns: column of a role, where a table calls it otherwise; `name` is a role too.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            invalid: `raise` an InputError at the first sequence that cannot be scored, or leave its map
                `nan`.

        Returns:
            SaturationMaps: `effect_NBL`, float32 [N, 4, longest]; `maps[0]` is the first, `maps.to_arrow()`
            a table of changes.

        Raises:
            InputError: as `score`.
            ValueError: `sequence_is` or `invalid` is not known.

        Example:
            ```python
            maps = ensemble.saturate([promoter])
            legscore.plot_saturation(maps[0])
            ```
        """
        texts, names = named_sequences(sequences, columns)
        return saturation_of(self._scorer, texts, names, sequence_is, invalid)

    @speaks_python
    def score_table(
        self,
        data: Any,
        *,
        kind: str | None = None,
        columns: Mapping[str, str] | None = None,
        sequence_is: str = "auto",
        max_n: int | None = None,
        keep: str = "auto",
        per_model: bool = False,
        calibration: str | os.PathLike[str] | None = None,
        part_rows: int | None = None,
    ) -> pa.RecordBatchReader:
        """Score a table as `legscore.score_table` does, with this ensemble and its engine.

        The ensemble has to stay open until the reader has been read.

        Args:
            data: a table or a stream of them, see `legscore.score_table`.
            kind: what a row is, where columns fit two kinds: `pair`, `edit` or `sequence`.
            columns: column of a role, where the table calls it otherwise: `{"sequence": "dna"}`.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            max_n: rows with more N's than this get invalid_base; when None, those mostly of N's get mostly_n.
            keep: columns to carry over: names with commas, `all`, `none`; `auto`: all but sequences.
            per_model: also every member's values, as fixed-size lists.
            calibration: file of `calibrate_effects`, or the student: adds effect_low and effect_high.
            part_rows: rows scored at once; by members and engine when None.

        Returns:
            Reader of the results, as of `legscore.score_table`.

        Raises:
            InputError: the table cannot be read, or has no columns to score.
        """
        from legscore.run.table_stream import Loaded, score_stream

        options = Options(
            inputs=(), output="-", format="arrow", kind=kind, columns=checked_columns(columns), keep=keep,
            sequence_is=sequence_is, max_n=max_n, per_model=per_model,
            calibration=None if calibration is None else os.fspath(calibration),
            part_rows=part_rows, rc=self._rc, singleton=int(self._request.is_singleton),
        )  # fmt: skip
        return score_stream(data, options, bar=self._bar, loaded=Loaded(self._members, self._engine))

    def close(self) -> None:
        """Release the engine; scoring afterwards is an error."""
        self._engine.close()

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_ensemble(
    paths: Sequence[str],
    request: Request,
    rc: str | None = None,
    *,
    allow_duplicates: bool = False,
    rows_at_once: int | None = None,
    bar: Bar = None,
    say: Say = lambda line: None,
) -> Ensemble:
    """Load checkpoints and build their engine; `request.both_strands` follows `rc`. Errors as of
    `legscore.load_ensemble`."""
    members = open_members(paths, allow_duplicates, say)
    contract = members[0].contract
    rc = resolve_rc(contract, rc, "insert")
    check_students(members, rc)
    check_singleton(contract, int(request.is_singleton))
    request = replace(request, both_strands=rc == "construct")
    return Ensemble(members, open_engine(members, request, say), rc, request, rows_at_once, bar)


def _reopened(
    paths: Sequence[str],
    hashes: Sequence[str],
    request: Request,
    rc: str,
    rows_at_once: int | None,
    bar: bool | None,
) -> Ensemble:
    """The ensemble that was pickled, loaded anew. ModelError when a file is another one by now."""
    found = open_ensemble(
        paths, request, rc, allow_duplicates=True, rows_at_once=rows_at_once, bar=bar, say=warn_of_notice
    )
    for member, sha256 in zip(found.members, hashes, strict=True):
        if member.sha256 != sha256:
            found.close()
            raise ModelError(
                f"{member.path}: the file has changed since the ensemble was pickled; load it anew"
            )
    return found

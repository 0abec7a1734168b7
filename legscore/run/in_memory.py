"""An ensemble that scores arrays in memory: same engine, windows, strands and statuses as a run on files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa

from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.fidelity import Fidelity
from legscore.errors import InputError
from legscore.input.column_types import as_text, is_text
from legscore.model.checkpoint import Checkpoint
from legscore.rows.reduce import Results, reduce_scores
from legscore.rows.schema import KINDS, OK, SEQUENCE_IS, STATUSES
from legscore.rows.window import SNIFF_ROWS, Windower, Windows, decide_sequence_is
from legscore.run.plan import part_rows
from legscore.run.settings import resolve_rc
from legscore.run.stream import in_flight


@dataclass(frozen=True)
class Effects:
    """Effects of N pairs of sequences; scores and effects in the unit of the models' contract.

    Attributes:
        ref_score: float32 [N], mean over members.
        alt_score: float32 [N], mean over members.
        effect: float32 [N], alt_score - ref_score within each member, then their mean.
        effect_sd: float32 [N], spread between members (sample SD; NaN with one member). No prediction error.
        status: text [N], each one of `legscore.rows.schema.STATUSES`.
    """

    ref_score: np.ndarray
    alt_score: np.ndarray
    effect: np.ndarray
    effect_sd: np.ndarray
    status: np.ndarray


class Ensemble:
    """A loaded ensemble on an engine; close it, or use it in a `with` statement. Threads may share it."""

    def __init__(
        self, members: Sequence[Checkpoint], engine: Engine, rc: str, rows_at_once: int | None = None
    ) -> None:
        self._members, self._engine, self._rc = list(members), engine, rc
        self._rows_at_once = rows_at_once or part_rows(len(members), engine.name)

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

    @overload
    def score(
        self, sequences: Any, *, sequence_is: str = ..., per_member: Literal[False] = ..., invalid: str = ...
    ) -> np.ndarray: ...
    @overload
    def score(
        self, sequences: Any, *, sequence_is: str = ..., per_member: bool, invalid: str = ...
    ) -> np.ndarray: ...
    def score(
        self, sequences: Any, *, sequence_is: str = "auto", per_member: bool = False, invalid: str = "raise"
    ) -> np.ndarray:
        """Scores of sequences.

        Args:
            sequences: list of str, numpy array, Arrow array, polars or pandas Series; N sequences.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            per_member: return each member's scores instead of their mean.
            invalid: `raise` an InputError at the first sequence without a score (one of which more than half
                of the bases are no A, C, G or T included), or give it `nan`.

        Returns:
            float32 [N], or [members, N] with `per_member`; unit in `contract.output`.

        Raises:
            InputError: no texts, or with `invalid="raise"` the first sequence that cannot be scored.
            ValueError: `sequence_is` or `invalid` is not known.
        """
        results = self._run("sequence", {"sequence": sequences}, sequence_is, invalid, per_member)
        if per_member:
            return np.concatenate([r.per_model["score_per_model"] for r in results]).T
        return np.concatenate([r.columns["score"] for r in results])

    def effects(self, ref: Any, alt: Any, *, sequence_is: str = "auto", invalid: str = "raise") -> Effects:
        """Effects of N pairs of sequences: alt - ref within each member, then mean and SD over members.

        Args:
            ref: N sequences, in any container that `score` takes; `alt`: those they are changed to.
            sequence_is: `insert`, `oligo`, `window`, or `auto` (decided once, from the first 4,096).
            invalid: `raise` an InputError at the first pair without an effect, or give it `nan`. Equal
                sequences are one (status `ref_equals_alt`).

        Returns:
            Effects of N pairs.

        Raises:
            InputError: as `score`, or `ref` and `alt` differ in length.
            ValueError: `sequence_is` or `invalid` is not known.
        """
        results = self._run("pair", {"ref_sequence": ref, "alt_sequence": alt}, sequence_is, invalid, False)
        columns = {name: np.concatenate([r.columns[name] for r in results]) for name in results[0].columns}
        status = np.array(STATUSES)[np.concatenate([r.status_N for r in results])]
        return Effects(status=status, **columns)

    def _run(
        self, kind: str, given: dict[str, Any], sequence_is: str, invalid: str, per_member: bool
    ) -> list[Results]:
        if invalid not in ("raise", "nan"):
            raise ValueError(f"invalid is {invalid!r}; it must be 'raise' or 'nan'")
        if sequence_is not in (*SEQUENCE_IS, "auto"):
            raise ValueError(f"sequence_is is {sequence_is!r}; known are {', '.join(SEQUENCE_IS)}, auto")
        columns = {role: to_arrow(texts) for role, texts in given.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise InputError(f"ref and alt have different numbers of sequences: {sorted(lengths)}")
        n = lengths.pop()
        if sequence_is == "auto":
            sequence_is = decide_sequence_is(next(iter(columns.values()))[:SNIFF_ROWS], self.contract)
        resolve_rc(self.contract, self._rc, sequence_is)
        windower = Windower(self.contract, KINDS[kind], sequence_is, self._rc)
        step = self._rows_at_once

        def windows() -> Iterator[Windows]:
            for start in range(0, max(n, 1), step):
                windowed = windower({role: column[start : start + step] for role, column in columns.items()})
                bad = np.flatnonzero(windowed.status_N != OK)
                if invalid == "raise" and len(bad):
                    raise InputError(
                        f"sequence {start + bad[0]} has status {STATUSES[windowed.status_N[bad[0]]]} (read "
                        f"as {sequence_is}); "
                        "pass invalid='nan' to score the others"
                    )
                yield windowed

        def checked(results: Results) -> Results:
            if invalid == "raise" and (results.status_N != OK).any():
                raise InputError(
                    "a score is not finite (status nonfinite); pass invalid='nan' to get the others"
                )
            return results

        scored = in_flight(windows(), lambda w: self._engine.submit(w.batch), self._engine.depth)
        reduced = (
            reduce_scores(s, w.index_NKS, w.status_N, w.n_count_N, per_model=per_member) for w, s in scored
        )
        return [checked(results) for results in reduced]

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_arrow(texts: Any) -> pa.Array:
    """Sequences of any common container as an Arrow text array. InputError for what holds no text."""
    if isinstance(texts, (str, bytes)):
        raise InputError("pass a list of sequences, not one string")
    if hasattr(texts, "to_arrow"):
        texts = texts.to_arrow()
    if isinstance(texts, np.ndarray):
        if texts.ndim != 1:
            raise InputError(f"sequences must be one-dimensional, not of shape {texts.shape}")
        texts = texts.tolist()
    elif not isinstance(texts, (pa.Array, pa.ChunkedArray)) and isinstance(texts, Iterable):
        texts = list(texts)
    try:
        array = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, from_pandas=True)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if not is_text(array.type):
            raise pa.ArrowTypeError(f"values are {array.type}")
        return as_text(array)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"sequences must be text ({error})") from error

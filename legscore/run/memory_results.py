"""What an ensemble answers in memory: effects of pairs and edits, and of every change of whole sequences."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
import pyarrow as pa

from legscore.system.notebook_tables import rows_as_html

BASES = "ACGT"


class Tabular(ABC):
    """Results that polars, pandas, DuckDB and notebooks take as a table."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """The table."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        return rows_as_html(repr(self), self.to_arrow())


@dataclass(frozen=True, repr=False, eq=False)
class Effects(Tabular):
    """Effects of N pairs of sequences, or of N edits; scores and effects in the unit of the models' contract.

    `len(effects)` is N. polars, pandas 2.2 and DuckDB take it as a table: `polars.DataFrame(effects)`.

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

    def __len__(self) -> int:
        return len(self.effect)

    def to_arrow(self) -> pa.Table:
        """A table with these columns, N rows; a value that is NaN here is null there."""
        return pa.table({f.name: nullable(getattr(self, f.name)) for f in fields(self)})

    def __repr__(self) -> str:
        return f"Effects of {len(self):,} rows ({_counted(self.status)}{_range(self.effect)})"


@dataclass(frozen=True, repr=False, eq=False)
class SaturationMap:
    """One sequence with the effect of every change.

    Attributes:
        name: what it is called. sequence: as given. status: `ok`, or why it has no map.
        ref_score: of the sequence itself.
        effect_BL: float32 [4, length], changed to A, C, G, T; NaN for the base that is there.
        effect_sd_BL: float32 [4, length], spread between members.
    """

    name: str
    sequence: str
    status: str
    ref_score: float
    effect_BL: np.ndarray
    effect_sd_BL: np.ndarray

    def __repr__(self) -> str:
        return f"SaturationMap of {self.name}: {len(self.sequence)} bp, score {self.ref_score:.3f}"


@dataclass(frozen=True, repr=False, eq=False)
class SaturationMaps(Tabular):
    """The effect of every single-base change of N sequences; `maps[i]` is the map of one, `maps[:9]` are
    some, `len(maps)` is N.

    Attributes:
        names: text [N], what the sequences are called. sequences: text [N], as given; "" where null.
        status: text [N]: `ok`, or why a sequence has no map.
        ref_score: float32 [N], of the sequences themselves; NaN without a map.
        effect_NBL: float32 [N, 4, longest], changed to A, C, G, T at each position, 5' to 3' as given; NaN
            for the base that is there, in adapters, and beyond a shorter sequence's end.
        effect_sd_NBL: float32 [N, 4, longest], spread between members (NaN with one).
    """

    names: np.ndarray
    sequences: np.ndarray
    status: np.ndarray
    ref_score: np.ndarray
    effect_NBL: np.ndarray
    effect_sd_NBL: np.ndarray

    def __len__(self) -> int:
        return len(self.sequences)

    @overload
    def __getitem__(self, index: int) -> SaturationMap: ...
    @overload
    def __getitem__(self, index: slice) -> SaturationMaps: ...
    def __getitem__(self, index: int | slice) -> SaturationMap | SaturationMaps:
        if isinstance(index, slice):
            return SaturationMaps(*(getattr(self, field.name)[index] for field in fields(self)))
        index = operator.index(index)
        length = len(self.sequences[index])
        return SaturationMap(
            str(self.names[index]),
            str(self.sequences[index]),
            str(self.status[index]),
            float(self.ref_score[index]),
            self.effect_NBL[index, :, :length],
            self.effect_sd_NBL[index, :, :length],
        )

    def __iter__(self) -> Iterator[SaturationMap]:
        return (self[index] for index in range(len(self)))

    def to_arrow(self) -> pa.Table:
        """One row per change: tile_id, offset (0-based), ref_base, alt_base, ref_score, effect, effect_sd.
        `legscore plot ism` and `legscore report` read such a table from a file."""
        at_N, base_N, offset_N = np.nonzero(np.isfinite(self.effect_NBL))
        order = np.lexsort((base_N, offset_N, at_N))
        at_N, base_N, offset_N = at_N[order], base_N[order], offset_N[order]
        effect = self.effect_NBL[at_N, base_N, offset_N]
        letters = np.zeros((len(self), self.effect_NBL.shape[2]), dtype="U1")
        for row, sequence in enumerate(self.sequences):
            letters[row, : len(sequence)] = list(sequence.upper())
        return pa.table(
            {
                "tile_id": self.names[at_N].astype(str),
                "offset": pa.array(offset_N, pa.int32()),
                "ref_base": letters[at_N, offset_N],
                "alt_base": np.array(list(BASES))[base_N],
                "ref_score": self.ref_score[at_N],
                "effect": effect,
                "effect_sd": nullable(self.effect_sd_NBL[at_N, base_N, offset_N]),
            }
        )

    def __repr__(self) -> str:
        return f"SaturationMaps of {len(self):,} sequences ({_counted(self.status)}{_range(self.effect_NBL)})"


def nullable(values: np.ndarray) -> pa.Array:
    """An Arrow array, null where a number is NaN."""
    return pa.array(values, from_pandas=True)


def _counted(status: np.ndarray) -> str:
    """`40 ok, 2 too_long`."""
    return ", ".join(f"{count:,} {name}" for name, count in Counter(status.tolist()).most_common()) or "none"


def _range(effect: np.ndarray) -> str:
    known = effect[np.isfinite(effect)]
    return f"; effect {known.min():+.3f} to {known.max():+.3f}" if len(known) else ""

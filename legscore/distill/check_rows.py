"""Rows that a student is checked on and never trained on: changes of inserts, or single sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.distill.agreement import figures
from legscore.distill.input_rows import InputRows
from legscore.dna.codes import unique_rows
from legscore.system.rank_order import correlation, ranks

SNVS_A_TILE = 24
"""Single changes of each drawn tile: many tiles tell more than many changes of one."""


@dataclass(frozen=True)
class CheckRows:
    """Rows over distinct windows.

    Attributes:
        name: what the figures are of.
        inserts_NL: uint8 codes [windows, insert].
        alt_E, ref_E: int64 [rows], windows of each row; single sequences have no ref_E.
        tile_E: int64 [rows], equal for rows that change the same insert.
        measured_E: float64 [rows] or None: measured effects (levels, of single sequences); NaN for unknown.
        about: what else the record says of them.
    """

    name: str
    inserts_NL: np.ndarray
    alt_E: np.ndarray
    ref_E: np.ndarray | None
    tile_E: np.ndarray
    measured_E: np.ndarray | None = None
    about: dict[str, Any] | None = None

    def values(self, scores_N: np.ndarray) -> np.ndarray:
        """Effects of the rows, or levels of single sequences, float64 [rows]."""
        scores = scores_N.astype(np.float64)
        return scores[self.alt_E] if self.ref_E is None else scores[self.alt_E] - scores[self.ref_E]

    @property
    def window_tiles(self) -> np.ndarray:
        """int64 [windows], equal for windows of rows that change the same insert."""
        tile_N = np.zeros(len(self.inserts_NL), dtype=np.int64)
        tile_N[self.alt_E] = self.tile_E
        if self.ref_E is not None:
            tile_N[self.ref_E] = self.tile_E
        return tile_N

    def agreement(self, ours_N: np.ndarray, theirs_N: np.ndarray) -> dict[str, Any]:
        """Figures of levels (all windows) and effects, by two scores of the windows. None where a row has no
        effect."""
        levels, theirs = ours_N.astype(np.float64), theirs_N.astype(np.float64)
        found = {"levels": figures(levels, theirs, theirs)}
        if self.ref_E is None:
            return {**found, "effects": dict.fromkeys(found["levels"])}
        effects, true = self.values(ours_N), self.values(theirs_N)
        return {**found, "effects": figures(effects, true, np.abs(true))}

    def against_measured(self, ours_N: np.ndarray, theirs_N: np.ndarray) -> dict[str, Any] | None:
        """How student and ensemble agree with what was measured; None where nothing was."""
        if self.measured_E is None:
            return None
        known = np.isfinite(self.measured_E)
        if np.count_nonzero(known) < 3:
            return None
        truth = self.measured_E[known]
        found: dict[str, Any] = {"rows": len(truth), "of": "levels" if self.ref_E is None else "effects"}
        for who, scores_N in (("student", ours_N), ("ensemble", theirs_N)):
            value = self.values(scores_N)[known]
            pair = correlation(value, truth), correlation(ranks(value), ranks(truth))
            found[who] = {
                name: one if np.isfinite(one) else None
                for name, one in zip(("pearson", "spearman"), pair, strict=True)
            }
        return found


def of_groups(name: str, inserts_GKL: np.ndarray, **about: Any) -> CheckRows:
    """References with changes of them, the reference first in every group."""
    groups, windows = inserts_GKL.shape[:2]
    number = np.arange(groups * windows).reshape(groups, windows)
    ref = np.repeat(number[:, 0], windows - 1)
    tile = np.repeat(np.arange(groups), windows - 1)
    flat = inserts_GKL.reshape(groups * windows, -1)
    return CheckRows(name, flat, number[:, 1:].ravel(), ref, tile, about=about or None)


def of_changes(name: str, inserts_GKL: np.ndarray, anchor_G: np.ndarray) -> tuple[CheckRows, np.ndarray]:
    """Groups as `of_groups` takes them, of which several may change the same insert, each change once; and
    which of their windows that takes, bool [groups * windows]."""
    every = of_groups(name, inserts_GKL)
    assert every.ref_E is not None
    anchor_E = np.repeat(anchor_G, inserts_GKL.shape[1] - 1)
    both = np.concatenate([every.inserts_NL[every.ref_E], every.inserts_NL[every.alt_E]], axis=1)
    once_E = np.sort(unique_rows(both)[0])
    alt, ref = every.alt_E[once_E], every.ref_E[once_E]
    taken_N = np.zeros(len(every.inserts_NL), dtype=bool)
    taken_N[alt] = taken_N[ref] = True
    place_N = np.cumsum(taken_N) - 1
    return CheckRows(name, every.inserts_NL[taken_N], place_N[alt], place_N[ref], anchor_E[once_E]), taken_N


def of_rows(name: str, rows: InputRows, *, measured: bool = False) -> CheckRows:
    """Rows of a table; `measured`: their first value is what was measured."""
    stacked = rows.alt_NL if rows.ref_NL is None else np.concatenate([rows.ref_NL, rows.alt_NL])
    first, inverse = unique_rows(stacked)
    return CheckRows(
        name,
        stacked[first],
        inverse[-len(rows) :],
        None if rows.ref_NL is None else inverse[: len(rows)],
        unique_rows(rows.anchors)[1],
        rows.value_NV[:, 0] if measured else None,
    )


def tiles_with_snvs(reference_TL: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inserts with single changes of each drawn at random, uint8 [tiles, 1 + changes, insert]."""
    tiles, length = reference_TL.shape
    changes = min(SNVS_A_TILE, 3 * length)
    which = rng.random((tiles, 3 * length)).argsort(axis=1)[:, :changes]
    made = np.repeat(reference_TL[:, None], 1 + changes, axis=1)
    row, column = np.arange(tiles)[:, None], 1 + np.arange(changes)[None]
    place, other = which // 3, (1 + which % 3).astype(np.uint8)
    made[row, column, place] = (made[row, column, place] + other) % 4
    return made

"""Scores averaged over windows moved along the DNA: `--shifts 0,7,14`.

A shift of s moves the window s bases towards 3': it loses its first s bases and gains those that follow. The
human networks were trained on such windows, 0 to 21 to the right. What follows, or for a negative shift goes
before, is the DNA of the vector, or of the genome where windows were cut with a margin. Each row's moved
windows are averaged as strands are, within each member; an effect is that of windows moved alike. A change
that has left a window leaves an effect of 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from legscore.dna.batch import Batch, join
from legscore.dna.codes import encode_text
from legscore.dna.constructs import HUMAN_CONSTRUCT, HUMAN_DOWNSTREAM, HUMAN_UPSTREAM
from legscore.dna.contract import Contract
from legscore.errors import LegscoreError
from legscore.rows.window import Windows


@dataclass(frozen=True)
class Shifts:
    """Where windows move, and what they move into.

    Attributes:
        places: bases towards 3', negative for 5'.
        before, after: uint8 codes that go before and follow every window; empty with a margin.
        margin: bases that the given windows hold on either side of those that are scored.
    """

    places: tuple[int, ...]
    before: np.ndarray
    after: np.ndarray
    margin: int = 0

    def __call__(self, windows: Windows) -> Windows:
        """The same rows, each with a window for every shift (and strand)."""
        wide = self._widened(windows.batch)
        origin = self.margin + len(self.before)
        length = wide.codes_WL.shape[1] - 2 * self.margin - len(self.before) - len(self.after)
        plain, edits = len(wide.codes_WL), len(wide.window_E)
        batches, indices, edits_before = [], [], 0
        for number, place in enumerate(self.places):
            batch, inside_E = _cut(wide, origin + place, length)
            numbers = np.arange(plain + edits, dtype=np.int32)
            numbers[:plain] += number * plain
            rank_E = len(self.places) * plain + edits_before + np.cumsum(inside_E) - 1
            numbers[plain:] = np.where(inside_E, rank_E, wide.window_E + number * plain)
            index = windows.index_NKS
            indices.append(np.where(index < 0, -1, numbers[index]) if len(numbers) else index)
            batches.append(batch)
            edits_before += len(batch.window_E)
        moved = np.concatenate(indices, axis=2).astype(np.int32)
        asked = windows.n_asked * len(self.places)
        return replace(windows, batch=join(batches), index_NKS=moved, n_asked=asked)

    def _widened(self, batch: Batch) -> Batch:
        """The windows with what goes before and follows them."""
        if not len(self.before) + len(self.after):
            return batch
        rows = len(batch.codes_WL)
        codes = np.concatenate(
            [np.tile(self.before, (rows, 1)), batch.codes_WL, np.tile(self.after, (rows, 1))], axis=1
        )
        return replace(batch, codes_WL=codes, offset_E=batch.offset_E + np.int16(len(self.before)))


def _cut(wide: Batch, begin: int, length: int) -> tuple[Batch, np.ndarray]:
    """The windows from `begin` on with the edits that lie in them; which edits those are, bool [edits]."""
    offset_E = wide.offset_E.astype(np.int64) - begin
    inside_E = (offset_E >= 0) & (offset_E < length)
    return (
        Batch(
            np.ascontiguousarray(wide.codes_WL[:, begin : begin + length]),
            wide.window_E[inside_E],
            offset_E[inside_E].astype(np.int16),
            wide.base_E[inside_E],
        ),
        inside_E,
    )


def around(contract: Contract, downstream: str = "") -> tuple[str, str]:
    """DNA known to go before and to follow the window of a construct; empty where none is.

    Args:
        downstream: what the models' training moved windows into, for constructs that are not the human one.
    """
    human = all(getattr(contract, name) == HUMAN_CONSTRUCT[name] for name in ("flank5", "flank3", "length"))
    return (HUMAN_UPSTREAM, HUMAN_DOWNSTREAM) if human else ("", downstream)


def in_vector(places: tuple[int, ...], contract: Contract, downstream: str = "") -> Shifts:
    """Windows that move along their vector.

    Raises:
        LegscoreError: a window would move into DNA that is not known.
    """
    before, after = around(contract, downstream)
    left, right = max(0, -min(places)), max(0, *places)
    for name, wanted, known in (("before", left, before), ("after", right, after)):
        if wanted > len(known):
            raise LegscoreError(
                f"--shifts: {wanted} bases {name} the window are needed, and of this construct "
                f"{len(known) or 'none'} are known; human lentiMPRA models have "
                f"{-len(HUMAN_UPSTREAM)} to {len(HUMAN_DOWNSTREAM)}"
            )
    return Shifts(places, encode_text(before[len(before) - left :]), encode_text(after[:right]))


def on_genome(places: tuple[int, ...], margin: int) -> Shifts:
    """Windows that move on the genome, within the margin that they were cut with."""
    nothing = np.empty(0, dtype=np.uint8)
    return Shifts(places, nothing, nothing, margin)

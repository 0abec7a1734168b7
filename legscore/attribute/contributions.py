"""Scores of every change → what each base contributes.

At a position with a known base, the effects of A, C, G and T (0 for the base that is there) are centred on
their mean: these are the hypothetical contributions of the position, and that of the base that is there is
its contribution. So a base that the models need has a positive one, and one whose change raises the score a
negative one. Effects are means over members, and centring is linear: this is the mean over members of their
contributions. A position where a change has no score has no contribution; its values are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legscore.errors import InputError
from legscore.evaluate.saturation import BASES, Place, Saturation


@dataclass(frozen=True)
class Contributions:
    """What each base of T tiles contributes; positions from the tile's 5' end, in the direction as scored.

    Attributes:
        names_T: of the tiles. places_T: where they lie; None where the scores do not say it.
        length_T: int64, positions of each tile; what follows is padding.
        base_TL: int8 [tiles, longest], index in `ACGT` of the base that is there; -1 not known, or padding.
        hypothetical_TBL: float32 [tiles, 4, longest], A, C, G, T, score units; 0 where there is none.
        has_TL: bool [tiles, longest], positions with a contribution.
    """

    names_T: Sequence[str]
    places_T: Sequence[Place | None]
    length_T: np.ndarray
    base_TL: np.ndarray
    hypothetical_TBL: np.ndarray
    has_TL: np.ndarray

    def __len__(self) -> int:
        return len(self.names_T)

    @property
    def one_hot(self) -> np.ndarray:
        """int8 [tiles, 4, longest], A, C, G, T; all 0 where no base is known."""
        found: np.ndarray = self.base_TL[:, None, :] == np.arange(len(BASES))[None, :, None]
        return found.astype(np.int8)

    @property
    def at_base(self) -> np.ndarray:
        """float32 [tiles, longest]: of the base that is there; 0 where there is none."""
        picked = np.take_along_axis(self.hypothetical_TBL, np.maximum(self.base_TL, 0)[:, None], axis=1)[:, 0]
        return np.where(self.has_TL, picked, np.float32(0))


def contributions(found: Saturation) -> Contributions:
    """The contributions of saturated tiles.

    Raises:
        InputError: a base is changed to itself with an effect: the bases are not those of the changes.
    """
    effects = found.effect_TBL.astype(np.float64)
    there: np.ndarray = np.arange(len(BASES))[None, :, None] == found.base_TL[:, None, :]
    clash: np.ndarray = there & (np.abs(effects) > 0)
    if clash.any():
        tile, base, offset = (int(index[0]) for index in np.nonzero(clash))
        raise InputError(
            f"{found.names_T[tile]}: offset {offset} is changed from {BASES[base]} to {BASES[base]} with an "
            "effect; its reference bases are not those of the changes"
        )
    effects[there] = 0
    complete = np.asarray(np.isfinite(effects).all(axis=1))
    centred = np.where(complete[:, None], effects - effects.mean(axis=1, keepdims=True), 0)
    return Contributions(
        found.names_T,
        found.places_T,
        found.length_T,
        found.base_TL,
        centred.astype(np.float32),
        complete & (found.base_TL >= 0),
    )

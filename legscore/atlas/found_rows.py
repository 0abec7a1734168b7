"""Alleles × tiles → rows with the scores that an atlas has of them: the builder of `legscore variants`, which
builds sequences only for what has still to be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from legscore.atlas.scaled import COLUMNS
from legscore.atlas.shelf import Answers, Shelf
from legscore.atlas.texts import DELETED, INSERTED
from legscore.rows.schema import OK, STATUSES
from legscore.system.log import Say
from legscore.variants.allele_blocks import Records
from legscore.variants.alleles import Changes
from legscore.variants.build import Builder
from legscore.variants.options import Setting
from legscore.variants.placed import Piece, placed_offset, placed_status, scattered
from legscore.variants.places import Places

HIT, MISS, NEITHER = 0, 1, 2
FOUND, N_COUNT, TILE = "_found", "_n_count", "_tile"
FIELDS = [
    pa.field(FOUND, pa.uint8()),
    pa.field(N_COUNT, pa.int32()),
    pa.field(TILE, pa.int64()),
    *(pa.field(f"_{name}", pa.float32()) for name in COLUMNS),
]
"""Columns beside those of a builder: HIT, MISS or NEITHER (the row's status says why), N's in the window, row
of the tiles (-1 for none), scores."""
_BASE = np.full(256, -1, dtype=np.int64)
for _number, _letter in enumerate(b"ACGT"):
    _BASE[_letter] = _number


@dataclass(frozen=True)
class Asked(Piece):
    """A piece with what the atlas has of its rows, and which rows it was asked about."""

    answers: Answers
    asked_R: np.ndarray


def codes_of(changes: Changes) -> np.ndarray:
    """What changes do to one base, as numbers of `legscore.atlas.texts.CODES`, int64; -1 for all others."""
    replaced, n = changes.end_A - changes.start_A, changes.n_A
    base = np.full(len(n), -1, dtype=np.int64)
    one = np.flatnonzero(n == 1)
    base[one] = _BASE[changes.inserted[changes.at_A[one]]]
    code = np.full(len(n), -1, dtype=np.int64)
    code[(replaced == 1) & (n == 0)] = DELETED
    known = base >= 0
    code[known & (replaced == 1)] = base[known & (replaced == 1)]
    code[known & (replaced == 0)] = INSERTED + base[known & (replaced == 0)]
    return code


class FoundRows(Builder):
    """Builds rows with FIELDS. Sequences are null but for misses, where these are to be scored."""

    def __init__(
        self,
        setting: Setting,
        records: Records,
        shelf: Shelf,
        atlas_name: dict[str, str],
        say: Say,
        *,
        numbered: bool,
        scores_misses: bool,
        adds: Iterable[str] = (),
    ) -> None:
        """atlas_name: contig of the FASTA → that of the atlas. adds: columns that the output has beside those
        of scores."""
        own = [*(field.name for field in FIELDS), *adds]
        super().__init__(setting, records, say, numbered=numbered, own=own)
        self.schema = pa.schema([*self.schema, *FIELDS])
        self._shelf, self._atlas_name, self._scores_misses = shelf, atlas_name, scores_misses
        self.by_allele_status: Counter[str] = Counter()
        self.n_in_tiles = 0

    @property
    def n_lost(self) -> int:
        """Alleles on contigs that the genome does not have."""
        return sum(self.counts.contigs.values())

    def count_alleles(self, changes: Changes) -> None:
        """As of `Builder`; statuses of alleles too, each once however many tiles it lies in."""
        super().count_alleles(changes)
        for code, count in enumerate(np.bincount(changes.status_A, minlength=len(STATUSES))):
            self.by_allele_status[STATUSES[code]] += int(count)

    def piece(self, contig: np.ndarray, rows: np.ndarray, changes: Changes, places: Places) -> Piece:
        """As of `Builder`, without sequences of what the atlas has."""
        status = placed_status(changes, places)
        self.n_in_tiles += len(places)
        asked = status == OK
        codes = np.where(asked, codes_of(changes), -1)
        answers = self._shelf.ask(self._atlas_name[places.contig], places.tile_R, changes.start_A, codes)
        status = np.where(answers.found_R, answers.status_R, status).astype(np.uint8)
        n = len(places)
        ref = alt = pa.nulls(n, pa.large_string())
        missed = np.flatnonzero(asked & ~answers.found_R)
        if self._scores_misses and len(missed):
            built = super().piece(contig, rows, changes.take(missed), places.take(missed))
            ref, alt = scattered(n, [(missed, built.ref)]), scattered(n, [(missed, built.alt)])
            status[missed] = built.status_R
        offset = placed_offset(changes, places)
        allele = rows[places.allele_R]
        return Asked(allele, status, offset, places.tile_R, places, ref, alt, answers, asked)

    def more_columns(self, pieces: list[Piece], order: np.ndarray) -> dict[str, pa.Array]:
        """FIELDS."""
        found: dict[str, list[np.ndarray]] = {field.name: [] for field in FIELDS}
        for piece in pieces:
            n = len(piece.allele_R)
            answers = piece.answers if isinstance(piece, Asked) else Answers.none(n)
            asked = piece.asked_R if isinstance(piece, Asked) else np.zeros(n, dtype=bool)
            found[FOUND].append(np.where(answers.found_R, HIT, np.where(asked, MISS, NEITHER)))
            found[N_COUNT].append(answers.n_count_R)
            found[TILE].append(piece.tile_R)
            for name in COLUMNS:
                found[f"_{name}"].append(answers.scores[name])
        return {
            field.name: pa.array(np.concatenate(found[field.name])[order], field.type) for field in FIELDS
        }

"""Which members may score which rows: with --out-of-fold, those that did not train on a row's fold.

A part is split by fold; each group of rows is windowed, scored by its own members alone, and merged again.
Rows without a fold were in no member's training data and take all members; a row that every member trained on
has the status `in_training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.batch import Batch
from legscore.dna.codes import Sequences, single_bases, text_to_codes
from legscore.dna.contract import Contract
from legscore.dna.folds import LETTERS, folds_as_given, folds_of_rows, folds_of_split, went_on_apart
from legscore.errors import InputError, ModelError, shorten
from legscore.input.column_types import is_text
from legscore.model.checkpoint import Checkpoint
from legscore.rows.groups import Group
from legscore.rows.indels import are_indels, changed
from legscore.rows.reading import Reading
from legscore.rows.schema import KINDS, OK, STATUS_CODE, Kind
from legscore.rows.window import Windower, Windows
from legscore.system.log import Say

BY_HASH = "mmh3"
NO_FOLD = -1


@dataclass(frozen=True)
class OutOfFold:
    """The folds kept from each member, and where the rows' folds come from: a column, or the hash that
    training used.

    Attributes:
        column: input column of fold numbers (or of train/valid), or `mmh3`.
        folds: for each member, the folds that it did not train on.
        rule: the training's own record of its folds.
        reading: of one sequence as the input's are read.
        kind: kind of the rows.
    """

    column: str
    folds: tuple[frozenset[int], ...]
    rule: Mapping[str, Any]
    reading: Reading
    kind: Kind

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns it needs besides the rows' own."""
        return () if self.column == BY_HASH else (self.column,)

    def folds_of(self, table: pa.Table, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """Folds of each row, int64 [rows, windows], -1 where there is none: the reference's and the
        alternate's fold by hash, one for both from a column."""
        if self.column == BY_HASH:
            return np.stack([self._hashed(sequences) for sequences in self._sequences(columns)], axis=1)
        values = table.column(self.column)
        if self.rule["by"] == "split":
            if not is_text(values.type):
                raise InputError(
                    f"--out-of-fold: column {self.column!r} must hold text such as train and valid"
                )
            return folds_of_split(values.combine_chunks()).astype(np.int64)[:, None]
        if pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(values, ""), None, values)
        try:
            numbers = values.cast(pa.float64()).cast(pa.int64())
        except pa.ArrowInvalid:
            raise InputError(
                f"--out-of-fold: column {self.column!r} must hold whole fold numbers, or nothing"
            ) from None
        folds = np.asarray(pc.fill_null(numbers, NO_FOLD).to_numpy(), dtype=np.int64)
        if (folds < NO_FOLD).any() or ((folds == NO_FOLD) & ~pc.is_null(numbers).to_numpy()).any():
            raise InputError(f"--out-of-fold: column {self.column!r} holds a negative fold number")
        return folds[:, None]

    def _sequences(self, columns: Mapping[str, pa.Array]) -> list[Sequences]:
        """Every sequence that a row compares, an edited one included."""

        def read(role: str) -> Sequences:
            texts = columns[role]
            return text_to_codes(texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts)

        given = [read(role) for role in self.kind.sequences]
        if self.kind.name != "edit":
            return given
        if (indel := are_indels(columns)).any():
            given.append(self._with_indels(columns, np.flatnonzero(indel)))
        offsets = pc.fill_null(columns["offset"], -1).to_numpy(zero_copy_only=False)
        bases, why = single_bases(columns["alt_base"])
        return [*given, given[0].edited(offsets, bases, why == 0)]

    def _with_indels(self, columns: Mapping[str, pa.Array], rows: np.ndarray) -> Sequences:
        """The sequences with the deletions and insertions of `rows` made; others as given."""
        oligo, contract = self.reading.sequence_is == "oligo", self.reading.contract
        some = {role: column.take(pa.array(rows)) for role, column in columns.items()}
        ends = (len(contract.adapter5), len(contract.adapter3)) if oligo else (0, 0)
        texts = columns["sequence"]
        plain = (texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts).cast(
            pa.large_string()
        )
        source = np.arange(len(plain))
        source[rows] = len(plain) + np.arange(len(rows))
        return text_to_codes(pa.concat_arrays([plain, changed(some, *ends)[1]]).take(pa.array(source)))

    def _hashed(self, sequences: Sequences) -> np.ndarray:
        rows = np.flatnonzero(self.reading.fit(sequences) == OK)
        folds, n = np.full(len(sequences), NO_FOLD, dtype=np.int64), int(self.rule["n_folds"])
        if self.rule["fold_on"] == "padded":
            folds[rows] = folds_of_rows(LETTERS[self.reading.build(sequences, rows)], n)
            return folds
        contract, form, now = self.reading.contract, self.rule["sequence_is"], self.reading.sequence_is
        as_trained: dict[str, Any] = {}
        if (form, now) == ("oligo", "insert"):
            as_trained = {"before": contract.adapter5, "after": contract.adapter3}
        elif (form, now) == ("insert", "oligo"):
            as_trained = {"trim5": len(contract.adapter5), "trim3": len(contract.adapter3)}
        folds[rows] = folds_as_given(sequences, rows, n, **as_trained)
        return folds

    def groups(self, table: pa.Table, columns: Mapping[str, pa.Array], windower: Windower) -> list[Group]:
        """The part's rows by folds, windowed."""
        folds, groups = self.folds_of(table, columns), []
        if not len(folds):
            return [Group(np.arange(0), tuple(range(len(self.folds))), windower(columns))]
        distinct, which = np.unique(folds, axis=0, return_inverse=True)
        for number, wanted in enumerate(distinct):
            rows = np.flatnonzero(which.reshape(-1) == number)
            seen = {int(fold) for fold in wanted if fold != NO_FOLD}
            members = tuple(m for m, kept in enumerate(self.folds) if seen <= kept)
            windows = windower({role: column.take(pa.array(rows)) for role, column in columns.items()})
            groups.append(Group(rows, members, windows) if members else Group(rows, (0,), _unscored(windows)))
        return groups


def _unscored(windows: Windows) -> Windows:
    """The same rows without anything to score: those that were `ok` are `in_training`."""
    status = windows.status_N.copy()
    status[status == OK] = STATUS_CODE["in_training"]
    nothing = Batch(windows.batch.codes_WL[:0])
    return Windows(nothing, np.full_like(windows.index_NKS, -1), status, windows.n_count_N, 0)


def read_folds_held_out(
    members: Sequence[Checkpoint], column: str, kind: str, contract: Contract, sequence_is: str, say: Say
) -> OutOfFold:
    """Read the members' training records.

    A fold that chose a member's epoch or learning rate is not untouched: where test folds were kept too, only
    those count, else it is said.

    Raises:
        ModelError: a member has no record of its folds, trained on everything, or the members' rules differ;
            or `column` does not fit the rule.
    """
    folds = []
    for member in members:
        kept, rule = member.training.get("folds_held_out"), member.training.get("folds")
        if not isinstance(kept, list) or not isinstance(rule, dict):
            raise ModelError(
                f"--out-of-fold: {member.name} has no record of the folds it was trained without"
            )
        if not kept:
            raise ModelError(f"--out-of-fold: {member.name} was trained on every fold")
        if rule != members[0].training["folds"]:
            raise ModelError(
                f"--out-of-fold: {members[0].name} and {member.name} were trained with different folds"
            )
        folds.append(frozenset(kept[1:] if _chooses(member) and len(kept) > 1 else kept))
    pairs = zip(members, folds, strict=True)
    if unsure := [member.name for member, kept in pairs if not went_on_apart(member.training, kept)]:
        say(
            f"warning: out of fold: {shorten(unsure)} went on from models that may have been trained on "
            "these rows"
        )
    rule = members[0].training["folds"]
    if (column == BY_HASH) != (rule["by"] == "mmh3"):
        what = "mmh3" if rule["by"] == "mmh3" else f"the {rule['by']} column {rule['column']!r}"
        raise ModelError(f"--out-of-fold {column}: these models took their folds from {what}; name that")
    if column not in (BY_HASH, rule.get("column")):
        say(f"folds: column {column}, as training's column {rule['column']}")
    form = rule.get("sequence_is", sequence_is)
    if column == BY_HASH and "window" in (form, sequence_is) and form != sequence_is:
        raise ModelError(
            f"--out-of-fold mmh3: training hashed each {form}, which a {sequence_is} does not show; pass "
            f"{form}s"
        )
    if any(_chooses(member) and len(member.training["folds_held_out"]) < 2 for member in members):
        say(
            "out of fold: the fold held out has chosen the epoch or the learning rate; it is not quite "
            "untouched"
        )
    return OutOfFold(column, tuple(folds), rule, Reading(contract, sequence_is), KINDS[kind])


def _chooses(member: Checkpoint) -> bool:
    """Whether the validation fold had a say in the weights; where no recipe tells, as of published models, it
    may have had."""
    recipe = member.training.get("recipe")
    return not recipe or bool(recipe.get("keep") == "best" or recipe.get("schedule") == "plateau")

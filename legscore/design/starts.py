"""--from: the sequences that designs start from, as inserts; edits between a start and its design."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from legscore.design.keep import text_of
from legscore.dna.codes import text_to_codes
from legscore.dna.contract import N_CODE, Contract
from legscore.errors import InputError, nearest, shorten
from legscore.input.read import open_input
from legscore.input.roles import role_array
from legscore.input.whole_table import checked_values
from legscore.rows.reading import SNIFF_ROWS, Reading, decide_sequence_is
from legscore.rows.schema import OK, STATUSES

NAME_COLUMNS = ("id", "name", "tile_id", "gene", "seq_id")
PART_ROWS = 65_536


@dataclass(frozen=True)
class Starts:
    """Inserts uint8 [S, L] and their names; where they have none, the number of their row, from 1."""

    codes_SL: np.ndarray
    names: list[str]


def read_starts(
    path: str, contract: Contract, length: int | None, column: str | None = None, *, strict: bool = True
) -> Starts:
    """Inserts of a FASTA file or a table with `sequence` (inserts, oligos with both adapters, or windows).

    Args:
        contract: the predictors'.
        length: of the inserts; None takes that of the first.
        strict: refuse the file for one sequence that cannot be used; otherwise leave such rows out.

    Raises:
        InputError: naming the row and what is wrong with it; when nothing is left.
    """
    opened = open_input([path])
    names = opened.schema.names
    chosen = column or next((name for name in ("sequence", "insert", "seq") if name in names), None)
    if chosen is None or chosen not in names:
        raise InputError(
            f"{path} has no column {column or 'sequence'!r}{nearest(column or 'sequence', names)}; it has "
            f"{shorten(names)}"
        )
    label = next((name for name in NAME_COLUMNS if name in names), None)
    head = role_array(next(opened.parts([chosen], SNIFF_ROWS)), "ref_sequence", chosen)
    sequence_is = decide_sequence_is(head, contract)
    if length is None:
        length = _first_length(head, contract, sequence_is)
    reading = Reading(replace(contract, insert_min=length, insert_max=length), sequence_is)
    end = contract.length - len(contract.flank3)
    found, labels = [], []
    for part in opened.parts([chosen, *([label] if label and label != chosen else [])], PART_ROWS):
        sequences = text_to_codes(role_array(part, "ref_sequence", chosen))
        status = reading.fit(sequences)
        rows = np.flatnonzero(status == OK)
        inserts = reading.build(sequences, rows)[:, end - length : end]
        known = (inserts != N_CODE).all(axis=1)
        bad = np.flatnonzero(status != OK)
        if strict and (len(bad) or not known.all()):
            row = int(bad[0]) if len(bad) else int(rows[~known][0])
            why = STATUSES[status[row]] if len(bad) else "it holds an N"
            raise InputError(
                f"{path}, row {part.first_row + row + 1:,}: cannot be used as {sequence_is} of {length} "
                f"bases ({why}); designs start from A, C, G, T of the generator's length"
            )
        found.append(inserts[known])
        kept = rows[known]
        if label and label != chosen:
            texts = checked_values(part.column(label), label, path).to_pylist()
            labels += [str(texts[row]) for row in kept]
        else:
            labels += [str(part.first_row + row + 1) for row in kept]
    codes = np.concatenate(found)
    if not len(codes):
        raise InputError(f"{path}: no {sequence_is} of {length} bases without N")
    return Starts(np.ascontiguousarray(codes), labels)


def _first_length(texts: object, contract: Contract, sequence_is: str) -> int:
    lengths = text_to_codes(texts).length
    extra = len(contract.adapter5) + len(contract.adapter3) if sequence_is == "oligo" else 0
    if sequence_is == "window":
        raise InputError(
            "--from holds whole windows, which do not say how long the insert is; pass inserts or oligos, "
            "or --length"
        )
    return max(1, int(lengths[0]) - extra)


def edits_of(start_NL: np.ndarray, design_NL: np.ndarray) -> list[str]:
    """Substitutions such as `C12T,G40A` (places from 0), one text for each design."""
    listed = []
    for start, design in zip(start_NL, design_NL, strict=True):
        places = np.flatnonzero(start != design)
        before, after = text_of(start), text_of(design)
        listed.append(",".join(f"{before[p]}{p}{after[p]}" for p in places))
    return listed

"""How large an effect would be by chance: the same base change at the same offset of dinucleotide-shuffled
inserts.

p = (1 + number of shuffles with |effect| at least the observed) / (shuffles + 1); q by Benjamini and Hochberg
over all rows with a p. Single-base changes only: other alleles would need a null of their own length.
Shuffles depend on the insert's letters alone, so that a row's p does not depend on other rows. Source of the
shuffling: Altschul and Erickson 1985 (an Eulerian walk).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.errors import InputError
from legscore.input.read import open_input
from legscore.input.roles import role_array
from legscore.output.write import open_writer, output_format
from legscore.system.checksum import Seen

ROW = "_row"
NULL_SCHEMA = pa.schema(
    [(ROW, pa.int64()), ("sequence", pa.large_string()), ("offset", pa.int64()), ("alt_base", pa.string())]
)
BLOCK_ROWS = 65_536
PAIR, EDIT = ("ref_sequence", "alt_sequence"), ("sequence", "offset", "alt_base")


def shuffled(text: str, n: int) -> list[str]:
    """`n` random sequences with the dinucleotide counts, first and last letter of `text`; the same ones for
    the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    if len(text) < 3:
        return [text] * n
    after: dict[str, list[str]] = {}
    for one, two in itertools.pairwise(text):
        after.setdefault(one, []).append(two)
    return [_walk(text, after, rng) for _ in range(n)]


def _walk(text: str, after: Mapping[str, list[str]], rng: np.random.Generator) -> str:
    """One Eulerian walk: the last way out of every letter leads, in the end, to the last letter; the others
    in any order."""
    end = text[-1]
    while True:
        last = {letter: ways[int(rng.integers(len(ways)))] for letter, ways in after.items() if letter != end}
        if all(_reaches(letter, end, last) for letter in last):
            break
    ways_of = {}
    for letter, ways in after.items():
        ways = list(ways)
        if letter in last:
            ways.remove(last[letter])
        order = [ways[i] for i in rng.permutation(len(ways))]
        ways_of[letter] = iter([*order, last[letter]] if letter in last else order)
    walk = [text[0]]
    for _ in range(len(text) - 1):
        walk.append(next(ways_of[walk[-1]]))
    return "".join(walk)


def _reaches(letter: str, end: str, last: Mapping[str, str]) -> bool:
    for _ in range(len(last) + 1):
        if letter == end:
            return True
        letter = last[letter]
    return False


@dataclass(frozen=True)
class SingleChange:
    """One base of a sequence replaced: row of the table, sequence and bases in upper case, offset from 0."""

    row: int
    sequence: str
    offset: int
    ref: str
    alt: str


def single_changes(columns: Mapping[str, pa.Array]) -> Iterator[SingleChange]:
    """The rows that replace one base, in order.

    Args:
        columns: {role: array} of pairs or edits, as `legscore.input.roles.role_array` gives them.
    """
    if set(EDIT) <= set(columns):
        texts, alts = _texts(columns["sequence"]), _texts(columns["alt_base"])
        rows = zip(texts, columns["offset"].to_pylist(), alts, strict=True)
        for row, (text, offset, alt) in enumerate(rows):
            inside = offset is not None and 0 <= offset < len(text)
            if inside and len(alt) == 1 and alt.isalpha():  # deletions and insertions have no letter alone
                yield SingleChange(row, text, offset, text[offset], alt)
        return
    pairs = zip(*(_texts(columns[name]) for name in PAIR), strict=True)
    for row, (ref, alt) in enumerate(pairs):
        if len(ref) == len(alt):
            letters = (np.frombuffer(text.encode(), np.uint8) for text in (ref, alt))
            differs = np.flatnonzero(np.not_equal(*letters))
            if len(differs) == 1:
                place = int(differs[0])
                yield SingleChange(row, ref, place, ref[place], alt[place])


def _texts(array: pa.Array) -> list[str]:
    """Texts in upper case; empty where null, and where there is more than ASCII, which is no DNA."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    found = array.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
    return [raw.decode("ascii").upper() if raw is not None and raw.isascii() else "" for raw in found]


def write_null(
    source: str,
    target: Path,
    n: int,
    column_of: Mapping[str, str],
    adapters: tuple[int, int] = (0, 0),
    read: Sequence[Seen] = (),
) -> int:
    """Write the table of changes in shuffled inserts for `legscore run` (NULL_SCHEMA).

    Args:
        source: table that was scored.
        target: Parquet file to write.
        n: shuffles of each insert.
        column_of: column of each role, as the run read them.
        adapters: bases at both ends of each sequence that belong to no insert, and stay.
        read: what `source` was before it was scored.

    Returns:
        Changes that have a null.

    Raises:
        InputError: the rows change no base, or `source` is not what was scored.
    """
    roles = EDIT if set(EDIT) <= set(column_of) else PAIR
    if not set(roles) <= set(column_of):
        raise InputError(
            "--shuffle-null needs rows that change a base: ref_sequence and alt_sequence, or sequence, "
            "offset and alt_base"
        )
    names = [column_of[role] for role in roles]
    n_changes, shuffle = 0, _Shuffler(n, adapters)
    with pq.ParquetWriter(target, NULL_SCHEMA, compression="zstd") as writer:
        for part in open_input([source], may_be_empty=True).parts(names, max(1, BLOCK_ROWS // n)):
            changes = list(single_changes({role: role_array(part, role, column_of[role]) for role in roles}))
            rows = [row for change in changes for row in shuffle(change, part.first_row)]
            n_changes += len(rows) // n
            if rows:
                columns = [
                    pa.array(values, kind.type)
                    for values, kind in zip(zip(*rows, strict=True), NULL_SCHEMA, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=NULL_SCHEMA))
    for seen in read:
        seen.check()
    return n_changes


class _Shuffler:
    """Changes → rows of NULL_SCHEMA, `n` a change. The shuffles of one sequence are kept for the next row,
    which often has the same."""

    def __init__(self, n: int, adapters: tuple[int, int]) -> None:
        self._n, self._adapters = n, adapters
        self._of: tuple[str, list[str]] = ("", [])

    def __call__(self, change: SingleChange, first_row: int) -> list[tuple[int, str, int, str]]:
        """The rows of a change; none where it lies in an adapter."""
        text, offset = change.sequence, change.offset
        first, stop = self._adapters[0], len(text) - self._adapters[1]
        if not first <= offset < stop:
            return []
        if self._of[0] != text:
            made = shuffled(text[first:stop], self._n)
            self._of = (text, [text[:first] + insert + text[stop:] for insert in made])
        return [
            (first_row + change.row, other[:offset] + change.ref + other[offset + 1 :], offset, change.alt)
            for other in self._of[1]
        ]


def p_values(scored: Path, null: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """p and q of every row of `scored`, float64, NaN where a row has no effect or no null.

    Args:
        scored: results of the run; `null`: of its changes in `n` shuffles each, None where there are none.
    """
    effect = _effects(scored, "effect")
    if null is None:
        return np.full(len(effect), np.nan), np.full(len(effect), np.nan)
    at_least, seen = np.zeros(len(effect), dtype=np.int64), np.zeros(len(effect), dtype=np.int64)
    with pq.ParquetFile(null) as file:
        for batch in file.iter_batches(columns=[ROW, "effect"]):
            row = batch.column(ROW).to_numpy()
            value = np.abs(batch.column("effect").to_numpy(zero_copy_only=False))
            known = np.isfinite(value)
            np.add.at(seen, row[known], 1)
            np.add.at(at_least, row[known & (value >= np.abs(effect[row]))], 1)
    p = np.where((seen == n) & np.isfinite(effect), (1 + at_least) / (n + 1), np.nan)
    return p, benjamini_hochberg(p)


def _effects(path: Path, name: str) -> np.ndarray:
    values = pq.read_table(path, columns=[name]).column(name)
    return np.asarray(values.to_numpy(), dtype=np.float32)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q values, float64; NaN where p is."""
    q = np.full(len(p), np.nan)
    rows = np.flatnonzero(np.isfinite(p))
    order = rows[np.argsort(p[rows], kind="stable")]
    if len(order):
        raw = p[order] * len(order) / np.arange(1, len(order) + 1)
        q[order] = np.minimum.accumulate(raw[::-1])[::-1].clip(max=1)
    return q


def write_with_p(
    scored: Path, p: np.ndarray, q: np.ndarray, output: str, asked: str | None, metadata: Mapping[str, Any]
) -> None:
    """Write the scored rows again with the columns p and q, in the format of `output`. InputError when they
    have them already."""
    with pq.ParquetFile(scored) as file:
        schema = file.schema_arrow.remove_metadata()
        if clash := [name for name in ("p", "q") if name in schema.names]:
            raise InputError(
                f"the input already has the column {clash[0]!r}, which --shuffle-null writes; leave it out "
                "with --keep"
            )
        whole = pa.schema([*schema, pa.field("p", pa.float64()), pa.field("q", pa.float64())])
        with open_writer(output, output_format(output, asked), whole, metadata) as writer:
            at = 0
            for batch in file.iter_batches(batch_size=BLOCK_ROWS):
                rows = slice(at, at + batch.num_rows)
                more = [pa.array(values[rows], mask=np.isnan(values[rows])) for values in (p, q)]
                arrays = [*batch.columns, *more]
                writer.write(pa.Table.from_arrays(arrays, schema=whole))
                at += batch.num_rows

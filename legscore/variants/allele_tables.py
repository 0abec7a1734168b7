"""Tables of alleles (Parquet, Arrow, CSV, TSV) → blocks of alleles, as VCFs give them.

What tables write for a missing value (MISSING_TEXTS) is one: such an allele has the status `null_sequence`
and never becomes bases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.dna.codes import text_to_codes
from legscore.errors import InputError, listed, nearest
from legscore.input.column_types import is_text
from legscore.input.read import Part, open_input
from legscore.input.text import TextSource
from legscore.variants.allele_blocks import BLOCK_RECORDS, Block, Records
from legscore.variants.alleles import LIKE_BASES, any_case, clipped, reads
from legscore.variants.genome import UPPER

ALIASES: Mapping[str, tuple[str, ...]] = {
    "chrom": ("chrom", "CHROM", "#CHROM", "chr", "chromosome", "contig", "seqname"),
    "pos": ("pos", "POS", "position"),
    "ref": ("ref", "REF", "ref_allele", "reference"),
    "alt": ("alt", "ALT", "alt_allele", "alternate"),
    "variant_id": ("variant_id", "id", "ID", "rsid"),
}
"""Columns of a table, any of these names. `pos` is 1-based; `variant_id` may be missing."""
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {"pos": ("bp", "base_pair_location"), "variant_id": ("snp",)}
"""Names that are looked for where a table has none of ALIASES; like those then in any case of letters."""
UNORDERED = (("a1", "a2"), ("allele1", "allele2"), ("effect_allele", "other_allele"))
"""Pairs of columns that do not say which allele is the reference: the genome does."""
ROLES = tuple(ALIASES)


MISSING_TEXTS = pa.concat_arrays(
    [pa.array(["", "."], pa.large_string()), LIKE_BASES, any_case("null", "none")]
)
"""What tables write for no value. NA and NAN are bases all the same where the genome has an N there."""


class TableRecords(Records):
    """A Parquet, Arrow, CSV or TSV file with the columns of ALIASES; several ALTs may be separated by
    commas."""

    def __init__(self, path: str | Path, columns: Mapping[str, str] | None = None) -> None:
        """columns: {role of ALIASES: column}, where the user has chosen. InputError when the file cannot be
        read as alleles."""
        self._input = open_input([path], may_be_empty=True)
        self.name, names = self._input.name, self._input.schema.names
        self.notes = self._input.notes
        self._column, self._unordered = find_columns(names, str(path), columns or {})
        self._check_types(path)
        used = set(self._column.values())
        self.carries = pa.schema([field for field in self._input.schema if field.name not in used])
        chrom = [
            self._text(batch.column(0), "chrom") for batch in self._input.batches([self._column["chrom"]])
        ]
        self.contigs = [
            name
            for name in pa.chunked_array(chrom, pa.large_string()).unique().to_pylist()
            if name is not None
        ]
        self.lengths = {}

    def _check_types(self, path: str | Path) -> None:
        for role, column in self._column.items():
            kind = self._input.schema.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            source = self._input.sources[0]
            if role == "pos" and isinstance(source, TextSource) and column in source.not_whole:
                row, text = source.not_whole[column]
                raise InputError(
                    f"{path}: column {column!r} reads {text!r} in row {row}; positions are whole numbers "
                    "(1-based)"
                )
            whole = pa.types.is_integer(kind) or pa.types.is_null(kind)
            if role == "pos" and not isinstance(source, TextSource) and not whole:
                raise InputError(
                    f"{path}: column {column!r} is {kind}; positions must be whole numbers (1-based)"
                )
            if role != "pos" and not (is_text(kind) or (role == "chrom" and pa.types.is_integer(kind))):
                raise InputError(f"{path}: column {column!r} is {kind}; {role} must be text")

    def blocks(self) -> Iterator[Block]:
        columns = [*self._column.values(), *self.carries.names]
        for part in self._input.parts(columns, BLOCK_RECORDS):
            given = {role: part.column(name) for role, name in self._column.items()}
            text = {
                role: self._text(array, role, part.first_row)
                for role, array in given.items()
                if role != "pos"
            }
            n = part.table.num_rows
            record, alt = _alleles(text["alt"])
            take = pa.array(record)
            ref = text["ref"].take(take)
            if self._unordered:  # either may become ALT
                ref = pc.if_else(pc.is_in(ref, MISSING_TEXTS), pa.scalar(None, pa.large_string()), ref)
            ref, alt = _without_missing(ref, alt)
            ids = text["variant_id"] if "variant_id" in text else pa.nulls(n, pa.large_string())
            yield Block(
                part.first_row + record,
                text["chrom"].take(take),
                self._positions(part, given["pos"]).take(take),
                ref,
                alt,
                ids.take(take),
                n,
                0,
                part.table.select(self.carries.names).take(take) if len(self.carries) else None,
                unordered=self._unordered,
                is_table=True,
            )

    def _text(self, array: pa.Array, role: str, first_row: int = 0) -> pa.Array:
        """A column of text or bytes as large_string. InputError for bytes that are no text."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        try:
            return array.cast(pa.large_string())
        except pa.ArrowInvalid:
            raise InputError(
                f"{self.name}: column {self._column[role]!r} holds bytes that are no UTF-8 text, in row "
                f"{first_row + 1:,} or after it; convert it"
            ) from None

    def _positions(self, part: Part, array: pa.Array) -> pa.Array:
        """Positions as int64. InputError for one that does not fit."""
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.name}: column {self._column['pos']!r} holds a number that is no position, in row "
                f"{part.first_row + 1:,} or after it ({str(error).splitlines()[0][:100]})"
            ) from None


def find_columns(names: Sequence[str], where: str, chosen: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """The column of every role.

    Returns:
        {role: column}; whether `ref` and `alt` are two alleles of which the genome tells the reference.

    Raises:
        InputError: a role without a column or with several; an unknown role or column chosen.
    """
    for role, name in chosen.items():
        if role not in ROLES:
            raise InputError(
                f"--column {role}={name}: no such role{nearest(role, ROLES)}; roles are {', '.join(ROLES)}"
            )
        if name not in names:
            raise InputError(
                f"{where} has no column {name!r}{nearest(name, names)}; it has {listed(name, names)}"
            )
    found = {role: chosen.get(role) or _named(role, names, where) for role in ROLES}
    unordered = False
    if found["ref"] is None and found["alt"] is None:
        lower = {name.lower(): name for name in names}
        pair = next(((one, two) for one, two in UNORDERED if one in lower and two in lower), None)
        if pair is not None:
            found |= {"ref": lower[pair[1]], "alt": lower[pair[0]]}
            unordered = True
    if lacking := next((role for role in ROLES[:4] if found[role] is None), None):
        raise InputError(
            f"{where} has no column for {lacking}{nearest(lacking, names)}: needed are chrom, pos (1-based), "
            f"ref, alt; it has {listed(lacking, names)}. Name it with --column {lacking}=NAME"
        )
    return {role: name for role, name in found.items() if name is not None}, unordered


def _named(role: str, names: Sequence[str], where: str) -> str | None:
    """The column whose name says that it has this role."""
    known = {alias.lower() for alias in ALIASES[role]}
    for present in (
        [alias for alias in ALIASES[role] if alias in names],
        [name for name in names if name.lower() in known],
        [name for name in names if name.lower() in OTHER_NAMES.get(role, ())],
    ):
        if len(present) > 1:
            raise InputError(
                f"{where} has both {present[0]!r} and {present[1]!r}; choose with --column "
                f"{role}={present[0]}"
            )
        if present:
            return present[0]
    return None


def _alleles(alts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Row of each allele, int64, and the allele as written. A dot beside other alleles, as VCFs may have it,
    is none."""
    lists = pc.split_pattern(pc.fill_null(alts, "."), ",")
    row = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    alone = pc.list_value_length(lists).to_numpy()[row] == 1
    flat = pc.list_flatten(lists)
    used = np.flatnonzero(alone | pc.not_equal(flat, ".").to_numpy(zero_copy_only=False))
    return row[used], flat.take(pa.array(used))


def _without_missing(refs: pa.Array, alts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """REFs and ALTs, null where a missing value is written. REFs that read NA stay: the genome tells
    (`unread`)."""
    no_ref, no_alt = pc.is_in(refs, MISSING_TEXTS), pc.is_in(alts, MISSING_TEXTS)
    null = pa.scalar(None, pa.large_string())
    if pc.any(no_alt).as_py():
        begins = pc.fill_null(pc.or_(pc.starts_with(refs, "N"), pc.starts_with(refs, "n")), False)
        bases = pc.and_(pc.is_in(alts, LIKE_BASES), pc.and_not(begins, no_ref))
        alts = pc.if_else(pc.and_not(no_alt, bases), null, alts)
    return pc.if_else(pc.and_not(no_ref, pc.is_in(refs, LIKE_BASES)), null, refs), alts


def unread(refs: pa.Array, contig: np.ndarray, start_A: np.ndarray) -> pa.Array:
    """REFs, null where a table has NA for a missing value: the contig (uint8 letters) reads it not from
    `start_A` (int64, 0-based) on."""
    like = pc.is_in(refs, LIKE_BASES)
    if not pc.any(like).as_py():
        return refs
    there = pa.array(reads(contig, start_A, text_to_codes(refs, UPPER)))
    return pc.if_else(pc.and_not(like, there), pa.scalar(None, pa.large_string()), refs)


def ordered(block: Block, contig: Callable[[str], np.ndarray | None], name: str) -> Block:
    """The block with the allele that the genome reads as `ref`; where it reads neither, as it was.

    Args:
        contig: name in the table → uint8 letters, None where the genome does not have it.
        name: the table, for messages.

    Raises:
        InputError: the genome reads both alleles of a row, one of which begins with the other.
    """
    codes = block.chrom.dictionary_encode()
    which = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    swap = np.zeros(len(block), dtype=bool)
    for code, chrom in enumerate(codes.dictionary.to_pylist()):
        letters = contig(chrom)
        if letters is None:
            continue
        rows = np.flatnonzero(which == code)
        take = pa.array(rows)
        start = clipped(block.pos.take(take)) - 1
        as_ref, as_alt = (
            reads(letters, start, text_to_codes(texts.take(take), UPPER)) for texts in (block.ref, block.alt)
        )
        differ = pc.fill_null(pc.not_equal(block.ref.take(take), block.alt.take(take)), False)
        both = np.flatnonzero(as_ref & as_alt & differ.to_numpy(zero_copy_only=False))
        if len(both):
            row = int(rows[both[0]])
            raise InputError(
                f"{name}, row {int(block.record_A[row]) + 1}: the genome reads both {block.ref[row]} and "
                f"{block.alt[row]} at {chrom}:{block.pos[row]}; say which is the reference with --column "
                "ref=NAME --column alt=NAME"
            )
        swap[rows] = as_alt & ~as_ref
    mask = pa.array(swap)
    ref, alt = pc.if_else(mask, block.alt, block.ref), pc.if_else(mask, block.ref, block.alt)
    return dataclasses.replace(block, ref=ref, alt=alt, unordered=False)

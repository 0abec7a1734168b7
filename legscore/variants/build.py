"""Alleles × tiles → rows that `legscore run` scores: one per allele and tile, in the order of the records.

Columns: variant_id chrom pos ref alt (as written) tile_id gene strand offset, the two sequences, and a
status. Alleles that lie in no tile are counted; with `keep_outside` they are rows too (`no_window`, or what
is wrong with them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from legscore.errors import InputError, shorten
from legscore.rows.schema import ALIASES, OK, RESULT_COLUMNS, STATUS_CODE, STATUSES, TAIL_COLUMNS
from legscore.system.log import Say
from legscore.variants.allele_blocks import Block, Records
from legscore.variants.allele_tables import ordered, unread
from legscore.variants.alleles import Changes, canonical, clipped
from legscore.variants.contigs import ContigMap, reconcile
from legscore.variants.counts import Counts
from legscore.variants.options import Setting
from legscore.variants.output import coded, dictionary, status_column
from legscore.variants.placed import Piece, placed
from legscore.variants.places import Placer, Places

FIELDS = [
    pa.field("variant_id", pa.large_string()), pa.field("chrom", dictionary()), pa.field("pos", pa.int64()),
    pa.field("ref", pa.large_string()), pa.field("alt", pa.large_string()), pa.field("tile_id", dictionary()),
    pa.field("gene", dictionary()), pa.field("gene_name", dictionary()), pa.field("strand", dictionary()),
    pa.field("offset", pa.int64()), pa.field("tss_source", dictionary()),
    pa.field("overlaps_cds", pa.bool_()), pa.field("shared_with", dictionary()),
]  # fmt: skip
PAIR = [pa.field("ref_sequence", pa.large_string()), pa.field("alt_sequence", pa.large_string())]
STATUS = pa.field("status", dictionary())
RECORD, ALT_NUMBER = "_record", "_alt_number"
"""Record of a row from 0, and which of its ALTs from 1; only in tables that become a VCF again."""
PIECE_ROWS = 16_384
"""Rows whose sequences are built at a time: what is gathered stays in cache."""


class Builder:
    """Turns blocks of alleles into tables of rows. `schema` is that of every table."""

    def __init__(
        self,
        setting: Setting,
        records: Records,
        say: Say = lambda line: None,
        *,
        numbered: bool = False,
        own: Iterable[str] = (),
    ) -> None:
        """`numbered` adds the columns RECORD and ALT_NUMBER, by which scores find their records again. `own`:
        more names of columns that are not carried over."""
        self.setting, self.records, self.counts, self._numbered = setting, records, Counts(), numbered
        self._say, self._names = say, list(records.contigs)
        self.contigs: ContigMap = reconcile(
            self._names, setting.genome.lengths, records.name, setting.given, records.lengths, used=()
        )
        for line in self.contigs.said:
            say(line)
        self._check_tiled()
        ours = (
            {f.name for f in (*FIELDS, *PAIR, STATUS)}
            | set(TAIL_COLUMNS)
            | {name for names in RESULT_COLUMNS.values() for name in names}
            | set(own)
        )
        ours |= {alias for aliases in ALIASES.values() for alias in aliases}
        carried = [f for f in records.carries if f.name not in ours and not f.name.endswith("_per_model")]
        if dropped := [f.name for f in records.carries if f not in carried]:
            say(
                f"columns of {records.name} not carried over, since legscore has its own of that name: "
                f"{shorten(dropped, 12)}"
            )
        self._carried = [f.name for f in carried]
        numbers = [pa.field(RECORD, pa.int64()), pa.field(ALT_NUMBER, pa.int64())] if numbered else []
        self.schema = pa.schema([*FIELDS, *PAIR, STATUS, *(f.with_nullable(True) for f in carried), *numbers])
        self._placer = Placer(setting)

    def more_columns(self, pieces: list[Piece], order: np.ndarray) -> dict[str, pa.Array]:
        """Columns that a subclass adds to `schema`: values of the pieces end to end, then in this order."""
        return {}

    def _check_tiled(self) -> None:
        """InputError when a contig that tiles lie on has another length in the FASTA; others do no harm."""
        if self.setting.tiles is None or self.setting.options.centered:
            return
        tiled = set(self.setting.tiles.frame["chrom"].unique())
        self.contigs.check_lengths(name for name, target in self.contigs.of.items() if target in tiled)
        unused = shorten(self.contigs.wrong_length)
        if unused:
            self._say(f"contigs of another length in the FASTA, on which no tile lies: {unused}")

    def resolve(self, names: Sequence[str | None]) -> None:
        """Take in contigs that the source's header does not list. InputError when they change what the others
        mean."""
        known = set(self._names)
        if new := [name for name in names if name is not None and name not in known]:
            self._names += new
            given, lengths = self.setting.given, self.records.lengths
            contigs = reconcile(
                self._names, self.setting.genome.lengths, self.records.name, given, lengths, used=()
            )
            if changed := [name for name, target in self.contigs.of.items() if contigs.get(name) != target]:
                raise InputError(
                    f"{self.records.name}: beside {shorten(new)}, which the header does not list, "
                    f"{changed[0]} means another "
                    f"contig; say which with --contig-map {changed[0]}=NAME"
                )
            self.contigs = contigs
            self._say(f"contigs of {self.records.name} that its header does not list: {shorten(new, 12)}")

    def tables(self) -> Iterator[pa.Table]:
        """One table per block of records."""
        for block in self.records.blocks():
            yield self.table(block)

    def table(self, block: Block) -> pa.Table:
        """The rows of one block."""
        self.counts.records += block.n_records
        self.counts.without_alt += block.n_without_alt
        names = block.chrom.dictionary_encode()
        which = names.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self.resolve(names.dictionary.to_pylist())
        if self.setting.options.centered or self.setting.options.keep_outside:
            self.contigs.check_lengths(names.dictionary.to_pylist())
        if block.unordered:
            block = ordered(block, self._letters, self.records.name)
        pieces: list[Piece] = []
        missing: list[np.ndarray] = [np.flatnonzero(which < 0)]
        for code, name in enumerate(names.dictionary.to_pylist()):
            rows, target = np.flatnonzero(which == code), self.contigs.get(name)
            if target is None:
                missing.append(rows)
                self.counts.contigs[name] += len(rows)
            else:
                pieces.extend(self._contig(block, rows, target))
        lost = np.concatenate(missing)
        if len(lost):
            self.counts.kinds["faulty"] += len(lost)
            pieces.extend(
                self._outside(lost, np.full(len(lost), STATUS_CODE["contig_missing"], dtype=np.uint8))
            )
        return self._rows(block, pieces)

    def _letters(self, name: str) -> np.ndarray | None:
        target = self.contigs.get(name)
        return None if target is None else self.setting.genome.contig(target)

    def _contig(self, block: Block, rows: np.ndarray, name: str) -> Iterator[Piece]:
        """Rows of the alleles on one contig."""
        options, take = self.setting.options, pa.array(rows)
        contig = self.setting.genome.contig(name)
        pos = block.pos.take(take)
        start = clipped(pos)
        ref = pc.if_else(pos.is_valid(), block.ref.take(take), None)
        if block.is_table:
            ref = unread(ref, contig, start - 1)
        changes = canonical(
            contig, start, ref, block.alt.take(take), use_fasta=options.on_mismatch == "use-fasta"
        )
        if options.on_mismatch == "fail":
            self.refuse_mismatches(block, rows, changes, contig)
        self.count_alleles(changes)
        places = self._placer(name, changes)
        alone = np.ones(len(rows), dtype=bool)
        alone[places.allele_R] = False
        if alone.any():
            status = changes.status_A[alone]
            status = np.where(status == OK, STATUS_CODE["no_window"], status).astype(np.uint8)
            yield from self._outside(rows[alone], status)
        for begin in range(0, len(places), PIECE_ROWS):
            piece = places.slice(begin, begin + PIECE_ROWS)
            yield self.piece(contig, rows, changes.take(piece.allele_R), piece)

    def piece(self, contig: np.ndarray, rows: np.ndarray, changes: Changes, places: Places) -> Piece:
        """Sequences of alleles in tiles, one allele of `changes` for each of `places`."""
        return placed(contig, rows, changes, places, self.setting.options)

    def _outside(self, rows: np.ndarray, status: np.ndarray) -> Iterator[Piece]:
        for code, n in zip(*np.unique(status, return_counts=True), strict=True):
            self.counts.outside[STATUSES[code]] += int(n)
        if self.setting.options.keep_outside:
            none, null = np.full(len(rows), -1), pa.nulls(len(rows), pa.large_string())
            yield Piece(rows, status, none, none, None, null, null)

    def _rows(self, block: Block, pieces: list[Piece]) -> pa.Table:
        if not pieces:
            return self.schema.empty_table()
        allele = np.concatenate([piece.allele_R for piece in pieces])
        order = np.argsort(allele, kind="stable")
        allele = allele[order]
        tile = np.concatenate([piece.tile_R for piece in pieces])[order]
        offset = np.concatenate([piece.offset_R for piece in pieces])[order]
        status = np.concatenate([piece.status_R for piece in pieces])[order]
        for code, n in zip(*np.unique(status, return_counts=True), strict=True):
            self.counts.rows[STATUSES[code]] += int(n)
        take, sort = pa.array(allele), pa.array(order)
        pos, ref, alt = block.pos.take(take), block.ref.take(take), block.alt.take(take)
        ids = block.variant_id.take(take)
        if ids.null_count:
            made = pc.binary_join_element_wise(
                block.chrom.take(take),
                pos.cast(pa.large_string()),
                ref,
                alt,
                pa.scalar(":", pa.large_string()),
            )
            ids = pc.if_else(ids.is_valid(), ids, made)
        names = block.chrom.dictionary_encode()
        chrom = coded(
            names.indices.fill_null(-1).to_numpy(zero_copy_only=False)[allele].astype(np.int64),
            names.dictionary.cast(pa.string()),
        )
        labels = self._placer.labels(tile, [(piece.places, len(piece.allele_R)) for piece in pieces], order)
        ref_text = pa.chunked_array([piece.ref for piece in pieces]).combine_chunks().take(sort)
        alt_text = pa.chunked_array([piece.alt for piece in pieces]).combine_chunks().take(sort)
        columns = {
            "variant_id": ids, "chrom": chrom, "pos": pos, "ref": ref, "alt": alt, **labels,
            "offset": pa.array(offset, mask=offset < 0), "ref_sequence": ref_text, "alt_sequence": alt_text,
            "status": status_column(status),
        }  # fmt: skip
        if self._numbered:
            number = np.arange(len(block)) - np.searchsorted(block.record_A, block.record_A) + 1
            columns |= {RECORD: pa.array(block.record_A[allele]), ALT_NUMBER: pa.array(number[allele])}
        columns |= self.more_columns(pieces, order)
        if block.carried is not None:
            columns |= {name: block.carried[name].take(take) for name in self._carried}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)

    def count_alleles(self, changes: Changes) -> None:
        """Count alleles of one contig by kind."""
        self.counts.add_alleles(changes)

    def refuse_mismatches(self, block: Block, rows: np.ndarray, changes: Changes, contig: np.ndarray) -> None:
        """--on-mismatch fail: InputError for the first record whose REF is not the genome's."""
        wrong = np.isin(changes.status_A, [STATUS_CODE["ref_mismatch"], STATUS_CODE["ref_alt_swapped"]])
        if wrong.any():
            row = int(rows[np.flatnonzero(wrong)[0]])
            chrom, pos, ref = block.chrom[row].as_py(), block.pos[row].as_py(), block.ref[row].as_py()
            reads = contig[pos - 1 : pos - 1 + len(ref)].tobytes().decode()
            raise InputError(
                f"{self.records.name}, record {int(block.record_A[row]) + 1}: ref is {ref[:40]!r} but "
                f"{chrom}:{pos} of the FASTA "
                f"reads {reads[:40]!r}. Wrong genome build? Pass another --fasta, or leave --on-mismatch "
                "status"
            )

"""THE PAGE of scanning motifs: pairs or edits, a MEME file → for each row the hits that its change makes and
breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.attribute.motif_changes import BROKEN, MADE, MotifChanges, motif_changes
from legscore.attribute.motif_scores import MOST_P, PSEUDOCOUNT, STRANDS, UNITS
from legscore.attribute.open_motifs import ScoredMotifs, open_motifs
from legscore.attribute.two_sequences import TwoSequences
from legscore.errors import InputError, OutputError
from legscore.input.read import Input, Part, open_input
from legscore.input.roles import check_types, choose_carried_columns, role_array
from legscore.output.result_columns import plain_type
from legscore.output.write import check_writes, open_writer, output_format
from legscore.rows.schema import OK, STATUSES, Roles, find_roles
from legscore.run.record import mostly_unscored
from legscore.system.log import Say
from legscore.system.overwrite import check_outputs
from legscore.system.publish import check_output
from legscore.version import __version__

PART_ROWS = 16_384
COLUMNS = ("n_made", "n_broken", "made", "broken")
VARIANT_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
MOST_TOLD = 8


@dataclass(frozen=True)
class MotifOptions:
    """What `legscore motifs` can be asked for.

    Attributes:
        inputs: files of pairs or edits, as `legscore run` reads them.
        meme: file of motifs. output: table of rows.
        most_p: most that the p-value of a hit may be.
        kind, columns, keep, format: as of `legscore run`.
    """

    inputs: tuple[str, ...]
    meme: str
    output: str
    most_p: float = MOST_P
    kind: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: str = "auto"
    format: str | None = None

    def check(self, force: bool) -> None:
        """OutputError where the output is taken, an input, or of no format."""
        if self.output.endswith("/"):
            raise OutputError(f"{self.output}: legscore motifs writes one file; name one")
        check_outputs({"-o": self.output}, [*self.inputs, self.meme], force=force)
        output_format(self.output, self.format)
        check_output(self.output)


def scan_motifs(options: MotifOptions, say: Say) -> None:
    """Write what the options ask for.

    Args:
        options: what to read and write; `check` them first.
        say: receives one line for everything that was read, found and written.

    Raises:
        LegscoreError: an input or the motifs cannot be read, or the disk refuses.
    """
    if vcf := next((path for path in options.inputs if path.lower().endswith(VARIANT_ENDINGS)), None):
        raise InputError(
            f"{vcf} holds variants, not sequences; make rows of it first: legscore variants {vcf} --fasta "
            "GENOME -o rows.parquet"
        )
    motifs = open_motifs(options.meme, options.most_p, say)
    opened = open_input(options.inputs, may_be_empty=True)
    for line in opened.notes:
        say(line)
    roles = find_roles(opened.schema.names, opened.name, options.kind, options.columns)
    if roles.kind.windows != 2:
        raise InputError(
            f"{opened.name} holds single sequences; motifs are made and broken between two: needed are "
            "ref_sequence + alt_sequence, or sequence + offset + alt_base"
        )
    check_types(opened, roles)
    kept = choose_carried_columns(opened, roles, options.keep, results=(*COLUMNS, "status"))
    schema = _schema(opened, kept)
    form = output_format(options.output, options.format)
    check_writes(form, schema)
    metadata = {
        "legscore": __version__,
        "motifs": {
            "meme_sha256": sha256(Path(options.meme).read_bytes()).hexdigest(),
            "n": len(motifs.titles),
            "most_p": options.most_p,
            "pseudocount": PSEUDOCOUNT,
            "background_acgt": motifs.background_B.tolist(),
        },
    }
    tally = Tally()
    columns = list(dict.fromkeys([*roles.column_of.values(), *kept]))
    with open_writer(options.output, form, schema, metadata) as writer:
        for part in opened.parts(columns, PART_ROWS):
            writer.write(_scanned(part, roles, motifs, schema, tally))
    for line in tally.lines():
        say(line)
    say(f"output: {options.output}")


def _schema(opened: Input, kept: Collection[str]) -> pa.Schema:
    fields = [pa.field(name, plain_type(opened.schema.field(name).type)) for name in kept]
    kinds = (pa.int32(), pa.int32(), pa.string(), pa.string())
    fields += [pa.field(name, kind) for name, kind in zip(COLUMNS, kinds, strict=True)]
    return pa.schema([*fields, pa.field("status", pa.dictionary(pa.int8(), pa.string()))])


def _scanned(part: Part, roles: Roles, motifs: ScoredMotifs, schema: pa.Schema, tally: Tally) -> pa.Table:
    """The rows of a part, in their order."""
    given = {role: role_array(part, role, name) for role, name in roles.column_of.items()}
    two = TwoSequences.of(given, roles.kind)
    changes = motif_changes(two, motifs.scores, motifs.most_p)
    tally.add(two.status_N, changes, motifs.titles)
    n = part.table.num_rows
    not_ok, made, texts = two.status_N != OK, {}, _texts(changes, motifs.titles)
    for side, count, words in ((MADE, "n_made", "made"), (BROKEN, "n_broken", "broken")):
        rows = changes.row_H[changes.side_H == side]
        made[count] = pa.array(np.bincount(rows, minlength=n).astype(np.int32), mask=not_ok)
        first, ends = np.unique(rows, return_index=True)
        made[words] = _joined(
            first, ends, [t for t, s in zip(texts, changes.side_H, strict=True) if s == side], n
        )
    arrays: list[Any] = []
    for item in schema:
        if item.name in COLUMNS:
            arrays.append(made[item.name])
        elif item.name == "status":
            codes = pa.array(two.status_N.astype(np.int8))
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(STATUSES)))
        else:
            column = part.column(item.name)
            arrays.append(
                (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(
                    item.type
                )
            )
    return pa.Table.from_arrays(arrays, schema=schema)


def _texts(changes: MotifChanges, titles: Sequence[str]) -> list[str]:
    """Each hit as name|strand|offset|change in bits|p-value."""
    columns = (changes.motif_H, changes.strand_H, changes.offset_H, changes.change_H, changes.p_H)
    texts = []
    for motif, strand, offset, change, p in zip(*(values.tolist() for values in columns), strict=True):
        bits = "." if change != change else f"{change / UNITS:+.2f}"
        texts.append(f"{titles[motif]}|{STRANDS[strand]}|{offset}|{bits}|{p:.3g}")
    return texts


def _joined(row_F: np.ndarray, first_F: np.ndarray, texts: Sequence[str], n: int) -> pa.Array:
    """Texts of each row with `;` between; null where a row has none.

    Args:
        row_F, first_F: rows that have some, and where theirs begin among `texts`. n: rows.
    """
    found: list[str | None] = [None] * n
    bounds = [*first_F.tolist(), len(texts)]
    for k, row in enumerate(row_F.tolist()):
        found[row] = ";".join(texts[bounds[k] : bounds[k + 1]])
    return pa.array(found, pa.string())


class Tally:
    """Counts of rows by status, and of hits by motif and side."""

    def __init__(self) -> None:
        self._by_status: Counter[str] = Counter()
        self._rows, self._hits = Counter[int](), Counter[tuple[int, str]]()

    def add(self, status_N: np.ndarray, changes: MotifChanges, titles: Sequence[str]) -> None:
        """Count a part."""
        for code, count in enumerate(np.bincount(status_N, minlength=len(STATUSES))):
            self._by_status[STATUSES[code]] += int(count)
        for side in (BROKEN, MADE):
            mine = changes.side_H == side
            self._rows[side] += len(np.unique(changes.row_H[mine]))
            for motif, count in enumerate(np.bincount(changes.motif_H[mine], minlength=len(titles))):
                self._hits[side, titles[motif]] += int(count)

    def lines(self) -> list[str]:
        """Lines for the user."""
        counts = {name: self._by_status[name] for name in STATUSES if self._by_status[name]}
        shown = ", ".join(f"{name} {n:,}" for name, n in counts.items())
        lines = [f"rows: {sum(counts.values()):,} ({shown})" if counts else "rows: 0"]
        for side, word in ((MADE, "made"), (BROKEN, "broken")):
            hits = {name: n for (at, name), n in self._hits.items() if at == side and n}
            most = sorted(hits.items(), key=lambda one: -one[1])[:MOST_TOLD]
            named = ": " + ", ".join(f"{name} {n:,}" for name, n in most) if most else ""
            more = ", …" if len(hits) > MOST_TOLD else ""
            n, rows = sum(hits.values()), self._rows[side]
            counted = f"{n:,} hit{'s' * (n != 1)} in {rows:,} row{'s' * (rows != 1)}"
            lines.append(f"{word}: {counted}{named}{more}")
        if told := mostly_unscored(counts):
            lines.append(told)
        return lines

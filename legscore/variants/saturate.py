"""Every single-base change in every tile, as `sequence` + `offset` + `alt_base`: each tile's sequence stands
once per batch.

Rows go by tile, then offset from the tile's 5' end, then alt_base in the order A, C, G, T. Nothing is built
per row but numbers into dictionaries and the name; the engine makes the changes. With `indels` the deletions
and insertions of one base stand between them, at their offsets, and the column `refill` says how the insert
keeps its length (`legscore.rows.indels`). Expected: at least 2 million rows/s (`bench/variants.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError
from legscore.rows.schema import OK, STATUS_CODE
from legscore.variants.build import FIELDS, STATUS
from legscore.variants.options import Setting
from legscore.variants.output import coded, dictionary, fixed_texts, status_column
from legscore.variants.places import LABELS, label_columns
from legscore.variants.saturate_indels import ALT_BASES, BASES, REFILLS, Indels, indels
from legscore.variants.windows import tile_letters

BATCH_ROWS = 131_072
_SHORT = {"ref": dictionary(), "alt": dictionary()}
SCHEMA = pa.schema(
    [pa.field(f.name, _SHORT.get(f.name, f.type)) for f in FIELDS]
    + [pa.field("sequence", dictionary(pa.large_string())), pa.field("alt_base", dictionary()), STATUS]
)
WITH_INDELS = SCHEMA.insert(SCHEMA.get_field_index("status"), pa.field("refill", dictionary()))
_OTHERS = np.zeros((256, 3), dtype=np.int8)
_CODE = np.full(256, -1, dtype=np.int8)
for _i, _base in enumerate(BASES):
    _OTHERS[_base], _CODE[_base] = [j for j in range(4) if j != _i], _i
TEXTS = [*"ACGTN", *(one + two for one in "ACGTN" for two in "ACGTN")]
"""What ref and alt hold where changes of length are among them."""
_PLACE = np.full(256, 4, dtype=np.int32)
_PLACE[BASES] = np.arange(4)
FLIP = np.array([3, 2, 1, 0])
"""Number in BASES → number of its complement."""


@dataclass
class Saturated:
    """Counts for the summary: rows to score, tiles that leave their contig, places without a known base."""

    rows: int = 0
    edges: int = 0
    unknown: int = 0

    def lines(self) -> Iterator[str]:
        yield f"rows: {self.rows:,} (ok {self.rows - self.edges:,}" + (
            f", edge {self.edges:,})" if self.edges else ")"
        )
        if self.unknown:
            yield f"      {self.unknown:,} bases of the tiles are not A, C, G or T and are not changed"


def saturated(setting: Setting, counts: Saturated, *, with_indels: bool = False) -> Iterator[pa.Table]:
    """Every change of one base in every tile.

    Args:
        counts: counts what is made, as tables are taken.
        with_indels: deletions and insertions of one base too.

    Yields:
        Tables of SCHEMA, or of WITH_INDELS. A tile that leaves its contig is one row of status `edge`.

    Raises:
        InputError: there are no tiles.
    """
    if setting.tiles is None:
        raise InputError("--saturate needs tiles: give --promoters or --tiles")
    frame = setting.tiles.frame
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    minus, edge = frame["strand"].to_numpy() == "-", frame["edge"].to_numpy()
    labels = label_columns(frame)
    for name, tiles in setting.tiles.by_contig().items():
        contig = setting.genome.contig(name)
        if (edge[tiles]).any():
            yield _edges(name, tiles[edge[tiles]], labels, counts, WITH_INDELS if with_indels else SCHEMA)
        tiles = tiles[~edge[tiles]]
        length = end[tiles] - start[tiles]
        for first, last in _runs(length, 8 if with_indels else 3):
            some = tiles[first:last]
            letters = tile_letters(contig, start[some], int(length[first]), minus[some])
            more = None
            if with_indels:
                options = setting.options
                more = indels(
                    contig, start[some], int(length[first]), minus[some], options.anchor, options.indel
                )
            yield _batch(name, some, letters, start, minus, labels, counts, more)


def tile_lengths(setting: Setting) -> int | dict[str, int]:
    """Bases of the tiles that are changed: of all, where they have one length; else of those whose last base
    is not A, C, G or T, which no row tells. For the table's metadata."""
    if setting.tiles is None:
        return {}
    frame = setting.tiles.frame.filter(~pl.col("edge"))
    length = (frame["end"] - frame["start"]).to_numpy()
    if len(np.unique(length)) == 1:
        return int(length[0])
    last = np.where(frame["strand"].to_numpy() == "-", frame["start"].to_numpy(), frame["end"].to_numpy() - 1)
    known = np.zeros(len(frame), dtype=bool)
    for (name,), rows in frame.with_row_index("#row").group_by("chrom"):
        at = rows["#row"].to_numpy()
        known[at] = _CODE[setting.genome.contig(str(name))[last[at]]] >= 0
    names = frame["tile_id"].to_list()
    return {names[i]: int(length[i]) for i in np.flatnonzero(~known)}


def _runs(length_T: np.ndarray, rows_a_base: int) -> Iterator[tuple[int, int]]:
    """Stretches of tiles of equal length, each of about BATCH_ROWS rows."""
    changes = np.flatnonzero(np.diff(length_T)) + 1
    for first, last in zip([0, *changes], [*changes, len(length_T)], strict=True):
        step = max(1, BATCH_ROWS // (rows_a_base * int(length_T[first]))) if last > first else 1
        for begin in range(first, last, step):
            yield begin, min(begin + step, last)


def _batch(
    chrom: str,
    tiles: np.ndarray,
    letters_TL: np.ndarray,
    start: np.ndarray,
    minus: np.ndarray,
    labels: dict[str, pa.Array],
    counts: Saturated,
    more: Indels | None,
) -> pa.Table:
    """Rows of tiles of one length on one contig: `letters_TL` are theirs in their own direction, `start` and
    `minus` those of all tiles, `more` the changes of length."""
    n, length = letters_TL.shape
    code = _CODE[letters_TL]
    tile = np.repeat(np.arange(n, dtype=np.int32), 3 * length)
    offset = np.tile(np.repeat(np.arange(length, dtype=np.int32), 3), n)
    ref, alt = np.repeat(code.ravel(), 3), _OTHERS[letters_TL].ravel()
    if (code < 0).any():
        counts.unknown += int(np.count_nonzero(code < 0))
        known = ref >= 0
        tile, offset, ref, alt = tile[known], offset[known], ref[known], alt[known]
    turned = minus[tiles][tile]
    pos = start[tiles][tile] + np.where(turned, length - 1 - offset, offset) + 1
    refs, alts = np.where(turned, FLIP[ref], ref), np.where(turned, FLIP[alt], alt)
    rows = _Rows(
        tile, offset, alt, pos, refs, alts, names(chrom, pos, BASES[refs][:, None], BASES[alts][:, None])
    )
    if more is not None:
        rows = _merged(rows, more, chrom, length)
        counts.edges += int(np.count_nonzero(more.status_R))
    counts.rows += len(rows.tile)
    numbers = pa.array(rows.tile)

    def of_tile(name: str) -> pa.Array:
        values = labels[name].take(pa.array(tiles))
        if name == "overlaps_cds":
            return values.take(numbers)
        if not values.null_count:
            return pa.DictionaryArray.from_arrays(numbers, values)
        short = values.dictionary_encode()
        return pa.DictionaryArray.from_arrays(short.indices.take(numbers), short.dictionary)

    def text(numbers: np.ndarray, of: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), pa.array(of, pa.string()))

    nothing = np.zeros(len(rows.tile), dtype=np.int32)
    columns = {
        "variant_id": rows.ids, "chrom": text(nothing, [chrom]), "pos": pa.array(rows.pos),
        "ref": text(rows.ref, TEXTS), "alt": text(rows.alt, TEXTS),
        **{name: of_tile(name) for name in LABELS}, "offset": pa.array(rows.offset.astype(np.int64)),
        "sequence": pa.DictionaryArray.from_arrays(numbers, fixed_texts(letters_TL)),
        "alt_base": text(rows.alt_base, ALT_BASES),
        "status": text(nothing, ["ok"]) if rows.status is None else status_column(rows.status),
    }  # fmt: skip
    if rows.refill is not None:
        columns["refill"] = coded(rows.refill, pa.array(REFILLS, pa.string()))
    schema = SCHEMA if more is None else WITH_INDELS
    return pa.table([columns[name] for name in schema.names], schema=schema)


@dataclass(frozen=True)
class _Rows:
    """Rows of some tiles as numbers: tile, offset, alt_base (of ALT_BASES), pos, ref and alt (of TEXTS),
    names; with changes of length also refill (of REFILLS, -1 for null) and status."""

    tile: np.ndarray
    offset: np.ndarray
    alt_base: np.ndarray
    pos: np.ndarray
    ref: np.ndarray
    alt: np.ndarray
    ids: pa.Array
    refill: np.ndarray | None = None
    status: np.ndarray | None = None


def _merged(ours: _Rows, more: Indels, chrom: str, length: int) -> _Rows:
    """Both by tile and offset, replaced bases first."""
    key = np.concatenate([ours.tile, more.tile_R]) * (length + 1) + np.concatenate(
        [ours.offset, more.offset_R]
    )
    order, n = np.argsort(key, kind="stable"), len(ours.tile)

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([one, other])[order].astype(one.dtype)

    inserts = more.ref_R2[:, 1] == 0
    texts, place = [ours.ids], np.arange(n + len(inserts))
    before = n
    for rows, n_ref, n_alt in ((np.flatnonzero(inserts), 1, 2), (np.flatnonzero(~inserts), 2, 1)):
        texts.append(names(chrom, more.pos_R[rows], more.ref_R2[rows, :n_ref], more.alt_R2[rows, :n_alt]))
        place[n + rows] = before + np.arange(len(rows))
        before += len(rows)
    return _Rows(
        both(ours.tile, more.tile_R),
        both(ours.offset, more.offset_R),
        both(ours.alt_base, more.alt_base_R),
        both(ours.pos, more.pos_R),
        both(ours.ref, _text_number(more.ref_R2)),
        both(ours.alt, _text_number(more.alt_R2)),
        pa.concat_arrays(texts).take(pa.array(place[order])),
        both(np.full(n, -1), more.refill_R),
        both(np.full(n, OK), more.status_R),
    )


def _text_number(letters_R2: np.ndarray) -> np.ndarray:
    """Number in TEXTS of one or two letters, int32."""
    one, two = _PLACE[letters_R2[:, 0]], _PLACE[letters_R2[:, 1]]
    return np.where(letters_R2[:, 1] == 0, one, 5 + 5 * one + two).astype(np.int32)


def _edges(
    chrom: str, tiles: np.ndarray, labels: dict[str, pa.Array], counts: Saturated, schema: pa.Schema
) -> pa.Table:
    n = len(tiles)
    counts.rows, counts.edges = counts.rows + n, counts.edges + n
    columns = {f.name: pa.nulls(n, f.type) for f in schema}
    columns["chrom"] = coded(np.zeros(n, dtype=np.int64), pa.array([chrom], pa.string()))
    columns |= {
        name: values.take(pa.array(tiles)) if name == "overlaps_cds" else coded(tiles, values)
        for name, values in labels.items()
    }
    columns["status"] = status_column(np.full(n, STATUS_CODE["edge"]))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def names(chrom: str, pos: np.ndarray, ref_RK: np.ndarray, alt_RK: np.ndarray) -> pa.Array:
    """Texts `chrom:pos:ref:alt`, made digit by digit for all rows at once; all refs are of one length, and
    all alts."""
    head = np.frombuffer(f"{chrom}:".encode(), dtype=np.uint8)
    n_ref, n_alt = ref_RK.shape[1], alt_RK.shape[1]
    digits = np.ones(len(pos), dtype=np.int64)
    power = 10
    while len(pos) and power <= int(pos.max()):
        digits += pos >= power
        power *= 10
    bounds = np.concatenate([[0], np.cumsum(len(head) + digits + 2 + n_ref + n_alt)])
    flat = np.full(int(bounds[-1]), ord(":"), dtype=np.uint8)
    at = bounds[:-1]
    for i, letter in enumerate(head):
        flat[at + i] = letter
    last = bounds[1:]
    for k in range(n_alt):
        flat[last - n_alt + k] = alt_RK[:, k]
    for k in range(n_ref):
        flat[last - n_alt - 1 - n_ref + k] = ref_RK[:, k]
    place, rest = last - n_alt - n_ref - 3, pos
    todo = np.arange(len(pos))
    for k in range(int(digits.max()) if len(pos) else 0):
        todo = todo if k == 0 else np.flatnonzero(digits > k)
        flat[place[todo] - k] = rest[todo] % 10 + ord("0")
        rest = rest // 10
    return pa.Array.from_buffers(
        pa.large_string(), len(pos), [None, pa.py_buffer(bounds), pa.py_buffer(flat)]
    )

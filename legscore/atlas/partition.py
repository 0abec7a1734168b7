"""Scored changes → the files of an atlas: by contig and stretch, sorted by position, REF, ALT and tile.

Scores come by tile, tiles by contig and start, so that a stretch is complete once a tile begins beyond it:
memory holds the changes of about one stretch.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.atlas.contents import described, score_file_name, stretch_bases
from legscore.atlas.scaled import COLUMNS, Scale
from legscore.atlas.stretches import Stretches, first_positions
from legscore.atlas.texts import TEXTS
from legscore.atlas.tile_changes import scored_batches
from legscore.output.write import METADATA_KEY
from legscore.rows.schema import OK, STATUSES
from legscore.system.publish import sync_folder, writing

LABELS = ("tile_id", "gene", "gene_name", "strand")
ROW_GROUP_ROWS = 1 << 16


class ScoreFiles:
    """Writes the files of scores below a folder, in order, and counts what is in them.

    Attributes:
        files: name → what the manifest says of it.
        by_status: rows by status.
        largest_error: of 16-bit numbers, by column.
        ref_score_T: reference score of each tile, float32; NaN where no row of it has a score.
    """

    def __init__(self, folder: Path, frame: pl.DataFrame, contig_T: np.ndarray, scale: Scale) -> None:
        self._folder, self._frame, self._scale = folder, frame, scale
        self._contig_T, self._names = contig_T, frame["chrom"].to_list()
        self._first_T = first_positions(frame) // stretch_bases()
        self._labels = {name: frame[name].to_arrow().cast(pa.string()) for name in LABELS}
        self.files: dict[str, Any] = {}
        self.by_status: Counter[str] = Counter()
        self.largest_error = dict.fromkeys(COLUMNS, 0.0) if scale else {}
        self.ref_score_T = np.full(len(frame), np.nan, dtype=np.float32)

    def write_all(self, scored: Path, wanted: Stretches, metadata: Mapping[str, Any]) -> None:
        """Write all rows of a file of scores; those that lie outside the wanted stretches are left out."""
        for contig, stretch, rows in self._by_stretch(scored):
            if wanted.hold(contig, np.array([stretch]))[0]:
                self._write(contig, stretch, rows, metadata)

    def _by_stretch(self, scored: Path) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """Rows of each stretch, once it is complete."""
        waiting: dict[str, np.ndarray] = {}
        contig = -1
        for batch in scored_batches(scored):
            ok = batch["status"] == OK
            self.ref_score_T[batch["tile"][ok]] = batch["ref_score"][ok]
            contigs = self._contig_T[batch["tile"]]
            cuts = [0, *(np.flatnonzero(np.diff(contigs)) + 1).tolist(), len(contigs)]
            for begin, end in itertools.pairwise(cuts):
                if begin == end:
                    continue
                piece = {name: values[begin:end] for name, values in batch.items()}
                if contigs[begin] != contig:
                    yield from self._complete(contig, waiting)
                    waiting, contig = piece, int(contigs[begin])
                else:
                    waiting = {name: np.concatenate([waiting[name], piece[name]]) for name in piece}
                horizon = int(self._first_T[piece["tile"][-1]])
                before = (waiting["pos"] - 1) // stretch_bases() < horizon
                if before.any():
                    done = {name: values[before] for name, values in waiting.items()}
                    yield from self._complete(contig, done)
                    waiting = {name: values[~before] for name, values in waiting.items()}
        yield from self._complete(contig, waiting)

    def _complete(
        self, contig: int, rows: dict[str, np.ndarray]
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        if not rows:
            return
        stretch = (rows["pos"] - 1) // stretch_bases()
        for number in np.unique(stretch):
            yield contig, int(number), {name: values[stretch == number] for name, values in rows.items()}

    def _write(
        self, contig: int, stretch: int, rows: dict[str, np.ndarray], metadata: Mapping[str, Any]
    ) -> None:
        order = np.lexsort((rows["tile"], rows["alt"], rows["ref"], rows["pos"]))
        table = self._table(contig, {name: values[order] for name, values in rows.items()}, metadata)
        name = score_file_name(contig, stretch * stretch_bases())
        path = self._folder / name
        floats = [column for column in table.column_names if table.schema.field(column).type == pa.float32()]
        with writing(path):
            pq.write_table(
                table,
                path,
                row_group_size=ROW_GROUP_ROWS,
                compression="zstd",
                use_dictionary=["chrom", "ref", "alt", *LABELS, "status", "n_count"],
                use_byte_stream_split=floats,
                column_encoding={"pos": "DELTA_BINARY_PACKED"},
                write_page_checksum=True,
            )
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        chrom = table["chrom"][0].as_py()
        bounds = {"chrom": chrom, "first": table["pos"][0].as_py(), "last": table["pos"][-1].as_py()}
        self.files[name] = {**described(path), "rows": table.num_rows, **bounds}
        for code, count in enumerate(np.bincount(rows["status"], minlength=len(STATUSES))):
            if count:
                self.by_status[STATUSES[code]] += int(count)

    def _table(self, contig: int, rows: dict[str, np.ndarray], metadata: Mapping[str, Any]) -> pa.Table:
        n, tile = len(rows["pos"]), pa.array(rows["tile"])
        name = self._names[int(rows["tile"][0])]
        columns: dict[str, pa.Array] = {
            "chrom": pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), [name]).dictionary_decode(),
            "pos": pa.array(rows["pos"]),
            "ref": pa.array(TEXTS).take(pa.array(rows["ref"])),
            "alt": pa.array(TEXTS).take(pa.array(rows["alt"])),
            **{label: values.take(tile) for label, values in self._labels.items()},
        }
        for name, shown in zip(COLUMNS, self._scale.names(), strict=True):
            none = np.isnan(rows[name])
            if self._scale:
                numbers, error = self._scale.encode(name, rows[name])
                self.largest_error[name] = max(self.largest_error[name], error)
            else:
                numbers = np.where(none, np.float32(0), rows[name])
            columns[shown] = pa.array(numbers, mask=none)
        columns["status"] = pa.array(STATUSES).take(pa.array(rows["status"]))
        columns["n_count"] = pa.array(rows["n_count"], mask=rows["n_count"] < 0)
        said = {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
        return pa.table(columns).replace_schema_metadata(said)

    def sync(self) -> None:
        """Have the disk keep what was written."""
        for name in {str(Path(name).parent) for name in self.files}:
            sync_folder(self._folder / name)

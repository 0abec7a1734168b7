"""Slices of an input, scored apart: `legscore run --shard 3/64`.

A shard is a run of consecutive parts, so that everything that depends on parts (equal windows scored once,
quoting of text, record batches) is what it is in a whole run; joined, shards give the same bytes
(`legscore.output.join`). Each output says in its metadata which rows it has of what.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from legscore.errors import LegscoreError

KEY = "shard"


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `of`."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/64`. LegscoreError for anything else."""
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise LegscoreError(f"--shard {text}: write INDEX/OF with INDEX from 1 to OF, such as 3/64")
        return cls(int(found[1]), int(found[2]))

    def parts(self, n_parts: int) -> range:
        """Its parts of `n_parts`; shards differ by one part at most, and are empty where there are more
        shards than parts."""
        return range((self.index - 1) * n_parts // self.of, self.index * n_parts // self.of)


def described(
    shard: Shard, parts: range, part_rows: int, n_rows: int, content: str, schema: pa.Schema
) -> dict[str, Any]:
    """What a shard's metadata says of it under `shard`: enough to join it and to refuse a wrong join."""
    first, stop = (min(number * part_rows, n_rows) for number in (parts.start, parts.stop))
    return {
        "index": shard.index,
        "of": shard.of,
        "first_row": first,
        "rows": stop - first,
        "rows_of_input": n_rows,
        "input_sha256": content,
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
    }

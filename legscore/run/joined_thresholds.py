"""Thresholds of common shares of a student's run that was joined from shards: none of them saw all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.input.read import open_input
from legscore.rows.schema import OK, STATUSES
from legscore.run.choice import common_thresholds, keys_of
from legscore.run.rescore import ABS_EFFECT

AT_ONCE = 1 << 16


def thresholds_of(shards: Sequence[str], metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """What the record of the whole run would say; nothing where this is no run of pairs with a student alone.

    Args:
        shards: outputs that are joined. metadata: of the joined output.

    Raises:
        InputError: a shard cannot be read.
    """
    models = metadata.get("models", [])
    if len(models) != 1 or "student" not in models[0] or "cascade" in metadata:
        return []
    opened = open_input(list(shards), may_be_empty=True)  # of more shards than parts some have no rows
    if not {"effect", "status"} <= set(opened.schema.names):
        return []

    def keys() -> Iterator[tuple[int, np.ndarray]]:
        for part in opened.parts(["effect", "status"], AT_ONCE):
            effects = part.column("effect").cast(pa.float32()).to_numpy(zero_copy_only=False)
            usable = part.column("status").to_numpy(zero_copy_only=False) == STATUSES[OK]
            yield part.first_row, keys_of(np.where(usable, effects, np.float32(np.nan)), ABS_EFFECT)

    return common_thresholds(keys)

"""How large an effect is among all changes of promoters like its own: ranks against a stated background.

A background holds the effects of every single-base change of many tiles (`legscore atlas background`), in
classes
of tiles: by how far they lie from the transcription start, and by their share of G and C. It belongs to the
models that scored them and to how their strands were read. A row whose distance is not known is ranked among
all tiles of its share of G and C.

    percentile         percent of the class's changes whose |effect| is smaller
    rank               -10 log10 of the share of the class's changes whose |effect| is at least as large;
                       where none is, of 1 / (changes + 1)
    signed_percentile  percent of the class's changes whose effect is smaller, by sign
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

_PLACE = re.compile(r"^.*\.(\d+)(@[^@]*\([+-]\))?(#\d+)?$", re.DOTALL)
"""A tile of a gene, `GENE.k`; where that name stood twice, with its place and number."""


def distances(tile_ids: pa.Array, made_by: Mapping[str, Any]) -> np.ma.MaskedArray[Any, Any]:
    """Bases from the 3' end of tiles to their transcription start, int64; masked where there is none.

    Args:
        tile_ids: as `legscore variants` writes them; `made_by`: what it says of its options.
    """
    coded = tile_ids if pa.types.is_dictionary(tile_ids.type) else tile_ids.dictionary_encode()
    step, downstream = made_by.get("step"), made_by.get("downstream")
    known = made_by.get("tiles") == "promoters" and type(step) is int and type(downstream) is int
    of_name = np.zeros(len(coded.dictionary) + 1, dtype=np.int64)
    mask = np.ones(len(of_name), dtype=bool)
    for number, name in enumerate(coded.dictionary.to_pylist() if known else ()):
        if name is not None and (found := _PLACE.match(name)):
            of_name[number], mask[number] = int(found[1]) * int(step) - int(downstream), False  # type: ignore[arg-type]
    at = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return np.ma.MaskedArray(of_name[at], mask=mask[at])

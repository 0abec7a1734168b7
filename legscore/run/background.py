"""How large an effect is among all changes of promoters like its own: ranks against a stated background.

A background holds the effects of every single-base change of many tiles (`legscore atlas background`), in
classes of tiles: by how far they lie from the transcription start, and by their share of G and C. It belongs
to the models that scored them, to how their strands were read, and to what stood around the tiles. A row
whose distance is not known is ranked among all tiles of its share of G and C.

    percentile         percent of the class's changes whose |effect| is smaller
    rank               -10 log10 of the share of the class's changes whose |effect| is at least as large;
                       where none is, of 1 / (changes + 1)
    signed_percentile  percent of the class's changes whose effect is smaller, by sign
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.dna.contract import Contract
from legscore.errors import InputError, ModelError
from legscore.input.roles import check_added_columns
from legscore.input.source import READ_ERRORS, first_line
from legscore.output.write import METADATA_KEY
from legscore.rows.reading import insert_lengths
from legscore.rows.window import Windows
from legscore.system.publish import publishing, writing
from legscore.system.small_files import parse_json
from legscore.system.storage import reason

FORMAT = "legscore-background-1"
COLUMNS = ("percentile", "rank", "signed_percentile")
SETTINGS = ("rc", "singleton", "context")
"""What scores must share with those of a background, by the names of options."""
NULL = "null"
"""Setting: whether the effects are those of engine null, which are no effects."""
TILE_ID = "tile_id"
"""Column of the input that says how far a tile lies from its transcription start."""
UNKNOWN = -1
"""Distance class of rows whose distance is not known."""
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


def gc_shares(codes_WL: np.ndarray, contract: Contract) -> np.ndarray:
    """Share of G and C among the A, C, G, T of the insert in each window, float64; NaN where it has none of
    them.

    Args:
        codes_WL: uint8 [windows, length] of a contract.
    """
    length_W, end = insert_lengths(codes_WL, contract), contract.length - len(contract.flank3)
    shares = np.full(len(codes_WL), np.nan)
    for length in np.unique(length_W):
        rows = np.flatnonzero(length_W == length)
        whole = length == contract.length  # a window of genome, without flanks
        insert = codes_WL[rows] if whole else codes_WL[rows, end - length : end]
        known = np.count_nonzero(insert < 4, axis=1)
        strong = np.count_nonzero((insert == 1) | (insert == 2), axis=1)
        some = known > 0
        shares[rows[some]] = strong[some] / known[some]
    return shares


def settings_of(contract: Contract, rc: str, singleton: float | None, engine: str) -> dict[str, Any]:
    """How windows are made and read, and whether anything scores them: what a background holds for.

    Args:
        contract: of the windows that are scored, so of windows of genome where those are.
        engine: its name.
    """
    return {"rc": rc, "singleton": singleton, "context": contract.context, NULL: engine == "null"}


@dataclass(frozen=True)
class Background:
    """Effects of all single-base changes of many tiles, by class.

    Attributes:
        models: sha256 of each member. settings: as `settings_of` gives them.
        distance_edges, gc_edges: limits between classes, ascending; values equal to a limit belong above it.
        effects: (distance class, GC class) → float32, ascending.
        tiles: the same → number of tiles.
    """

    models: tuple[str, ...]
    settings: Mapping[str, Any]
    distance_edges: tuple[float, ...]
    gc_edges: tuple[float, ...]
    effects: Mapping[tuple[int, int], np.ndarray]
    tiles: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @property
    def n_changes(self) -> int:
        return sum(len(values) for values in self.effects.values())

    @cached_property
    def _signed(self) -> dict[tuple[int, int], np.ndarray]:
        """Effects by class, ascending; of each GC class also those of every distance together."""
        signed = dict(self.effects)
        for gc in {gc for _, gc in self.effects}:
            every = [values for (_, its), values in self.effects.items() if its == gc]
            signed[UNKNOWN, gc] = np.sort(np.concatenate(every))
        return signed

    @cached_property
    def _magnitudes(self) -> dict[tuple[int, int], np.ndarray]:
        return {name: np.sort(np.abs(values)) for name, values in self._signed.items()}

    def classes(self, distance_N: np.ma.MaskedArray[Any, Any], gc_N: np.ndarray) -> np.ndarray:
        """Distance class and GC class of rows, int64 [N, 2].

        Args:
            distance_N: bases to the transcription start, masked where not known. gc_N: share of G and C.
        """
        distance = np.searchsorted(self.distance_edges, distance_N.filled(0), side="right")
        known = ~np.ma.getmaskarray(distance_N)
        gc = np.searchsorted(self.gc_edges, np.nan_to_num(gc_N), side="right")
        found = np.stack([np.where(known, distance, UNKNOWN), gc], axis=1)
        for pair in {(int(d), int(g)) for d, g in np.unique(found, axis=0)} - set(self._signed):
            rows = (found == pair).all(axis=1)
            near = min((g for d, g in self._signed if d == UNKNOWN), key=lambda g: abs(g - pair[1]))
            found[rows] = (UNKNOWN, near)  # no tile of the background is of this class
        return found

    def ranks(self, effect_N: np.ndarray, class_N2: np.ndarray) -> dict[str, np.ndarray]:
        """COLUMNS as float32 [N], NaN where an effect is NaN.

        Args:
            effect_N: float32. class_N2: from `classes`.
        """
        columns = {name: np.full(len(effect_N), np.nan, dtype=np.float32) for name in COLUMNS}
        scored = np.isfinite(effect_N)
        for d, g in np.unique(class_N2[scored], axis=0):
            rows = np.flatnonzero(scored & (class_N2[:, 0] == d) & (class_N2[:, 1] == g))
            signed, size = self._signed[int(d), int(g)], self._magnitudes[int(d), int(g)]
            smaller = np.searchsorted(size, np.abs(effect_N[rows]), side="left")
            as_large = (len(size) - smaller) / len(size)
            share = np.where(as_large > 0, as_large, 1 / (len(size) + 1))
            columns["percentile"][rows] = 100 * smaller / len(size)
            columns["rank"][rows] = -10 * np.log10(share) + 0.0  # no -0.0
            below = np.searchsorted(signed, effect_N[rows], side="left")
            columns["signed_percentile"][rows] = 100 * below / len(signed)
        return columns

    def classes_of(
        self, tile_ids: pa.Array | None, made_by: Mapping[str, Any], windows: Windows, contract: Contract
    ) -> np.ndarray:
        """`classes` of the rows of a part.

        Args:
            tile_ids: of the rows; None where the input does not say.
            made_by: what `legscore variants` says of how the tiles were made.
            windows: of the rows, reference first.
        """
        n = len(windows.status_N)
        if tile_ids is None:
            distance = np.ma.MaskedArray(np.zeros(n, dtype=np.int64), mask=True)
        else:
            distance = distances(tile_ids, made_by)
        reference, gc = windows.index_NKS[:, 0, 0], np.full(n, np.nan)
        known = reference >= 0
        if known.any():
            gc[known] = gc_shares(windows.batch.codes_WL, contract)[reference[known]]
        return self.classes(distance, gc)

    def check(self, models: Sequence[str], settings: Mapping[str, Any], where: str) -> None:
        """ModelError unless it is of these models (in any order), read in this way."""
        if sorted(self.models) != sorted(models):
            shared = len(set(self.models) & set(models))
            raise ModelError(
                f"{where} is a background of {len(self.models)} other models, or not all the same ({shared} "
                f"of them are among these {len(models)}); build one from an atlas of these models"
            )
        if any(name not in self.settings for name in (*SETTINGS, NULL)):
            raise InputError(
                f"{where} does not say in which --context its effects were scored, and whether by an engine: "
                "an earlier legscore made it; make it again with legscore atlas background"
            )
        for name in SETTINGS:
            if self.settings.get(name) != settings.get(name):
                raise ModelError(
                    f"{where} is a background of scores with --{name} {self.settings.get(name)}; these have "
                    f"{settings.get(name)}; build one from an atlas of scores like these"
                )
        if self.settings[NULL] and not settings[NULL]:
            raise ModelError(
                f"{where} is a background of scores by --engine null, which are no scores; build one from an "
                "atlas that another engine scored"
            )

    def save(self, path: Path) -> None:
        """Write the file aside and rename it into place."""
        keys = sorted(self.effects)
        arrays = {
            "distance_class": np.concatenate(
                [np.full(len(self.effects[k]), k[0], dtype=np.int16) for k in keys]
            ),
            "gc_class": np.concatenate([np.full(len(self.effects[k]), k[1], dtype=np.int16) for k in keys]),
            "effect": np.concatenate([self.effects[k] for k in keys]),
        }
        said = {
            "format": FORMAT,
            "models": list(self.models),
            "settings": dict(self.settings),
            "distance_edges": list(self.distance_edges),
            "gc_edges": list(self.gc_edges),
            "tiles": [[*key, self.tiles.get(key, 0)] for key in keys],
            "effects_sha256": _digest(arrays),
        }
        said["sha256"] = _sealed(said)
        table = pa.table(arrays).replace_schema_metadata({METADATA_KEY: json.dumps(said, sort_keys=True)})
        with publishing(path) as temporary, writing(path):
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                use_dictionary=["distance_class", "gc_class"],
                use_byte_stream_split=["effect"],
                write_page_checksum=True,
            )


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in ("distance_class", "gc_class", "effect"):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _sealed(said: Mapping[str, Any]) -> str:
    content = {name: value for name, value in said.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_background(path: str) -> tuple[Background, str]:
    """Read a file; the background, and a SHA-256 that stands for it. InputError when it is none, or
    damaged."""
    advice = "legscore atlas background makes one"
    try:
        table = pq.read_table(path, use_threads=False)
    except READ_ERRORS as error:
        if isinstance(error, FileNotFoundError):  # pyarrow's says the path alone
            raise InputError(f"{path}: there is no such file; {advice}") from None
        why = reason(error) if isinstance(error, OSError) and error.errno else first_line(error)
        raise InputError(f"{path} is no background that can be read: {why}; {advice}") from error
    try:
        said = parse_json((table.schema.metadata or {}).get(METADATA_KEY, b"null"))
    except ValueError as error:
        raise InputError(f"{path} is no background: {error}; {advice}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise InputError(f"{path} is no background of effects ({FORMAT}); {advice}")
    arrays = {name: table[name].to_numpy() for name in table.column_names}
    if said.get("sha256") != _sealed(said) or said.get("effects_sha256") != _digest(arrays):
        raise InputError(
            f"{path} is damaged or was edited: its content does not fit its checksum; make it again"
        )
    keys = np.stack([arrays["distance_class"], arrays["gc_class"]], axis=1)
    cuts = [0, *(np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1).tolist(), len(keys)]
    effects = {
        (int(keys[begin][0]), int(keys[begin][1])): arrays["effect"][begin:end]
        for begin, end in itertools.pairwise(cuts)
    }
    background = Background(
        tuple(said["models"]),
        said["settings"],
        tuple(said["distance_edges"]),
        tuple(said["gc_edges"]),
        effects,
        {(int(d), int(g)): int(n) for d, g, n in said["tiles"]},
    )
    return background, str(said["sha256"])


def chosen_background(
    path: str | None,
    models: Sequence[str],
    settings: Mapping[str, Any],
    kept: Sequence[str],
    windows: int,
) -> tuple[Background | None, dict[str, Any]]:
    """The background asked for, fit for these models, and what the output says of it.

    Args:
        path: of the file; None where none was asked for.
        models: sha256 of each member. settings: as `settings_of` gives them.
        kept: columns carried over. windows: that a row compares.

    Raises:
        LegscoreError: it cannot be read, or does not go with this run.
    """
    if path is None:
        return None, {}
    check_added_columns("--background", COLUMNS, kept)
    if windows != 2:
        raise InputError("--background ranks effects; these rows are single sequences")
    found, sha256 = load_background(path)
    found.check(models, settings, path)
    return found, {"sha256": sha256, "changes": found.n_changes, "classes": len(found.effects)}

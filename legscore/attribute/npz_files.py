"""Contributions as .npz files in the layout that modisco-lite reads: OUT.npz and OUT.one_hot.npz.

Each holds its array as `arr_0`, [sequences, 4, length], bases A, C, G, T: hypothetical contributions in
OUT.npz (float32, `modisco motifs -a`), the sequences in OUT.one_hot.npz (int8, `modisco motifs -s`). Shorter
tiles are padded with 0 at their 3' end. OUT.npz says more in further arrays, which modisco-lite does not
read: the bases, and name, length and place of every tile. Equal contributions give equal bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.attribute.contributions import Contributions
from legscore.errors import InputError, listed, nearest
from legscore.evaluate.figures.logo import Panel
from legscore.evaluate.saturation import BASES, Place
from legscore.system.publish import publishing, writing

MAIN = "arr_0"
OF_TILES = ("name", "length", "chrom", "start", "end", "strand")
UNKNOWN = -1
"""Start and end of a tile whose place is not known."""


def one_hot_path(output: str) -> str:
    """Where the sequences go that belong to the contributions in `output`."""
    return f"{output[: -len('.npz')]}.one_hot.npz"


def write_npz(found: Contributions, output: str) -> None:
    """Write both files. OutputError when the disk refuses."""
    spans = [span(place, int(n)) for place, n in zip(found.places_T, found.length_T, strict=True)]
    arrays = {
        MAIN: found.hypothetical_TBL,
        "bases": np.array(list(BASES)),
        "base": found.base_TL,
        "has_contribution": found.has_TL,
        "name": np.array(list(found.names_T), dtype=str),
        "length": found.length_T.astype(np.int64),
        "chrom": np.array([chrom for chrom, *_ in spans], dtype=str),
        "start": np.array([start for _, start, _, _ in spans], dtype=np.int64),
        "end": np.array([end for *_, end, _ in spans], dtype=np.int64),
        "strand": np.array([strand for *_, strand in spans], dtype=str),
    }
    held: dict[str, Any]
    for path, held in ((one_hot_path(output), {MAIN: found.one_hot}), (output, arrays)):
        with publishing(Path(path)) as temporary, writing(path), open(temporary, "wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **held)


def span(place: Place | None, length: int) -> tuple[str, int, int, str]:
    """Contig, start and end (0-based, half-open) and strand of a tile; empty and UNKNOWN where not known."""
    if place is None:
        return "", UNKNOWN, UNKNOWN, "."
    if place.step > 0:
        return place.chrom, place.first - 1, place.first - 1 + length, "+"
    return place.chrom, place.first - length, place.first, "-"


def _place(chrom: str, start: int, end: int, strand: str) -> Place | None:
    """What `span` was made of."""
    if start == UNKNOWN:
        return None
    return Place(chrom, end, -1) if strand == "-" else Place(chrom, start + 1, 1)


def read_npz(path: str) -> Contributions:
    """Contributions that `write_npz` wrote. InputError where they are none."""
    wanted = f"{path} holds no contributions as legscore attribute writes them"
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):  # numpy would advise to unpickle it
                raise InputError(f"{wanted}: it is no .npz file, or cut short")
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{wanted}: {str(error).splitlines()[0] if str(error) else 'it is damaged'}"
        ) from error
    if lacking := [name for name in (MAIN, "base", "has_contribution", *OF_TILES) if name not in arrays]:
        raise InputError(f"{wanted}: it has no array {lacking[0]!r}")
    if problem := _misfit(arrays):
        raise InputError(f"{wanted}: {problem}")
    spans = zip(*(arrays[name].tolist() for name in ("chrom", "start", "end", "strand")), strict=True)
    places = [_place(*one) for one in spans]
    names = [str(name) for name in arrays["name"]]
    return Contributions(
        names, places, arrays["length"], arrays["base"], arrays[MAIN], arrays["has_contribution"]
    )


def panels(found: Contributions, names: Sequence[str]) -> list[Panel]:
    """What `legscore plot logo` draws: the tiles of these names, in their order; all where none is named.

    Raises:
        InputError: a name is no tile's or that of several, is named twice, or there are no tiles.
    """
    known = list(found.names_T)
    if not known:
        raise InputError("there are no contributions to draw: the file holds no tiles")
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise InputError(f"--promoter {twice} is named twice; name it once")
    for name in names:
        if (count := known.count(name)) != 1:
            what = f"{count} tiles have this name" if count else f"no such tile{nearest(name, known)}"
            raise InputError(f"--promoter {name}: {what}; there are {listed(name, known)}")
    drawn = [known.index(name) for name in names] or range(len(known))
    letters, values = np.array([*BASES, "N"]), found.at_base
    return [
        Panel(known[i], "".join(letters[found.base_TL[i, :n]]), values[i, :n], found.places_T[i])
        for i, n in ((i, int(found.length_T[i])) for i in drawn)
    ]


def _misfit(arrays: dict[str, np.ndarray]) -> str | None:
    """Which array does not fit the others, or has values of another kind; None where all do."""
    main = arrays[MAIN]
    if main.ndim != 3 or main.shape[1] != len(BASES) or main.dtype.kind != "f":
        return f"{MAIN} is {main.dtype} {list(main.shape)} instead of float [sequences, 4, length]"
    tiles, _, length = main.shape
    kinds = {"base": "i", "has_contribution": "b", "length": "i", "start": "i", "end": "i"}
    for name in ("base", "has_contribution", *OF_TILES):
        shape = (tiles, length) if name in ("base", "has_contribution") else (tiles,)
        if arrays[name].shape != shape or arrays[name].dtype.kind != kinds.get(name, "U"):
            return f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}, for {tiles} sequences"
    if not np.isfinite(main).all():
        return f"{MAIN} holds values that are not finite"
    if tiles and not (arrays["length"].min() >= 0 and arrays["length"].max() <= length):
        return "length holds lengths beyond the arrays"
    if tiles and length and not (arrays["base"].min() >= -1 and arrays["base"].max() < len(BASES)):
        return "base holds numbers that are no bases"
    return None

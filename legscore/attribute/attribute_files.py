"""A file of scores of every change → files of contributions: arrays, tracks, runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

from legscore.attribute.contributions import Contributions, contributions
from legscore.attribute.high_runs import FDR, WIDTH, HighRun, high_runs
from legscore.attribute.motif_scores import MOST_P
from legscore.attribute.named_runs import NO_HIT, named_runs
from legscore.attribute.npz_files import one_hot_path, span, write_npz
from legscore.attribute.open_motifs import open_motifs
from legscore.errors import InputError, OutputError
from legscore.evaluate.saturation import BASES, Saturation, select_saturation, wanted_columns
from legscore.evaluate.tables import Tables
from legscore.system.log import Say
from legscore.system.overwrite import check_files
from legscore.system.publish import publishing, writing
from legscore.variants.run_request import TRACKS, track_files
from legscore.variants.tracks import contig_lengths, write_strands

NOTE = (
    "contribution of the base that is there: its effect minus the mean effect of A, C, G and T, mean over "
    "tiles, {strand} gene strand (legscore)"
)
SHORT = 200
"""Bases below which TF-MoDISco's own lengths of seqlets leave room for few."""
SCALE = 1000
"""The score of a run in a BED file: |sum| of contributions × SCALE / the largest of the file."""
UNSAFE = re.compile(r"[\s%\x00-\x1f\x7f]")


@dataclass(frozen=True)
class AttributeOptions:
    """What `legscore attribute` can be asked for.

    Attributes:
        scores: file of scores of every change of tiles, as `legscore run` wrote it.
        output: .npz file of hypothetical contributions; the sequences go beside it (.one_hot.npz).
        tracks: .bw or .bedgraph, for a file per strand; None for none.
        bed: BED file of runs of high contribution; None for none.
        tile: column that names the tiles; None to choose.
        effect: column of the effects.
        width: positions of the stretches that are summed for runs. fdr: false discovery rate of high ones.
        meme: file of motifs that name the runs in `bed`; None for none. most_p: largest p-value of a hit.
    """

    scores: str
    output: str
    tracks: str | None = None
    bed: str | None = None
    tile: str | None = None
    effect: str = "effect"
    width: int = WIDTH
    fdr: float = FDR
    meme: str | None = None
    most_p: float = MOST_P

    def check(self, force: bool) -> None:
        """OutputError where an output has a name of another kind, is taken, or is the input."""
        if not self.output.lower().endswith(".npz"):
            raise OutputError(f"{self.output}: contributions are .npz files; name one")
        if self.tracks is not None and not self.tracks.lower().endswith(TRACKS):
            raise OutputError(f"{self.tracks}: tracks are {', '.join(TRACKS)}; name one of them")
        plus, minus = track_files(self.tracks) if self.tracks else (None, None)
        outputs: dict[str, str | Path | None] = {
            "-o": self.output,
            "-o, sequences": one_hot_path(self.output),
        }
        outputs |= {"--tracks": plus, "--tracks, minus strand": minus, "--bed": self.bed}
        check_files(outputs, [self.scores, self.meme], force=force)


def attribute(options: AttributeOptions, say: Say) -> Contributions:
    """Write what the options ask for.

    Args:
        options: what to read and write; `check` them first.
        say: receives one line for everything that was read and written.

    Raises:
        InputError: the scores hold no saturated tile, or not where tiles lie. OutputError: no library for
            bigWig, or the disk refuses.
    """
    motifs = open_motifs(options.meme, options.most_p, say) if options.meme else None
    tables = Tables([options.scores])
    table = tables.all[0]
    named = ["effect" if name == options.effect else name for name in table.columns]
    if table.opened.known_rows == 0 and wanted_columns(named):
        say(f"{table.name} has no rows: the contributions are empty")
        saturation = EMPTY
    else:
        saturation, selection = select_saturation(tables, options.tile, options.effect)
        for note in (*selection.notes, f"rows: {selection.summary()}"):
            say(note)
    found = contributions(saturation)
    for line in told(saturation, found):
        say(line)
    if options.tracks:
        record = table.metadata() or {}
        for line in write_strands(strand_values(found), options.tracks, contig_lengths(record), NOTE):
            say(line)
    if options.bed:
        runs = high_runs(found, options.width, options.fdr)
        hits = None
        if motifs is not None:
            hits = named_runs(found, runs, motifs)
            say(f"runs with a motif: {sum(hit != NO_HIT for hit in hits):,} of {len(runs):,}")
        write_bed(found, runs, Path(options.bed), hits)
        where = "on the genome" if _placed(found) else "by tile: the scores do not say where tiles lie"
        say(f"output: {options.bed} ({len(runs):,} runs of high contribution, {where})")
    write_npz(found, options.output)
    say(f"output: {options.output} and {one_hot_path(options.output)}")
    if len(found):
        longest = found.base_TL.shape[1]
        short = " -z 8 -t 16 -f 4 -g 4" if longest < SHORT else ""
        files = f"-s {one_hot_path(options.output)} -a {options.output}"
        say(f"        modisco motifs {files} -w {longest}{short} -n 5000 -o motifs.h5")
    return found


EMPTY = Saturation(
    [],
    [],
    [],
    np.zeros(0, np.int64),
    np.zeros((0, len(BASES), 0), np.float32),
    np.zeros((0, 0), np.int8),
    "none",
)
"""Of scores without rows."""


def told(saturation: Saturation, found: Contributions) -> list[str]:
    """What was found, and what has no contribution."""
    positions = int(found.length_T.sum())
    lines = [f"tiles: {len(found):,} (column {saturation.column}), {positions:,} positions"]
    if n := saturation.n_sparse:
        several = (
            "s with changes at too few positions are" if n > 1 else " with changes at too few positions is"
        )
        lines.append(f"       {n:,} tile{several} left out")
    if missing := positions - int(found.has_TL.sum()):
        lines.append(
            f"       {missing:,} positions without scores of all changes, or a base that is known, have no "
            "contribution"
        )
    return lines


def _placed(found: Contributions) -> bool:
    return len(found) > 0 and all(place is not None for place in found.places_T)


def strand_values(found: Contributions) -> pl.DataFrame:
    """Contributions on the genome: chrom, pos (1-based), strand, value (mean over tiles).

    Raises:
        InputError: a tile whose place is not known.
    """
    for name, place in zip(found.names_T, found.places_T, strict=True):
        if place is None:
            raise InputError(
                f"{name}: the scores do not say where this tile lies (columns chrom and pos), which tracks "
                "need; score what legscore variants --saturate wrote"
            )
    chroms: Mapping[int, Any] = {i: place.chrom for i, place in enumerate(found.places_T) if place}
    first = np.array([place.first for place in found.places_T if place], dtype=np.int64)
    step = np.array([place.step for place in found.places_T if place], dtype=np.int64)
    tile, offset = np.nonzero(found.has_TL)
    frame = pl.DataFrame(
        {
            "tile": tile.astype(np.int64),
            "pos": first[tile] + step[tile] * offset,
            "value": found.at_base[tile, offset].astype(np.float64),
        }
    )
    signs = pl.Series(["+" if one > 0 else "-" for one in step], dtype=pl.String)
    frame = frame.with_columns(
        pl.Series("chrom", [chroms[i] for i in range(len(found))], dtype=pl.String).gather(frame["tile"]),
        signs.gather(frame["tile"]).alias("strand"),
    )
    grouped = frame.sort("tile").group_by("chrom", "pos", "strand", maintain_order=True)
    return grouped.agg(pl.col("value").mean())


def write_bed(found: Contributions, runs: list[HighRun], path: Path, hits: list[str] | None = None) -> None:
    """Write runs as BED6, with the sum of their contributions and their bases as columns 7 and 8.

    With `hits`, the best hit of a motif in each run is column 9.

    In genome coordinates by contig, position and tile; where not every tile has a place, in those of tiles,
    whose names then stand for contigs.
    """
    placed = _placed(found)
    most = max((abs(run.total) for run in runs), default=0.0)
    rows = []
    for i, run in enumerate(runs):
        name = field(found.names_T[run.tile])
        chrom, start, stop, strand = name, run.start, run.stop, "+"
        if placed:
            place, length = found.places_T[run.tile], int(found.length_T[run.tile])
            chrom, first, last, strand = span(place, length)
            chrom = field(chrom)
            start, stop = (
                (first + run.start, first + run.stop)
                if strand == "+"
                else (last - run.stop, last - run.start)
            )
        bases = "".join(BASES[b] if b >= 0 else "N" for b in found.base_TL[run.tile, run.start : run.stop])
        score = round(SCALE * abs(run.total) / most)
        hit = () if hits is None else (hits[i],)
        rows.append((chrom, start, stop, name, score, strand, f"{run.total:.6g}", bases, *hit))
    if placed:
        rows.sort(key=lambda row: (row[0], row[1], row[2], row[3]))
    with publishing(path) as temporary, writing(path), open(temporary, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write("\t".join(map(str, row)) + "\n")


def field(text: str) -> str:
    """A name as one field of BED: blanks, control characters and % are written as %20 is in addresses."""
    return UNSAFE.sub(lambda found: quote(found[0]), text) or "."

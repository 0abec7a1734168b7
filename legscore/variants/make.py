"""A set of variants, from options to a file: what `legscore variants` and `legscore run --fasta` share."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError
from legscore.system.log import Say
from legscore.system.overwrite import check_outputs
from legscore.system.storage import Stamp, check_same, stamp
from legscore.variants.allele_blocks import Records
from legscore.variants.build import Builder
from legscore.variants.contigs import ContigMap
from legscore.variants.genotypes import choose_samples
from legscore.variants.haplotypes import SCHEMA as HAPLOTYPES
from legscore.variants.haplotypes import HaplotypeBuilder
from legscore.variants.options import BuildOptions, Setting, prepare
from legscore.variants.output import check_output, dictionary, fixed_texts, open_table
from legscore.variants.records import open_records
from legscore.variants.saturate import SCHEMA, WITH_INDELS, Saturated, saturated, tile_lengths
from legscore.variants.windows import tile_letters
from legscore.version import __version__


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        rows: of the table; 0 where no allele lies in a tile, or there is none.
        contigs: names of VARIANTS → those of the FASTA.
        lengths: of the FASTA's contigs.
        read: what VARIANTS was when it was read: whoever reads it again has to find the same.
    """

    rows: int
    contigs: ContigMap
    lengths: Mapping[str, int]
    read: Stamp | None = None


@dataclass(frozen=True)
class Content:
    """A table that can be written: its schema, its pieces, and what to say once all of them are written."""

    schema: pa.Schema
    tables: Iterable[pa.Table]
    summary: Callable[[], Iterable[str]] = tuple
    contigs: Callable[[], ContigMap] = lambda: ContigMap({})


def make(
    source: str | None,
    output: str,
    options: BuildOptions,
    *,
    saturate: bool = False,
    indels: bool = False,
    samples: str | None = None,
    numbered: bool = False,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
    dry_run: bool = False,
    margin: int = 0,
    say: Say = lambda line: None,
) -> Made:
    """Write a table of variants; without `source` and `saturate`, the tiles themselves as sequences.

    Args:
        source: VCF, BCF or table of alleles.
        output: Parquet, Arrow, CSV or TSV, by its ending.
        options: genome, tiles, and how alleles become sequences.
        saturate: every single-base change of the tiles, instead of `source`.
        indels: with `saturate`, deletions and insertions of one base too.
        samples: `all` or names: rows are these samples' haplotypes instead of single alleles.
        numbered: see `Builder`.
        columns: {role: column} of a table of alleles, where the user has chosen.
        force: replace an output that is there already.
        dry_run: write nothing; count and say what there would be.
        margin: bases at either end of every tile that a window may move into (`legscore.rows.shifts`).
        say: receives one line for every decision.

    Raises:
        InputError, OutputError: nothing of the output is left.
    """
    check_output(output)
    check_outputs({"-o": output}, [source, samples, *options.files()], force=force or dry_run)
    _check(source, options, saturate=saturate, indels=indels, samples=samples, columns=columns)
    started = time.perf_counter()
    read = [path for path in (source, *options.files()) if path is not None and os.path.isfile(path)]
    stamps = {path: stamp(Path(path)) for path in read}
    records: Records | None = None
    chosen: list[str] = []
    if samples is not None and source is not None:
        chosen = choose_samples(source, samples)
    if source is not None:
        regions = options.region if samples is None else ()  # haplotypes refuse them
        records = open_records(source, regions, numbered=numbered, columns=columns)
        for line in records.notes:
            say(line)
    setting = prepare(options, say)
    metadata: dict[str, Any] = {
        "legscore": __version__,
        "variants": {
            "sequence_is": "insert",
            "saturate": saturate,
            "saturate_indels": indels,
            **options.described(),
            **({"haplotypes": len(chosen)} if chosen else {}),
            **({"margin": margin} if margin else {}),
            **({"tile_lengths": tile_lengths(setting)} if saturate else {}),
            "contigs": dict(setting.genome.lengths),  # for those who make tracks of the scores
        },
    }
    content = _content(setting, records, chosen, saturate=saturate, indels=indels, numbered=numbered, say=say)
    rows = 0
    opened = open_table(output, content.schema, metadata)
    with contextlib.nullcontext(lambda table: None) if dry_run else opened as write:
        for table in content.tables:
            write(table)
            rows += table.num_rows
        for path, before in stamps.items():
            check_same(path, before)
    for line in content.summary():
        say(line)
    empty = "" if rows else "; there is nothing to score"
    took = f"({rows:,} rows in {time.perf_counter() - started:,.1f} s){empty}"
    say(f"nothing was written {took}" if dry_run else f"output: {output} {took}")
    return Made(rows, content.contigs(), setting.genome.lengths, stamps.get(str(source)))


def _check(
    source: str | None,
    options: BuildOptions,
    *,
    saturate: bool,
    indels: bool,
    samples: str | None,
    columns: Mapping[str, str] | None,
) -> None:
    """InputError for what does not go together."""
    if source is not None and saturate:
        raise InputError("--saturate makes every change itself; give it no VARIANTS")
    if indels and not saturate:
        raise InputError("--saturate-indels adds to --saturate; give both")
    if options.context == "genome" and options.length is None:
        raise InputError(
            "--context genome needs --length: the bases that the model reads (231 for the published human "
            "scripts)"
        )
    if source is None and options.centered:
        raise InputError("--centered needs VARIANTS to make tiles around")
    if source is None and samples is not None:
        raise InputError("--haplotypes needs VARIANTS: a VCF or BCF with samples")
    without = {"--region": options.region, "--keep-outside": options.keep_outside, "--column": columns}
    if source is None and (idle := next((name for name, value in without.items() if value), None)):
        raise InputError(f"{idle} is about VARIANTS; give a VCF, a BCF or a table of alleles")
    alleles = {"--on-mismatch": options.on_mismatch != "status"}
    if not indels:
        alleles |= {"--anchor": options.anchor != "3", "--indel": options.indel != "refill"}
    if source is None and (idle := next((name for name, given in alleles.items() if given), None)):
        raise InputError(f"{idle} is about alleles; without VARIANTS there are none that it could change")


def _content(
    setting: Setting,
    records: Records | None,
    samples: Sequence[str],
    *,
    saturate: bool,
    indels: bool,
    numbered: bool,
    say: Say,
) -> Content:
    """What the table holds: haplotypes of samples, alleles, every change, or the tiles."""
    if records is not None and samples:
        haplotypes = HaplotypeBuilder(setting, records, samples, say)
        say(f"samples: {len(samples):,}")
        return Content(HAPLOTYPES, haplotypes.tables(), haplotypes.counts.lines)
    if records is not None:
        builder = Builder(setting, records, say, numbered=numbered)
        return Content(builder.schema, builder.tables(), builder.counts.lines, lambda: builder.contigs)
    if saturate:
        counts = Saturated()
        changes = saturated(setting, counts, with_indels=indels)
        return Content(WITH_INDELS if indels else SCHEMA, changes, counts.lines)
    table = tile_table(setting)
    return Content(table.schema, [table])


def tile_table(setting: Setting) -> pa.Table:
    """The tiles with their `sequence` (null where they leave the contig), for scoring the promoters
    themselves."""
    assert setting.tiles is not None
    frame = setting.tiles.frame
    start, end, edge = (frame[name].to_numpy() for name in ("start", "end", "edge"))
    minus = frame["strand"].to_numpy() == "-"
    texts: list[pa.Array] = []
    order: list[np.ndarray] = []
    for name, tiles in setting.tiles.by_contig().items():
        tiles = tiles[~edge[tiles]]
        for length in np.unique(end[tiles] - start[tiles]):
            rows = tiles[end[tiles] - start[tiles] == length]
            texts.append(
                fixed_texts(tile_letters(setting.genome.contig(name), start[rows], int(length), minus[rows]))
            )
            order.append(rows)
    place = np.full(len(frame), -1, dtype=np.int64)
    rows = np.concatenate(order) if order else np.empty(0, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    sequence = (
        pa.chunked_array(texts, pa.large_string()).combine_chunks().take(pa.array(place, mask=place < 0))
    )
    table = (
        frame.drop("edge").to_arrow(compat_level=pl.CompatLevel.oldest()).append_column("sequence", sequence)
    )
    fields = [
        pa.field(f.name, dictionary())
        if pa.types.is_large_string(f.type) and f.name not in ("tile_id", "sequence")
        else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields))

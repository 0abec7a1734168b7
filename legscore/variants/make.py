"""A set of variants, from options to a file: what `legscore variants` and `legscore run --fasta` share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError
from legscore.system.log import Say
from legscore.system.overwrite import check_outputs
from legscore.variants.build import Builder
from legscore.variants.contigs import ContigMap
from legscore.variants.genotypes import choose_samples
from legscore.variants.haplotypes import SCHEMA as HAPLOTYPES
from legscore.variants.haplotypes import HaplotypeBuilder
from legscore.variants.options import BuildOptions, Setting, prepare
from legscore.variants.output import check_output, dictionary, fixed_texts, open_table
from legscore.variants.records import open_records
from legscore.variants.saturate import SCHEMA, WITH_INDELS, Saturated, saturated
from legscore.variants.windows import tile_letters
from legscore.version import __version__


@dataclass(frozen=True)
class Made:
    """What was written: rows; contig names of VARIANTS → those of the FASTA; lengths of the FASTA's
    contigs."""

    rows: int
    contigs: ContigMap
    lengths: Mapping[str, int]


def make(
    source: str | None,
    output: str,
    options: BuildOptions,
    *,
    saturate: bool = False,
    indels: bool = False,
    samples: str | None = None,
    numbered: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
) -> Made:
    """Write a table of variants; without `source` and `saturate`, the tiles themselves as sequences.

    Args:
        samples: `all` or names: rows are these samples' haplotypes instead of single alleles.
        indels: with `saturate`, deletions and insertions of one base too.
        numbered: see `Builder`.
        force: replace an output that is there already.

    Raises:
        InputError, OutputError: nothing of the output is left.
    """
    check_output(output)
    check_outputs({"-o": output}, [source, samples, *options.files()], force=force)
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
    started, contigs = time.perf_counter(), ContigMap({})
    metadata: dict[str, Any] = {
        "legscore": __version__,
        "variants": {
            "sequence_is": "insert",
            "saturate": saturate,
            "saturate_indels": indels,
            **options.described(),
        },
    }
    if samples is not None:
        if source is None:
            raise InputError("--haplotypes needs VARIANTS: a VCF or BCF with samples")
        chosen, records = choose_samples(source, samples), open_records(source)
        metadata["variants"]["haplotypes"] = len(chosen)
        setting = _prepared(options, metadata, say)
        haplotypes = HaplotypeBuilder(setting, records, chosen, say)
        say(f"samples: {len(chosen):,}")
        with open_table(output, HAPLOTYPES, metadata) as write:
            for table in haplotypes.tables():
                write(table)
        lines, rows = list(haplotypes.counts.lines()), sum(haplotypes.counts.rows.values())
    elif source is not None:
        records = open_records(source, options.region, numbered=numbered)
        setting = _prepared(options, metadata, say)
        builder = Builder(setting, records, say, numbered=numbered)
        with open_table(output, builder.schema, metadata) as write:
            for table in builder.tables():
                write(table)
        lines, rows = list(builder.counts.lines()), sum(builder.counts.rows.values())
        contigs = builder.contigs
    elif saturate:
        setting, counts = _prepared(options, metadata, say), Saturated()
        with open_table(output, WITH_INDELS if indels else SCHEMA, metadata) as write:
            for table in saturated(setting, counts, with_indels=indels):
                write(table)
        lines, rows = list(counts.lines()), counts.rows
    else:
        setting = _prepared(options, metadata, say)
        table = tile_table(setting)
        with open_table(output, table.schema, metadata) as write:
            write(table)
        lines, rows = [], table.num_rows
    for line in lines:
        say(line)
    seconds = time.perf_counter() - started
    say(f"output: {output} ({rows:,} rows in {seconds:,.1f} s)")
    return Made(rows, contigs, setting.genome.lengths)


def _prepared(options: BuildOptions, metadata: dict[str, Any], say: Say) -> Setting:
    """`prepare`, with the contigs and their lengths in the metadata, for those who make tracks of the
    scores."""
    setting = prepare(options, say)
    metadata["variants"]["contigs"] = dict(setting.genome.lengths)
    return setting


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

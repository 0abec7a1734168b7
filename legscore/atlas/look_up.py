"""THE PAGE of looking up: alleles → rows in tiles → what the atlas has of them → the rest scored → a table or
VCF.

Rows, columns and statuses are those of `legscore run` on the same input with --keep-outside; a column
`lookup` says where the score is from. No engine is opened unless misses are to be scored. The output gets its
name once the whole input is read and seen to fit the atlas.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from legscore.atlas.answers import UNSCORED, WORDS, Answer, Ranks, added
from legscore.atlas.contents import Contents, open_contents
from legscore.atlas.fill import SCORED_BY
from legscore.atlas.fitting import read_tiles, setting_of
from legscore.atlas.found_rows import FoundRows
from legscore.atlas.misses import MissScorer, opened_scorer
from legscore.atlas.options import LookupOptions
from legscore.atlas.shelf import Shelf
from legscore.atlas.tally import Tally
from legscore.errors import OutputError
from legscore.output.write import Writer, check_writes, open_writer, output_format
from legscore.run.finished import checksums_of
from legscore.run.record import python_call
from legscore.system.json_records import sealed
from legscore.system.log import RunLog, Say
from legscore.system.overwrite import check_outputs, check_outside
from legscore.system.publish import check_output, is_stream, record_of, write_record, written_by
from legscore.system.resources import folder
from legscore.system.storage import check_same, stamp
from legscore.variants.records import open_records
from legscore.variants.run_request import VCF


def look_up(
    options: LookupOptions, *, say: Say = lambda line: None, log: RunLog | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Look up alleles in an atlas.

    Args:
        options: what to look up where.
        say: receives one line for every decision. log: takes warnings; by default they go to `say`.

    Returns:
        The lookup's record, also in OUTPUT.run.json, and lines about it.

    Raises:
        LegscoreError: the input, the genome or the models do not fit the atlas, or something cannot be read
            or written; no output is left.
    """
    log = log or RunLog(say=say)
    form = _checked_form(options)
    contents = open_contents(options.atlas)
    begun, started = time.perf_counter(), datetime.datetime.now(datetime.timezone.utc)
    read = stamp(Path(options.source)) if os.path.isfile(options.source) else None
    with contextlib.ExitStack() as stack:
        scorer = stack.enter_context(opened_scorer(options, contents, say))
        tiles = read_tiles(contents)
        setting, genome = setting_of(options, contents, tiles)
        if form is not None:  # every record is kept all the same
            setting = replace(setting, options=replace(setting.options, keep_outside=False))
        numbered = form is not None
        records = open_records(options.source, options.region, numbered=numbered, columns=options.columns)
        for line in records.notes:
            say(line)
        shelf = Shelf(contents, tiles)
        scores = scorer is not None
        how: dict[str, Any] = {"numbered": numbered, "scores_misses": scores, "adds": added(options)}
        rows = FoundRows(setting, records, shelf, genome.atlas_name, say, **how)
        ranks = Ranks.of(options, contents, tiles)
        answer = Answer(rows.schema, tiles["ref_score"].to_numpy().astype(np.float32), scorer, ranks)
        metadata, tally = _metadata(options, contents, scorer, ranks), Tally(options, contents)
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="legscore-")))
        spooled = room / "_scored.parquet" if form is not None or is_stream(options.output) else None
        with _written(options, form, answer.schema, metadata, spooled) as write:
            for table in rows.tables():
                found = answer(table)
                tally.add(table, found)
                write(found)
            tally.check(rows, log)
            if read is not None:
                check_same(Path(options.source), read)
        record = (
            metadata
            | tally.record()
            | _circumstances(options, started, time.perf_counter() - begun, tally.rows)
        )
        lines = [*replace(rows.counts, rows=tally.by_status).lines(), *tally.lines()]
        if form is not None and spooled is not None:
            from legscore.variants.vcf_out import write_vcf

            source, names, lengths = Path(options.source), rows.contigs, genome.lengths
            lines += write_vcf(source, spooled, options.output, form, names, lengths, record, read)
        elif spooled is not None:
            _copy(spooled, options, answer.schema, metadata)
    if not is_stream(options.output):
        record["output_files"] = checksums_of([options.output])
        write_record(options.output, sealed(record))
        if form is None:
            lines.append(f"output: {options.output} (record: {record_of(options.output)})")
    return record, lines


def _checked_form(options: LookupOptions) -> str | None:
    """The form of a VCF that is written; None for a table. LegscoreError where the output cannot be."""
    output = options.output
    if output.endswith("/"):
        raise OutputError(f"{output}: legscore lookup writes one file; name one")
    if not is_stream(output):
        check_outside(output, options.atlas, "the atlas")
    read = [options.source, options.fasta, options.background, *options.contig_map]
    bundled = [str(folder("bundled"))] if options.score_misses else []
    models = list(options.models) or bundled
    check_outputs({"-o": written_by(output)}, read, models, force=options.force)
    name = output.lower()
    ending = next((ending for ending in VCF if name.endswith(ending)), None)
    form = {".vcf.bgz": "vcf.gz"}.get(ending, ending[1:]) if ending else None
    if is_stream(output) and options.format in ("vcf", "bcf"):
        form = options.format
    if form is not None:
        if options.background is not None:
            raise OutputError(f"--background adds columns to a table; {output} has none")
        if options.drop_outside:
            raise OutputError(f"--drop-outside is about rows of a table; {output} keeps every record")
        if not options.source.lower().endswith(VCF):
            raise OutputError(f"{output}: a VCF comes out only where one goes in")
        if options.format not in (None, form.split(".")[0]):
            raise OutputError(
                f"--format {options.format} contradicts the extension of {output}; drop one of them"
            )
    else:
        output_format(output, options.format)
    check_output(output)
    return form


def _metadata(
    options: LookupOptions, contents: Contents, scorer: MissScorer | None, ranks: Ranks | None
) -> dict[str, Any]:
    """What defines the scores, for the output's metadata."""
    manifest = contents.manifest
    how = {
        **manifest["variants"],
        "saturate": False,
        "saturate_indels": False,
        "on_mismatch": options.on_mismatch,
    }
    metadata: dict[str, Any] = {name: manifest[name] for name in SCORED_BY}
    metadata |= {
        "variants": how,
        "atlas": {"manifest_sha256": contents.sha256, "numbers": manifest["numbers"]},
    }
    metadata["atlas"]["scored_misses"] = scorer is not None
    if scorer is not None and scorer.is_other:
        metadata["atlas"]["engine_of_misses"] = scorer.engine.describe()
    if ranks is not None:
        metadata["background"] = ranks.said
    return metadata


def _circumstances(
    options: LookupOptions, started: datetime.datetime, seconds: float, rows: int
) -> dict[str, Any]:
    """What the record holds beyond what defines the scores."""
    return {
        "command": options.command
        or python_call("legscore.atlas.look_up.look_up", {"source": options.source}),
        "inputs": [options.shown.get(options.source, options.source)],
        "atlas_folder": options.atlas,
        "output": options.output,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / max(seconds, 1e-9), 1),
    }


@contextlib.contextmanager
def _written(
    options: LookupOptions,
    form: str | None,
    schema: pa.Schema,
    metadata: dict[str, Any],
    spooled: Path | None,
) -> Iterator[Callable[[pa.Table], None]]:
    """What takes the rows of the output; where they go on from a spool, that."""
    name = options.output if spooled is None else str(spooled)
    format_name = "parquet" if spooled is not None else output_format(name, None)
    if form is None:
        check_writes(output_format(options.output, options.format), schema)
    with open_writer(name, format_name, schema, metadata) as writer:
        yield writer.write


def _copy(spooled: Path, options: LookupOptions, schema: pa.Schema, metadata: dict[str, Any]) -> None:
    """Rows of a spool to standard output, once all of them are known to be right."""
    format_name = output_format(options.output, options.format)
    with (
        pq.ParquetFile(spooled) as file,
        open_writer(options.output, format_name, schema, metadata) as writer,
    ):
        for batch in file.iter_batches():
            _write_as(writer, pa.Table.from_batches([batch]), schema)


def _write_as(writer: Writer, table: pa.Table, schema: pa.Schema) -> None:
    """Rows as they were before they were spooled: a file gives dictionaries other numbers."""
    columns = []
    for field in schema:
        column = table[field.name]
        if pa.types.is_dictionary(field.type):
            texts = column.cast(pa.string()).combine_chunks()
            words = pa.array(dict.fromkeys((*UNSCORED, *WORDS)))
            codes = pc.index_in(texts, value_set=words).cast(pa.int8())
            codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
            column = pa.DictionaryArray.from_arrays(codes, words)
        columns.append(column)
    writer.write(pa.Table.from_arrays(columns, schema=schema))

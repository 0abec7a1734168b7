"""Whether a genome is that of the organism whose cells the models were measured in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.columnar import made_by
from legscore.input.files import find_files
from legscore.input.formats import ARROW_MAGIC, format_of
from legscore.input.source import READ_ERRORS
from legscore.model.checkpoint import find_checkpoints, load_checkpoint
from legscore.model.model_names import BUNDLED
from legscore.run.finished import own_outputs
from legscore.run.options import Options
from legscore.system.log import RunLog
from legscore.system.resources import folder
from legscore.system.storage import Remote, open_binary

if TYPE_CHECKING:
    from legscore.variants.options import BuildOptions

PLACE = ("chrom", "pos")
POSITION = re.compile(r"\d{1,18}", re.ASCII)
FIRST_ROWS = 4096
TOLD_APART = ("Saccharomyces cerevisiae",)
"""Organisms whose genome is known by its contigs (`legscore.variants.contigs.organism_of`)."""


def check_organism(options: Options, build: BuildOptions | None, log: RunLog) -> None:
    """Warn where the models are of another organism than the genome; stop where nobody chose those models.

    Engine null, which computes no scores, is only warned about.

    Args:
        options: of the run; `build`: how its rows are made from a genome, if they are.
        log: takes the warnings.

    Raises:
        InputError: no models were named, and the bundled ones are of another organism.
    """
    if build:
        check_contigs(build.fasta, contigs_of_fasta(build.fasta), options, log)
        return
    checked: list[dict[str, int]] = []
    with contextlib.suppress(*READ_ERRORS):  # the run that opens the input says what is wrong with it
        for file in find_files(options.inputs, own_outputs(options.output)).files:
            contigs, places = _origin_of(file.path)
            if contigs not in checked:
                check_table(str(file.path), contigs, places, options, log)
                checked += [contigs] if contigs else []


def check_table(
    table: str, contigs: Mapping[str, int], places: Mapping[str, int], options: Options, log: RunLog
) -> None:
    """`check_organism` of a table: by the contigs that its metadata names, or, where there are none, by the
    places of its first rows (`places_of`)."""
    if contigs:
        check_contigs(table, contigs, options, log)
    elif places:
        from legscore.variants.contigs import outside_r64

        where = outside_r64(places)
        if where is not None and (contract := contract_of(options)).organism in TOLD_APART:
            why = f"it has a row at {where}, which the reference genome of {contract.organism} does not have"
            _tell(table, why, contract, options, log)


def check_contigs(genome: str, contigs: Mapping[str, int], options: Options, log: RunLog) -> None:
    """`check_organism` of a genome by its contigs, {name: bases}."""
    contract = contract_of(options)
    if (why := mismatch(contigs, contract)) is not None:
        _tell(genome, why, contract, options, log)


def _tell(genome: str, why: str, contract: Contract, options: Options, log: RunLog) -> None:
    """Warn, or stop where nobody chose the models."""
    models = f"of {contract.describe_origin()}"
    if not options.models and options.engine != "null":
        raise InputError(
            f"{genome}: {why}, and the bundled models are {models}; give models with -m PATH, or score "
            f"with these: -m {BUNDLED}"
        )
    log.warn("organism", f"{genome}: {why}, and the models are {models}")


def mismatch(contigs: Mapping[str, int], contract: Contract) -> str | None:
    """Why a genome is not that of the models' organism; None where it is, or cannot be told.

    Args:
        contigs: their names and lengths in bases; `contract`: of the models.
    """
    from legscore.variants.contigs import organism_of

    organism = organism_of(contigs)
    if not contract.organism or organism == contract.organism:
        return None
    if organism is not None:
        return f"its contigs are those of {organism}"
    if contract.organism in TOLD_APART:
        return f"its contigs are not those of {contract.organism} (names and lengths of its reference genome)"
    return None


def check_tile_length(build: BuildOptions, contract: Contract, log: RunLog) -> None:
    """Warn where tiles have a length that the models do not read, so that no row will have a score."""
    length = build.tile_length
    if build.regions_bed is not None or build.context == "genome":
        return
    if not contract.insert_min <= length <= contract.insert_max:
        reads = f"{contract.insert_min}-{contract.insert_max}"
        if contract.insert_min == contract.insert_max:
            reads = str(contract.insert_min)
        log.warn(
            "tile length",
            f"tiles of {length} bases: the models ({contract.describe_origin()}) read inserts of {reads}; "
            "leave --length out for theirs",
        )


def contract_of(options: Options) -> Contract:
    """What the models of a run read, from the first of them."""
    return load_checkpoint(find_checkpoints(options.models or [folder("bundled")])[0]).contract


def contigs_of_fasta(path: str) -> dict[str, int]:
    """Contig → bases."""
    from legscore.variants.genome import Genome

    return dict(Genome(path).lengths)


def _origin_of(path: Path | Remote) -> tuple[dict[str, int], dict[str, int]]:
    """The contigs in the metadata of a Parquet or Arrow table; where there are none, the places of the first
    rows of a table on a disk (in a store each look takes its time)."""
    with open_binary(path) as stream:
        magic = bytes(stream.read(8))
        stream.seek(0)
        form = format_of(path, magic) if magic else ""
        if form not in ("Parquet", "Arrow"):
            return {}, {} if isinstance(path, Remote) else _places_of_text(path, form)
        schema, batches = _opened(stream, form, magic)
        contigs = contigs_in(made_by(schema))
        if contigs or isinstance(path, Remote) or not set(PLACE) <= set(schema.names):
            return contigs, {}
        return {}, next((places_in(batch) for batch in batches), {})


def _places_of_text(path: Path, form: str) -> dict[str, int]:
    """`places_of` the first rows of a table that is text."""
    from legscore.input.text import DELIMITER, first_rows

    if form not in DELIMITER:
        return {}
    return places_of((row.get("chrom"), row.get("pos")) for row in first_rows(path, form))


def _opened(stream: Any, form: str, magic: bytes) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of a Parquet or Arrow table, with its metadata, and its batches; of Parquet small ones
    of the columns PLACE."""
    if form == "Parquet":
        file = pq.ParquetFile(stream)
        return file.schema_arrow, file.iter_batches(FIRST_ROWS, columns=list(PLACE))
    if magic.startswith(ARROW_MAGIC):
        arrow = pa.ipc.open_file(stream)
        return arrow.schema, (arrow.get_batch(i) for i in range(arrow.num_record_batches))
    arrow_stream = pa.ipc.open_stream(stream)
    return arrow_stream.schema, iter(arrow_stream)


def places_in(rows: pa.Table | pa.RecordBatch) -> dict[str, int]:
    """`places_of` the first rows of a table; empty where it has not both columns."""
    if not set(PLACE) <= set(rows.schema.names):
        return {}
    return places_of(
        zip(*(rows.column(name).slice(0, FIRST_ROWS).to_pylist() for name in PLACE), strict=True)
    )


def places_of(rows: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    """Contig → the largest position of rows, as `legscore variants` writes them in the columns PLACE. Rows
    without one do not count."""
    largest: dict[str, int] = {}
    for chrom, pos in rows:
        if isinstance(chrom, str | int) and chrom != "" and POSITION.fullmatch(str(pos)):
            largest[str(chrom)] = max(int(pos), largest.get(str(chrom), 0))
    return largest


def contigs_in(made_by: Mapping[str, Any]) -> dict[str, int]:
    """Contig → bases in what `legscore variants` left in a table; empty where there is none."""
    contigs = made_by.get("contigs")
    if not isinstance(contigs, dict) or any(type(bases) is not int for bases in contigs.values()):
        return {}
    return contigs

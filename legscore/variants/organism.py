"""Whether a genome is that of the organism whose cells the models were measured in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.columnar import made_by
from legscore.input.files import PARQUET_MAGIC, find_files
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

ARROW_MAGIC, ARROW_STREAM_MAGIC = b"ARROW1", b"\xff\xff\xff\xff"
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
    for table, contigs in contigs_of_tables(options.inputs, own_outputs(options.output)):
        check_contigs(table, contigs, options, log)


def check_contigs(genome: str, contigs: Mapping[str, int], options: Options, log: RunLog) -> None:
    """`check_organism` of a genome by its contigs, {name: bases}; empty where they are not known."""
    if not contigs:
        return
    contract = contract_of(options)
    if (found := mismatch(contigs, contract)) is None:
        return
    models = f"of {contract.describe_origin()}"
    if not options.models and options.engine != "null":
        raise InputError(
            f"{genome}: {found}, and the bundled models are {models}; name models with -m, or write -m "
            f"{BUNDLED} to score with these"
        )
    log.warn("organism", f"{genome}: {found}, and the models are {models}")


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


def contigs_of_tables(inputs: Sequence[str], own: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, int]]]:
    """The genomes that `legscore variants` made Parquet or Arrow tables from, each once: a table, and
    contig → bases.

    Args:
        inputs: files, folders and patterns; `own`: what the run writes, and does not read in a folder.
    """
    with contextlib.suppress(*READ_ERRORS):  # the run that opens the input says what is wrong with it
        seen: set[str] = set()
        for file in find_files(inputs, own).files:
            contigs = contigs_in(made_by(_schema_of(file.path)))
            if contigs and (text := json.dumps(contigs, sort_keys=True)) not in seen:
                seen.add(text)
                yield str(file.path), contigs


def _schema_of(path: Path | Remote) -> pa.Schema:
    """The schema of a table, with its metadata; without columns where it is neither Parquet nor Arrow."""
    with open_binary(path) as stream:
        magic = bytes(stream.read(len(ARROW_MAGIC)))
        stream.seek(0)
        if magic[:4] in PARQUET_MAGIC:
            return pq.read_schema(stream)
        if magic == ARROW_MAGIC:
            with pa.ipc.open_file(stream) as reader:
                return reader.schema
        if magic[:4] == ARROW_STREAM_MAGIC:
            with pa.ipc.open_stream(stream) as reader:
                return reader.schema
    return pa.schema([])


def contigs_in(made_by: Mapping[str, Any]) -> dict[str, int]:
    """Contig → bases in what `legscore variants` left in a table; empty where there is none."""
    contigs = made_by.get("contigs")
    if not isinstance(contigs, dict) or any(type(bases) is not int for bases in contigs.values()):
        return {}
    return contigs

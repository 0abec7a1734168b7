"""Whether a genome is that of the organism whose cells the models were measured in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.columnar import ParquetSource
from legscore.input.source import READ_ERRORS
from legscore.model.checkpoint import find_checkpoints, load_checkpoint
from legscore.model.model_names import BUNDLED
from legscore.run.options import Options
from legscore.system.log import RunLog
from legscore.system.resources import folder

if TYPE_CHECKING:
    from legscore.variants.options import BuildOptions

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
    genome = build.fasta if build else options.inputs[0]
    contigs = contigs_of_fasta(build.fasta) if build else contigs_of_table(options.inputs)
    check_contigs(genome, contigs, options, log)


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


def contigs_of_table(inputs: Sequence[str]) -> dict[str, int]:
    """Contig → bases of the genome that `legscore variants` made a Parquet table from; empty for others."""
    path = Path(inputs[0])
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return {}
    try:
        return contigs_in(ParquetSource(path).made_by)
    except READ_ERRORS:
        return {}  # the run that opens it says what is wrong with it


def contigs_in(made_by: Mapping[str, Any]) -> dict[str, int]:
    """Contig → bases in what `legscore variants` left in a table; empty where there is none."""
    contigs = made_by.get("contigs")
    if not isinstance(contigs, dict) or any(type(bases) is not int for bases in contigs.values()):
        return {}
    return contigs

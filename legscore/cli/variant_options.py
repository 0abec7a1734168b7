"""Options that `legscore variants` and `legscore run` on a VCF share: genome, tiles, alleles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from legscore.errors import InputError

if TYPE_CHECKING:
    from legscore.variants.options import BuildOptions

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Callable[[Any], Any]] = {
    "fasta": click.option("--fasta", metavar="FASTA", help="Genome, plain or bgzipped, with its .fai."),
    "promoters": click.option(
        "--promoters", metavar="GTF", help="Tiles upstream of the transcription starts of a GTF or GFF3."
    ),
    "regions_bed": click.option(
        "--regions", "regions_bed", metavar="BED", help="Tiles from a BED file; its strand is honoured."
    ),
    "centered": click.option(
        "--centered", is_flag=True, help="A tile around each variant, which has index ⌊length/2⌋."
    ),
    "orientation": click.option(
        "--orientation",
        type=click.Choice(["+", "-", "gene"]),
        help="Strand of centered tiles; gene: that of the nearest tile's gene. [+]",
    ),
    "length": click.option(
        "--length",
        type=click.IntRange(1),
        metavar="N",
        help="Bases of a tile. [80, or the model's insert where it has one length]",
    ),
    "upstream": click.option(
        "--upstream",
        type=click.IntRange(0),
        metavar="N",
        help="Tiles reach this far upstream of the start. [160, or two tiles where one is longer]",
    ),
    "downstream": click.option(
        "--downstream", type=click.IntRange(0), metavar="N", help="And this far downstream. [0]"
    ),
    "step": click.option(
        "--step", type=click.IntRange(1), metavar="N", help="From one tile of a gene to the next. [40]"
    ),
    "biotypes": click.option(
        "--biotype",
        "biotypes",
        multiple=True,
        metavar="NAME",
        help="Genes of this biotype; repeat, or all. [protein_coding]",
    ),
    "tss": click.option("--tss", metavar="TSV", help="Transcription starts: columns gene and tss (1-based)."),
    "assume_utr": click.option(
        "--assume-utr",
        type=click.IntRange(0),
        metavar="N",
        help="Take the base N upstream of the ATG as the start.",
    ),
    "contig_map": click.option(
        "--contig-map",
        multiple=True,
        metavar="NAME=FASTA_NAME|FILE",
        help="Contig names, where the rules do not find them.",
    ),
    "on_mismatch": click.option(
        "--on-mismatch",
        type=click.Choice(["status", "fail", "use-fasta"]),
        help="When REF is not the genome's base. [status]",
    ),
    "anchor": click.option(
        "--anchor",
        type=click.Choice(["3", "5", "center"]),
        help="End of the tile that stays when an allele changes its length. [3]",
    ),
    "indel": click.option(
        "--indel",
        type=click.Choice(["refill", "construct"]),
        help="Refill from the genome, or let the insert change its length. [refill]",
    ),
    "context": click.option(
        "--context",
        type=click.Choice(["construct", "genome"]),
        help="Tiles are inserts of the model's construct, or fill its whole window. [construct]",
    ),
    "keep_outside": click.option(
        "--keep-outside", is_flag=True, help="Also write alleles that lie in no tile (status no_window)."
    ),
    "region": click.option(
        "--region",
        multiple=True,
        metavar="CHROM:FROM-TO",
        help="Only records of an indexed VCF in this region, CHROM, CHROM:POS or CHROM:FROM-TO; repeat.",
    ),
}


def variant_options(command: F) -> F:
    """Add OPTIONS to a command, in their order."""
    for option in reversed(OPTIONS.values()):
        command = option(command)
    return command


def build_options(given: Mapping[str, Any]) -> BuildOptions | None:
    """How variants are built, from a command's options; None without --fasta.

    Raises:
        LegscoreError: an option of OPTIONS without --fasta, or values that do not go together.
    """
    # by identity: 0 bases are a choice, and 0 == False
    values = {
        name: given[name] for name in OPTIONS if given[name] not in (None, ()) and given[name] is not False
    }
    if "fasta" not in values:
        if values:
            name = next(iter(values)).replace("regions_bed", "regions").replace("biotypes", "biotype")
            raise InputError(f"--{name.replace('_', '-')} is about variants in a genome; give --fasta too")
        return None
    from legscore.variants.options import BuildOptions

    return BuildOptions(**values)


def haplotype_options(command: F) -> F:
    """Add --haplotypes and --samples."""
    both = (
        click.option(
            "--haplotypes",
            is_flag=True,
            help="One row per distinct haplotype and tile, instead of per allele.",
        ),
        click.option("--samples", metavar="all|A,B|FILE", help="Whose haplotypes. [all]"),
    )
    for option in reversed(both):
        command = option(command)
    return command


def roles_of(columns: Sequence[str]) -> dict[str, str]:
    """Input column of each role, from `ROLE=NAME`s. InputError when they are not that."""
    roles: dict[str, str] = {}
    for pair in columns:
        role, equals, name = pair.partition("=")
        if not equals or not role or not name:
            raise InputError(f"--column {pair}: write ROLE=NAME, such as sequence=dna")
        if role in roles:
            raise InputError(f"--column {role} was given twice")
        roles[role] = name
    return roles

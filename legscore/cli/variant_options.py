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
    "fasta": click.option(
        "--fasta", type=click.Path(), metavar="FASTA", help="Genome, plain or bgzipped, with its .fai index."
    ),
    "promoters": click.option(
        "--promoters",
        type=click.Path(),
        metavar="GTF",
        help="Tiles upstream of the transcription starts of the genes in a GTF or GFF3.",
    ),
    "regions_bed": click.option(
        "--tiles",
        "--regions",
        "regions_bed",
        type=click.Path(),
        metavar="BED",
        help="Tiles as a BED file lists them, on the strand that it says.",
    ),
    "centered": click.option(
        "--centered", is_flag=True, help="A tile around each variant, which is in its middle."
    ),
    "orientation": click.option(
        "--orientation",
        type=click.Choice(["+", "-", "gene"]),
        show_default="+",
        help="Strand of centered tiles; gene: that of the nearest tile's gene.",
    ),
    "length": click.option(
        "--length",
        type=click.IntRange(1),
        metavar="N",
        show_default="80, or the model's insert where it has one length",
        help="Bases of a tile.",
    ),
    "upstream": click.option(
        "--upstream",
        type=click.IntRange(0),
        metavar="N",
        show_default="160, or two tiles where one is longer",
        help="Tiles reach this far upstream of the start.",
    ),
    "downstream": click.option(
        "--downstream", type=click.IntRange(0), metavar="N", show_default="0", help="And this far downstream."
    ),
    "step": click.option(
        "--step",
        type=click.IntRange(1),
        metavar="N",
        show_default="40",
        help="From one tile of a gene to the next.",
    ),
    "biotypes": click.option(
        "--biotype",
        "biotypes",
        multiple=True,
        metavar="NAME",
        show_default="protein_coding",
        help="Genes of this biotype; repeat for more, or all.",
    ),
    "transcripts": click.option(
        "--transcripts",
        type=click.Choice(["all", "canonical", "mane"]),
        show_default="all",
        help="Of each gene: all, or the one that the annotation tags as canonical or as MANE Select.",
    ),
    "tss": click.option(
        "--tss",
        type=click.Path(),
        metavar="TSV",
        help="Transcription starts instead of the annotation's: columns gene and tss (counted from 1).",
    ),
    "assume_utr": click.option(
        "--assume-utr",
        type=click.IntRange(0),
        metavar="N",
        help="Take the base N upstream of the start codon as the transcription start.",
    ),
    "contig_map": click.option(
        "--contig-map",
        multiple=True,
        type=click.Path(),
        metavar="NAME=FASTA_NAME|FILE",
        help="What a contig is called in the FASTA, where legscore does not find it.",
    ),
    "on_mismatch": click.option(
        "--on-mismatch",
        type=click.Choice(["status", "fail", "use-fasta"]),
        show_default="status",
        help="Where REF is not the genome's base: say so in the status, stop, or use the genome's base.",
    ),
    "anchor": click.option(
        "--anchor",
        type=click.Choice(["3", "5", "center"]),
        show_default="3",
        help="End of the tile that stays in place when an insertion or deletion changes its length.",
    ),
    "indel": click.option(
        "--indel",
        type=click.Choice(["refill", "construct"]),
        show_default="refill",
        help="Fill the tile up from the genome after an insertion or deletion, or let its length change.",
    ),
    "context": click.option(
        "--context",
        type=click.Choice(["construct", "genome"]),
        show_default="construct",
        help="Put tiles into the model's construct, or take all that the model reads from the genome.",
    ),
    "keep_outside": click.option(
        "--keep-outside", is_flag=True, help="Also write variants that lie in no tile (status no_window)."
    ),
    "region": click.option(
        "--region",
        multiple=True,
        metavar="CHROM:FROM-TO",
        help="Only variants in this region of an indexed VCF, as bcftools writes it; repeat for more.",
    ),
}
READ = ("fasta", "promoters", "regions_bed", "tss", "samples")
"""Options whose files are read."""
NAMED = {"regions_bed": "tiles", "biotypes": "biotype"}
"""Options whose name is not that of their parameter."""


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
            name = NAMED.get(first := next(iter(values)), first.replace("_", "-"))
            raise InputError(f"--{name} is about variants in a genome; give --fasta too")
        return None
    from legscore.variants.options import BuildOptions

    return BuildOptions(**values)


def haplotype_options(command: F) -> F:
    """Add --haplotypes and --samples."""
    both = (
        click.option(
            "--haplotypes",
            is_flag=True,
            help="A row for each distinct haplotype of a tile, instead of each allele.",
        ),
        click.option(
            "--samples",
            type=click.Path(),
            metavar="all|A,B|FILE",
            show_default="all",
            help="Samples whose haplotypes are rows.",
        ),
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

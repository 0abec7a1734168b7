"""Options that `legscore variants` and `legscore run` on a VCF share: genome, tiles, alleles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from legscore.errors import LegscoreError

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
        help="Tiles reach this far upstream of the start. [160]",
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
        help="Only records of an indexed VCF in this region; repeat.",
    ),
}


def variant_options(command: F) -> F:
    """Add OPTIONS to a command, in their order."""
    for option in reversed(OPTIONS.values()):
        command = option(command)
    return command


def take_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of OPTIONS out of `given`; those that were set, under the names of BuildOptions."""
    values = {name: given.pop(name) for name in OPTIONS}
    values = {name: value for name, value in values.items() if value not in (None, (), False)}
    if "all" in values.get("biotypes", ()):
        if len(values["biotypes"]) > 1:
            raise LegscoreError("--biotype all stands alone")
        values["biotypes"] = ()
    return values


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


def take_samples(given: dict[str, Any]) -> str | None:
    """Take --haplotypes and --samples out of `given`: whose haplotypes are rows, or None when alleles are."""
    haplotypes, samples = given.pop("haplotypes"), given.pop("samples")
    if samples is not None and not haplotypes:
        raise LegscoreError("--samples says whose haplotypes; give --haplotypes too")
    return (samples or "all") if haplotypes else None

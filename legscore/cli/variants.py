"""legscore variants"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.output_options import force_option, output_option, quiet_option, speaker, threads_option
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.variant_options import (
    READ,
    build_options,
    haplotype_options,
    roles_of,
    variant_options,
)
from legscore.errors import InputError

SECTIONS = (
    Section(
        "Input",
        "fasta columns region samples haplotypes contig_map",
        (
            "legscore variants snvs.csv --column pos=start_1based --fasta genome.fa \\\n"
            "    --tiles tiles.bed -o variants.parquet",
        ),
    ),
    Section(
        "Tiles",
        "promoters regions_bed centered length upstream downstream step biotypes transcripts tss "
        "assume_utr orientation context",
        (
            "legscore variants cohort.vcf.gz --fasta genome.fa --promoters genes.gtf \\\n"
            "    -o variants.parquet",
        ),
    ),
    Section(
        "Variants",
        "saturate saturate_indels on_mismatch anchor indel keep_outside",
        (
            "legscore variants --saturate --fasta genome.fa --promoters genes.gtf \\\n"
            "    --assume-utr 50 -o all_snvs.parquet",
        ),
    ),
    Section(
        "Output",
        "output force dry_run threads quiet help",
        ("legscore variants cohort.vcf.gz --fasta genome.fa --centered -o variants.csv.gz",),
    ),
)


@click.command(
    "variants",
    cls=SectionedCommand,
    sections=SECTIONS,
    short_help="Build the variants that run scores, from a genome.",
)
@click.argument("source", required=False, type=click.Path(), metavar="[VARIANTS]")
@output_option("Parquet, .arrow, .csv or .tsv (also .gz).")
@variant_options
@click.option("--saturate", is_flag=True, help="Every single-base change of every tile, instead of VARIANTS.")
@click.option(
    "--saturate-indels",
    is_flag=True,
    help="With --saturate: every deletion and insertion of one base too.",
)
@haplotype_options
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Column of a table of variants for chrom, pos, ref, alt or variant_id, such as pos=start_1based.",
)
@force_option
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; say how many rows there would be, and of which status."
)
@threads_option
@quiet_option
def command(
    source: str | None,
    output: str,
    saturate: bool,
    saturate_indels: bool,
    columns: tuple[str, ...],
    force: bool,
    dry_run: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Build the variants that run scores, from a genome.

    VARIANTS is a VCF or BCF, or a table with chrom, pos (counted from 1), ref and alt; - is standard input.
    Every allele in a tile becomes a row: the tile's sequence as it is, and as the allele makes it, in the
    gene's 5'→3' direction. Without VARIANTS the tiles themselves are written, or with --saturate every
    single-base change of them.

    \b
    Example:
      legscore variants cohort.vcf.gz --fasta genome.fa --promoters genes.gtf -o variants.parquet
    """
    if given["fasta"] is None:
        raise InputError("legscore variants needs the genome: --fasta FASTA")
    from legscore.variants.make import make
    from legscore.variants.run_request import samples_asked

    say = speaker(quiet)
    with kept_inputs(say) as kept:
        source = kept.path(source) if source is not None else None
        given = kept.of(given, READ)
        build, samples = build_options(given), samples_asked(given["haplotypes"], given["samples"])
        assert build is not None
        make(
            source,
            output,
            build,
            saturate=saturate,
            indels=saturate_indels,
            samples=samples,
            columns=roles_of(columns),
            force=force,
            dry_run=dry_run,
            say=kept.saying(say),
        )

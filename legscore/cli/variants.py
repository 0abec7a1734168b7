"""legscore variants"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.output_options import force_option
from legscore.cli.variant_options import build_options, haplotype_options, roles_of, variant_options
from legscore.errors import InputError, printable
from legscore.variants.run_request import samples_asked


@click.command("variants", short_help="Build the variants that run scores, from a genome.")
@click.argument("source", required=False, metavar="[VARIANTS]")
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="Parquet, .arrow, .csv or .tsv (also .gz)."
)
@variant_options
@click.option("--saturate", is_flag=True, help="Every single-base change in every tile, instead of VARIANTS.")
@click.option(
    "--saturate-indels", is_flag=True, help="With --saturate: every deletion and insertion of one base too."
)
@haplotype_options
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Column of a table of alleles for chrom, pos, ref, alt or variant_id, e.g. pos=start_1based.",
)
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(
    source: str | None,
    output: str,
    saturate: bool,
    saturate_indels: bool,
    columns: tuple[str, ...],
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Build the variants that run scores, from a genome.

    VARIANTS is a VCF or BCF, or a table with chrom, pos (1-based), ref, alt. Every allele in a tile becomes a
    row with the tile's sequence as it is and as the allele makes it, in the gene's 5'→3' direction. Without
    VARIANTS: the tiles themselves, or with --saturate every single-base change in them.

    \b
    Examples:
      legscore variants cohort.vcf.gz --fasta genome.fa --promoters genes.gtf -o variants.parquet
      legscore variants --saturate --fasta genome.fa.gz --promoters genes.gtf --assume-utr 50 -o \\
          all_snvs.parquet
      legscore variants snvs.csv --fasta genome.fa --regions tiles.bed -o variants.parquet
    """
    if given["fasta"] is None:
        raise InputError("legscore variants needs the genome: --fasta FASTA")
    build, samples = build_options(given), samples_asked(given["haplotypes"], given["samples"])
    assert build is not None
    from legscore.variants.make import make

    def say(line: str) -> None:
        if not quiet:
            click.echo(printable(line), err=True)

    make(
        source,
        output,
        build,
        saturate=saturate,
        indels=saturate_indels,
        samples=samples,
        columns=roles_of(columns),
        force=force,
        say=say,
    )

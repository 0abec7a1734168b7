"""legscore lookup"""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from legscore.cli.model_options import device_option, engine_options, model_option
from legscore.cli.output_options import (
    background_option,
    force_option,
    output_option,
    quiet_option,
    speaker,
    threads_option,
    verbose_option,
)
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.variant_options import OPTIONS, roles_of

FILES = ("fasta", "background")
"""Options whose files are read, beside models and the atlas."""
SECTIONS = (
    Section(
        "Input",
        "atlas fasta region columns contig_map on_mismatch",
        ("legscore lookup variants.csv --atlas atlas/ --fasta genome.fa -o scores.csv",),
    ),
    Section(
        "What the atlas does not have",
        "score_misses models engine precision device allow_other_engine",
        (
            "legscore lookup cohort.vcf.gz --atlas atlas/ --fasta genome.fa -o scores.parquet \\\n"
            "    --score-misses -m models/",
        ),
    ),
    Section(
        "Output",
        "output format_ drop_outside background force threads quiet verbose help",
        (
            "bcftools view -r chrII cohort.vcf.gz | legscore lookup - --atlas atlas/ --fasta genome.fa \\\n"
            "    -o - --format vcf | bgzip > scored.vcf.gz",
        ),
    ),
)


@click.command(
    "lookup", cls=SectionedCommand, sections=SECTIONS, short_help="Find the scores of variants in an atlas."
)
@click.argument("source", type=click.Path(), metavar="VARIANTS")
@output_option(
    "Where the scores go. The ending says the format: .parquet, .arrow, .csv, .tsv (also .gz), of a VCF also "
    ".vcf, .vcf.gz, .bcf; - is standard output."
)
@click.option(
    "--atlas", required=True, type=click.Path(), metavar="ATLAS", help="The folder that atlas build made."
)
@click.option(
    "--fasta",
    required=True,
    type=click.Path(),
    metavar="FASTA",
    help="The genome that the atlas was made of, plain or bgzipped.",
)
@OPTIONS["region"]
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Column of a table for chrom, pos, ref, alt or variant_id, such as pos=start_1based.",
)
@OPTIONS["contig_map"]
@OPTIONS["on_mismatch"]
@click.option(
    "--score-misses",
    is_flag=True,
    help="Score variants in tiles that the atlas does not have, with its models and its engine.",
)
@model_option("The models of the atlas, for --score-misses; refused where they are others.")
@engine_options()
@device_option()
@click.option(
    "--allow-other-engine",
    is_flag=True,
    help="Score misses with another engine where the atlas's cannot be had; the output says so.",
)
@click.option(
    "--drop-outside", is_flag=True, help="Leave out variants that lie in no tile (status no_window)."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["tsv", "arrow", "vcf", "bcf"]),
    show_default="tsv",
    help="Format on standard output; vcf and bcf where a VCF goes in.",
)
@background_option
@threads_option
@force_option
@verbose_option
@quiet_option
def command(
    source: str,
    columns: tuple[str, ...],
    format_: str | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Find the scores of variants in an atlas.

    VARIANTS is a VCF or BCF, or a table with chrom, pos (counted from 1), ref and alt; - is standard input.
    Rows and columns are those of legscore run; lookup says hit, miss (in a tile, but not in the atlas), or
    why there is no score.

    \b
    Example:
      legscore lookup cohort.vcf.gz --atlas atlas/ --fasta genome.fa -o scores.parquet
    """
    from legscore.atlas.look_up import look_up
    from legscore.atlas.options import LookupOptions
    from legscore.system.allocator import give_back_freed_parts

    say = speaker(quiet, verbose)
    give_back_freed_parts()
    with kept_inputs(say) as kept:
        source = kept.path(source)
        options = LookupOptions(
            source,
            columns=roles_of(columns),
            format=format_,
            command=shlex.join(["legscore", *sys.argv[1:]]),
            shown=kept.shown,
            **{name: value for name, value in kept.of(given, FILES).items() if value is not None},
        )
        told = kept.saying(say)
        _, lines = look_up(options, say=told)
        for line in lines:
            told(line)

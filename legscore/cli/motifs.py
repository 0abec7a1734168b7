"""legscore motifs"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from legscore.cli.output_options import force_option, output_option, quiet_option, speaker
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.table_options import column_option, keep_option, meme_option, motif_p_option
from legscore.cli.variant_options import roles_of

SECTIONS = (
    Section(
        "Motifs",
        "meme most_p",
        ("legscore motifs variants.parquet --meme yeast.meme --motif-p 1e-5 -o motifs.parquet",),
    ),
    Section(
        "Rows",
        "kind columns",
        ("legscore motifs pairs.csv --meme yeast.meme --column ref_sequence=wild_type -o motifs.csv",),
    ),
    Section(
        "Output",
        "output format_ keep force quiet help",
        ("legscore motifs variants.parquet --meme yeast.meme -o - --keep id,effect | head",),
    ),
)


@click.command(
    "motifs",
    cls=SectionedCommand,
    sections=SECTIONS,
    short_help="Name the motifs that variants make or break.",
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(), metavar="VARIANTS...")
@output_option(
    "Where the rows go. The ending says the format: .parquet, .arrow, .csv, .tsv (also .gz); - is standard "
    "output."
)
@meme_option(required=True, help="Motifs of DNA in MEME's text format, version 4 or 5.")
@motif_p_option
@click.option(
    "--kind",
    type=click.Choice(["pair", "edit"]),
    help="What a row is, where its columns fit two kinds.",
)
@column_option
@keep_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["tsv", "arrow"]),
    show_default="tsv",
    help="Format on standard output.",
)
@force_option
@quiet_option
def command(
    inputs: tuple[str, ...],
    meme: str,
    columns: tuple[str, ...],
    format_: str | None,
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Name the motifs that variants make or break.

    VARIANTS are pairs or edits as legscore run reads them: columns ref_sequence, alt_sequence, or sequence,
    offset, alt_base; - is standard input. A hit is a word whose p-value is at most --motif-p. Every row comes
    out, with the hits that the alternative has and the reference lacks (made), those that it lost (broken),
    and a status. Each hit is name|strand|offset|change of score in bits|p-value.

    \b
    Example:
      legscore motifs variants.parquet --meme yeast.meme -o motifs.parquet
    """
    from legscore.attribute.scan_motifs import MotifOptions, scan_motifs

    options = MotifOptions(
        inputs, meme, given.pop("output"), columns=roles_of(columns), format=format_, **given
    )
    options.check(force)
    say = speaker(quiet)
    with kept_inputs(say) as kept:
        read = replace(options, inputs=tuple(kept.paths(inputs)), meme=kept.path(meme))
        scan_motifs(read, kept.saying(say))

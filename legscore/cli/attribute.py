"""legscore attribute"""

from __future__ import annotations

from dataclasses import replace

import click

from legscore.cli.effects import refuse_given
from legscore.cli.numbers import Finite
from legscore.cli.output_options import force_option, output_option, quiet_option, speaker
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.table_options import meme_option, motif_p_option, tile_column_option

SECTIONS = (
    Section(
        "Contributions",
        "output tile effect force",
        (
            "legscore attribute effects.parquet -o contributions.npz",
            "legscore attribute effects.parquet -o contributions.npz --tile-column promoter",
        ),
    ),
    Section(
        "On the genome",
        "tracks bed width fdr meme most_p quiet help",
        ("legscore attribute effects.parquet -o c.npz --tracks c.bw --bed high.bed --fdr 0.01",),
    ),
)


@click.command(
    "attribute",
    cls=SectionedCommand,
    sections=SECTIONS,
    short_help="Turn scores of every change into what each base contributes.",
)
@click.argument("scores", type=click.Path(), metavar="SCORES")
@output_option(
    "Contributions as .npz in the layout of modisco-lite; the sequences go to FILE.one_hot.npz.",
    metavar="FILE.npz",
)
@tile_column_option
@click.option(
    "--effect",
    default="effect",
    show_default=True,
    metavar="COLUMN",
    help="Column of the effects, such as effect_complex where several ensembles scored.",
)
@click.option(
    "--tracks",
    type=click.Path(),
    metavar="FILE",
    help="Also write contributions along the genome, for each gene strand a file: .bw or .bedgraph.",
)
@click.option("--bed", type=click.Path(), metavar="FILE", help="Also write runs of high contribution.")
@click.option(
    "--width",
    type=click.IntRange(2),
    default=8,
    show_default=True,
    metavar="BASES",
    help="Positions whose contributions are summed to find runs.",
)
@click.option(
    "--fdr",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    metavar="RATE",
    help="False discovery rate of the sums that count as high.",
)
@meme_option(
    required=False, help="Motifs in MEME's text format, whose best hit in each run becomes a column of --bed."
)
@motif_p_option
@force_option
@quiet_option
def command(
    scores: str,
    output: str,
    tile: str | None,
    effect: str,
    tracks: str | None,
    bed: str | None,
    width: int,
    fdr: float,
    meme: str | None,
    most_p: float,
    force: bool,
    quiet: bool,
) -> None:
    """Turn scores of every change into what each base contributes.

    SCORES is what legscore run made of legscore variants --saturate. At each position the effects of A, C, G
    and T are centred on their mean; the contribution is that of the base that is there, and positive where
    the models need it.

    \b
    Example:
      legscore attribute effects.parquet -o contributions.npz --tracks contributions.bw --bed high.bed
    """
    from legscore.attribute.attribute_files import AttributeOptions, attribute

    if bed is None:
        refuse_given(("width", "fdr", "meme"), "it is about the runs of --bed")
    if meme is None:
        refuse_given(("most_p",), "it is about the motifs of --meme")
    options = AttributeOptions(scores, output, tracks, bed, tile, effect, width, fdr, meme, most_p)
    options.check(force)
    with kept_inputs(speaker(quiet)) as kept:
        (path,) = kept.scores([scores])
        read = replace(options, scores=path, meme=kept.path(meme) if meme else None)
        attribute(read, kept.saying(speaker(quiet)))

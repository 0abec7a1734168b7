"""legscore design"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from legscore.cli.effects import refuse_given, refuse_others
from legscore.cli.output_options import force_option
from legscore.cli.progress import ProgressBar
from legscore.engine.choose import ENGINES, PRECISION_CHOICES
from legscore.errors import InputError
from legscore.system.log import Say

CURVE_TAKES = (
    "mutation_curve", "mutations", "mutation", "plot", "quiet", "start", "output", "models", "n", "seed",
    "force", "rc", "engine", "precision", "device",
)  # fmt: skip
"""Options that --mutation-curve makes use of."""
Bar = Callable[[int, str], Callable[[int], object]]
"""Takes the work expected and its unit; gives what takes work done."""


@click.command("design", short_help="Design sequences with a wanted score.")
@click.option("-g", "--generator", metavar="GENERATOR", help="Generator, trained or imported.")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODELS",
    help="Predictors that score designs. [bundled models]",
)
@click.option(
    "--target", metavar="T", help="Score wanted: 12, a list 6,9,12, a range 6:15 or 6:15:0.5, or FILE:COLUMN."
)
@click.option(
    "--n",
    type=int,
    help="Designs in all, over all targets. [100, or the rows of FILE, or the sequences of --from]",
)
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="Parquet, .arrow, .csv, .tsv (also .gz), .fa, or -."
)
@click.option("--fasta", metavar="FA", help="Also write the inserts as FASTA.")
@click.option(
    "--method", type=click.Choice(["generator", "greedy", "evolve"]), default="generator", show_default=True
)
@click.option(
    "--best-of",
    type=int,
    metavar="K",
    help="Generator: candidates of which the one nearest to the target is taken. [1]",
)
@click.option(
    "--calls", type=int, help="Predictor calls for each design. [best-of; greedy 5000, evolve 1000]"
)
@click.option(
    "--from", "start", metavar="FILE", help="Promoters to start from (FASTA or table); reports edits."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Seed of the first candidate; each has its own."
)
@click.option("--steps", type=int, default=100, show_default=True, help="Steps of the mutate-denoise loop.")
@click.option(
    "--shift",
    type=int,
    default=30,
    show_default=True,
    help="Mutations told to the generator beyond those made.",
)
@click.option(
    "--start-mutations", type=int, help="Positions mutated in the first step, falling to 1. [steps]"
)
@click.option(
    "--emphasis",
    type=float,
    metavar="F",
    help=(
        "Tell the generator targets F times as far from the middle of its training data. [its own; "
        "published 1]"
    ),
)
@click.option(
    "--feed",
    type=click.Choice(["soft", "sample"]),
    help="What a step hands on: probabilities (published), or bases drawn from them. [its own; soft]",
)
@click.option(
    "--keep",
    "keep",
    multiple=True,
    metavar="K",
    help="PLACE:BASES, FIRST-LAST as in --from, or a motif. Repeat for more.",
)
@click.option(
    "--avoid",
    multiple=True,
    metavar="MOTIF",
    help="IUPAC motif or enzyme (EcoRI), on both strands. Repeat for more.",
)
@click.option("--gc", metavar="LOW-HIGH", help="G and C of the insert, such as 0.3-0.5 or 30-50.")
@click.option("--max-homopolymer", type=int, metavar="N", help="Longest run of one base.")
@click.option(
    "--min-distance",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Hamming distance between any two designs.",
)
@click.option("--length", type=int, help="Bases of the insert, for searches. [generator's; 80]")
@click.option(
    "--check",
    multiple=True,
    metavar="MODELS",
    help="Models that take no part and score the finished designs.",
)
@click.option("--training", metavar="FILE", help="Training sequences, to report the nearest to each design.")
@click.option(
    "--report", metavar="FOLDER", help="Pictures and numbers: target against score, error, diversity."
)
@click.option(
    "--mutation-curve",
    is_flag=True,
    help="Instead: how many mutations make the scores of --from look random.",
)
@click.option(
    "--mutations",
    default="0:300:10",
    show_default=True,
    metavar="A:B:STEP",
    help="Counts of --mutation-curve.",
)
@click.option(
    "--mutation",
    type=click.Choice(["draw4", "sub3"]),
    default="draw4",
    show_default=True,
    help="Kind of --mutation-curve.",
)
@click.option("--plot", metavar="PNG", help="Draw --mutation-curve.")
@click.option(
    "--rc",
    type=click.Choice(["construct", "none"]),
    help="Strands scored; none is the published way. [construct, if trained so]",
)
@click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(PRECISION_CHOICES), default="auto", show_default=True)
@click.option("--device", metavar="N", help="NVIDIA GPU, by number. [0]")
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(
    mutation_curve: bool,
    mutations: str,
    mutation: str,
    plot: str | None,
    quiet: bool,
    target: str | None,
    gc: str | None,
    keep: tuple[str, ...],
    avoid: tuple[str, ...],
    max_homopolymer: int | None,
    **given: Any,
) -> None:
    """Design sequences with a wanted score.

    A LegNet-Generator turns random sequences, or those of --from, into designs for each target, which
    predictors score. --method greedy or evolve searches with the predictors alone instead. Constraints hold
    in every design, across the junctions with the flanks; impossible ones are an error before any work.

    \b
    Examples:
      legscore design -g generator.safetensors -m models/ --target 12 --n 1000 -o designs.parquet
      legscore design -g generator.safetensors --target 6:15 --n 200 --best-of 8 --avoid EcoRI --gc 30-50 \\
          -o d.parquet
      legscore design -g generator.safetensors --target 14 --from promoters.fa --keep TATAAA \\
          --start-mutations 20 -o edited.tsv
      legscore design --method evolve --target 6:15 --n 50 --calls 1000 -o evolved.parquet
      legscore design --mutation-curve --from native.fa -m models/ -o curve.csv --plot curve.png
    """

    if mutation_curve:
        refuse_others(CURVE_TAKES, "--mutation-curve mutates and scores the sequences of --from, and no more")
    else:
        refuse_given(("mutations", "mutation", "plot"), "it goes with --mutation-curve")

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    bar = ProgressBar(quiet)

    def start_bar(total: int, unit: str) -> Callable[[int], object]:
        return bar.start("designing", total, unit, scaled=True)

    try:
        if mutation_curve:
            _curve(given, mutations, mutation, plot, say, start_bar)
            return
        if target is None:
            raise InputError("legscore design needs --target: a number, a list, a range or FILE:COLUMN")
        from legscore.design.constraints import Rules, parse_gc
        from legscore.design.make import design, summary
        from legscore.design.options import DesignOptions

        rules = Rules(avoid, None if gc is None else parse_gc(gc), max_homopolymer, keep)
        record = design(DesignOptions(target, rules=rules, **given), say, start_bar)
        bar.close()
        for line in summary(record):
            say(line)
    finally:
        bar.close()


def _curve(
    given: dict[str, Any], mutations: str, mutation: str, plot: str | None, say: Say, bar: Bar
) -> None:
    from legscore.design.curve import CurveOptions, run_curve
    from legscore.engine.choose import Request

    if given["start"] is None:
        raise InputError(
            "--mutation-curve needs --from: sequences with scores of their own, such as native promoters"
        )
    options = CurveOptions(
        given["start"],
        given["output"],
        given["models"],
        mutations,
        mutation,
        most=given["n"],
        seed=given["seed"],
        plot=plot,
        force=given["force"],
        rc=given["rc"],
        request=Request(given["engine"], given["precision"], device=given["device"]),
    )
    for line in run_curve(options, say, bar):
        say(line)

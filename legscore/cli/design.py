"""legscore design"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from legscore.cli.effects import refuse_given, refuse_others
from legscore.cli.model_options import device_option, engine_options, model_option
from legscore.cli.numbers import Finite
from legscore.cli.output_options import force_option, output_option, quiet_option, speaker, threads_option
from legscore.cli.progress import ProgressBar
from legscore.cli.sections import Section, SectionedCommand
from legscore.errors import InputError

if TYPE_CHECKING:
    from legscore.system.log import Say

CURVE_TAKES = (
    "mutation_curve", "mutations", "mutation", "plot", "quiet", "start", "output", "models", "n", "seed",
    "force", "rc", "engine", "precision", "device", "threads",
)  # fmt: skip
"""Options that --mutation-curve makes use of."""
Bar = Callable[[int, str], Callable[[int], object]]
"""Takes the work expected and its unit; gives what takes work done."""


SECTIONS = (
    Section(
        "What to design",
        "target n start length mutation_curve mutations mutation plot",
        (
            "legscore design -g generator.safetensors --target 12 --n 1000 -o designs.parquet",
            "legscore design -g generator.safetensors --target 14 --from promoters.fa \\\n"
            "    --keep TATAAA --start-mutations 20 -o edited.tsv",
            "legscore design --mutation-curve --from native.fa -o curve.csv --plot curve.png",
        ),
    ),
    Section(
        "Models",
        "generator models check rc",
        ("legscore design -g generator.safetensors -m models/ --check held_out/ --target 9 -o d.fa",),
    ),
    Section(
        "Rules that every design keeps",
        "keep avoid gc max_homopolymer min_distance",
        ("legscore design -g generator.safetensors --target 9 --avoid EcoRI --gc 30-50 -o d.fa",),
    ),
    Section(
        "Output",
        "output fasta report training force",
        (
            "legscore design -g generator.safetensors --target 6:15 --n 200 -o d.parquet \\\n"
            "    --fasta-out d.fa --report report/",
        ),
    ),
    Section(
        "Search",
        "method best_of calls seed steps shift start_mutations emphasis feed",
        ("legscore design --method evolve --target 6:15 --n 50 --calls 1000 -o evolved.parquet",),
    ),
    Section(
        "Engine and messages",
        "threads engine precision device quiet help",
        ("legscore design -g generator.safetensors --target 9 -o d.fa --engine torch --device 0",),
    ),
)


@click.command(
    "design", cls=SectionedCommand, sections=SECTIONS, short_help="Design sequences with a wanted score."
)
@click.option(
    "-g",
    "--generator",
    type=click.Path(),
    metavar="GENERATOR",
    help="Generator, trained or imported; for --method generator.",
)
@model_option("Models that score the designs (predictors).")
@click.option(
    "--target",
    type=click.Path(),
    metavar="T",
    help="Score wanted: 12, a list 6,9,12, a range 6:15 or 6:15:0.5, or FILE:COLUMN.",
)
@click.option(
    "--n",
    type=int,
    show_default="100, or the rows of FILE, or the sequences of --from",
    help="Designs in all, over all targets.",
)
@output_option("Parquet, .arrow, .csv, .tsv (also .gz), .fa, or - for standard output.")
@click.option(
    "--fasta-out", "fasta", type=click.Path(), metavar="FA", help="Also write the inserts as FASTA."
)
@click.option(
    "--method",
    type=click.Choice(["generator", "greedy", "evolve"]),
    default="generator",
    show_default=True,
    help="Let a generator make them, or change sequences step by step and keep what scores better.",
)
@click.option(
    "--best-of",
    type=int,
    metavar="K",
    show_default="1",
    help="Candidates of the generator, of which the one nearest to the target is taken.",
)
@click.option(
    "--calls",
    type=int,
    show_default="best-of; greedy 5000, evolve 1000",
    help="Most sequences scored for each design.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(),
    metavar="FILE",
    help="Promoters to start from (FASTA or table); the output tells what was changed in them.",
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
    help="Mutations that the generator is told of beyond those made.",
)
@click.option(
    "--start-mutations",
    type=int,
    show_default="the number of steps",
    help="Positions mutated in the first step, falling to 1.",
)
@click.option(
    "--emphasis",
    type=Finite(),
    metavar="F",
    show_default="the generator's own; published 1",
    help="Tell the generator targets F times as far from the middle of its training data.",
)
@click.option(
    "--feed",
    type=click.Choice(["soft", "sample"]),
    show_default="the generator's own; published soft",
    help="What a step hands on: probabilities, or bases drawn from them.",
)
@click.option(
    "--keep",
    "keep",
    multiple=True,
    metavar="K",
    help="Bases that stay: PLACE:BASES, FIRST-LAST of --from, or a motif; repeat for more.",
)
@click.option(
    "--avoid",
    multiple=True,
    metavar="MOTIF",
    help="Motif (IUPAC) or enzyme (EcoRI) that must not occur on either strand; repeat for more.",
)
@click.option("--gc", metavar="LOW-HIGH", help="G and C of the insert, such as 0.3-0.5 or 30-50.")
@click.option("--max-homopolymer", type=int, metavar="N", help="Longest run of one base.")
@click.option(
    "--min-distance",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Bases in which any two designs differ, at least.",
)
@click.option(
    "--length", type=int, show_default="the generator's; 80", help="Bases of the insert, for searches."
)
@click.option(
    "--check",
    multiple=True,
    type=click.Path(),
    metavar="MODELS",
    help="Models that take no part in the design and score the results; repeat for more.",
)
@click.option(
    "--training",
    type=click.Path(),
    metavar="FILE",
    help="Training sequences, to report the nearest to each design.",
)
@click.option(
    "--report",
    type=click.Path(),
    metavar="FOLDER",
    help="Pictures and numbers: target against score, error, diversity.",
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
    help="Numbers of mutations, for --mutation-curve.",
)
@click.option(
    "--mutation",
    type=click.Choice(["draw4", "sub3"]),
    default="draw4",
    show_default=True,
    help="Draw any of the four bases anew, or one of the other three, for --mutation-curve.",
)
@click.option("--plot", type=click.Path(), metavar="PNG", help="Picture of --mutation-curve.")
@click.option(
    "--rc",
    type=click.Choice(["construct", "none"]),
    show_default="construct, for models trained on both strands",
    help="Score both strands, or one as the published code does.",
)
@engine_options()
@device_option("NVIDIA GPU, by number.")
@threads_option
@force_option
@quiet_option
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
    Example:
      legscore design -g generator.safetensors -m models/ --target 12 --n 1000 -o designs.parquet
    """
    if mutation_curve:
        refuse_others(CURVE_TAKES, "--mutation-curve mutates and scores the sequences of --from, and no more")
    else:
        refuse_given(("mutations", "mutation", "plot"), "it goes with --mutation-curve")
    if given["method"] != "generator":
        refuse_given(
            ("steps", "shift", "start_mutations", "emphasis", "feed"),
            f"it is about the generator, which --method {given['method']} does not use",
        )

    if given["method"] == "greedy" and given["start"] is not None:
        refuse_given(("seed",), "a greedy search from given sequences draws nothing")

    say = speaker(quiet)

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

"""legscore plot"""

from __future__ import annotations

from collections.abc import Iterable

import click

from legscore.cli.effects import refuse_given
from legscore.cli.output_options import force_option, output_option
from legscore.cli.sections import SectionedCommand
from legscore.cli.table_options import conditions, key_option, tile_column_option, where_option
from legscore.errors import InputError, printable

CORRELATIONS = ("pearson", "spearman")

picture_option = output_option("Picture: .png, .svg or .pdf.", metavar="FILE")


@click.group("plot", short_help="Draw figures: a promoter, a scatter, violins, a training.")
def command() -> None:
    """Draw figures: a promoter, a scatter, violins, a training.

    Each writes PNG, SVG or PDF by the extension of -o, and needs legscore[report].

    \b
    Examples:
      legscore plot ism scores.parquet --promoter GAL1 -o gal1.png
      legscore plot logo contributions.npz --promoter GAL1 -o logo.pdf
      legscore plot scatter scores.parquet --truth measured --prediction score -o scatter.svg
      legscore plot violins published.parquet --truth measured --prediction legnet --prediction danq \\
          -o violins.png
      legscore plot ensemble-curve evaluation.json -o curve.pdf
      legscore plot training models/ -o training.png
    """


def _check_picture(path: str, inputs: Iterable[str], force: bool) -> None:
    from legscore.evaluate.figures.style import check_picture
    from legscore.system.overwrite import check_files

    check_picture(path)
    check_files({"-o": path}, inputs, force=force)


def _tell_left_out(paths: Iterable[str]) -> None:
    """What is not read of folders and patterns."""
    from legscore.input.files import find_files

    for path in paths:
        for line in find_files([path]).notes:
            click.echo(printable(line), err=True)


@command.command("ism", cls=SectionedCommand)
@click.argument("scores", type=click.Path(), metavar="SCORES")
@click.option(
    "--promoter", required=True, metavar="NAME", help="Promoter to draw, by its name or its gene's."
)
@tile_column_option
@picture_option
@force_option
def ism(scores: str, promoter: str, tile: str | None, output: str, force: bool) -> None:
    """Heat map and logo of one promoter whose every change was scored.

    \b
    Example:
      legscore plot ism scores.parquet --promoter GAL1 -o gal1.png
    """
    from legscore.evaluate.figures.ism import draw_ism
    from legscore.evaluate.saturation import read_saturation

    _check_picture(output, [scores], force)
    _tell_left_out([scores])
    found = read_saturation(scores, tile).find(promoter)
    draw_ism(found, output)
    click.echo(f"{output}: {found.title}, {len(found.sequence)} positions", err=True)


@command.command("logo", cls=SectionedCommand)
@click.argument("contributions", type=click.Path(), metavar="CONTRIBUTIONS.npz")
@click.option(
    "--promoter",
    "promoters",
    multiple=True,
    metavar="NAME",
    show_default="all, where there are up to 40",
    help="Promoter to draw; repeat for more.",
)
@picture_option
@force_option
def logo(contributions: str, promoters: tuple[str, ...], output: str, force: bool) -> None:
    """Logos of what each base contributes, from legscore attribute, on one scale.

    \b
    Example:
      legscore plot logo contributions.npz --promoter GAL1 --promoter PHO5 -o logos.pdf
    """
    from legscore.attribute.npz_files import panels, read_npz
    from legscore.evaluate.figures.logo import draw_logos

    _check_picture(output, [contributions], force)
    drawn = panels(read_npz(contributions), promoters)
    draw_logos(drawn, output)
    click.echo(f"{output}: {', '.join(panel.title for panel in drawn)}", err=True)


@command.command("scatter", cls=SectionedCommand)
@click.argument("predictions", nargs=-1, required=True, type=click.Path(), metavar="PREDICTIONS...")
@click.option("--truth", required=True, metavar="COLUMN", help="Measured values, on the x axis.")
@click.option(
    "--prediction",
    "columns",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Predicted values; a panel for each.",
)
@key_option
@where_option
@picture_option
@force_option
def scatter(
    predictions: tuple[str, ...],
    truth: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    where: tuple[str, ...],
    output: str,
    force: bool,
) -> None:
    """Measured against predicted values: points, or hexagons of counts for many rows.

    \b
    Example:
      legscore plot scatter scores.parquet --truth measured --prediction score -o scatter.png
    """
    from legscore.evaluate.evaluation import panels
    from legscore.evaluate.figures.scatter import draw_scatter
    from legscore.evaluate.options import EvaluationOptions

    if len(predictions) == 1:
        refuse_given(("keys",), "one table is joined with none")
    _check_picture(output, predictions, force)
    _tell_left_out(predictions)
    options = EvaluationOptions(predictions, [truth], columns, keys, where=conditions(where), bootstrap=0)
    drawn, summary = panels(options)
    draw_scatter(drawn, output)
    click.echo(f"{output}: {summary}", err=True)


@command.command("violins", cls=SectionedCommand)
@click.argument("predictions", nargs=-1, required=True, type=click.Path(), metavar="PREDICTIONS...")
@click.option("--truth", required=True, metavar="COLUMN", help="Measured values.")
@click.option(
    "--prediction",
    "columns",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Predicted values; two or more, a violin for each.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(CORRELATIONS),
    show_default="both",
    help="What the violins are of.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="A row of panels for each value of a column; repeat for combinations.",
)
@click.option(
    "--cluster",
    metavar="COLUMN",
    help="Resample rows that belong together (of one promoter, ancestor or family) as one.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(100),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the resamples.")
@key_option
@where_option
@picture_option
@force_option
def violins(
    predictions: tuple[str, ...],
    truth: str,
    columns: tuple[str, ...],
    metrics: tuple[str, ...],
    by: tuple[str, ...],
    cluster: str | None,
    bootstrap: int,
    seed: int,
    keys: tuple[str, ...],
    where: tuple[str, ...],
    output: str,
    force: bool,
) -> None:
    """Bootstrap distributions of correlations, a violin for each prediction, best first.

    Neighbours are compared by the test for dependent correlations that evaluate names (Hittner, May & Silver
    2003); with --cluster, whose rows are not independent, by the bootstrap of clusters.

    \b
    Example:
      legscore plot violins published.parquet --truth measured --prediction legnet --prediction danq \\
          --by medium -o violins.png
    """
    from legscore.evaluate.evaluation import evaluate
    from legscore.evaluate.figures.violins import draw_violins, violin_panel
    from legscore.evaluate.options import EvaluationOptions

    if len(predictions) == 1:
        refuse_given(("keys",), "one table is joined with none")
    _check_picture(output, predictions, force)
    _tell_left_out(predictions)
    if len(columns) < 2:
        raise InputError("violins compare predictions: give --prediction twice or more")
    chosen = tuple(dict.fromkeys(metrics)) or CORRELATIONS
    options = EvaluationOptions(
        predictions, [truth], columns, keys, by, cluster, conditions(where), bootstrap, seed
    )
    groups = evaluate(options).groups
    panels = [violin_panel(group, metric, group.name) for group in groups for metric in chosen]
    draw_violins(panels, output, len(chosen))
    click.echo(f"{output}: " + ", ".join(f"{group.name} {group.n:,} rows" for group in groups), err=True)


@command.command("ensemble-curve", cls=SectionedCommand)
@click.argument("evaluation", type=click.Path(), metavar="JSON")
@picture_option
@force_option
def ensemble_curve(evaluation: str, output: str, force: bool) -> None:
    """Quality against the number of members, from evaluate --ensemble-curve --json.

    \b
    Example:
      legscore plot ensemble-curve evaluation.json -o curve.png
    """
    from legscore.evaluate.figures.ensemble_size import draw_curve, read_points

    _check_picture(output, [evaluation], force)
    draw_curve(read_points(evaluation), output)


@command.command("training", cls=SectionedCommand)
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUNS...")
@picture_option
@force_option
def training(runs: tuple[str, ...], output: str, force: bool) -> None:
    """Loss, validation correlations and learning rate of trainings: their folder or .metrics.jsonl files.

    \b
    Example:
      legscore plot training models/ -o training.png
    """
    from legscore.evaluate.figures.training import draw_training, metric_files

    _check_picture(output, map(str, metric_files(runs)), force)
    for line in draw_training(runs, output):
        click.echo(line, err=True)

"""legscore evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from legscore.cli.conditions import conditions
from legscore.cli.effects import refuse_given
from legscore.cli.output_options import force_option
from legscore.errors import InputError


@click.command("evaluate", short_help="Compare predictions with measurements.")
@click.argument("paths", nargs=-1, required=True, metavar="PREDICTIONS...")
@click.option(
    "--truth",
    "truths",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Measured values; once, or once per --prediction.",
)
@click.option(
    "--prediction",
    "predictions",
    multiple=True,
    metavar="COLUMN",
    help="Predicted values; repeat to compare. [effect or score]",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="COLUMN",
    help="Joins several files; repeat where rows need several columns.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also split rows by the values of a column; repeat for combinations.",
)
@click.option(
    "--cluster",
    metavar="COLUMN",
    help="Resample whole clusters: rows that share a promoter, ancestor or family.",
)
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only rows with this value; repeat for more."
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples; 0 for no intervals.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of resamples, subsets and folds."
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of intervals.",
)
@click.option(
    "--variant", is_flag=True, help="Columns are effects: by number of substitutions, signs, AUROC, AUPRC."
)
@click.option(
    "--substitutions", metavar="COLUMN", help="Number of substitutions. [n_mut, or counted in the sequences]"
)
@click.option(
    "--replicate",
    "replicates",
    multiple=True,
    metavar="COLUMN",
    help="Two replicates whose mean is the truth: noise, ceiling.",
)
@click.option(
    "--noise-sd",
    type=click.FloatRange(0, min_open=True),
    metavar="SD",
    help="SD of the error of the truth, where known.",
)
@click.option(
    "--noise-z",
    type=click.FloatRange(0, min_open=True),
    default=1.96,
    show_default=True,
    help="A change is beyond this many noise SDs.",
)
@click.option(
    "--ensemble-curve",
    "curve",
    is_flag=True,
    help="Metrics of the first k members and of random subsets (run --per-model).",
)
@click.option("--plot", metavar="FILE", help="Also draw the ensemble curve: .png, .svg or .pdf.")
@click.option(
    "--class-weights",
    metavar="FILE",
    help="Table of class and weight: weighted scores as in the DREAM challenge.",
)
@click.option(
    "--class",
    "class_column",
    metavar="COLUMN",
    help="Class of each row for --class-weights (several with ;).",
)
@click.option("--calibrate", is_flag=True, help="Fit intervals for effects; -o names the file.")
@click.option("-o", "--output", metavar="FILE", help="Where --calibrate writes.")
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Of --calibrate's intervals.",
)
@click.option("--json", "json_path", metavar="FILE", help="All results as JSON.")
@click.option("--csv", "csv_path", metavar="FILE", help="All results as one long CSV.")
@force_option
@click.option("-q", "--quiet", is_flag=True, help="No table.")
def command(
    paths: tuple[str, ...],
    where: tuple[str, ...],
    plot: str | None,
    calibrate: bool,
    output: str | None,
    coverage: float,
    json_path: str | None,
    csv_path: str | None,
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Compare predictions with measurements.

    Pearson, Spearman, RMSE and MAE with paired bootstrap intervals, and tests of the differences between
    predictions. PREDICTIONS are Parquet, Arrow, CSV or TSV; several are joined on --key, and a column that
    two files have is FILE:COLUMN.

    \b
    Examples:
      legscore evaluate scores.parquet --truth expression --prediction score
      legscore evaluate published.csv --truth measured --prediction legnet --prediction danq --by medium
      legscore evaluate a.parquet b.parquet --key id --truth a:measured --prediction a:score --prediction \\
          b:score
      legscore evaluate effects.parquet --variant --truth delta --prediction effect --cluster promoter
      legscore evaluate effects.parquet --truth delta --prediction effect --cluster promoter --calibrate \\
          -o cal.json
    """
    from legscore.evaluate.evaluation import EvaluationOptions, evaluate
    from legscore.evaluate.show import lines
    from legscore.evaluate.tables import Tables
    from legscore.evaluate.write_results import write_csv, write_json
    from legscore.system.overwrite import check_outputs
    from legscore.system.publish import check_writable

    if calibrate and not output:
        raise InputError("--calibrate needs -o FILE for the calibration")
    if output and not calibrate:
        raise InputError("-o is where --calibrate writes; for results give --json or --csv")
    if plot and not given["curve"]:
        raise InputError("--plot draws the --ensemble-curve; give both")
    _refuse_unused(calibrate, len(paths), given)
    if plot:
        from legscore.evaluate.figures.style import check_picture

        check_picture(plot)
    for path in (output, json_path, csv_path, plot):
        if path:
            check_writable(Path(path))
    check_outputs(
        {"-o": output, "--json": json_path, "--csv": csv_path, "--plot": plot},
        [*paths, given["class_weights"]],
        force=force,
    )
    if not given["predictions"]:
        tables = Tables(paths, given["keys"])
        found = next((name for name in ("effect", "score") if tables.has(name)), None)
        if found is None:
            raise InputError(
                f"{tables.all[0].name} has neither effect nor score; name the predictions with --prediction"
            )
        given["predictions"] = (found,)
    options = EvaluationOptions(paths=paths, where=conditions(where), **given)
    result = evaluate(options, say=lambda line: click.echo(line, err=True))
    calibration = None
    if calibrate and output:
        from legscore.evaluate.calibrate import calibrate_columns

        calibration = calibrate_columns(options, coverage)
        calibration.save(Path(output))
    if not quiet:
        for line in lines(result, options, calibration):
            click.echo(line)
    if json_path:
        write_json(Path(json_path), result, options, calibration)
    if csv_path:
        write_csv(Path(csv_path), result)
    if plot:
        from legscore.evaluate.figures.ensemble_size import draw_curve

        draw_curve(result.curve, plot)


def _refuse_unused(calibrate: bool, n_files: int, given: dict[str, Any]) -> None:
    """LegscoreError for an option that the others leave without effect."""
    for used, name, why in (
        (calibrate, "coverage", "it is that of --calibrate's intervals"),
        (given["variant"], "substitutions", "it goes with --variant"),
        (given["class_weights"], "class_column", "it goes with --class-weights"),
        (given["replicates"] or given["noise_sd"], "noise_z", "it goes with --replicate or --noise-sd"),
        (given["bootstrap"], "confidence", "there are no intervals with --bootstrap 0"),
        (n_files > 1, "keys", "there is one file, and nothing to join"),
    ):
        if not used:
            refuse_given((name,), why)

"""legscore evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from legscore.cli.effects import refuse_given
from legscore.cli.numbers import Finite
from legscore.cli.output_options import force_option, speaker, threads_option
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.table_options import conditions, key_option, where_option
from legscore.errors import InputError

SECTIONS = (
    Section(
        "Columns and rows",
        "truths predictions keys where by",
        (
            "legscore evaluate published.csv --truth measured --prediction legnet \\\n"
            "    --prediction danq --by medium",
            "legscore evaluate a.parquet b.parquet --key id --truth a:measured \\\n"
            "    --prediction a:score --prediction b:score",
        ),
    ),
    Section(
        "Intervals",
        "bootstrap cluster confidence seed",
        ("legscore evaluate effects.parquet --truth delta --cluster promoter --bootstrap 2000",),
    ),
    Section(
        "Effects of variants",
        "variant substitutions replicates noise_sd noise_z",
        ("legscore evaluate effects.parquet --variant --truth delta --cluster promoter",),
    ),
    Section(
        "Ensembles and classes",
        "curve plot class_weights class_column",
        ("legscore evaluate per_model.parquet --truth expression --ensemble-curve --plot curve.png",),
    ),
    Section(
        "Calibration",
        "calibrate output coverage",
        ("legscore evaluate effects.parquet --truth delta --calibrate -o calibration.json",),
    ),
    Section(
        "Results",
        "json_path csv_path force threads quiet help",
        ("legscore evaluate scores.parquet --truth expression --json - | jq .",),
    ),
)


@click.command(
    "evaluate", cls=SectionedCommand, sections=SECTIONS, short_help="Compare predictions with measurements."
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PREDICTIONS...")
@click.option(
    "--truth",
    "truths",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Measured values; once, or once for each --prediction.",
)
@click.option(
    "--prediction",
    "predictions",
    multiple=True,
    metavar="COLUMN",
    show_default="effect, or score",
    help="Predicted values; repeat to compare.",
)
@key_option
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also split the rows by the values of a column; repeat for combinations.",
)
@click.option(
    "--cluster",
    metavar="COLUMN",
    help="Resample rows that belong together (of one promoter, ancestor or family) as one.",
)
@where_option
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples for the intervals; 0 for none.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of resamples, subsets and folds.",
)
@click.option(
    "--confidence",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals.",
)
@click.option(
    "--variant", is_flag=True, help="Columns are effects: by number of substitutions, signs, AUROC, AUPRC."
)
@click.option(
    "--substitutions",
    metavar="COLUMN",
    show_default="n_mut, or counted in the sequences",
    help="Number of substitutions.",
)
@click.option(
    "--replicate",
    "replicates",
    multiple=True,
    metavar="COLUMN",
    help="A replicate of the measurement; give two, whose mean is the truth, to learn its noise.",
)
@click.option(
    "--noise-sd",
    type=Finite(0, min_open=True),
    metavar="SD",
    help="SD of the error of the truth, where it is known.",
)
@click.option(
    "--noise-z",
    type=Finite(0, min_open=True),
    default=1.96,
    show_default=True,
    help="A change counts as one beyond so many SDs of the noise.",
)
@click.option(
    "--ensemble-curve",
    "curve",
    is_flag=True,
    help="Also of the first k models and of random subsets (scores of run --per-model).",
)
@click.option(
    "--plot", type=click.Path(), metavar="FILE", help="Picture of the ensemble curve: .png, .svg or .pdf."
)
@click.option(
    "--class-weights",
    type=click.Path(),
    metavar="FILE",
    help="Table of class and weight: weighted scores as in the DREAM challenge.",
)
@click.option(
    "--class",
    "class_column",
    metavar="COLUMN",
    help="Class of each row, for --class-weights (several with ; between).",
)
@click.option("--calibrate", is_flag=True, help="Fit intervals of effects; -o names the file.")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Where --calibrate writes.")
@click.option(
    "--coverage",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Coverage of the intervals that --calibrate fits.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(),
    metavar="FILE",
    help="All results as JSON; - for standard output instead of the table.",
)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(),
    metavar="FILE",
    help="All results as one long CSV; - for standard output instead of the table.",
)
@force_option
@threads_option
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
    predictions.

    PREDICTIONS are Parquet, Arrow, CSV or TSV, a folder of Parquet files, a VCF that legscore run wrote, or -
    (standard input). Several are joined on --key, and a column that two files have is FILE:COLUMN.

    \b
    Example:
      legscore evaluate scores.parquet --truth expression --prediction score
    """
    if calibrate and not output:
        raise InputError("--calibrate needs -o FILE for the calibration")
    if output and not calibrate:
        raise InputError("-o is where --calibrate writes; for results give --json or --csv")
    if plot and not given["curve"]:
        raise InputError("--plot draws the --ensemble-curve; give both")
    if json_path == csv_path == "-":
        raise InputError("--json - and --csv - both write to standard output; name a file for one")
    _refuse_unused(calibrate, len(paths), given)
    with kept_inputs(speaker(quiet)) as kept:
        paths = tuple(kept.scores(paths))
        given = kept.of(given, ("class_weights",))
        given["where"] = conditions(where)
        coverage_of = coverage if calibrate and output else None
        _evaluate(
            paths,
            {"-o": output, "--json": json_path, "--csv": csv_path, "--plot": plot},
            given,
            coverage_of,
            force=force,
            table=not quiet and "-" not in (json_path, csv_path),
        )


def _evaluate(
    paths: tuple[str, ...],
    outputs: dict[str, str | None],
    given: dict[str, Any],
    coverage: float | None,
    *,
    force: bool,
    table: bool,
) -> None:
    """Compare, calibrate where there is a coverage to reach, and write what was asked for."""
    from legscore.evaluate.evaluation import evaluate
    from legscore.evaluate.options import EvaluationOptions
    from legscore.evaluate.show import lines
    from legscore.evaluate.tables import Tables
    from legscore.evaluate.write_results import write_csv, write_json
    from legscore.system.overwrite import check_files

    if plot := outputs["--plot"]:
        from legscore.evaluate.figures.style import check_picture

        check_picture(plot)
    check_files(outputs, [*paths, given["class_weights"]], force=force)
    if not given["predictions"]:
        given["predictions"] = (Tables(paths, given["keys"]).default_prediction(),)
    options = EvaluationOptions(paths=paths, **given)
    result = evaluate(options, say=lambda line: click.echo(line, err=True))
    calibration = None
    if coverage is not None:
        from legscore.evaluate.calibrate import calibrate_columns

        calibration = calibrate_columns(options, coverage)
        calibration.save(Path(str(outputs["-o"])))
    if table:
        for line in lines(result, options, calibration):
            click.echo(line)
    if outputs["--json"]:
        write_json(Path(outputs["--json"]), result, options, calibration)
    if outputs["--csv"]:
        write_csv(Path(outputs["--csv"]), result)
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
        (given["bootstrap"] or calibrate, "cluster", "nothing is resampled with --bootstrap 0"),
        (
            given["bootstrap"] or calibrate or given["curve"],
            "seed",
            "nothing is drawn at random with --bootstrap 0",
        ),
        (n_files > 1, "keys", "there is one file, and nothing to join"),
    ):
        if not used:
            refuse_given((name,), why)

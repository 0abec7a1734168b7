"""Predictions against measurements, and pictures: `legscore evaluate` and `legscore plot ism` in Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.api.calls import listed, text_of
from legscore.errors import InputError
from legscore.run.python_words import speaks_python, told_in_python
from legscore.system.log import Say
from legscore.system.overwrite import check_files

if TYPE_CHECKING:
    from legscore.evaluate.figures.style import Picture
    from legscore.evaluate.options import EvaluationOptions
    from legscore.evaluate.results import EvaluationResults
    from legscore.run.calibration import Calibration
    from legscore.run.memory_results import SaturationMap

NOISE_Z = 1.96


@speaks_python
def evaluate_predictions(
    data: Any,
    *,
    truths: str | Sequence[str],
    predictions: str | Sequence[str] = (),
    keys: str | Sequence[str] = (),
    by: str | Sequence[str] = (),
    cluster: str | None = None,
    where: Mapping[str, Any] | None = None,
    bootstrap: int = 10_000,
    seed: int = 1,
    confidence: float = 0.95,
    variant: bool = False,
    substitutions: str | None = None,
    replicates: Sequence[str] = (),
    noise_sd: float | None = None,
    noise_z: float = NOISE_Z,
    curve: bool = False,
    class_weights: str | os.PathLike[str] | None = None,
    class_column: str | None = None,
    json: str | os.PathLike[str] | None = None,
    csv: str | os.PathLike[str] | None = None,
    plot: str | os.PathLike[str] | None = None,
    force: bool = False,
    say: Say | None = None,
) -> EvaluationResults:
    """Compare predictions with measurements: `legscore evaluate` as a function (needs polars).

    Pearson, Spearman, RMSE and MAE with paired bootstrap intervals, and tests of the differences between
    predictions.

    Args:
        data: a table (polars, pandas, pyarrow, DuckDB) or a file; or several as {name: table or file}, which
            are joined on `keys`, and in which a column that two have is called `name:column`.
        truths: column of measured values: one for all predictions, or one for each.
        predictions: columns of predicted values; `effect` or `score` when empty.
        keys: columns that join several tables.
        by: also split rows by the values of these columns.
        cluster: column; whole clusters are resampled (rows that share a promoter, ancestor or family).
        where: only rows with these values: {column: value}.
        bootstrap: resamples; 0 for no intervals.
        seed: of resamples, subsets and folds.
        confidence: of intervals, 0 to 1.
        variant: columns are effects: by number of substitutions, signs, AUROC, AUPRC.
        substitutions: column with their number; `n_mut`, or counted in the sequences, when None.
        replicates: two columns whose mean is the truth: noise, ceiling.
        noise_sd: SD of the error of the truth, where known.
        noise_z: a change is beyond this many noise SDs.
        curve: metrics of the first k members and of random subsets (score with `per_model=True`).
        class_weights: file of class and weight: weighted scores as in the DREAM challenge.
        class_column: class of each row for class_weights (several with ;).
        json: file for all results.
        csv: file for all results as one long table.
        plot: picture of the curve: .png, .svg or .pdf.
        force: replace outputs that are there already.
        say: called with one line of text for long work, such as `print`.

    Returns:
        Results: `print` them, `results.metric("pearson").value`, `results.to_arrow()`.

    Raises:
        LegscoreError: a column is missing or holds no numbers, no rows are left, options do not go together.

    Example:
        ```python
        legscore.evaluate_predictions(frame, truths="measured", predictions=["score", "other"])
        ```
    """
    from legscore.evaluate.evaluation import evaluate
    from legscore.evaluate.options import EvaluationOptions
    from legscore.evaluate.results import EvaluationResults
    from legscore.evaluate.write_results import write_csv, write_json

    paths = _tables(data)
    options = EvaluationOptions(
        paths=paths, truths=listed(truths), predictions=_predictions(paths, predictions, keys),
        keys=listed(keys), by=listed(by), cluster=cluster, where=_conditions(where), bootstrap=bootstrap,
        seed=seed, confidence=confidence, variant=variant, substitutions=substitutions,
        replicates=listed(replicates), noise_sd=noise_sd, noise_z=noise_z, curve=curve,
        class_weights=text_of(class_weights), class_column=class_column,
    )  # fmt: skip
    _refuse_unused(options, text_of(plot))
    outputs = {"json": text_of(json), "csv": text_of(csv), "plot": text_of(plot)}
    _check_outputs(outputs, paths, options.class_weights, force)
    results = EvaluationResults(evaluate(options, told_in_python(say)), options)
    if outputs["json"]:
        write_json(Path(outputs["json"]), results.evaluation, options)
    if outputs["csv"]:
        write_csv(Path(outputs["csv"]), results.evaluation)
    if outputs["plot"]:
        from legscore.evaluate.figures.ensemble_size import draw_curve

        draw_curve(results.evaluation.curve, outputs["plot"])
    return results


@speaks_python
def calibrate_effects(
    data: Any,
    output: str | os.PathLike[str],
    *,
    truth: str,
    prediction: str = "effect",
    keys: str | Sequence[str] = (),
    cluster: str | None = None,
    where: Mapping[str, Any] | None = None,
    coverage: float = 0.9,
    seed: int = 1,
    force: bool = False,
) -> Calibration:
    """Fit intervals for effects: `legscore evaluate --calibrate` as a function (needs polars).

    Args:
        data: effects with their measurements, as `score_file` or `score_table` wrote them: a file, or a
            pyarrow.Table (whose metadata says which models made them); or several, see
            `evaluate_predictions`.
        output: calibration file to write, for `score_file(calibration=...)`.
        truth: column of measured effects.
        prediction: column of predicted effects.
        keys: columns that join several tables.
        cluster: column; whole clusters are held out (rows that share a promoter, ancestor or family).
        where: only rows with these values: {column: value}.
        coverage: share of measured effects that the intervals are made to hold, 0 to 1.
        seed: of the folds.
        force: replace an output that is there already.

    Returns:
        The calibration; `fit["held_out"]` has its coverage on held-out clusters.

    Raises:
        LegscoreError: the scores do not say which models made them, or rows or clusters are too few.
    """
    from legscore.evaluate.calibrate import calibrate_columns
    from legscore.evaluate.options import EvaluationOptions

    if not 0 < coverage < 1:
        raise InputError(f"coverage is {coverage!r}; it must lie between 0 and 1")
    paths = _tables(data)
    _check_outputs({"output": text_of(output)}, paths, None, force)
    options = EvaluationOptions(
        paths=paths, truths=(truth,), predictions=(prediction,), keys=listed(keys), cluster=cluster,
        where=_conditions(where), seed=seed,
    )  # fmt: skip
    found = calibrate_columns(options, coverage)
    found.save(Path(output))
    return found


@speaks_python
def plot_saturation(
    saturation: SaturationMap,
    path: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
) -> Picture:
    """Draw a saturation map: the sequence as a logo of what the model needs, above the effects of all
    changes.

    Args:
        saturation: one map, such as `ensemble.saturate([promoter])[0]`.
        path: also write it to a file: .png, .svg or .pdf.
        force: replace a file that is there already.

    Returns:
        The picture, which a notebook shows; `.figure` is matplotlib's.

    Raises:
        LegscoreError: matplotlib is missing, the map is empty, or the file cannot be written.
    """
    from legscore.evaluate.figures.ism import ism_figure
    from legscore.evaluate.figures.style import Picture, check_picture, save
    from legscore.evaluate.saturation import Tile
    from legscore.run.memory_results import SaturationMap

    if not isinstance(saturation, SaturationMap):
        raise InputError(f"one map is drawn, such as maps[0]; this is {type(saturation).__name__}")
    if saturation.status != "ok":
        raise InputError(f"{saturation.name} has no map: its status is {saturation.status}")
    name = text_of(path)
    if name is not None:
        check_picture(name)
        _check_outputs({"path": name}, (), None, force)
    tile = Tile(saturation.name, saturation.name, saturation.sequence.upper(), saturation.effect_BL)
    picture = Picture(ism_figure(tile))
    if name is not None:
        save(picture.figure, name)
    return picture


def _tables(data: Any) -> Sequence[str]:
    """Files, and tables in memory under names."""
    from legscore.evaluate.tables import TableInMemory

    def table(name: str, one: Any) -> str:
        return os.fspath(one) if isinstance(one, str | os.PathLike) else TableInMemory.named(name, one)

    if isinstance(data, Mapping | list | tuple) and not data:
        raise InputError("data is empty: pass a table, a file, or several as {name: table or file}")
    if isinstance(data, Mapping):
        return [table(str(name), one) for name, one in data.items()]
    if isinstance(data, list | tuple):
        if not all(isinstance(one, str | os.PathLike) for one in data):
            raise InputError("data is a list: pass several tables as {name: table}")
        return listed(data)
    return [table("the table", data)]


def _conditions(where: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    return tuple((column, str(value)) for column, value in (where or {}).items())


def _predictions(
    paths: Sequence[str], given: str | Sequence[str], keys: str | Sequence[str]
) -> tuple[str, ...]:
    from legscore.evaluate.tables import Tables

    return listed(given) or (Tables(paths, listed(keys)).default_prediction(),)


def _refuse_unused(options: EvaluationOptions, plot: str | None) -> None:
    """InputError for an argument that the others leave without effect."""
    with_noise = bool(options.replicates) or options.noise_sd is not None
    for given, used, name, why in (
        (options.substitutions, options.variant, "substitutions", "variant=True"),
        (options.class_column, options.class_weights, "class_column", "class_weights"),
        (options.noise_z != NOISE_Z, with_noise, "noise_z", "replicates or noise_sd"),
        (plot, options.curve, "plot", "curve=True"),
        (options.keys, len(options.paths) > 1, "keys", "several tables"),
    ):
        if given and not used:
            raise InputError(f"{name} has no effect here: it goes with {why}")


def _check_outputs(
    outputs: Mapping[str, str | None], paths: Sequence[str], weights: str | None, force: bool
) -> None:
    from legscore.evaluate.tables import TableInMemory

    files = [path for path in paths if not isinstance(path, TableInMemory)]
    check_files(outputs, [*files, weights], force=force)

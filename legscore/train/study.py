"""Run an ablation study: train its variants, score every model on one test set, write tables and a
picture."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from legscore.errors import LegscoreError
from legscore.system.overwrite import check_apart, check_free
from legscore.train import ablation
from legscore.train.ablation import Row, Variant
from legscore.train.columns import DataOptions
from legscore.train.data import TrainingData, read_training_data
from legscore.train.ensemble import files_of, plan_members, train_members
from legscore.train.metrics_log import MetricsLog
from legscore.train.options import Listener, Member, TrainingOptions, make_folder
from legscore.train.recipe import Recipe
from legscore.train.train_models import compiles, read_for_recipe, trainer_maker

STUDY_FILES = ("ablation.csv", "members.csv", "ablation.png")


@dataclass(frozen=True)
class StudyOptions:
    """What a study compares.

    Attributes:
        n_seeds: models of each variant, with seeds 1 to n_seeds.
        valid_fold: the fold that validates; the last by default.
        test: table on which models are compared, with the columns of the data; the validation fold by
            default.
    """

    n_seeds: int = 5
    valid_fold: int | None = None
    test: str | None = None


STUDIES = {"published": ablation.published_variants, "architecture": ablation.architecture_variants}


def study_variants(
    recipe: Recipe, file: str | Path | None = None, only: Sequence[str] = (), study: str = "published"
) -> list[Variant]:
    """The variants of a study: from a TOML file, or of a study in `STUDIES`; only those named, if any are.

    Raises:
        LegscoreError: a generator's recipe, a file that is none, a name that is unknown.
    """
    if recipe.is_generator:
        raise LegscoreError(
            "legscore ablate compares predictors; train generators one by one with legscore train"
        )
    known = ablation.read_variants(file, recipe) if file else STUDIES[study](recipe)
    return ablation.choose(known, only)


def run_study(
    data: str | Path,
    output: str | Path,
    recipe: Recipe,
    variants: Sequence[Variant],
    reading: DataOptions | None = None,
    study: StudyOptions | None = None,
    options: TrainingOptions | None = None,
    listener: Listener | None = None,
    *,
    also_read: Sequence[str | None] = (),
) -> list[Row]:
    """Train every variant and compare them. Finished models are not trained again; several processes may
    share a folder.

    Args:
        data: table of sequences and expressions. output: folder of a folder per variant, ablation.csv (mean
            and SD per variant), members.csv and ablation.png; made where it is missing.
        recipe: what the variants change. variants: from `study_variants`.
        reading: columns and rows of the tables.
        also_read: files that recipe and variants came from, which must not be written over.

    Returns:
        A row for each variant that has a finished model.

    Raises:
        LegscoreError: as `train_models`; variants trained fold by fold without a test set; no finished model.
    """
    reading, study = reading or DataOptions(), study or StudyOptions()
    options, listener = options or TrainingOptions(), listener or Listener()
    folder = make_folder(output)
    files = [folder / name for name in STUDY_FILES]
    check_apart({"-o": files}, [data, study.test, *also_read])
    if not ablation.is_summary(files[0]):
        check_free({"-o": files}, force=options.force)
    compiled = compiles(options)
    if not study.test and any(variant.folds == "all" for variant in variants):
        raise LegscoreError(
            "variants trained fold by fold (plateau schedule) need one test set for all: pass --test, or "
            "use --only"
        )
    table = read_for_recipe(data, recipe, reading, options.floor, folder, listener)
    test = _read_test(study.test, recipe, reading, folder, listener)
    one = plan_members(table, [1], valid=study.valid_fold)[0]
    steps = recipe.steps_in_epoch(ablation.samples(table, one.held_out, recipe))
    variants = ablation.with_equal_steps(variants, steps)
    trained = [path for v in variants for path in files_of(_members(v, table, study), folder / v.folder)]
    check_apart({"-o": trained}, [data, study.test, *also_read])
    listener.begin()
    with contextlib.closing(MetricsLog(options.tensorboard)) as log:
        for variant in variants:
            train_members(
                _members(variant, table, study),
                make_folder(folder / variant.folder),
                trainer_maker(variant.recipe, table, options, compiled),
                variant.recipe,
                table,
                options,
                listener,
                log,
                group=f"{variant.name}/",
            )
    # only now, so that what other processes trained meanwhile counts
    return _compare(variants, folder, table, test, study, options, listener)


def _read_test(
    path: str | None, recipe: Recipe, reading: DataOptions, folder: Path, listener: Listener
) -> TrainingData | None:
    test = None
    if path:
        # folds, weights and singletons of a test set do not count
        plain = replace(
            reading, singleton_column=None, weight_column=None, split_column=None, fold_column="hash"
        )
        test = read_training_data(path, recipe.contract(), plain, folder)
        listener.say("test: " + ", ".join(f"{name} {count:,}" for name, count in test.report.items()))
    listener.say(
        f"compared on: {path or 'the validation fold, which is not independent of choices made with it'}"
    )
    return test


def _members(variant: Variant, table: TrainingData, study: StudyOptions) -> list[Member]:
    if variant.folds == "all":
        return plan_members(table, [1], folds="all")
    return plan_members(table, range(1, study.n_seeds + 1), valid=study.valid_fold)


def _compare(
    variants: Sequence[Variant],
    folder: Path,
    table: TrainingData,
    test: TrainingData | None,
    study: StudyOptions,
    options: TrainingOptions,
    listener: Listener,
) -> list[Row]:
    """Score the finished models, write the tables and the picture."""
    rows, lines, results = [], [], {}
    for variant in variants:
        scores, members = [], _members(variant, table, study)
        for member in members:
            path = folder / variant.folder / f"{member.name}.safetensors"
            if path.exists():
                compared = test or ablation.held_out_rows(table, member.held_out)
                scores.append(ablation.score_member(path, compared, options.device))
                lines.append((variant.name, member.name, *scores[-1]))
        if len(scores) < len(members):
            listener.say(
                f"warning: {variant.name} has {len(scores)} of {len(members)} models; others are being "
                "trained elsewhere, run the command again when they are done"
            )
        if scores:
            rows.append(ablation.summarise(variant, scores))
            results[variant.name] = scores
    if not rows:
        raise LegscoreError("no variant has a finished model; other processes are training them")
    names = [field.name for field in fields(Row)]
    summary, each, picture = (folder / name for name in STUDY_FILES)
    ablation.write_table(summary, names, [astuple(row) for row in rows])
    ablation.write_table(each, ["variant", "model", "pearson", "spearman"], lines)
    ablation.draw(picture, rows, results)
    return rows

"""legscore train"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.effects import refuse_given
from legscore.cli.training_options import (
    TrainingProgress,
    data_options,
    how_to_train,
    resolve_recipe,
    training_options,
)
from legscore.system.allocator import keep_freed_parts
from legscore.train.options import MemberOptions


@click.command("train", short_help="Train LegNets on measured sequences.")
@click.argument("data", metavar="DATA")
@click.option(
    "-o", "--output", required=True, metavar="FOLDER", help="Folder of the checkpoints (made if missing)."
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    help="Seed of a member; repeat for an ensemble. [1; human: 777]",
)
@click.option("--seeds", "n_seeds", type=click.IntRange(1, 256), help="Members with seeds 1..N.")
@click.option("--valid-fold", type=int, help="Fold that validates. [the last]")
@click.option("--test-fold", type=int, help="A second fold kept out, measured at the end.")
@click.option(
    "--folds", type=click.Choice(["all", "pairs"]), help="A member per fold (cross-validation), or per pair."
)
@click.option("--full", is_flag=True, help="Train on every row; nothing validates.")
@click.option(
    "--lr-find", is_flag=True, help="Learning-rate range test: writes lr_find.csv and .png, trains nothing."
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, 100, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of a pass that --lr-find uses.",
)
@click.option(
    "--predictor",
    "predictors",
    multiple=True,
    metavar="MODELS",
    help=(
        "For --preset generator: models that score designs after every epoch. Keep others for the final "
        "check."
    ),
)
@training_options
def command(
    data: str,
    output: str,
    seeds: tuple[int, ...],
    n_seeds: int | None,
    valid_fold: int | None,
    test_fold: int | None,
    folds: str | None,
    full: bool,
    lr_find: bool,
    fraction: float,
    predictors: tuple[str, ...],
    **given: Any,
) -> None:
    """Train LegNets on measured sequences (needs legscore[train]).

    DATA is a table with sequence and expression, or the challenge's headerless sequence<TAB>expression. Each
    seed gives one checkpoint that `legscore run` scores. An interrupted training goes on with --resume and
    ends with the same weights. Several processes may share one FOLDER; torchrun puts several GPUs on each
    member.

    \b
    Examples:
      legscore train measured.parquet -o models/ --preset optimized --seeds 5
      legscore train train_sequences.txt -o models/ --full --seed 1
      legscore train measured.parquet -o models/ --lr-find
      legscore train measured.parquet -o models/ --folds all --set epochs=5 --resume
      legscore train measured.parquet -o generator/ --preset generator --predictor models/seed1.safetensors
      torchrun --nproc-per-node 4 -m legscore train measured.parquet -o models/
    """
    if lr_find:
        refuse_given(("resume", "save_every", "log_every", "tensorboard"), "--lr-find trains nothing")
    else:
        refuse_given(("fraction",), "it is the share of a pass that --lr-find uses")
    members = MemberOptions(seeds, n_seeds, valid_fold, test_fold, folds, full)
    keep_freed_parts()
    recipe = resolve_recipe(given)

    from legscore.train.train_models import find_rate, train_models

    asked = (data, output, recipe, data_options(given), members, how_to_train(given))
    also_read = (given["recipe_file"], given["construct"])
    with TrainingProgress(given["quiet"]) as progress:
        if not lr_find:
            train_models(*asked, predictors=predictors, also_read=also_read, listener=progress)
            return
        test = find_rate(
            *asked, fraction=fraction, predictors=predictors, also_read=also_read, listener=progress
        )
    click.echo(f"{test.suggestion:.2e}")
    progress.say(f"suggested: --set max_lr={test.suggestion:.2g} (the recipe has {recipe.max_lr:g})")

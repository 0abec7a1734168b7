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
@click.option(
    "--from",
    "start_from",
    type=click.Path(),
    metavar="MODELS",
    help="Go on from these checkpoints (members take them in turn), with the recipe they were trained with.",
)
@click.option(
    "--freeze",
    type=click.IntRange(0),
    metavar="N",
    help="With --from: keep the stem and the first N blocks. [0]",
)
@click.option(
    "--block-rate",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="With --from: each block learns at X times the rate of the next. [1]",
)
@click.option("--new-head", is_flag=True, help="With --from: start with a new head, of the recipe's kind.")
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
    start_from: str | None,
    freeze: int | None,
    block_rate: float | None,
    new_head: bool,
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
      legscore train few.parquet -o tuned/ --from models/ --freeze 2 --set max_lr=0.001 --set epochs=4
      torchrun --nproc-per-node 4 -m legscore train measured.parquet -o models/
    """
    if lr_find:
        refuse_given(("resume", "save_every", "log_every", "tensorboard"), "--lr-find trains nothing")
    else:
        refuse_given(("fraction",), "it is the share of a pass that --lr-find uses")
    members = MemberOptions(seeds, n_seeds, valid_fold, test_fold, folds, full)
    keep_freed_parts()
    starts: Any = ()
    if start_from is None:
        refuse_given(("freeze", "block_rate", "new_head"), "they say how to go on --from a checkpoint")
    else:
        from legscore.train.fine_tune import read_starts, recipe_of

        starts = read_starts(
            start_from, frozen_blocks=freeze or 0, block_rate=block_rate or 1.0, new_head=new_head
        )
    recipe = resolve_recipe(given, recipe_of(starts[0]) if starts else None)

    from legscore.train.train_models import find_rate, train_models

    asked = (data, output, recipe, data_options(given), members, how_to_train(given))
    also_read = (given["recipe_file"], given["construct"])
    with TrainingProgress(given["quiet"]) as progress:
        if not lr_find:
            train_models(*asked, predictors=predictors, starts=starts, also_read=also_read, listener=progress)
            return
        test = find_rate(
            *asked,
            fraction=fraction,
            predictors=predictors,
            starts=starts,
            also_read=also_read,
            listener=progress,
        )
    click.echo(f"{test.suggestion:.2e}")
    progress.say(f"suggested: --set max_lr={test.suggestion:.2g} (the recipe has {recipe.max_lr:g})")

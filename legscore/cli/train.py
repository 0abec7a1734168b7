"""legscore train"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.effects import refuse_given
from legscore.cli.numbers import Finite
from legscore.cli.output_options import output_option
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.training_options import (
    DATA_SECTION,
    NETWORK_SECTION,
    PROGRESS_SECTION,
    data_options,
    how_to_train,
    refuse_idle,
    resolve_recipe,
    training_options,
    valid_fold_option,
)
from legscore.cli.training_progress import TrainingProgress
from legscore.system.allocator import keep_freed_parts
from legscore.train.options import MemberOptions

SECTIONS = (
    DATA_SECTION,
    NETWORK_SECTION,
    Section(
        "Which models to train",
        "output seeds n_seeds valid_fold test_fold folds full",
        (
            "legscore train data.parquet -o models/ --seeds 5",
            "legscore train data.parquet -o models/ --folds all",
        ),
    ),
    Section(
        "Learning-rate test, and generators",
        "lr_find fraction predictors",
        (
            "legscore train data.parquet -o models/ --lr-find",
            "legscore train data.parquet -o generator/ --preset generator \\\n"
            "    --predictor models/seed1.safetensors",
        ),
    ),
    Section(
        "Training a model further",
        "start_from freeze block_rate new_head",
        ("legscore train few.parquet -o tuned/ --from models/ --freeze 2 --set max_lr=0.001",),
    ),
    PROGRESS_SECTION,
)


@click.command(
    "train", cls=SectionedCommand, sections=SECTIONS, short_help="Train LegNets on measured sequences."
)
@click.argument("data", type=click.Path(), metavar="DATA")
@output_option("Folder of the checkpoints (made if missing).", metavar="FOLDER")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    metavar="N",
    show_default="1; human: 777",
    help="Seed of a model; repeat for an ensemble.",
)
@click.option(
    "--seeds", "n_seeds", type=click.IntRange(1, 256), metavar="N", help="N models, with the seeds 1 to N."
)
@valid_fold_option
@click.option(
    "--test-fold", type=int, metavar="FOLD", help="Another fold kept out, on which the end is measured."
)
@click.option(
    "--folds",
    type=click.Choice(["all", "pairs"]),
    help="Cross-validation: a model for each fold, or for each pair of folds.",
)
@click.option("--full", is_flag=True, help="Train on every row; nothing validates.")
@click.option(
    "--lr-find",
    is_flag=True,
    help="Learning-rate range test: writes lr_find.csv and lr_find.png, trains nothing.",
)
@click.option(
    "--fraction",
    type=Finite(0, 100, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of a pass over the data that --lr-find uses.",
)
@click.option(
    "--predictor",
    "predictors",
    multiple=True,
    type=click.Path(),
    metavar="MODELS",
    help="For --preset generator: models that score designs after every epoch. Keep others for the final "
    "check.",
)
@click.option(
    "--from",
    "start_from",
    type=click.Path(),
    metavar="MODELS",
    help="Train these models further (members take them in turn), by the recipe that they were trained with.",
)
@click.option(
    "--freeze",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="With --from: keep the stem and the first N blocks as they are.",
)
@click.option(
    "--block-rate",
    type=Finite(0, 1, min_open=True),
    default=1.0,
    show_default="1",
    metavar="X",
    help="With --from: each block learns at X times the rate of the next.",
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
    freeze: int,
    block_rate: float,
    new_head: bool,
    **given: Any,
) -> None:
    """Train LegNets on measured sequences (needs legscore[train]).

    DATA is a table with columns sequence and expression, or the challenge's sequence<TAB>expression without
    a header. Each seed gives one model that `legscore run` scores with. An interrupted training is resumed
    by --resume and ends with the same weights. Several processes may share one FOLDER; torchrun puts several
    GPUs on each model.

    \b
    Examples:
      legscore train data.parquet -o models/ --preset optimized --seeds 5
      torchrun --nproc-per-node 4 -m legscore train data.parquet -o models/
    """
    if lr_find:
        trained = ("resume", "save_every", "log_every", "tensorboard", "floor", "predictors")
        refuse_given(trained, "--lr-find trains nothing")
        one = "--lr-find tests one model, the first that would be trained"
        refuse_given(("n_seeds", "seeds") if len(seeds) > 1 else ("n_seeds",), one)
    else:
        refuse_given(("fraction",), "it is the share of a pass that --lr-find uses")
    members = MemberOptions(seeds, n_seeds, valid_fold, test_fold, folds, full)
    keep_freed_parts()
    starts: Any = ()
    if start_from is None:
        refuse_given(("freeze", "block_rate", "new_head"), "they say how to go on --from a checkpoint")
    else:
        from legscore.train.fine_tune import read_starts, recipe_of

        starts = read_starts(start_from, frozen_blocks=freeze, block_rate=block_rate, new_head=new_head)
    recipe = resolve_recipe(given, recipe_of(starts[0]) if starts else None)
    refuse_idle(given, [recipe], validates=not full)

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
            starts=starts,
            also_read=also_read,
            listener=progress,
        )
    click.echo(f"{test.suggestion:.2e}")
    progress.say(f"suggested: --set max_lr={test.suggestion:.2g} (the recipe has {recipe.max_lr:g})")

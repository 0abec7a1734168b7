"""legscore train"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from legscore.cli.training_options import (
    Progress,
    make_folder,
    read_data,
    resolve_recipe,
    stop_on_signals,
    training_options,
)
from legscore.errors import LegscoreError
from legscore.system.allocator import keep_freed_parts


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
@click.option("--seeds", "n_seeds", type=click.IntRange(1, 50), help="Members with seeds 1..N.")
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
    if seeds and n_seeds:
        raise LegscoreError("--seed and --seeds exclude each other")
    if full and (valid_fold is not None or test_fold is not None or folds):
        raise LegscoreError("--full excludes --valid-fold, --test-fold and --folds")
    if folds and (valid_fold is not None or test_fold is not None):
        raise LegscoreError("--folds excludes --valid-fold and --test-fold")
    keep_freed_parts()
    recipe = resolve_recipe(given)
    if predictors and not recipe.is_generator:
        raise LegscoreError("--predictor validates a generator; it goes with --preset generator")

    from legscore.model.checkpoint import load_members
    from legscore.system.overwrite import check_apart, check_outputs
    from legscore.train.devices import choose_device, join_world
    from legscore.train.ensemble import Member, plan_members, train_members
    from legscore.train.generator import GeneratorTrainer
    from legscore.train.loop import Trainer

    world = join_world(given["device"])
    folder = make_folder(output)
    progress = Progress(folder, given["quiet"], given["tensorboard"], world.leads)
    device = choose_device(given["device"])
    if lr_find and world.size > 1:
        raise LegscoreError("--lr-find runs in one process; start it without torchrun")
    table = read_data(data, recipe, given, folder, progress.say)
    chosen = list(seeds) or (
        list(range(1, n_seeds + 1)) if n_seeds else [777 if recipe.preset == "human" else 1]
    )
    kind = "none" if full else folds or "one"
    members = plan_members(table, chosen, folds=kind, valid=valid_fold, test=test_fold)
    reads = [data, given["recipe_file"], given["construct"]]
    check_apart({"-o": [folder / f"{member.name}.safetensors" for member in members]}, reads, predictors)
    if lr_find:
        check_outputs({"-o": [folder / "lr_find.csv", folder / "lr_find.png"]}, reads, force=given["force"])
    compiled = device.type == "cuda" if given["compiled"] is None else given["compiled"]

    judges = load_members(predictors) if predictors else []
    if recipe.is_generator and not (judges or full):
        progress.say("validation: by loss alone; --predictor MODELS also scores designs after every epoch")

    def make(member: Member, state: Path) -> Trainer:
        arguments: tuple[Any, ...] = (
            recipe,
            recipe.contract(given["floor"]),
            table,
            member.held_out,
            member.seed,
            state,
        )
        options: dict[str, Any] = {"device": given["device"], "compiled": compiled, "world": world}
        if recipe.is_generator:
            return GeneratorTrainer(*arguments, predictors=judges, **options)
        return Trainer(*arguments, **options)

    with contextlib.closing(progress), stop_on_signals() as stopped:
        if lr_find:
            _lr_find(make(members[0], folder / ".lr_find"), fraction, folder, progress, stopped)
            return
        train_members(
            members,
            folder,
            make,
            recipe,
            table,
            resume=given["resume"],
            force=given["force"],
            save_every=given["save_every"],
            log_every=given["log_every"],
            report=progress.report,
            tick=progress.tick,
            say=progress.say,
            stop=stopped,
            world=world,
        )
        world.leave()


def _lr_find(
    trainer: Any, fraction: float, folder: Path, progress: Progress, stop: Callable[[], bool]
) -> None:
    from legscore.train.lr_find import range_test, write_range_test

    test = range_test(trainer, fraction, progress=progress.counted("range test"), stop=stop)
    progress.close_bar()
    table, picture = write_range_test(test, folder)
    progress.say(f"{len(test.lr)} steps, rates {test.lr[0]:.1e} to {test.lr[-1]:.1e}: {table}, {picture}")
    click.echo(f"{test.suggestion:.2e}")
    progress.say(f"suggested: --set max_lr={test.suggestion:.2g} (the recipe has {trainer.recipe.max_lr:g})")

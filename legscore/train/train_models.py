"""Train checkpoints from a table of measured sequences: what `legscore train` does, for Python callers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from legscore.errors import LegscoreError
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.system.overwrite import check_apart, check_outputs
from legscore.train.columns import DataOptions
from legscore.train.data import TrainingData, read_training_data
from legscore.train.devices import World, choose_device, join_world
from legscore.train.ensemble import files_of, plan_members, start_of, train_members
from legscore.train.fine_tune import FineTune
from legscore.train.generator import GeneratorTrainer
from legscore.train.loop import Trainer
from legscore.train.lr_find import RANGE_TEST_FILES, RangeTest, range_test, write_range_test
from legscore.train.metrics_log import MetricsLog
from legscore.train.options import Follower, Listener, Member, MemberOptions, TrainingOptions, make_folder
from legscore.train.recipe import Recipe

HUMAN_SEED = 777
"""Seed of one model by the published human work; 1 elsewhere."""
MANY_SINGLETONS = 0.9
"""Share of expressions that count as singletons above which a recipe with that channel is warned of."""


def train_models(
    data: str | Path,
    output: str | Path,
    recipe: Recipe,
    reading: DataOptions | None = None,
    members: MemberOptions | None = None,
    options: TrainingOptions | None = None,
    *,
    predictors: Sequence[str] = (),
    starts: Sequence[FineTune] = (),
    also_read: Sequence[str | None] = (),
    listener: Listener | None = None,
) -> list[Path]:
    """Train an ensemble: one checkpoint a member, with its metrics beside it. What is finished is not trained
    again; several processes may share a folder, and torchrun puts several GPUs on each member.

    Args:
        data: table of sequences and expressions, as for `read_training_data`. output: folder of the
            checkpoints, made where it is missing.
        reading: columns and rows of the table; what the recipe says of folds and singletons comes from it.
        predictors: for a generator, checkpoints that score its designs after every epoch.
        starts: checkpoints that members go on from in turn (`legscore.train.fine_tune.read_starts`).
        also_read: files that recipe and options came from, which must not be written over.
        listener: hears of progress; says when to stop.

    Returns:
        Paths of the finished checkpoints, also of those that other processes trained.

    Raises:
        LegscoreError: options that exclude each other, a table or a device that cannot be used, a saved state
            without `options.resume`, a stop that the listener asked for.
    """
    options, members = options or TrainingOptions(), members or MemberOptions()
    check_predictors(recipe, predictors)
    world = join_world(options.device)
    listener = listener or Listener()
    if not world.leads:
        listener = Follower(listener)
    folder = make_folder(output)
    compiled = compiles(options)
    table = read_for_recipe(data, recipe, reading or DataOptions(), options.floor, folder, listener)
    judges = load_members(predictors) if predictors else []
    if members.full and recipe.keep == "best":
        listener.say("--full: nothing validates, so the weights of the last step are kept, not the best")
    if recipe.is_generator and not (judges or members.full):
        listener.say("validation: by loss alone; --predictor MODELS also scores designs after every epoch")
    make = trainer_maker(recipe, table, options, compiled, judges, world, starts)
    team = planned(members, table, recipe)
    check_starts(team, starts, table, listener)
    read = [*predictors, *(start.path for start in starts)]
    check_apart({"-o": files_of(team, folder)}, [data, *also_read], read)
    listener.begin()
    with contextlib.closing(MetricsLog(options.tensorboard if world.leads else None)) as log:
        paths = train_members(
            team, folder, make, recipe, table, options, listener, log, world=world, starts=starts
        )
    world.leave()
    return paths


def find_rate(
    data: str | Path,
    output: str | Path,
    recipe: Recipe,
    reading: DataOptions | None = None,
    members: MemberOptions | None = None,
    options: TrainingOptions | None = None,
    *,
    fraction: float = 0.1,
    starts: Sequence[FineTune] = (),
    also_read: Sequence[str | None] = (),
    listener: Listener | None = None,
) -> RangeTest:
    """The learning-rate range test on the first member that `train_models` would train; writes lr_find.csv
    and lr_find.png into `output`, trains nothing.

    Args:
        fraction: share of a pass over the samples that the test may use. Others: as for `train_models`.

    Raises:
        LegscoreError: as `train_models`; or the loss diverges at once or never falls.
    """
    options, members, listener = (
        options or TrainingOptions(),
        members or MemberOptions(),
        listener or Listener(),
    )
    if join_world(options.device).size > 1:
        raise LegscoreError("--lr-find runs in one process; start it without torchrun")
    folder = make_folder(output)
    files = [folder / name for name in RANGE_TEST_FILES]
    check_outputs(
        {"-o": files},
        [data, *also_read],
        [start.path for start in starts],
        force=options.force,
    )
    compiled = compiles(options)
    table = read_for_recipe(data, recipe, reading or DataOptions(), options.floor, folder, listener)
    # which epoch is kept plays no part, and the best one of a generator would need predictors
    make = trainer_maker(replace(recipe, keep="last"), table, options, compiled, starts=starts)
    team = planned(members, table, recipe)[:1]
    check_starts(team, starts, table, listener)
    trainer = make(team[0], folder / ".lr_find")
    listener.begin()
    test = range_test(trainer, fraction, progress=listener.test_step, stop=listener.stopped)
    written, picture = write_range_test(test, folder)
    listener.say(f"{len(test.lr)} steps, rates {test.lr[0]:.1e} to {test.lr[-1]:.1e}: {written}, {picture}")
    return test


def planned(members: MemberOptions, data: TrainingData, recipe: Recipe) -> list[Member]:
    """The members. LegscoreError for a fold that the data do not have."""
    seeds = members.seeds or tuple(range(1, (members.n_seeds or 0) + 1))
    if not seeds:
        seeds = (HUMAN_SEED if recipe.preset == "human" else 1,)
    folds = "none" if members.full else members.folds or "one"
    return plan_members(data, seeds, folds=folds, valid=members.valid_fold, test=members.test_fold)


def check_starts(
    team: Sequence[Member], starts: Sequence[FineTune], data: TrainingData, listener: Listener
) -> None:
    """Say what each member goes on from; LegscoreError where that one saw a fold that is held out now."""
    warned = set()
    for member in team:
        if start := start_of(member, starts):
            listener.say(f"{member.name}: from {start.name}")
            if (warning := start.check_folds(data, member.held_out)) and warning not in warned:
                warned.add(warning)
                listener.say(warning)


def check_predictors(recipe: Recipe, predictors: Sequence[str]) -> None:
    """LegscoreError when predictors were given for a recipe that makes predictors itself."""
    if predictors and not recipe.is_generator:
        raise LegscoreError("--predictor validates a generator; it goes with --preset generator")


def compiles(options: TrainingOptions) -> bool:
    """Whether torch.compile is used. LegscoreError when the device cannot be had."""
    device = choose_device(options.device)
    return device.type == "cuda" if options.compiled is None else options.compiled


def read_for_recipe(
    path: str | Path,
    recipe: Recipe,
    reading: DataOptions,
    floor: float | None,
    scratch: Path,
    listener: Listener,
) -> TrainingData:
    """Read a table as a recipe asks for it, check it against the contract, and say what was found."""
    reading = replace(
        reading,
        fold_on=recipe.fold_on,
        n_folds=recipe.n_folds,
        singletons=recipe.singletons,
        singleton_min=recipe.singleton_min,
    )
    table = read_training_data(path, recipe.data_contract(floor), reading, scratch, listener.say)
    listener.say("data: " + ", ".join(f"{name} {count:,}" for name, count in table.report.items()))
    if recipe.singleton_channel and reading.singleton_column is None:
        share = table.report["singletons"] / len(table)
        if share > MANY_SINGLETONS:
            listener.say(
                f"warning: {share:.0%} of the expressions count as singletons, while scoring uses flag 0; "
                "pass --singleton COLUMN or --set singleton_channel=false"
            )
    rule = table.folds
    by = f"mmh3 of the sequence as {rule['fold_on']}" if rule["by"] == "mmh3" else f"column {rule['column']}"
    listener.say(f"folds: {by}")
    return table


def trainer_maker(
    recipe: Recipe,
    table: TrainingData,
    options: TrainingOptions,
    compiled: bool,
    judges: Sequence[Checkpoint] = (),
    world: World | None = None,
    starts: Sequence[FineTune] = (),
) -> Callable[[Member, Path], Trainer]:
    """A function that builds the trainer of a member, given the path of its state file."""

    def make(member: Member, state: Path) -> Trainer:
        given: tuple[Any, ...] = (
            recipe, recipe.contract(options.floor), table, member.held_out, member.seed, state,
        )  # fmt: skip
        how: dict[str, Any] = {"device": options.device, "compiled": compiled, "world": world}
        if recipe.is_generator:
            if starts:
                raise LegscoreError("--from starts predictors; train generators from the beginning")
            return GeneratorTrainer(*given, predictors=judges, **how)
        return Trainer(*given, start=start_of(member, starts), **how)

    return make

"""Plan the members of a training and train them one by one: claimed with flock, resumed, published by rename.

Several processes, on one machine or on a shared file system with working locks, may share a folder: each
takes the members that are neither finished nor claimed. A member's lock is the kernel's and ends with its
process.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import LegscoreError, ModelError, OutputError, shorten
from legscore.model.checkpoint import load_checkpoint
from legscore.system.json_records import difference
from legscore.system.lock import take_lock
from legscore.train.data import TrainingData
from legscore.train.devices import World
from legscore.train.fine_tune import FineTune
from legscore.train.loop import Metrics, Trainer
from legscore.train.metrics_log import ENDING, MetricsLog
from legscore.train.options import Listener, Member, TrainingOptions
from legscore.train.recipe import Recipe

TRAIN, FINISHED, CLAIMED, UNFINISHED = range(4)


def plan_members(
    data: TrainingData,
    seeds: Sequence[int],
    *,
    folds: str = "one",
    valid: int | None = None,
    test: int | None = None,
) -> list[Member]:
    """Members that a training makes, from seeds and folds.

    Args:
        folds: `one` (validate on `valid`, by default the last fold), `none` (train on everything), `all`
            (each fold validates once: cross-validation) or `pairs` (every ordered pair of a validation and a
            test fold, as in the human lentiMPRA work: 90 with ten folds).
        valid, test: folds, with `one`.

    Raises:
        LegscoreError: a fold that the data do not have, or that would both validate and test.
    """
    rule = data.folds
    present = [int(fold) for fold in np.unique(data.fold_N)]
    known = (
        list(range(rule["n_folds"])) if rule["by"] == "mmh3" else [0, 1] if rule["by"] == "split" else present
    )
    for option, fold in (("--valid-fold", valid), ("--test-fold", test)):
        if fold is not None and fold not in known:
            raise LegscoreError(f"{option} {fold}: the folds are {shorten([str(f) for f in known], 12)}")
    if folds in ("all", "pairs") and rule["by"] == "split":
        raise LegscoreError(
            f"--folds {folds} needs fold numbers; a split column has train and valid only (--fold hash "
            "makes folds)"
        )
    if folds == "none":
        sets: list[tuple[str, tuple[int, ...]]] = [("", ())]
    elif folds == "all":
        sets = [(f"fold{fold}.", (fold,)) for fold in present]
    elif folds == "pairs":
        sets = [(f"val{v}.test{t}.", (v, t)) for t in present for v in present if v != t]
    else:
        validation = known[-1] if valid is None else valid
        if validation == test:
            default = " (the last validates by default; --valid-fold names another)" if valid is None else ""
            raise LegscoreError(f"fold {test} cannot be both validation and test fold{default}")
        sets = [("", (validation,) if test is None else (validation, test))]
    return [Member(f"{prefix}seed{seed}", seed, held_out) for seed in seeds for prefix, held_out in sets]


def train_members(
    members: Sequence[Member],
    folder: Path,
    make: Callable[[Member, Path], Trainer],
    recipe: Recipe,
    data: TrainingData,
    options: TrainingOptions,
    listener: Listener,
    log: MetricsLog,
    *,
    group: str = "",
    world: World | None = None,
    starts: Sequence[FineTune] = (),
) -> list[Path]:
    """Train what is neither finished nor claimed by another process.

    Args:
        make: builds the trainer of a member with the path of its state file.
        listener: hears of metrics and of every step, and says when to stop.
        starts: checkpoints that the members go on from, as `make` was given them.
        log: takes the metrics, under names that begin with `group` where they share a board.

    Returns:
        Paths of the finished checkpoints of all `members` that exist at the end.

    Raises:
        LegscoreError: a state that may not be resumed, a finished member that was trained otherwise, or the
            listener said stop (the state is saved).
    """
    world, claimed = world or World(), []
    for member in members:
        target, state = folder / f"{member.name}.safetensors", folder / f".{member.name}.state.pt"
        with contextlib.ExitStack() as stack:
            todo = (
                _decide(member, target, state, folder, stack, resume=options.resume, force=options.force)
                if world.leads
                else TRAIN
            )
            # the leading process decides: the others must not come to another answer
            todo = int(world.same(todo))
            if todo == FINISHED:
                start = start_of(member, starts)
                _check_same(target, member, recipe, data, options.floor, start.record() if start else None)
                listener.say(f"{target}: finished already")
                continue
            if todo == CLAIMED:
                claimed.append(member.name)
                continue
            if todo == UNFINISHED:
                raise LegscoreError(
                    f"{state} holds an unfinished training; pass --resume to go on, or --force to start anew"
                )
            trainer = make(member, state)
            if trainer.resume():
                listener.say(f"{member.name}: going on from step {trainer.step:,} of {trainer.steps:,}")
            said = functools.partial(
                _report, folder, member, trainer, listener, log if world.leads else None, group
            )
            ticked = functools.partial(_tick, listener, member, trainer)
            ran = trainer.run(
                options.save_every, said, listener.stopped, log_every=options.log_every, tick=ticked
            )
            if not ran:
                raise LegscoreError(
                    f"{member.name} stopped at step {trainer.step:,}, saved; go on with --resume"
                )
            checkpoint = trainer.checkpoint()
            if world.leads:
                checkpoint.save(target)
                state.unlink(missing_ok=True)
                listener.say(f"{target}: {checkpoint.architecture.n_parameters():,} parameters")
    if claimed:
        listener.say(f"trained by other processes: {', '.join(claimed)}")
    return [path for path in (folder / f"{member.name}.safetensors" for member in members) if path.exists()]


def files_of(members: Sequence[Member], folder: Path) -> list[Path]:
    """What the training of members writes into a folder."""
    names = ("{}.safetensors", f"{{}}{ENDING}", ".{}.state.pt")
    return [folder / name.format(member.name) for member in members for name in names]


def start_of(member: Member, starts: Sequence[FineTune]) -> FineTune | None:
    """The checkpoint that a member goes on from: seed 1 takes the first, and so on in turn."""
    return starts[(member.seed - 1) % len(starts)] if starts else None


def _check_same(
    path: Path,
    member: Member,
    recipe: Recipe,
    data: TrainingData,
    floor: float | None,
    start: dict[str, Any] | None,
) -> None:
    """LegscoreError when a finished member is not what is asked for now."""
    try:
        checkpoint = load_checkpoint(path)
    except ModelError as error:
        raise ModelError(f"{error}; use another -o, or --force to train all anew") from None
    record = {**checkpoint.training, "floor": checkpoint.contract.output.floor}
    asked = {
        "recipe": recipe.to_json(),
        "data_sha256": data.sha256,
        "folds_held_out": list(member.held_out),
        "folds": data.folds,
        "floor": floor,
        "from": start,
    }
    if what := difference({name: record.get(name) for name in asked}, asked):
        raise LegscoreError(
            f"{path} was trained otherwise ({what}); use another -o, or --force to train all anew"
        )


def _decide(
    member: Member,
    target: Path,
    state: Path,
    folder: Path,
    stack: contextlib.ExitStack,
    *,
    resume: bool,
    force: bool,
) -> int:
    """What to do with a member; TRAIN leaves its lock held until the stack is left."""
    if target.exists() and not force:
        return FINISHED
    if not stack.enter_context(claim(folder / f".{member.name}.lock")):
        return CLAIMED
    if force:  # metrics are appended to: those of an earlier training go with it
        state.unlink(missing_ok=True)
        (folder / f"{member.name}{ENDING}").unlink(missing_ok=True)
    elif target.exists():  # finished by another process between the two looks
        return FINISHED
    return UNFINISHED if state.exists() and not resume else TRAIN


def _report(
    folder: Path,
    member: Member,
    trainer: Trainer,
    listener: Listener,
    log: MetricsLog | None,
    group: str,
    metrics: Metrics,
) -> None:
    if log is not None:
        log.write(folder, member.name, metrics, group)
    listener.report(member, trainer, metrics)


def _tick(listener: Listener, member: Member, trainer: Trainer, step: int) -> None:
    listener.tick(member, trainer)


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a member's lock while the block runs; yields whether it could be had. Its file is removed at the
    end."""
    try:
        handle = take_lock(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be locked: {error.strerror or error}") from error
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)

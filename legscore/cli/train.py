"""legscore train"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from legscore.errors import LegscoreError, OutputError


@click.command("train", short_help="Train LegNets on measured sequences.")
@click.argument("data", metavar="DATA")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Folder of the checkpoints (made if missing).")
@click.option("--preset", type=click.Choice(["noginet", "optimized"]), default="noginet", show_default=True)
@click.option("--recipe", "recipe_file", metavar="TOML", help="File of recipe settings over the preset's.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One recipe setting, e.g. epochs=5, optimizer=lion.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Seed of a member; repeat for an ensemble. [1]")
@click.option("--seeds", "n_seeds", type=click.IntRange(1, 50), help="Members with seeds 1..N.")
@click.option("--valid-fold", type=int, help="Fold that validates. [the last]")
@click.option("--full", is_flag=True, help="Train on every row; nothing validates.")
@click.option("--sequence", "sequence_column", metavar="NAME", help="Column of sequences. [sequence]")
@click.option("--expression", "expression_column", metavar="NAME", help="Column of expression values. [expression]")
@click.option("--singleton", "singleton_column", metavar="NAME", help="Column of singleton flags. [whole expressions]")
@click.option("--weight", "weight_column", metavar="NAME", help="Column of sampling weights, such as read counts.")
@click.option("--fold", "fold_column", metavar="NAME", help="Column of fold numbers, instead of hashing.")
@click.option("--sequence-is", type=click.Choice(["insert", "oligo", "window", "auto"]), default="auto", show_default=True)
@click.option("--out-of-range", type=click.Choice(["error", "clip", "drop"]), default="error", show_default=True)
@click.option("--floor", type=float, help="Prediction floor to keep in the contract.")
@click.option("--save-every", type=click.IntRange(1), default=500, show_default=True, help="Steps between saved states.")
@click.option("--resume", is_flag=True, help="Go on from saved states; finished members are skipped either way.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(
    data: str, output: str, preset: str, recipe_file: str | None, settings: tuple[str, ...], seeds: tuple[int, ...],
    n_seeds: int | None, valid_fold: int | None, full: bool, floor: float | None, save_every: int, resume: bool, quiet: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Train LegNets on measured sequences (needs legscore[train]).

    DATA is a table with sequence and expression, or the challenge's headerless sequence<TAB>expression. Each seed gives one
    checkpoint that `legscore run` scores. An interrupted training goes on with --resume and ends with the same weights.

    \b
    Examples:
      legscore train measured.parquet -o models/ --preset optimized --seeds 5
      legscore train train_sequences.txt -o models/ --full --seed 1
      legscore train measured.parquet -o models/ --set epochs=5 --set batch=256 --resume
    """
    from legscore.train.data import DataOptions, read_training_data
    from legscore.train.loop import Metrics, Trainer
    from legscore.train.recipe import Recipe, resolve

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    if seeds and n_seeds:
        raise LegscoreError("--seed and --seeds exclude each other")
    if full and valid_fold is not None:
        raise LegscoreError("--full and --valid-fold exclude each other")
    recipe = resolve(preset, recipe_file, _parse(settings, {f.name: type(getattr(Recipe(), f.name)) for f in fields(Recipe)}))
    if valid_fold is not None and not 0 <= valid_fold < recipe.n_folds and given["fold_column"] is None:
        raise LegscoreError(f"--valid-fold {valid_fold}: folds are 0..{recipe.n_folds - 1}")
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from None
    contract = recipe.contract(floor=floor)
    options = DataOptions(fold_on=recipe.fold_on, n_folds=recipe.n_folds, **given)
    table = read_training_data(data, contract, options, folder)
    say("data: " + ", ".join(f"{name} {count:,}" for name, count in table.report.items()))
    held_out = () if full else (recipe.n_folds - 1 if valid_fold is None else valid_fold,)
    stopping = _stop_on_signals()

    for seed in seeds or range(1, (n_seeds or 1) + 1):
        target = folder / f"seed{seed}.safetensors"
        state = folder / f".seed{seed}.state.pt"
        if target.exists():
            say(f"{target}: finished already")
            continue
        if state.exists() and not resume:
            raise LegscoreError(f"{state} holds an unfinished training; pass --resume to go on, or remove it to start anew")
        trainer = Trainer(recipe, contract, table, held_out, seed, state)
        if trainer.resume():
            say(f"seed {seed}: going on from step {trainer.step:,}")
        log = folder / f"seed{seed}.metrics.jsonl"

        def report(metrics: Metrics, log: Path = log, seed: int = seed, trainer: Trainer = trainer) -> None:
            with open(log, "a") as stream:
                stream.write(json.dumps(asdict(metrics)) + "\n")
            left = (trainer.recipe.steps - metrics.step) * recipe.batch / metrics.samples_per_s
            quality = "" if metrics.pearson is None else f", Pearson {metrics.pearson:.4f}, Spearman {metrics.spearman:.4f}"
            say(
                f"seed {seed} step {metrics.step:,}/{recipe.steps:,}: loss {metrics.loss:.4f}{quality}, "
                f"{metrics.samples_per_s:,.0f} samples/s, {left / 60:,.1f} min left"
            )

        if not trainer.run(save_every, report, lambda: stopping[0]):
            raise LegscoreError(f"stopped at step {trainer.step:,}; go on with --resume")
        trainer.checkpoint().save(target)
        state.unlink(missing_ok=True)
        say(f"{target}: {trainer.checkpoint().architecture.n_parameters():,} parameters")


def _parse(settings: tuple[str, ...], kinds: dict[str, type]) -> dict[str, Any]:
    """KEY=VALUE pairs in the types of the recipe's fields; what is unknown is left for the recipe to refuse."""
    parsed: dict[str, Any] = {}
    for pair in settings:
        key, equals, value = pair.partition("=")
        if not equals:
            raise LegscoreError(f"--set {pair}: write KEY=VALUE, such as epochs=5")
        kind = kinds.get(key, str)
        try:
            if kind is bool:
                parsed[key] = {"true": True, "false": False}[value.lower()]
            elif kind is tuple:
                parsed[key] = tuple(int(n) for n in value.split(","))
            else:
                parsed[key] = kind(value)
        except (ValueError, KeyError):
            raise LegscoreError(f"--set {pair}: {key} takes {'true or false' if kind is bool else kind.__name__}") from None
    return parsed


def _stop_on_signals() -> list[bool]:
    """A flag that SIGINT and SIGTERM set; a second one ends the process at once."""
    flag = [False]

    def handle(number: int, frame: object) -> None:
        if flag[0]:
            sys.exit(128 + number)
        flag[0] = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return flag

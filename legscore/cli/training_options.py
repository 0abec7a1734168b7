"""Options that `legscore train`, `ablate` and `distill` share: how to read the data, what to train, how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import click

from legscore.cli.effects import refuse_given
from legscore.cli.numbers import Finite
from legscore.cli.output_options import quiet_option, threads_option
from legscore.cli.sections import Section
from legscore.cli.table_options import conditions, sequence_is_option, where_option
from legscore.errors import LegscoreError
from legscore.train.options import TrainingOptions

F = TypeVar("F", bound=Callable[..., Any])


def every_option(name: str, default: int, what: str) -> Callable[[F], F]:
    """An option for the steps that lie between two of something."""
    return click.option(
        name,
        type=click.IntRange(1),
        default=default,
        show_default=True,
        metavar="STEPS",
        help=f"Steps between {what}.",
    )


DATA_OPTIONS = [
    click.option(
        "--sequence",
        "sequence_column",
        metavar="NAME",
        show_default="sequence",
        help="Column of sequences.",
    ),
    click.option(
        "--expression",
        "expression_column",
        metavar="NAME",
        show_default="expression",
        help="Column of expression values.",
    ),
    click.option(
        "--singleton",
        "singleton_column",
        metavar="NAME",
        show_default="rows whose expression is a whole number",
        help="Column of singleton flags.",
    ),
    click.option(
        "--weight", "weight_column", metavar="NAME", help="Column of sampling weights, such as read counts."
    ),
    click.option(
        "--fold",
        "fold_column",
        metavar="NAME",
        show_default="fold, if there is one",
        help="Column of fold numbers; hash for mmh3 of the sequences.",
    ),
    click.option(
        "--split",
        "split_column",
        metavar="NAME",
        show_default="split",
        help="Column that says train or valid; other rows stay out.",
    ),
    where_option,
    sequence_is_option,
    click.option(
        "--out-of-range",
        type=click.Choice(["error", "clip", "drop"]),
        default="error",
        show_default=True,
        help="What to do with expression outside the bins.",
    ),
]
RECIPE_OPTIONS = [
    click.option(
        "--preset",
        type=click.Choice(
            ["noginet", "noginet-defined", "noginet-complex", "optimized", "human", "generator"]
        ),
        show_default="noginet",
        help="Published network to train.",
    ),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(),
        metavar="TOML",
        help="File of settings that differ from the preset's.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting, such as epochs=5 or optimizer=lion; repeat for more.",
    ),
    click.option(
        "--construct",
        type=click.Path(),
        metavar="NAME|TOML",
        show_default="the preset's",
        help="DNA around the insert: yeast, human, or a file with flanks, adapters and lengths.",
    ),
    click.option("--bins", type=int, show_default="18", help="Bins of expression that the network predicts."),
    click.option(
        "--target-sd",
        type=Finite(),
        show_default="0.5",
        help="Width (SD) of a target, in bins.",
    ),
    click.option(
        "--target-shift", type=Finite(), show_default="0.5", help="Added to the expression before binning."
    ),
    click.option("--floor", type=Finite(), help="Lowest score that means something; the checkpoint says it."),
    click.option(
        "--device",
        metavar="N|cpu",
        show_default="the first GPU, if there is one",
        help="NVIDIA GPU by number, or cpu; PyTorch's names (cuda:1, mps) work too.",
    ),
    click.option(
        "--compile/--no-compile",
        "compiled",
        default=None,
        show_default="on GPUs only",
        help="Use torch.compile.",
    ),
    every_option("--save-every", 500, "saved states"),
    every_option("--log-every", 100, "metrics"),
    click.option(
        "--resume",
        is_flag=True,
        help="Resume an interrupted training. Finished models are left as they are either way.",
    ),
    click.option(
        "--tensorboard", type=click.Path(), metavar="FOLDER", help="Also write metrics for TensorBoard."
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Train all models anew, finished and unfinished ones, and replace their tables.",
    ),
    threads_option,
    quiet_option,
]
valid_fold_option = click.option(
    "--valid-fold", type=int, metavar="FOLD", show_default="the last", help="Fold that validates."
)
DATA_SECTION = Section(
    "Data",
    "sequence_column expression_column singleton_column weight_column fold_column split_column where "
    "sequence_is out_of_range",
    (
        "legscore train data.parquet --sequence seq --expression yfp \\\n"
        "    --where medium=complex -o models/",
    ),
)
NETWORK_SECTION = Section(
    "Network and recipe",
    "preset recipe_file settings construct bins target_sd target_shift floor",
    ("legscore train data.parquet --preset optimized --set epochs=5 -o models/",),
)
PROGRESS_SECTION = Section(
    "Interrupted trainings, progress and machine",
    "resume save_every force log_every tensorboard device compiled threads quiet help",
    ("legscore train data.parquet --folds all -o models/ --resume",),
)


def training_options(command: F) -> F:
    """All of them, data first."""
    for option in reversed([*DATA_OPTIONS, *RECIPE_OPTIONS]):
        command = option(command)
    return command


def resolve_recipe(given: dict[str, Any], recorded: Any = None) -> Any:
    """The recipe that the options ask for; `recorded`: of a checkpoint, where options name none."""
    from legscore.train.construct import CONSTRUCTS, construct_file
    from legscore.train.presets import changed, resolve

    settings = parse_settings(given["settings"])
    for option in ("bins", "target_sd", "target_shift"):
        if given[option] is not None:
            settings[option] = given[option]
    if (name := given["construct"]) is not None:
        settings["construct"] = CONSTRUCTS[name] if name in CONSTRUCTS else construct_file(name)
    if recorded is not None and not (given["preset"] or given["recipe_file"]):
        return changed(recorded, settings)
    return resolve(given["preset"], given["recipe_file"], settings)


def refuse_idle(given: dict[str, Any], recipes: Sequence[Any], *, validates: bool = True) -> None:
    """LegscoreError for a setting that was given and changes nothing in any of the recipes, or beside what
    options say of the data; `validates`: whether a fold is kept out."""
    from legscore.train.recipe import idle_settings

    first, *others = map(idle_settings, recipes)
    settings = parse_settings(given["settings"])
    for name, why in first.items():
        if all(name in other for other in others):
            refuse_given((name,), why)
            if name in settings:
                raise LegscoreError(f"--set {name} has no effect here: {why}")
    for name, why in _idle_beside(given, validates).items():
        if name in settings:
            raise LegscoreError(f"--set {name} has no effect here: {why}")


def _idle_beside(given: dict[str, Any], validates: bool) -> dict[str, str]:
    """Settings that change nothing beside options, by name, each with the reason."""
    found: dict[str, str] = {}
    if given["singleton_column"] is not None:
        found |= dict.fromkeys(("singletons", "singleton_min"), "--singleton names a column of flags")
    named = [option for option in ("fold", "split") if given[f"{option}_column"] is not None]
    if len(named) == 1 and given["fold_column"] != "hash":  # both exclude each other, which is said later
        found |= dict.fromkeys(("n_folds", "fold_on"), f"--{named[0]} names a column of folds")
    if not validates:
        found |= dict.fromkeys(("keep", "validate_rc"), "with --full nothing validates")
    return found


def data_options(given: dict[str, Any]) -> Any:
    """The `DataOptions` that the options ask for."""
    from legscore.train.columns import DataOptions

    asked = {name: given[name] for name in DATA_SECTION.names.split()}
    return DataOptions(**asked | {"where": conditions(given["where"])})


def how_to_train(given: dict[str, Any]) -> TrainingOptions:
    """The `TrainingOptions` that the options ask for."""
    return TrainingOptions(**{field.name: given[field.name] for field in fields(TrainingOptions)})


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE pairs in the types of the recipe's fields; what is unknown is left for the recipe to
    refuse."""
    from legscore.train.recipe import Recipe

    kinds = {f.name: type(getattr(Recipe(), f.name)) for f in fields(Recipe)}
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
                parsed[key] = tuple(int(n) for n in value.split(",") if n)
            elif kind in (int, float, str):
                parsed[key] = kind(value)
            else:
                parsed[key] = value
        except (ValueError, KeyError):
            names = {bool: "true or false", tuple: "numbers with commas", int: "a whole number"}
            raise LegscoreError(f"--set {pair}: {key} takes {names.get(kind, 'a number')}") from None
    return parsed

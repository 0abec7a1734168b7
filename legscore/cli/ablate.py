"""legscore ablate"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.effects import refuse_given, refuse_others
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

LIST_TAKES = (
    "data", "output", "variants_file", "study", "only", "list_only", "preset", "recipe_file", "settings",
    "quiet",
)  # fmt: skip
"""Options that --list makes use of, or cannot do without."""
SECTIONS = (
    Section(
        "What to compare",
        "output study variants_file only list_only n_seeds test_file valid_fold",
        (
            "legscore ablate data.parquet -o ablation/ --test native.parquet",
            "legscore ablate data.parquet -o blocks/ --study architecture --seeds 3",
            'legscore ablate data.parquet -o ablation/ --only original --only "no SE" --seeds 3',
        ),
    ),
    DATA_SECTION._replace(
        examples=("legscore ablate data.parquet -o ablation/ --where medium=complex --fold fold",)
    ),
    NETWORK_SECTION._replace(
        examples=("legscore ablate data.parquet -o ablation/ --preset optimized --set epochs=5",)
    ),
    PROGRESS_SECTION._replace(examples=("legscore ablate data.parquet -o ablation/ --resume",)),
)


@click.command(
    "ablate",
    cls=SectionedCommand,
    sections=SECTIONS,
    short_help="Train variants of a recipe and compare them.",
)
@click.argument("data", type=click.Path(), metavar="DATA")
@output_option("Folder of checkpoints and tables (made if missing).", metavar="FOLDER")
@click.option(
    "--variants",
    "variants_file",
    type=click.Path(),
    metavar="TOML",
    show_default="those of the published study",
    help="Variants to train.",
)
@click.option(
    "--study",
    type=click.Choice(["published", "architecture"]),
    default="published",
    show_default=True,
    help="Switches from the original network to the optimised one, or blocks, filters, groups, kernel, SE.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this variant; repeat for more.")
@click.option(
    "--list", "list_only", is_flag=True, help="List the variants and their settings; train nothing."
)
@click.option(
    "--seeds",
    "n_seeds",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    metavar="N",
    help="Models of each variant.",
)
@click.option(
    "--test",
    "test_file",
    type=click.Path(),
    metavar="FILE",
    show_default="the validation fold",
    help="Table to compare on, with the columns of DATA.",
)
@valid_fold_option
@training_options
def command(
    data: str,
    output: str,
    variants_file: str | None,
    study: str,
    only: tuple[str, ...],
    list_only: bool,
    n_seeds: int,
    test_file: str | None,
    valid_fold: int | None,
    **given: Any,
) -> None:
    """Train variants of a recipe and compare them (needs legscore[train]).

    Each variant is trained with several seeds. The published study by default: one switch after another from
    the original LegNet to the optimised one, then single changes; ten-fold models for the plateau and the
    one-cycle schedule, on the same folds.
    Writes ablation.csv (mean and SD per variant), members.csv and ablation.png. Finished models are not
    trained again; several processes may share a FOLDER.

    \b
    Example:
      legscore ablate data.parquet -o ablation/ --test native.parquet
    """
    keep_freed_parts()
    recipe = resolve_recipe(given)

    from legscore.train.study import StudyOptions, run_study, study_variants

    if variants_file:
        refuse_given(("study",), "--variants names the variants")
    if list_only:
        refuse_others(LIST_TAKES, "--list trains nothing")
    variants = study_variants(recipe, variants_file, only, study)
    refuse_idle(given, [recipe, *(variant.recipe for variant in variants)])
    if all(variant.folds == "all" for variant in variants):
        refuse_given(("n_seeds", "valid_fold"), "these variants are trained once for each fold")
    if list_only:
        for variant in variants:
            click.echo(f"{variant.name}: {variant.changes or 'as the preset'}")
        return
    compared = StudyOptions(n_seeds, valid_fold, test_file)
    asked = (data, output, recipe, variants, data_options(given), compared, how_to_train(given))
    also_read = (variants_file, given["recipe_file"], given["construct"])
    with TrainingProgress(given["quiet"]) as progress:
        rows = run_study(*asked, progress, also_read=also_read)
    for row in rows:
        click.echo(_line(row))


def _line(row: Any) -> str:
    def part(mean: float, sd: float | None) -> str:
        return f"{mean:.4f}" + ("         " if sd is None else f" ± {sd:.4f}")

    return (
        f"{row.variant:24} n {row.models:2}  Pearson {part(row.pearson, row.pearson_sd)}  "
        f"Spearman {part(row.spearman, row.spearman_sd)}".rstrip()
    )

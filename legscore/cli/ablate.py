"""legscore ablate"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.training_options import (
    TrainingProgress,
    data_options,
    how_to_train,
    resolve_recipe,
    training_options,
)
from legscore.errors import LegscoreError
from legscore.system.allocator import keep_freed_parts


@click.command("ablate", short_help="Train variants of a recipe and compare them.")
@click.argument("data", metavar="DATA")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FOLDER",
    help="Folder of checkpoints and tables (made if missing).",
)
@click.option(
    "--variants", "variants_file", metavar="TOML", help="Variants, instead of the published study's."
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
    "--list", "list_only", is_flag=True, help="List the variants and their settings, train nothing."
)
@click.option(
    "--seeds", "n_seeds", type=click.IntRange(1, 50), default=5, show_default=True, help="Models per variant."
)
@click.option(
    "--test",
    "test_file",
    metavar="FILE",
    help="Table to compare on, with DATA's columns. [the validation fold]",
)
@click.option("--valid-fold", type=int, help="Fold that validates. [the last]")
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
    Examples:
      legscore ablate measured.parquet -o ablation/ --test native.parquet
      legscore ablate measured.parquet -o ablation/ --only original --only "no SE" --seeds 3 --set epochs=5
      legscore ablate measured.parquet -o blocks/ --study architecture --preset optimized --seeds 3
      legscore ablate measured.parquet -o ablation/ --variants mine.toml --resume
    """
    keep_freed_parts()
    recipe = resolve_recipe(given)

    from legscore.train.study import StudyOptions, run_study, study_variants

    if variants_file and study != "published":
        raise LegscoreError("--study and --variants both name the variants; leave one out")
    variants = study_variants(recipe, variants_file, only, study)
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

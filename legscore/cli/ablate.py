"""legscore ablate"""

from __future__ import annotations

import contextlib
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import click

from legscore.cli.training_options import (
    Progress,
    make_folder,
    parse_where,
    read_data,
    resolve_recipe,
    stop_on_signals,
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
    only: tuple[str, ...],
    list_only: bool,
    n_seeds: int,
    test_file: str | None,
    valid_fold: int | None,
    **given: Any,
) -> None:
    """Train variants of a recipe and compare them (needs legscore[train]).

    Each variant is trained with several seeds. The published study by default: one switch after another from
    the original LegNet to the optimised one, then single changes; ten-fold models for the plateau schedule.
    Writes ablation.csv (mean and SD per variant), members.csv and ablation.png. Finished models are not
    trained again; several processes may share a FOLDER.

    \b
    Examples:
      legscore ablate measured.parquet -o ablation/ --test native.parquet
      legscore ablate measured.parquet -o ablation/ --only original --only "no SE" --seeds 3 --set epochs=5
      legscore ablate measured.parquet -o ablation/ --variants mine.toml --resume
    """
    keep_freed_parts()
    recipe = resolve_recipe(given)
    if recipe.is_generator:
        raise LegscoreError(
            "legscore ablate compares predictors; train generators one by one with legscore train"
        )

    from legscore.system.overwrite import check_apart, check_free
    from legscore.train import ablation
    from legscore.train.data import DataOptions, read_training_data
    from legscore.train.devices import choose_device
    from legscore.train.ensemble import Member, plan_members, train_members
    from legscore.train.loop import Trainer
    from legscore.train.recipe import Recipe

    known = (
        ablation.read_variants(variants_file, recipe)
        if variants_file
        else ablation.published_variants(recipe)
    )
    variants = ablation.choose(known, only)
    if list_only:
        for variant in variants:
            click.echo(f"{variant.name}: {variant.changes or 'as the preset'}")
        return
    folder = make_folder(output)
    tables = [folder / name for name in ("ablation.csv", "members.csv", "ablation.png")]
    reads = [data, test_file, variants_file, given["recipe_file"], given["construct"]]
    check_apart({"-o": tables}, reads)
    if not ablation.is_summary(tables[0]):
        check_free({"-o": tables}, force=given["force"])
    progress = Progress(folder, given["quiet"], given["tensorboard"])
    device = choose_device(given["device"])
    compiled = device.type == "cuda" if given["compiled"] is None else given["compiled"]
    if not test_file and any(variant.folds == "all" for variant in variants):
        raise LegscoreError(
            "variants trained fold by fold (plateau schedule) need one test set for all: pass --test, or "
            "use --only"
        )
    table = read_data(data, recipe, given, folder, progress.say)
    test = None
    if test_file:
        options = DataOptions(
            given["sequence_column"],
            given["expression_column"],
            fold_column="hash",
            where=parse_where(given["where"]),
            sequence_is=given["sequence_is"],
            out_of_range=given["out_of_range"],
        )
        test = read_training_data(test_file, recipe.contract(), options, folder)
        progress.say("test: " + ", ".join(f"{name} {count:,}" for name, count in test.report.items()))
    progress.say(
        f"compared on: {test_file or 'the validation fold, which is not independent of choices made with it'}"
    )

    def members_of(variant: ablation.Variant) -> list[Member]:
        if variant.folds == "all":
            return plan_members(table, [1], folds="all")
        return plan_members(table, range(1, n_seeds + 1), valid=valid_fold)

    one = plan_members(table, [1], valid=valid_fold)[0]
    variants = ablation.with_equal_steps(
        variants, recipe.steps_in_epoch(ablation.samples(table, one.held_out, recipe))
    )
    rows, lines, results = [], [], {}
    with contextlib.closing(progress), stop_on_signals() as stopped:
        for variant in variants:
            progress.folder, progress.group = make_folder(str(folder / variant.folder)), f"{variant.name}/"

            def make(member: Member, state: Path, recipe: Recipe = variant.recipe) -> Trainer:
                return Trainer(
                    recipe,
                    recipe.contract(given["floor"]),
                    table,
                    member.held_out,
                    member.seed,
                    state,
                    device=given["device"],
                    compiled=compiled,
                )

            train_members(
                members_of(variant),
                progress.folder,
                make,
                variant.recipe,
                table,
                resume=given["resume"],
                force=given["force"],
                save_every=given["save_every"],
                log_every=given["log_every"],
                report=progress.report,
                tick=progress.tick,
                say=progress.say,
                stop=stopped,
            )
    for variant in variants:  # only now, so that what other processes trained meanwhile counts
        scores, members = [], members_of(variant)
        for member in members:
            path = folder / variant.folder / f"{member.name}.safetensors"
            if path.exists():
                compared = test or ablation.held_out_rows(table, member.held_out)
                scores.append(ablation.score_member(path, compared, given["device"]))
                lines.append((variant.name, member.name, *scores[-1]))
        if len(scores) < len(members):
            progress.say(
                f"warning: {variant.name} has {len(scores)} of {len(members)} models; others are being "
                "trained elsewhere, "
                "run the command again when they are done"
            )
        if scores:
            rows.append(ablation.summarise(variant, scores))
            results[variant.name] = scores
    if not rows:
        raise LegscoreError("no variant has a finished model; other processes are training them")
    ablation.write_table(
        folder / "ablation.csv", [f.name for f in fields(ablation.Row)], [astuple(row) for row in rows]
    )
    ablation.write_table(folder / "members.csv", ["variant", "model", "pearson", "spearman"], lines)
    ablation.draw(folder / "ablation.png", rows, results)
    for row in rows:
        click.echo(_line(row))


def _line(row: Any) -> str:
    def part(mean: float, sd: float | None) -> str:
        return f"{mean:.4f}" + ("         " if sd is None else f" ± {sd:.4f}")

    return (
        f"{row.variant:24} n {row.models:2}  Pearson {part(row.pearson, row.pearson_sd)}  "
        f"Spearman {part(row.spearman, row.spearman_sd)}".rstrip()
    )

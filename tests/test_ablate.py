"""The ablation study: its variants, its tables against a plain computation, its errors."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import measured, one_line

pytest.importorskip("torch", reason="training needs legscore[train]")

from legscore.errors import LegscoreError
from legscore.train.ablation import (
    Row,
    architecture_variants,
    published_variants,
    read_variants,
    summarise,
    with_equal_steps,
)
from legscore.train.options import Listener, MemberOptions, TrainingOptions
from legscore.train.presets import PRESETS, resolve
from legscore.train.study import StudyOptions, run_study, study_variants
from legscore.train.train_models import train_models

SMALL = [
    "--set", "widths=16,16", "--set", "epochs=1", "--set", "steps_per_epoch=4", "--set", "batch=16", "--set", "kernel=3",
    "--set", "n_folds=3",
]  # fmt: skip


def test_the_path_leads_from_the_original_to_the_optimised_network() -> None:
    variants = {variant.name: variant for variant in published_variants(PRESETS["noginet"])}
    assert variants["original"].recipe == PRESETS["noginet"]
    last, optimized = variants["Lion"].recipe, PRESETS["optimized"]
    for name in (
        "final_activation",
        "se",
        "filters_per_group",
        "inner_from",
        "optimizer",
        "max_lr",
        "weight_decay",
    ):
        assert getattr(last, name) == getattr(optimized, name)
    assert last.architecture().n_parameters() == 2_129_602
    assert variants["one strand"].recipe.contract().channels == ("A", "G", "C", "T", "is_singleton")
    assert not variants["one strand"].recipe.contract().rc_trained
    assert not last.cycle_momentum
    assert variants["plateau schedule"].folds == variants["one-cycle schedule"].folds == "all", "in pairs"


PARAMETERS = {
    "original": 1_852_846,
    "no final activation": 1_852_846,
    "plain SE": 1_725_122,
    "depthwise": 1_710_786,
    "inner width from input": 2_129_602,
    "Lion": 2_129_602,
    "no SE": 1_905_426,
    "residual sum": 1_642_178,
    "no residual": 1_642_178,
    "regression": 2_129_602,
    "no singleton channel": 2_127_810,
    "no reverse channel": 2_127_810,
    "one strand": 2_127_810,
    "plateau schedule": 2_129_602,
    "one-cycle schedule": 2_129_602,
}
OF_THE_OPTIMISED = {
    "base": 2_129_602,
    "2 blocks": 1_540_722,
    "3 blocks": 1_824_658,
    "4 blocks": 1_926_306,
    "5 blocks": 2_027_954,
    "half the filters": 544_618,
    "kernel 3": 1_561_282,
    "kernel 5": 1_845_442,
    "kernel 9": 2_413_762,
    "2 filters per group": 2_149_314,
    "4 filters per group": 2_188_738,
    "8 filters per group": 2_267_586,
    "inner factor 1": 1_274_818,
    "inner factor 2": 1_559_746,
    "inner factor 6": 2_699_458,
    "SE none": 1_905_426,
    "SE reduction 2": 2_350_962,
    "SE reduction 8": 2_018_922,
    "residual sum": 1_642_178,
    "no residual": 1_642_178,
}


def test_every_variant_has_the_parameters_it_should() -> None:
    """Regression keeps the 18 bins and takes their expected value: the network is the same."""
    found = {v.name: v.recipe.architecture().n_parameters() for v in published_variants(PRESETS["noginet"])}
    assert found == PARAMETERS
    found = {
        v.name: v.recipe.architecture().n_parameters() for v in architecture_variants(PRESETS["optimized"])
    }
    assert found == OF_THE_OPTIMISED
    regression = next(v.recipe for v in published_variants(PRESETS["noginet"]) if v.name == "regression")
    assert (regression.head, regression.loss) == ("bins", "mse")


def test_variants_file(tmp_path: Path) -> None:
    path = tmp_path / "v.toml"
    path.write_text(
        '[[variant]]\nname = "a"\nse = "plain"\n[[variant]]\nname = "b"\nafter = "a"\nkernel = 5\nfolds = "all"\n'
    )
    a, b = read_variants(path, resolve("noginet"))
    assert (a.recipe.se, a.recipe.kernel, b.recipe.se, b.recipe.kernel, b.folds) == (
        "plain",
        7,
        "plain",
        5,
        "all",
    )
    for text, message in (
        ("", r"write tables \[\[variant\]\]"),
        ("[[variant]]\nse = 'plain'\n", "needs a name of its own"),
        ("[[variant]]\nname = 'a'\nafter = 'z'\n", "comes after 'z', which is not before it"),
        ("[[variant]]\nname = 'a'\nn_folds = 5\n", "changes n_folds, which all variants share"),
        ("[[variant]]\nname = 'a'\n\n[[variant]]\nname = 'b'\nkernel = 4\n", "kernels must be odd"),
        ("[[variant]]\nname = 'a'\npools = [9, 9, 9, 9, 9, 9]\n", "leave nothing of a window of 150 bases"),
        ("[[variant]]\nname = 'a'\nkernels = 5\n", "unknown setting 'kernels'"),
        ("[[variant]]\nname = 'a'\nfolds = 'two'\n", "must be 'one' or 'all'"),
        ("[[variant]]\nname = '+RC'\n[[variant]]\nname = '-RC'\n", "would share the folder '-rc'"),
        ("variant = ['a']\n", "write tables"),
    ):
        path.write_text(text)
        with pytest.raises(LegscoreError, match=message):
            read_variants(path, resolve("noginet"))


def test_mean_and_sample_sd() -> None:
    variant = published_variants(PRESETS["noginet"])[0]
    row = summarise(variant, [(0.5, 0.6), (0.7, 0.4), (0.9, 0.8)])
    assert row == Row(
        "original", "", 3, pytest.approx(0.7), pytest.approx(0.2), pytest.approx(0.6), pytest.approx(0.2)
    )  # type: ignore[arg-type]
    assert summarise(variant, [(0.5, 0.6)]).pearson_sd is None


def test_command(table: Path, tmp_path: Path, cli: Any) -> None:
    """Two variants × two seeds and one by folds; tables agree with each other; a second call trains
    nothing."""
    pq.write_table(measured(64, seed=5), tmp_path / "test.parquet")
    only = ["--only", "original", "--only", "no SE", "--only", "plateau schedule"]
    command = (
        "ablate",
        table,
        "-o",
        tmp_path / "a",
        "--test",
        tmp_path / "test.parquet",
        "--seeds",
        "2",
        *only,
        *SMALL,
    )
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 3
    with open(tmp_path / "a/members.csv") as stream:
        members = list(csv.DictReader(stream))
    with open(tmp_path / "a/ablation.csv") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert {name: row["models"] for name, row in rows.items()} == {
        "original": "2",
        "no SE": "2",
        "plateau schedule": "3",
    }
    for name, row in rows.items():
        values = [float(m["pearson"]) for m in members if m["variant"] == name]
        assert float(row["pearson"]) == pytest.approx(statistics.mean(values))
        assert float(row["pearson_sd"]) == pytest.approx(statistics.stdev(values))
    assert (tmp_path / "a/ablation.png").read_bytes()[:4] == b"\x89PNG"
    model = tmp_path / "a/no-se/seed2.safetensors"
    ran = cli(
        "run", tmp_path / "test.parquet", "-m", model, "-o", tmp_path / "o.parquet", "--precision", "fp32"
    )
    assert ran.code == 0, ran.err
    scored = pq.read_table(tmp_path / "o.parquet")
    listed = next(float(m["pearson"]) for m in members if (m["variant"], m["model"]) == ("no SE", "seed2"))
    pearson = np.corrcoef(scored["score"], scored["expression"])[0, 1]
    assert pearson == pytest.approx(listed, abs=0.02), "run gives what the table says"
    again = cli(*command)
    assert again.err.count("finished already") == 7
    assert "original" in again.out


def test_fair_steps_and_start() -> None:
    """Variants keep the base's number of steps; the published path starts from the original network only."""
    base = resolve("noginet", options={"steps_per_epoch": 0})
    equal = with_equal_steps(published_variants(base), 50)
    assert {variant.recipe.steps_per_epoch for variant in equal} == {50}
    with pytest.raises(
        LegscoreError, match="starts from the original network, but final_activation is 'none'"
    ):
        published_variants(PRESETS["optimized"])


def test_another_setting_is_not_served_from_old_models(table: Path, tmp_path: Path, cli: Any) -> None:
    command = ("ablate", table, "-o", tmp_path / "a", "--seeds", "1", "--only", "original", *SMALL)
    assert cli(*command).code == 0
    changed = cli(*command, "--set", "max_lr=0.02")
    assert changed.code == 2
    assert "was trained otherwise (recipe max_lr was 0.005, is now 0.02)" in changed.err
    folds = cli("ablate", table, "-o", tmp_path / "b", "--only", "plateau schedule", *SMALL, "-q")
    assert (folds.code, "need" in folds.err) == (2, True)


def test_command_errors(table: Path, tmp_path: Path, cli: Any) -> None:
    ran = cli("ablate", table, "-o", tmp_path / "a", "--only", "orginal")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert 'no such variant (did you mean "original"?)' in ran.err
    listed = cli("ablate", table, "-o", tmp_path / "a", "--list")
    assert listed.code == 0
    assert listed.out.splitlines()[0] == "original: as the preset"
    assert not (tmp_path / "a").exists()


class Counter(Listener):
    """Counts what a training tells; stops after `most` steps."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most, self.steps, self.reports, self.lines = most, 0, 0, list[str]()

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, member: Any, trainer: Any) -> None:
        self.steps += 1

    def report(self, member: Any, trainer: Any, metrics: Any) -> None:
        self.reports += 1

    def stopped(self) -> bool:
        return self.steps >= self.most


def test_training_and_studies_from_python(tmp_path: Path) -> None:
    """What the commands do, without them: checkpoints, metrics beside them, rows of a study; stopped and
    resumed."""
    pq.write_table(measured(200), tmp_path / "m.parquet")
    recipe = resolve(
        "noginet",
        options={"widths": (8, 8), "epochs": 1, "steps_per_epoch": 4, "batch": 16, "kernel": 3, "n_folds": 3},
    )
    folder, team = tmp_path / "models", MemberOptions(n_seeds=2)
    with pytest.raises(LegscoreError, match="stopped at step 2, saved"):
        train_models(tmp_path / "m.parquet", folder, recipe, members=team, listener=Counter(2))
    heard = Counter()
    options = TrainingOptions(resume=True)
    paths = train_models(
        tmp_path / "m.parquet", folder, recipe, members=team, options=options, listener=heard
    )
    assert [path.name for path in paths] == ["seed1.safetensors", "seed2.safetensors"]
    assert heard.steps == 2 + 4
    assert any("going on from step 2 of 4" in line for line in heard.lines)
    lines = (folder / "seed2.metrics.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["step"] == 4
    with pytest.raises(LegscoreError, match="--full excludes"):
        MemberOptions(full=True, folds="all")
    only = study_variants(recipe, only=["original"])
    rows = run_study(tmp_path / "m.parquet", tmp_path / "study", recipe, only, study=StudyOptions(n_seeds=1))
    assert [(row.variant, row.models) for row in rows] == [("original", 1)]
    assert (tmp_path / "study/original/seed1.metrics.jsonl").exists()


def test_studies_are_listed_and_exclude_a_file(table: Path, tmp_path: Path, cli: Any) -> None:
    ran = cli(
        "ablate", table, "-o", tmp_path / "a", "--study", "architecture", "--list", "--set", "widths=16,16,16"
    )
    assert ran.code == 0, ran.err
    assert ("2 blocks" in ran.out, "kernel 3: kernel=3" in ran.out) == (False, True)
    (tmp_path / "v.toml").write_text('[[variant]]\nname = "a"\n')
    for study in ("architecture", "published"):
        ran = cli("ablate", table, "-o", tmp_path / "a", "--study", study, "--variants", tmp_path / "v.toml")
        one_line(ran, "--study has no effect here: --variants names the variants")

"""`legscore train --from`: frozen parts stay, rates fall towards the stem, the head may be new, folds stay honest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Ran, toy_checkpoint

torch = pytest.importorskip("torch", reason="training needs legscore[train]")

from legscore.model.checkpoint import load_checkpoint  # noqa: E402
from legscore.train.columns import DataOptions  # noqa: E402
from legscore.train.data import read_training_data  # noqa: E402
from legscore.train.fine_tune import FineTune, read_starts, recipe_of  # noqa: E402
from legscore.train.loop import Trainer  # noqa: E402
from legscore.train.presets import resolve  # noqa: E402

SHORT = ["--set", "epochs=1", "--set", "steps_per_epoch=4", "--set", "batch=16", "-q"]
SMALL = ["--set", "widths=16,16,16", "--set", "kernel=3", "--set", "stem_kernel=3"]


@pytest.fixture
def base(table: Path, tmp_path: Path, cli: Any) -> Path:
    """Two members, trained a little."""
    ran: Ran = cli("train", table, "-o", tmp_path / "base", "--seeds", "2", *SHORT, *SMALL)
    assert ran.code == 0, ran.err
    return tmp_path / "base"


def part_of(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.startswith("blocks") else name.split(".")[0]


def moved(before: Path, after: Path) -> set[str]:
    """Parts of the network of which any array changed."""
    old, new = load_checkpoint(before).arrays, load_checkpoint(after).arrays
    return {part_of(name) for name, array in old.items() if not np.array_equal(array, new[name])}


def test_members_go_on_from_checkpoints_in_turn(table: Path, base: Path, tmp_path: Path, cli: Any) -> None:
    """The recipe is the recorded one; frozen parts keep weights and normalisation, bit for bit."""
    command = ["train", table, "-o", tmp_path / "tuned", "--from", base, "--seeds", "3", "--freeze", "1"]
    ran = cli(*command, *SHORT)
    assert ran.code == 0, ran.err
    for seed, start in ((1, 1), (2, 2), (3, 1)):
        tuned = tmp_path / f"tuned/seed{seed}.safetensors"
        assert moved(base / f"seed{start}.safetensors", tuned) == {"blocks.1", "head"}
        record = load_checkpoint(tuned).training["from"]
        assert (record["name"], record["frozen_blocks"]) == (f"seed{start}", 1)
        assert record["sha256"] == load_checkpoint(base / f"seed{start}.safetensors").sha256
    assert "finished already" in cli(*command, *SHORT[:-1]).err
    other = cli(*command[:-1], "2", *SHORT)
    assert (other.code, "was trained otherwise (from frozen_blocks was 1, is now 2)" in other.err) == (
        2,
        True,
    )


def test_resuming_is_exact(table: Path, base: Path, tmp_path: Path) -> None:
    """Stopped after three steps of eight and gone on: the weights of an uninterrupted training."""
    start = read_starts(base / "seed1.safetensors", frozen_blocks=1, block_rate=0.5)[0]
    recipe = recipe_of(start)
    assert recipe is not None
    recipe = replace(recipe, epochs=2)
    data = read_training_data(table, recipe.contract(), DataOptions())

    def train(name: str, stop_at: int) -> Trainer:
        trainer = Trainer(
            recipe, recipe.contract(), data, (9,), 1, tmp_path / name, device="cpu", start=start
        )
        trainer.resume()
        trainer.run(100, lambda metrics: None, lambda: trainer.step >= stop_at)
        return trainer

    train("cut.pt", 3)
    whole, again = train("whole.pt", 99).checkpoint().arrays, train("cut.pt", 99).checkpoint().arrays
    assert all(np.array_equal(array, again[name]) for name, array in whole.items())


def test_rates_fall_towards_the_stem() -> None:
    """Head 1, last block 0.5, the one before 0.25, stem 0.125 of the recipe's rate, at every step."""
    recipe = resolve("noginet", options={"widths": (16, 16, 16), "epochs": 1, "steps_per_epoch": 10})
    start = FineTune(toy_checkpoint(0), block_rate=0.5)
    from legscore.model.legnet import LegNet
    from legscore.train.optim import make_optimizer, make_schedule

    optimizer = make_optimizer(LegNet(recipe.architecture()), recipe, start)
    schedule = make_schedule(optimizer, recipe, 10)
    for _ in range(9):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rates[0] * share for share in (1, 0.5, 0.25, 0.125)])
        optimizer.step()
        schedule.step()


def test_a_new_head(table: Path, base: Path, tmp_path: Path, cli: Any) -> None:
    """A scalar head on a body trained on bins; without --new-head that is another network."""
    asked = ["train", table, "-o", tmp_path / "tuned", "--from", base / "seed1.safetensors", *SHORT]
    scalar = ["--set", "head=scalar", "--set", "loss=mse"]
    ran = cli(*asked, *scalar)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "is another network than the recipe's (head is" in ran.err
    ran = cli(*asked, *scalar, "--new-head", "--freeze", "2")
    assert ran.code == 0, ran.err
    tuned = load_checkpoint(tmp_path / "tuned/seed1.safetensors")
    assert tuned.architecture.head == "scalar"
    body = load_checkpoint(base / "seed1.safetensors").arrays
    assert all(
        np.array_equal(array, tuned.arrays[name])
        for name, array in body.items()
        if not name.startswith("head")
    )


def test_what_cannot_be_gone_on_from(table: Path, base: Path, tmp_path: Path, cli: Any) -> None:
    """One line and exit code 2 each; nothing is trained."""
    for given, message in (
        (["--freeze", "1"], "--freeze has no effect here"),
        (["--block-rate", "0.5"], "--block-rate has no effect here"),
        (["--new-head"], "--new-head has no effect here"),
        (["--from", base, "--freeze", "9"], "--freeze 9: the network has 2 blocks"),
        (["--from", base, "--set", "singleton_channel=false"], "choose its preset"),
        (["--from", base, "--set", "kernel=5"], "kernel is 3, in the recipe 5"),
        (["--from", base, "--valid-fold", "3"], "was trained on fold 3, which is held out here"),
        (["--from", base, "--folds", "all"], "was trained on fold 0, which is held out here"),
        (["--from", tmp_path / "none"], "none"),
        (["--from", base, "--preset", "generator"], "--from starts predictors"),
    ):
        ran = cli("train", table, "-o", tmp_path / "tuned", *given, *SHORT)
        assert (ran.code, ran.err.count("\n")) == (2, 1), (given, ran.err)
        assert message in ran.err, ran.err
    assert not list((tmp_path / "tuned").glob("*.safetensors"))


def test_unknown_origin_is_said(table: Path, base: Path, tmp_path: Path, cli: Any) -> None:
    """A checkpoint without a record of its folds may have seen the validation rows."""
    member = load_checkpoint(base / "seed1.safetensors")
    kept = {name: value for name, value in member.training.items() if name == "recipe"}
    replace(member, training=kept).save(tmp_path / "bare.safetensors")
    ran = cli("train", table, "-o", tmp_path / "t", "--from", tmp_path / "bare.safetensors", *SHORT[:-1])
    assert ran.code == 0, ran.err
    assert "warning: whether bare was trained on validation rows is not known" in ran.err


def test_scores_out_of_fold_say_where_a_start_may_have_seen_the_rows(
    table: Path, base: Path, tmp_path: Path, cli: Any
) -> None:
    """Over any number of trainings; nothing is said of starts that kept the same folds out."""
    told = "went on from models that may have been trained on these rows"

    def go_on(start: Path, to: str) -> tuple[Path, str]:
        ran = cli("train", table, "-o", tmp_path / to, "--from", start, *SHORT[:-1])
        assert ran.code == 0, ran.err
        scores = ("-o", tmp_path / f"{to}.csv", "--out-of-fold", "mmh3", "--engine", "null")
        scored = cli("run", table, "-m", tmp_path / to, *scores)
        assert scored.code == 0, scored.err
        return tmp_path / to / "seed1.safetensors", ran.err + scored.err

    tuned, said = go_on(base / "seed1.safetensors", "once")
    assert told not in said
    assert told not in go_on(tuned, "twice")[1]
    member = load_checkpoint(base / "seed1.safetensors")
    replace(member, training={"recipe": member.training["recipe"]}).save(tmp_path / "bare.safetensors")
    tuned, said = go_on(tmp_path / "bare.safetensors", "bare1")
    assert f"warning: out of fold: seed1 {told}" in said
    _, said = go_on(tuned, "bare2")
    assert "warning: whether seed1 was trained on validation rows is not known" in said
    assert f"warning: out of fold: seed1 {told}" in said

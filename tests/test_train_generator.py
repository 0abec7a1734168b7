"""Training a generator: it learns to put back what was mutated, resumes bit for bit, validates by predictors,
refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, toy_checkpoint, yeast_contract

torch = pytest.importorskip("torch", reason="training needs legscore[train]")
pytest.importorskip("tensorly")

from legscore.dna.contract import Output  # noqa: E402
from legscore.errors import LegscoreError  # noqa: E402
from legscore.generate.sample import Schedule, sample  # noqa: E402
from legscore.generate.torch_denoiser import TorchDenoiser  # noqa: E402
from legscore.model.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from legscore.model.legnet import from_checkpoint  # noqa: E402
from legscore.train.data import DataOptions, read_training_data  # noqa: E402
from legscore.train.generator import GeneratorTrainer  # noqa: E402
from legscore.train.presets import resolve  # noqa: E402

YEAST = yeast_contract()
TINY: dict[str, Any] = {
    "widths": (16, 16, 16), "epochs": 2, "steps_per_epoch": 6, "batch": 16, "kernel": 3, "stem_kernel": 3, "valid_designs": 8,
    "mutations_max": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def inserts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oligos of 80-bp inserts that are all G and C where expression is high, A and T where low; some of
    another length."""
    rng = np.random.default_rng(0)
    high = rng.uniform(size=400)
    share = np.where(rng.uniform(size=(400, 80)) < high[:, None], 1, 0)
    letters = np.where(share == 1, rng.choice(list("GC"), (400, 80)), rng.choice(list("AT"), (400, 80)))
    texts = [
        YEAST.adapter5 + "".join(row)[: 70 if i % 50 == 0 else 80] + YEAST.adapter3
        for i, row in enumerate(letters)
    ]
    path = tmp_path_factory.mktemp("inserts") / "measured.parquet"
    pq.write_table(pa.table({"sequence": texts, "expression": 2 + 12 * high}), path)
    return path


def trainer(
    table: Path,
    folder: Path,
    stop_at: int | None = None,
    predictors: tuple[Checkpoint, ...] = (),
    **changes: Any,
) -> Any:
    recipe = resolve("generator", options={**TINY, **changes})
    data = read_training_data(table, recipe.data_contract(), DataOptions(n_folds=recipe.n_folds))
    made = GeneratorTrainer(
        recipe, recipe.contract(), data, (4,), 1, folder / "s.pt", device="cpu", predictors=predictors
    )
    made.resume()
    made.run(4, lambda metrics: None, lambda: stop_at is not None and made.step >= stop_at)
    return made


@pytest.mark.parametrize("changes", [{}, {"mutation": "sub3", "schedule": "onecycle", "precision": "fp32"}])
def test_resume_gives_the_same_weights_bit_for_bit(
    inserts: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "cut").mkdir()
    one = trainer(inserts, tmp_path, **changes).checkpoint().arrays
    for stop_at in (3, 7):
        trainer(inserts, tmp_path / "cut", stop_at, **changes)
    resumed = trainer(inserts, tmp_path / "cut", **changes)
    assert resumed.step == 12
    assert all((one[name] == array).all() for name, array in resumed.checkpoint().arrays.items())
    with pytest.raises(LegscoreError, match="mutations_max was 60, is now 50"):
        trainer(inserts, tmp_path / "cut", **{**changes, "mutations_max": 50})


def test_it_learns_to_make_what_was_asked_for(inserts: Path, tmp_path: Path) -> None:
    """Trained on inserts whose G and C follow expression, designs' G and C follow the target, in either
    feed."""
    made = trainer(
        inserts, tmp_path, epochs=2, steps_per_epoch=150, max_lr=0.01, schedule="onecycle", precision="fp32"
    )
    assert made.history[-1]["valid_loss"] < made.history[0]["valid_loss"] < np.log(4) + 0.1
    assert made.history[-1]["pearson"] is None
    checkpoint = made.checkpoint()
    assert checkpoint.contract.is_generator
    expression = made.data.expression_N[made.train_rows]
    assert checkpoint.contract.output.min == expression.min()
    assert checkpoint.training["expression_percentiles"]["50%"] == np.percentile(expression, 50)
    denoiser = TorchDenoiser(
        from_checkpoint(checkpoint), checkpoint.contract, torch.device("cpu"), torch.float32
    )
    target = np.linspace(4, 12, 40).astype(np.float32)
    for feed in ("soft", "sample"):
        bases, _ = sample(denoiser, target, np.arange(40), Schedule(steps=20, start=60, feed=feed))
        gc = np.isin(bases.argmax(axis=1), (1, 2)).mean(axis=1)
        assert np.corrcoef(gc, target)[0, 1] > 0.7, feed
        assert gc[:10].mean() < gc[-10:].mean() - 0.2


def test_the_clean_insert_is_the_target_and_the_input_says_how_much_was_done(
    inserts: Path, tmp_path: Path
) -> None:
    """What a step sees: rows' own inserts, their expression, 0 to mutations_max mutations; other draws at
    every step."""
    made = trainer(inserts, tmp_path, 1, mutations_max=5, batch=64)
    texts, expression = (pq.read_table(inserts)[name].to_pylist() for name in ("sequence", "expression"))
    known = {text[17:97]: value for text, value in zip(texts, expression, strict=True) if len(text) == 110}
    numbers = set()
    for step in range(8):
        x, clean = made.batch(step)
        for row, codes in zip(x.numpy(), clean.numpy(), strict=True):
            insert = "".join("AGCT"[c] for c in codes)
            assert abs(known[insert] - row[4, 0]) < 1e-5
            assert (row[4] == row[4, 0]).all()
            n = int(row[5, 0])
            numbers.add(n)
            assert (row[:4].argmax(axis=0) != codes).sum() <= n
            assert (row[:4].sum(axis=0) == 1).all()
    assert numbers == set(range(6))
    again = made.batch(3)
    assert torch.equal(again[0], made.batch(3)[0])
    assert not torch.equal(again[0], made.batch(4)[0])


def test_loss_is_the_cross_entropy_of_logits_without_unknown_bases(inserts: Path, tmp_path: Path) -> None:
    """By hand; the published validation would apply softmax twice and give another number."""
    made = trainer(inserts, tmp_path, 1)
    logits, clean = (
        torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[0, 1, 2, 3, 4]] * 3),
    )
    log = torch.log_softmax(logits, dim=1)
    by_hand = -np.mean([float(log[n, clean[n, i], i]) for n in range(3) for i in range(4)])
    assert abs(float(made.loss(logits, clean)) - by_hand) < 1e-6
    twice = torch.nn.functional.cross_entropy(torch.softmax(logits, dim=1), clean, ignore_index=4)
    assert abs(float(twice) - by_hand) > 0.05
    assert made._validation_loss() == made._validation_loss()  # fixed draws


def test_validation_by_a_predictor(inserts: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    """From the command line: designs are scored after every epoch; the record names the predictor; design
    says so later."""
    unit = "mean sorting bin (0-17) of log reporter fluorescence"
    toy_checkpoint(1, yeast_contract(output=Output("bins", unit, 0.0, 17.0, 4.0))).save(
        tmp_path / "p.safetensors"
    )
    settings = [f"--set={k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in TINY.items()]
    ran = cli(
        "train",
        inserts,
        "-o",
        tmp_path / "out",
        "--preset",
        "generator",
        "--predictor",
        tmp_path / "p.safetensors",
        *settings,
        "--set=valid_feed=sample",
    )
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (tmp_path / "out" / "seed1.metrics.jsonl").read_text().splitlines()]
    ends = [line for line in lines if line["valid_loss"] is not None]
    assert [line["step"] for line in ends] == [6, 12]
    assert all(-1 <= line["pearson"] <= 1 for line in ends)
    assert "validation loss" in ran.err
    assert "too_short 8" in ran.err
    made = load_checkpoint(tmp_path / "out" / "seed1.safetensors")
    assert made.training["validated_by"][0]["name"] == "p"
    assert made.training["recipe"]["mutation"] == "draw4"
    ran = cli(
        "design",
        "-g",
        tmp_path / "out" / "seed1.safetensors",
        "-m",
        tmp_path / "p.safetensors",
        "--target",
        "8",
        "--n",
        2,
        "--steps",
        2,
        "--min-distance",
        0,
        "--engine",
        "openvino",
        "--precision",
        "fp32",
        "-o",
        tmp_path / "d.csv",
    )
    assert ran.code == 0, ran.err
    assert "validated the generator's training; its scores are no independent check" in ran.err


def test_bad_recipes_and_predictors(inserts: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    for changes, message in (
        ({"loss": "mse"}, "head bases and loss ce .a generator. go together"),
        ({"rc": "both"}, "a generator reads forward inserts"),
        ({"insert": 200}, "insert is 200; the construct takes 1-137"),
        ({"schedule": "plateau"}, "a generator takes onecycle or constant"),
        ({"mutation": "twist"}, "mutation is 'twist'; known are draw4, sub3"),
        ({"mutations_max": 0}, "mutations_max is 0"),
    ):
        with pytest.raises(LegscoreError, match=message):
            resolve("generator", options={**TINY, **changes})
    with pytest.raises(LegscoreError, match="keep best follows the predictor's correlation"):
        trainer(inserts, tmp_path, keep="best")
    toy_checkpoint(1).save(tmp_path / "other_unit.safetensors")
    ran = cli(
        "train",
        inserts,
        "-o",
        tmp_path / "x",
        "--preset",
        "generator",
        "--predictor",
        tmp_path / "other_unit.safetensors",
        "--set=batch=16",
    )
    assert ran.code == 2
    assert "its scores are 'bin', the generator's targets" in ran.err
    ran = cli("train", inserts, "-o", tmp_path / "x", "--predictor", tmp_path / "other_unit.safetensors")
    assert ran.code == 2
    assert "it goes with --preset generator" in ran.err


def test_recipes_of_predictors_record_nothing_new() -> None:
    """Members trained before generators were known still count as trained by the same recipe."""
    assert "mutation" not in resolve("noginet").to_json()
    assert resolve("generator").to_json()["mutations_max"] == 300
    published = resolve("generator")
    assert (
        published.max_lr,
        published.optimizer,
        published.epochs,
        published.steps_per_epoch,
        published.batch,
    ) == (
        0.001,
        "adamw",
        200,
        1000,
        1024,
    )
    assert published.architecture().n_parameters() == 1_851_936

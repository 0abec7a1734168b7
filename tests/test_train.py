"""Training: targets, folds, data and sampling against hand-computed values; determinism, resume, bad input."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_dna, yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs legscore[train]")
mmh3 = pytest.importorskip("mmh3")

from legscore.encode import one_hot  # noqa: E402
from legscore.errors import InputError, LegscoreError  # noqa: E402
from legscore.model.checkpoint import load_checkpoint  # noqa: E402
from legscore.model.legnet import LegNet  # noqa: E402
from legscore.train.data import DataOptions, read_training_data  # noqa: E402
from legscore.train.folds import folds_of_rows, murmur3_32  # noqa: E402
from legscore.train.loop import Trainer, encode  # noqa: E402
from legscore.train.optim import initialise, make_optimizer, make_schedule  # noqa: E402
from legscore.train.recipe import PRESETS, resolve  # noqa: E402
from legscore.train.sampler import Sampler  # noqa: E402
from legscore.train.targets import adaptive_sd, is_singleton, soft_targets  # noqa: E402

YEAST = yeast_contract()
TINY = {"widths": (16, 16, 16), "epochs": 2, "steps_per_epoch": 6, "batch": 16, "kernel": 3}


def phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize("e", [0.0, 0.3, 4.0, 8.5, 11.27, 16.9, 17.0])
def test_soft_targets_by_hand(e: float) -> None:
    """Bin i holds P(i <= N(e + 0.5, 0.5) < i + 1); the ends are open (legnet.md §3)."""
    cdf = [phi((edge - (e + 0.5)) / 0.5) for edge in range(1, 18)]
    expected = [cdf[0], *(cdf[i] - cdf[i - 1] for i in range(1, 17)), 1 - cdf[16]]
    got = soft_targets(torch.tensor([e]))[0]
    assert np.allclose(got, expected, atol=1e-6)
    assert float(got.sum()) == pytest.approx(1)


def test_soft_targets_mean_and_variants() -> None:
    bins = torch.arange(18, dtype=torch.float32)
    means = (soft_targets(torch.tensor([0.0, 8.5, 17.0])) * bins).sum(1)
    assert np.allclose(means, [0.16, 8.5, 16.84], atol=0.005)
    assert soft_targets(torch.tensor([3.0]), bins=12, shift=0.0, sd=1.5).shape == (1, 12)
    wide = soft_targets(torch.tensor([8.0, 8.0]), sd=torch.tensor([0.5, 2.0]))
    assert wide[1].max() < wide[0].max()
    assert adaptive_sd(torch.tensor([10.0])).item() == pytest.approx(1.4087)
    assert is_singleton(torch.tensor([3.0, 3.5, -2.0])).tolist() == [True, False, True]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_folds_equal_mmh3(length: int, n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, 256, (n, length), dtype=np.uint8)
    assert murmur3_32(rows, seed).tolist() == [mmh3.hash(row.tobytes(), seed, signed=False) for row in rows]
    assert folds_of_rows(rows).tolist() == [mmh3.hash(row.tobytes(), 42, signed=False) % 10 for row in rows]


def measured(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    texts = [YEAST.adapter5 + random_dna(rng, int(n)) + YEAST.adapter3 for n in rng.integers(70, 90, rows)]
    gc = np.array([sum(c in "GC" for c in t) / len(t) for t in texts])
    expression = np.clip(8 + 60 * (gc - gc.mean()) + rng.normal(0, 0.3, rows), 0, 17)
    expression[::7] = np.round(expression[::7])
    return pa.table({"sequence": texts, "expression": expression, "reads": rng.integers(1, 50, rows)})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "measured.parquet"
    pq.write_table(measured(400), path)
    return path


def test_data_windows_folds_and_singletons(table: Path, tmp_path: Path) -> None:
    data = read_training_data(table, YEAST, DataOptions())
    rows = pq.read_table(table).to_pylist()
    assert len(data) == 400
    letters = np.frombuffer(b"AGCTN", np.uint8)
    for i in (0, 7, 399):
        window = YEAST.window(rows[i]["sequence"][17:-13])
        assert letters[data.codes_NL[i]].tobytes().decode() == window
        assert data.fold_N[i] == mmh3.hash(rows[i]["sequence"], 42, signed=False) % 10
        assert data.singleton_N[i] == (rows[i]["expression"] == round(rows[i]["expression"]))
        assert data.expression_N[i] == np.float32(rows[i]["expression"])
    padded = read_training_data(table, YEAST, DataOptions(fold_on="padded"))
    assert padded.fold_N[3] == mmh3.hash(YEAST.window(rows[3]["sequence"][17:-13]), 42, signed=False) % 10
    assert padded.sha256 != data.sha256
    (tmp_path / "challenge.txt").write_text("".join(f"{r['sequence']}\t{r['expression']!r}\n" for r in rows))
    headerless = read_training_data(tmp_path / "challenge.txt", YEAST, DataOptions())
    assert headerless.sha256 == data.sha256


def test_data_in_parts_and_on_disk(table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = read_training_data(table, YEAST, DataOptions(weight_column="reads"))
    monkeypatch.setattr("legscore.train.data.PART_ROWS", 33)
    monkeypatch.setattr("legscore.train.data.MEMORY_BYTES", 1000)
    cut = read_training_data(table, YEAST, DataOptions(weight_column="reads"), tmp_path)
    assert isinstance(cut.codes_NL, np.memmap)
    assert (cut.codes_NL == whole.codes_NL).all()
    assert (cut.fold_N == whole.fold_N).all()
    assert cut.weight_N is not None
    assert (cut.weight_N == whole.weight_N).all()
    assert cut.sha256 == whole.sha256, "the hash does not depend on how the file was cut"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "values", "options", "message"),
    [
        ("expression", [18.5, 3.0, -1.0], {}, r"expression outside 0..17 in rows 0 \(18.5\), 2 \(-1\); pass --out-of-range"),
        ("expression", ["a", "b", "c"], {}, "column 'expression' must hold numbers"),
        ("expression", [float("nan")] * 3, {}, "no row is usable for training"),
        ("reads", [-1, 1, 1], {"weight_column": "reads"}, "must hold weights of at least 0"),
        ("reads", [1, 1, 1], {"weight_column": "count"}, "has no column 'count'"),
        ("reads", [1.5, 1, 1], {"fold_column": "reads"}, "must hold whole fold numbers"),
        ("reads", [None, 1, 1], {"fold_column": "reads"}, "must hold whole fold numbers"),
        ("level", [1.0, 2.0, 3.0], {}, r"has no expression column .*Name it with --expression"),
    ],
)
def test_bad_data(tmp_path: Path, column: str, values: list[Any], options: dict[str, Any], message: str) -> None:
    t = measured(3)
    t = (
        t.set_column(t.column_names.index(column), column, pa.array(values))
        if column in t.column_names
        else t.drop_columns(["expression"]).append_column(column, pa.array(values))
    )
    pq.write_table(t, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(**options))


def test_fold_column_overrides_hashing(tmp_path: Path) -> None:
    t = measured(4).append_column("part", pa.array([0, 9, 3, 9]))
    pq.write_table(t, tmp_path / "t.parquet")
    assert read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(fold_column="part")).fold_N.tolist() == [0, 9, 3, 9]


def test_out_of_range_and_dropped_rows_are_counted(tmp_path: Path) -> None:
    t = measured(6)
    texts = t["sequence"].to_pylist()
    texts[1], texts[2] = None, "AX"
    t = t.set_column(0, "sequence", pa.array(texts)).set_column(
        1, "expression", pa.array([20.0, 1.0, 2.0, float("inf"), 5.5, 6.0])
    )
    pq.write_table(t, tmp_path / "t.parquet")
    dropped = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(out_of_range="drop"))
    assert dropped.report == {
        "rows": 6,
        "null_sequence": 1,
        "invalid_base": 1,
        "nonfinite_expression": 1,
        "out_of_range": 1,
        "used": 2,
    }
    clipped = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(out_of_range="clip"))
    assert clipped.expression_N.tolist() == [17.0, 5.5, 6.0]


@pytest.mark.parametrize("rc", ["both", "random", "none"])
def test_sampler_is_a_function_of_seed_and_step(rc: str) -> None:
    sampler = Sampler(50, 16, 3, rc)
    size = 100 if rc == "both" else 50
    draws = [sampler.draw(step) for step in range(30)]
    rows = np.concatenate([r for r, _ in draws])
    assert (np.bincount(rows[:size], minlength=50) == size // 50).all(), "each pass holds every row once (or on both strands)"
    if rc == "both":
        both = {(int(r), bool(s)) for r, s in zip(rows[:100], np.concatenate([s for _, s in draws])[:100], strict=True)}
        assert len(both) == 100
    again = Sampler(50, 16, 3, rc)
    for step in (29, 0, 13):
        assert all((a == b).all() for a, b in zip(again.draw(step), draws[step], strict=True))
    assert any((Sampler(50, 16, 4, rc).draw(0)[0] != draws[0][0]).tolist())
    reverse = np.concatenate([s for _, s in draws])
    assert reverse.any() == (rc != "none")


def test_weighted_sampling_follows_the_weights() -> None:
    weights = np.array([0.0, 1.0, 3.0])
    rows = np.concatenate([Sampler(3, 1000, 0, "none", weights).draw(step)[0] for step in range(20)])
    share = np.bincount(rows, minlength=3) / len(rows)
    assert share[0] == 0
    assert share[2] == pytest.approx(0.75, abs=0.02)


def test_encode_equals_its_numpy_twin() -> None:
    codes = np.random.default_rng(0).integers(0, 5, (6, 150), dtype=np.uint8)
    reverse, single = np.array([0, 1, 0, 1, 1, 0], bool), np.array([1, 0, 0, 1, 0, 0], bool)
    got = encode(torch.from_numpy(codes), torch.from_numpy(reverse), torch.from_numpy(single), YEAST).numpy()
    from legscore.contract import reverse_complement

    for i in range(6):
        expected = np.empty((1, 6, 150), np.float32)
        row = reverse_complement(codes[i : i + 1]) if reverse[i] else codes[i : i + 1]
        one_hot(row, YEAST, is_reverse=bool(reverse[i]), is_singleton=bool(single[i]), out=expected)
        assert (got[i] == expected[0]).all()


def test_presets_are_the_published_networks() -> None:
    assert PRESETS["noginet"].architecture().n_parameters() == 1_852_846
    assert PRESETS["optimized"].architecture().n_parameters() == 2_129_602
    assert PRESETS["noginet"].architecture().cp_ranks == (410, 102, 102, 26, 26, 26)


def test_initialisation_and_optimisers() -> None:
    network = LegNet(resolve("noginet").architecture())
    initialise(network, torch.Generator().manual_seed(0))
    conv = network.blocks[0].mix.conv.weight
    assert float(conv.std()) == pytest.approx(math.sqrt(2 / (7 * 128)), rel=0.02)
    assert float(network.blocks[0].se.bilinear.composed().std()) == pytest.approx(0.00075, rel=0.15)
    assert float(network.blocks[0].se.squeeze.weight.std()) == pytest.approx(0.001, rel=0.05)
    recipe = resolve("optimized", options={"steps_per_epoch": 10, "epochs": 10})
    network = LegNet(resolve("optimized", options=TINY).architecture())
    optimizer = make_optimizer(network, recipe)
    assert (type(optimizer).__name__, optimizer.param_groups[0]["weight_decay"]) == ("Lion", 0.1)
    make_schedule(optimizer, recipe)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0005 / 25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "lion"}, r"unknown setting 'optimiser' \(did you mean \"optimizer\"\?\)"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; known are adamw, lion"),
        ({"epochs": "5"}, "epochs is '5', of the wrong type"),
        ({"batch": 1}, "batch is 1; BatchNorm needs at least 2"),
        ({"max_lr": 0.0}, "must be above 0"),
        ({"widths": [1.5]}, "of the wrong type"),
    ],
)
def test_recipes_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LegscoreError, match=message):
        resolve("noginet", options=options)


def train(table: Path, folder: Path, seed: int, stop_at: int | None = None, **changes: Any) -> Trainer:
    recipe = resolve("noginet", options={**TINY, **changes})
    data = read_training_data(table, recipe.contract(), DataOptions())
    trainer = Trainer(recipe, recipe.contract(), data, (9,), seed, folder / f"{seed}.pt", device="cpu")
    trainer.resume()
    trainer.run(4, lambda metrics: None, lambda: stop_at is not None and trainer.step >= stop_at)
    return trainer


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    return trainer.checkpoint().arrays


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "lion", "max_lr": 0.0005}, {"schedule": "plateau"}, {"precision": "fp32", "clip": 1.0}]
)
def test_resume_gives_the_same_weights_bit_for_bit(table: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    one = weights(train(table, whole, 1, **changes))
    for stop_at in (3, 7):
        train(table, cut, 1, stop_at, **changes)
    resumed = train(table, cut, 1, **changes)
    assert resumed.step == 12
    assert all((one[name] == array).all() for name, array in weights(resumed).items())
    if not changes:
        again, other = weights(train(table, tmp_path, 1)), weights(train(table, tmp_path, 2))
        assert all((one[name] == array).all() for name, array in again.items())
        assert any((one[name] != array).any() for name, array in other.items())
        with pytest.raises(LegscoreError, match=r"state of another run \(recipe differs\)"):
            train(table, cut, 1, max_lr=0.001)


def test_training_learns(table: Path, tmp_path: Path) -> None:
    trainer = train(table, tmp_path, 1, epochs=4, steps_per_epoch=40, max_lr=0.01)
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]
    assert trainer.history[-1]["pearson"] > 0.8


def test_too_few_rows(table: Path, tmp_path: Path) -> None:
    recipe = resolve("noginet", options={**TINY, "batch": 500})
    data = read_training_data(table, recipe.contract(), DataOptions())
    with pytest.raises(LegscoreError, match="fewer than a batch of 500"):
        Trainer(recipe, recipe.contract(), data, (9,), 1, tmp_path / "s.pt")
    with pytest.raises(LegscoreError, match=r"no row is in the validation fold \(77,\)"):
        Trainer(resolve("noginet", options=TINY), recipe.contract(), data, (77,), 1, tmp_path / "s.pt")


SETTINGS = [
    "--set",
    "widths=16,16,16",
    "--set",
    "epochs=2",
    "--set",
    "steps_per_epoch=4",
    "--set",
    "batch=16",
    "--set",
    "kernel=3",
]


def test_command_line_to_scores(table: Path, tmp_path: Path, cli: Any) -> None:
    """train → models → run, which reports the training record; finished members are not trained again."""
    ran = cli("train", table, "-o", tmp_path / "models", "--seeds", "2", "--floor", "4", *SETTINGS)
    assert ran.code == 0, ran.err
    assert re.search(r"seed 2 step 8/8: loss \d", ran.err)
    files = sorted(p.name for p in (tmp_path / "models").iterdir())
    assert files == ["seed1.metrics.jsonl", "seed1.safetensors", "seed2.metrics.jsonl", "seed2.safetensors"]
    record = load_checkpoint(tmp_path / "models/seed2.safetensors").training
    assert (record["seed"], record["steps"], record["folds_held_out"]) == (2, 8, [9])
    assert "finished already" in cli("train", table, "-o", tmp_path / "models", *SETTINGS).err
    ran = cli("run", table, "-m", tmp_path / "models", "-o", tmp_path / "o.parquet", "--precision", "fp32")
    assert ran.code == 0, ran.err
    assert pq.read_table(tmp_path / "o.parquet")["score_sd"].null_count == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "epochs"], "write KEY=VALUE"),
        (["--set", "epochs=many"], "epochs takes int"),
        (["--set", "reverse_channel=maybe"], "takes true or false"),
        (["--set", "epoch=3"], "unknown setting 'epoch'"),
        (["--seed", "1", "--seeds", "2"], "exclude each other"),
        (["--full", "--valid-fold", "2"], "exclude each other"),
        (["--valid-fold", "10"], "folds are 0..9"),
        (["--expression", "level"], "has no column 'level'"),
    ],
)
def test_command_line_errors(table: Path, tmp_path: Path, cli: Any, args: list[str], message: str) -> None:
    ran = cli("train", table, "-o", tmp_path / "m", *args)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_killed_training_resumes(table: Path, tmp_path: Path) -> None:
    """SIGTERM saves the state and says how to go on; the resumed run ends with the weights of an uninterrupted one."""
    settings_ = [*SETTINGS[:2], "--set", "epochs=5", "--set", "steps_per_epoch=20", *SETTINGS[6:]]

    def command(folder: str, *more: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "legscore",
            "train",
            str(table),
            "-o",
            str(tmp_path / folder),
            *settings_,
            "--save-every",
            "5",
            *more,
        ]

    subprocess.run(command("whole", "-q"), check=True)
    process = subprocess.Popen(command("cut"), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "cut" / "seed1.metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 2) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate()
    if process.returncode != 0:
        assert "go on with --resume" in err
        refused = subprocess.run(command("cut"), capture_output=True, text=True)
        assert refused.returncode == 2
        assert "pass --resume" in refused.stderr
        subprocess.run(command("cut", "--resume", "-q"), check=True)
    a, b = (load_checkpoint(tmp_path / name / "seed1.safetensors").arrays for name in ("whole", "cut"))
    assert all((a[key] == b[key]).all() for key in a)

"""Training runs: determinism, resume, members, cross-validation, faults; from the command line to scores."""

from __future__ import annotations

import fcntl
import json
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
from conftest import measured, random_dna

torch = pytest.importorskip("torch", reason="training needs legscore[train]")

from legscore.errors import LegscoreError  # noqa: E402
from legscore.model.checkpoint import load_checkpoint  # noqa: E402
from legscore.train.data import DataOptions, read_training_data  # noqa: E402
from legscore.train.loop import Trainer  # noqa: E402
from legscore.train.presets import resolve  # noqa: E402

TINY = {"widths": (16, 16, 16), "epochs": 2, "steps_per_epoch": 6, "batch": 16, "kernel": 3, "stem_kernel": 3}


def train(
    table: Path, folder: Path, seed: int, stop_at: int | None = None, test: bool = False, **changes: Any
) -> Trainer:
    recipe = resolve("noginet", options={**TINY, **changes})
    data = read_training_data(table, recipe.contract(), DataOptions())
    trainer = Trainer(
        recipe, recipe.contract(), data, (9, 8)[: 1 + test], seed, folder / f"{seed}.pt", device="cpu"
    )
    trainer.resume()
    trainer.run(4, lambda metrics: None, lambda: stop_at is not None and trainer.step >= stop_at)
    return trainer


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    return trainer.checkpoint().arrays


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "lion", "max_lr": 0.0005},
        {"schedule": "plateau", "keep": "best", "validate_rc": True},
        {"precision": "fp32", "clip": 1.0, "head": "scalar", "loss": "mse", "target_sd_rule": "adaptive"},
    ],
)
def test_resume_gives_the_same_weights_bit_for_bit(
    table: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
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
        with pytest.raises(
            LegscoreError, match=r"state of another run \(recipe max_lr was 0.005, is now 0.001\)"
        ):
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
    with pytest.raises(LegscoreError, match="nothing to validate on: no row is in fold 77"):
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
    "--set",
    "stem_kernel=3",
]


def test_command_line_to_scores(table: Path, tmp_path: Path, cli: Any) -> None:
    """train → models → run, which reports the training record; finished members are not trained again."""
    ran = cli("train", table, "-o", tmp_path / "models", "--seeds", "2", "--floor", "4", *SETTINGS)
    assert ran.code == 0, ran.err
    assert re.search(r"seed2 step 8/8: loss \d", ran.err)
    assert "folds: mmh3 of the sequence as given" in ran.err
    files = sorted(p.name for p in (tmp_path / "models").iterdir())
    assert files == ["seed1.metrics.jsonl", "seed1.safetensors", "seed2.metrics.jsonl", "seed2.safetensors"]
    record = load_checkpoint(tmp_path / "models/seed2.safetensors").training
    assert (record["seed"], record["steps"], record["folds_held_out"]) == (2, 8, [9])
    assert "finished already" in cli("train", table, "-o", tmp_path / "models", "--floor", "4", *SETTINGS).err
    other = cli("train", table, "-o", tmp_path / "models", "-q", *SETTINGS, "--set", "max_lr=0.1")
    assert other.code == 2
    assert "was trained otherwise (recipe max_lr was 0.005, is now 0.1); use another -o" in other.err
    ran = cli(
        "run", table, "-m", tmp_path / "models", "-o", tmp_path / "o.parquet", "--precision", "fp32", "-v"
    )
    assert ran.code == 0, ran.err
    assert re.search(
        r"trained: noginet, data [0-9a-f]{12}, fold held out: 9, seeds 1, 2; validation Pearson", ran.err
    )
    assert pq.read_table(tmp_path / "o.parquet")["score_sd"].null_count == 0


def test_a_recipe_that_keeps_the_best_says_that_full_keeps_the_last(
    table: Path, tmp_path: Path, cli: Any
) -> None:
    settings = [*SETTINGS, "--set", "target_sd=0.4", "--full"]
    for recipe, says in (("keep = 'best'\n", True), ("keep = 'last'\n", False)):
        (tmp_path / "r.toml").write_text(f"preset = 'noginet'\n{recipe}")
        ran = cli("train", table, "-o", tmp_path / str(says), "--recipe", tmp_path / "r.toml", *settings)
        assert ran.code == 0, ran.err
        assert ("the weights of the last step are kept, not the best" in ran.err) is says


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "epochs"], "write KEY=VALUE"),
        (["--set", "epochs=many"], "epochs takes a whole number"),
        (["--set", "reverse_channel=maybe"], "takes true or false"),
        (["--set", "epoch=3"], "unknown setting 'epoch'"),
        (["--seed", "1", "--seeds", "2"], "exclude each other"),
        (["--full", "--valid-fold", "2"], "--full excludes --valid-fold"),
        (["--folds", "all", "--test-fold", "2"], "--folds excludes"),
        (["--valid-fold", "3", "--test-fold", "3"], "cannot be both"),
        (
            ["--test-fold", "9"],
            "fold 9 cannot be both validation and test fold (the last validates by default",
        ),
        (["--construct", "nowhere.toml"], "construct nowhere.toml cannot be read"),
        (["--where", "medium"], "write COLUMN=VALUE"),
        (["--bins", "5"], "outside 0..4"),
        (["--device", "meta", "--set", "batch=16"], "is no device to train on"),
        (["--device", "warp"], "is no device to train on"),
        (
            [
                "--set",
                "pct_start=0.2",
                "--set",
                "epochs=1",
                "--set",
                "steps_per_epoch=5",
                "--set",
                "batch=16",
            ],
            "needs more than 5",
        ),
        (["--set", "batch=16", "--set", "precision=fp16"], "trains on GPUs only"),
        (["--set", "pools=9,9,9,9,9,9"], "leave nothing of a window of 150 bases"),
        (["--set", "batch=1000"], "fewer than a batch of 1000"),
        (["--valid-fold", "10"], "--valid-fold 10: the folds are 0, 1"),
        (["--expression", "level"], "has no column 'level'"),
    ],
)
def test_command_line_errors(table: Path, tmp_path: Path, cli: Any, args: list[str], message: str) -> None:
    ran = cli("train", table, "-o", tmp_path / "m", "-q", *args)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_killed_training_resumes(table: Path, tmp_path: Path) -> None:
    """SIGTERM saves the state and says how to go on; the resumed run ends with the weights of an
    uninterrupted one."""
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


def test_best_epoch_is_kept_and_the_test_fold_measured(table: Path, tmp_path: Path) -> None:
    """With keep=best the checkpoint holds the best epoch's weights, with its metrics; the test fold is scored
    at the end."""
    trainer = train(table, tmp_path, 1, test=True, epochs=6, max_lr=0.05, keep="best")
    pearsons = [epoch["pearson"] for epoch in trainer.history]
    record = trainer.checkpoint().training
    assert record["metrics"]["pearson"] == max(pearsons)
    assert record["metrics"]["step"] == 6 * (1 + int(np.argmax(pearsons)))
    assert trainer.validate()[0] == pytest.approx(max(pearsons))
    assert record["folds_held_out"] == [9, 8]
    assert -1 <= record["test_metrics"]["pearson"] <= 1
    assert not np.isin(trainer.data.fold_N[trainer.train_rows], [8, 9]).any()


def test_a_loss_that_diverges_ends_with_the_last_state_intact(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path, 1, stop_at=4)
    before = (tmp_path / "1.pt").read_bytes()
    trainer = train_from(table, tmp_path)
    with torch.no_grad():
        trainer.network.head.conv.bias[0] = float("nan")
    with pytest.raises(
        LegscoreError, match=r"the loss became nan by step \d+: the learning rate is too high"
    ):
        trainer.run(2, lambda metrics: None)
    assert (tmp_path / "1.pt").read_bytes() == before


def train_from(table: Path, folder: Path) -> Trainer:
    recipe = resolve("noginet", options=TINY)
    data = read_training_data(table, recipe.contract(), DataOptions())
    trainer = Trainer(recipe, recipe.contract(), data, (9,), 1, folder / "1.pt", device="cpu")
    assert trainer.resume()
    return trainer


def test_a_damaged_state_is_refused(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path, 1, stop_at=4)
    (tmp_path / "1.pt").write_bytes((tmp_path / "1.pt").read_bytes()[:1000])
    with pytest.raises(LegscoreError, match="cannot be read as a saved state"):
        train_from(table, tmp_path)


def test_a_full_disk_while_saving(table: Path, tmp_path: Path) -> None:
    """A file-size limit stands for the full disk: one line, exit 2, and the state saved before stays
    whole."""
    command = [
        sys.executable,
        "-m",
        "legscore",
        "train",
        str(table),
        "-o",
        str(tmp_path),
        *SETTINGS,
        "--save-every",
        "2",
        "-q",
    ]
    limit = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.argv = ['legscore'] + sys.argv[1:];"
        "from legscore.cli import main; main()"
    )
    train(table, tmp_path, 1, stop_at=2, epochs=2, steps_per_epoch=4)
    state = tmp_path / ".seed1.state.pt"
    (tmp_path / "1.pt").rename(state)
    before = state.read_bytes()
    ran = subprocess.run([command[0], "-c", limit, *command[3:], "--resume"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert re.search(r"seed1.state.pt cannot be written: ", ran.stderr)
    assert state.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if "metrics" not in p.name) == [".seed1.state.pt"]
    subprocess.run([*command, "--resume"], check=True)
    assert (tmp_path / "seed1.safetensors").exists()


def test_cross_validation_scores_each_row_by_members_that_did_not_see_it(
    table: Path, tmp_path: Path, cli: Any
) -> None:
    """--folds all → run --out-of-fold: each row's score is that of the one member that kept its fold."""
    t = pq.read_table(table).append_column("fold", pa.array([i % 3 for i in range(400)]))
    path = tmp_path / "folds.parquet"
    pq.write_table(t, path)
    ran = cli("train", path, "-o", tmp_path / "cv", "--folds", "all", *SETTINGS)
    assert ran.code == 0, ran.err
    names = sorted(p.name for p in (tmp_path / "cv").glob("*.safetensors"))
    assert names == ["fold0.seed1.safetensors", "fold1.seed1.safetensors", "fold2.seed1.safetensors"]
    t = t.set_column(
        t.column_names.index("fold"), "fold", pa.array([7, None, *[i % 3 for i in range(2, 400)]])
    )
    pq.write_table(t, path)
    arguments = ("-m", tmp_path / "cv", "--precision", "fp32", "--per-model")
    ran = cli("run", path, "-o", tmp_path / "o.parquet", "--out-of-fold", "fold", *arguments)
    assert ran.code == 0, ran.err
    assert "in_training 1" in ran.err
    cli("run", path, "-o", tmp_path / "all.parquet", *arguments)
    got, whole = (
        pq.read_table(tmp_path / "o.parquet").to_pylist(),
        pq.read_table(tmp_path / "all.parquet").to_pylist(),
    )
    assert (got[0]["status"], got[0]["score"]) == ("in_training", None)
    assert got[1]["score"] == whole[1]["score"]
    assert [row["n_members"] for row in got[:3]] == [None, 3, 1]
    for i in range(2, 400):
        values = [v for v in got[i]["score_per_model"] if v is not None and not np.isnan(v)]
        assert got[i]["score"] == pytest.approx(whole[i]["score_per_model"][i % 3], abs=1e-5)
        assert len(values) == 1
        assert got[i]["score_sd"] is None
    for column, message in (
        ("mmh3", "took their folds from the fold column 'fold'; name that"),
        ("part", "has no column 'part'"),
        ("sequence", "must hold whole fold numbers"),
    ):
        ran = cli("run", path, "-o", tmp_path / "x.parquet", "--out-of-fold", column, *arguments)
        assert (ran.code, ran.err.strip().splitlines()[-1].startswith("legscore: ")) == (2, True)
        assert message in ran.err
    ran = cli("run", path, "-o", tmp_path / "x.parquet", "--out-of-fold", "fold")
    assert ran.code == 2


@pytest.mark.parametrize("preset", ["noginet", "optimized"])
def test_out_of_fold_by_hash(table: Path, tmp_path: Path, cli: Any, preset: str) -> None:
    """mmh3 gives the folds of the training itself: of the sequence as given, or of the window."""
    small = [*SETTINGS, "--preset", preset, "--set", "n_folds=3"]
    assert cli("train", table, "-o", tmp_path / "m", "--valid-fold", "1", *small).code == 0
    ran = cli("run", table, "-m", tmp_path / "m", "-o", tmp_path / "o.csv", "--out-of-fold", "mmh3")
    assert ran.code == 0, ran.err
    recipe = resolve(preset, options={"n_folds": 3})
    folds = read_training_data(
        table, recipe.contract(), DataOptions(fold_on=recipe.fold_on, n_folds=3)
    ).fold_N
    lines = (tmp_path / "o.csv").read_text().splitlines()
    at = lines[0].split(",").index("status")
    status = [line.split(",")[at].strip('"') for line in lines[1:]]
    assert status == ["ok" if fold == 1 else "in_training" for fold in folds]


def test_human_recipe_trains_and_runs(tmp_path: Path, cli: Any) -> None:
    """The human preset, made small: fold pairs, shifts, one score; its checkpoints go straight into run."""
    rng = np.random.default_rng(0)
    texts = ["AGGACCGGATCAACT" + random_dna(rng, 200) + "CATTGCGTGAACCGA" for _ in range(120)]
    t = pa.table({"seq": texts, "mean_value": rng.normal(0, 1, 120), "fold": [1 + i % 3 for i in range(120)]})
    pq.write_table(t, tmp_path / "h.parquet")
    small = ["--set", "widths=8,8,8", "--set", "pools=2,2", "--set", "epochs=1", "--set", "batch=16"]
    ran = cli(
        "train", tmp_path / "h.parquet", "-o", tmp_path / "m", "--preset", "human", "--folds", "pairs", *small
    )
    assert ran.code == 0, ran.err
    names = sorted(p.name for p in (tmp_path / "m").glob("*.safetensors"))
    assert len(names) == 6
    assert names[0] == "val1.test2.seed777.safetensors"
    record = load_checkpoint(tmp_path / "m" / names[0]).training
    assert record["folds_held_out"] == [1, 2]
    assert record["steps"] == 3, "one pass over 40 rows in batches of 16"
    assert set(record["test_metrics"]) == {"pearson", "spearman"}
    ran = cli(
        "run",
        tmp_path / "h.parquet",
        "-m",
        tmp_path / "m",
        "-o",
        tmp_path / "o.parquet",
        "--out-of-fold",
        "fold",
    )
    assert ran.code == 0, ran.err
    assert pq.read_table(tmp_path / "o.parquet")["score_sd"].null_count == 0, (
        "two of six kept each fold as the test fold"
    )
    arguments = ("-m", tmp_path / "m", "-o", tmp_path / "p.parquet", "--out-of-fold", "fold", "--per-model")
    assert cli("run", tmp_path / "h.parquet", *arguments).code == 0
    for row, values in enumerate(pq.read_table(tmp_path / "p.parquet")["score_per_model"].to_pylist()):
        # val1.test2, val1.test3, val2.test1, ... by name
        kept = [v is not None and not np.isnan(v) for v in values]
        assert kept == [test == 1 + row % 3 for test in (2, 3, 1, 3, 1, 2)]


def test_processes_share_the_members(table: Path, tmp_path: Path, cli: Any) -> None:
    """A member that another process holds is left to it; a stale lock file holds nobody up."""
    (tmp_path / ".seed1.lock").touch()
    with open(tmp_path / ".seed2.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = cli("train", table, "-o", tmp_path, "--seeds", "3", *SETTINGS)
    assert ran.code == 0, ran.err
    assert "trained by other processes: seed2" in ran.err
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [
        "seed1.safetensors",
        "seed3.safetensors",
    ]
    assert [p.name for p in tmp_path.glob(".*.lock")] == [".seed2.lock"]


@pytest.mark.long
def test_two_processes_train_one_member_together(table: Path, tmp_path: Path, cli: Any) -> None:
    """torchrun: the two halves of every batch give the whole batch's step (in fp32, up to rounding and
    BatchNorm)."""
    settings_ = [*SETTINGS, "--set", "precision=fp32"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    command = [*torchrun, "legscore", "train", str(table), "-o", str(tmp_path / "ddp"), *settings_]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("seed1 step 8/8") == 1, "one process reports"
    again = subprocess.run(
        [*command, "--seed", "1", "--seed", "2"], capture_output=True, text=True, env=environment
    )
    assert again.returncode == 0, again.stderr
    assert ("finished already" in again.stderr, (tmp_path / "ddp/seed2.safetensors").exists()) == (True, True)
    assert cli("train", table, "-o", tmp_path / "one", *settings_).code == 0
    one, ddp = (load_checkpoint(tmp_path / name / "seed1.safetensors") for name in ("one", "ddp"))
    assert ddp.training["metrics"]["loss"] == pytest.approx(one.training["metrics"]["loss"], rel=0.1)
    differ = [np.abs(a - ddp.arrays[name]).max() for name, a in one.arrays.items() if "running" not in name]
    assert 0 < max(differ) < 0.2


@pytest.mark.long
def test_compiled_training_gives_the_same_loss(table: Path, tmp_path: Path) -> None:
    """torch.compile, where a C++ compiler is at hand: the same losses up to rounding."""
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("torch.compile on a CPU needs a C++ compiler")
    recipe = resolve(
        "noginet", options={**TINY, "widths": (8, 8), "precision": "fp32", "epochs": 1, "steps_per_epoch": 2}
    )
    data = read_training_data(table, recipe.contract(), DataOptions())
    losses = []
    for compiled in (False, True):
        trainer = Trainer(
            recipe, recipe.contract(), data, (9,), 1, tmp_path / "s.pt", device="cpu", compiled=compiled
        )
        losses.append([float(trainer.train_step()) for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_lr_find(table: Path, tmp_path: Path, cli: Any) -> None:
    ran = cli("train", table, "-o", tmp_path, "--lr-find", "--fraction", "1", *SETTINGS)
    assert ran.code == 0, ran.err
    suggestion = float(ran.out)
    lines = (tmp_path / "lr_find.csv").read_text().splitlines()
    assert lines[0] == "lr,loss,smoothed_loss"
    rates = [float(line.split(",")[0]) for line in lines[1:]]
    assert rates[0] == pytest.approx(1e-6)
    assert (np.diff(np.log(rates)) > 0).all()
    assert rates[0] < suggestion < rates[-1]
    assert (tmp_path / "lr_find.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(tmp_path.glob("*.safetensors"))


def test_tensorboard_is_optional(table: Path, tmp_path: Path, cli: Any) -> None:
    ran = cli("train", table, "-o", tmp_path / "m", "--tensorboard", tmp_path / "board", "-q", *SETTINGS)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert ran.code == 2
        assert "needs the tensorboard package" in ran.err
    else:
        assert ran.code == 0, ran.err
        assert list((tmp_path / "board").iterdir())


def test_metrics_lines(table: Path, tmp_path: Path, cli: Any) -> None:
    assert cli("train", table, "-o", tmp_path, "--save-every", "3", *SETTINGS).code == 0
    lines = [json.loads(line) for line in (tmp_path / "seed1.metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4, 6, 8]
    assert [line["pearson"] is None for line in lines] == [True, False, True, False]
    assert all(0 <= line["data_wait"] < 1 and line["samples_per_s"] > 0 for line in lines)


def test_steepest_fall_by_hand() -> None:
    """A flat, a linear fall between 1e-3 and 1e-1 that is steepest around 1e-2, a rise; noise does not move
    the answer."""
    from legscore.train.lr_find import steepest

    lr = np.geomspace(1e-6, 1, 241)
    x = np.log10(lr)
    loss = 2 - 1 / (1 + np.exp(-4 * (x + 2))) + np.where(x > -0.5, 4 * (x + 0.5), 0)
    noisy = loss + np.random.default_rng(0).normal(0, 0.01, len(lr))
    assert steepest(lr, loss) == pytest.approx(1e-2, rel=0.1)
    assert steepest(lr, noisy) == pytest.approx(1e-2, rel=0.6)


@pytest.mark.parametrize(
    ("trained_as", "run_as"), [("oligo", "insert"), ("insert", "oligo"), ("oligo", "oligo")]
)
def test_out_of_fold_hash_of_pairs_and_forms(
    table: Path, tmp_path: Path, cli: Any, trained_as: str, run_as: str
) -> None:
    """A pair is scored only by a member that saw neither sequence, however the sequences are given."""

    def form(text: str, kind: str) -> str:
        return text if kind == "oligo" else text[17:-13]

    oligos = pq.read_table(table)["sequence"].to_pylist()
    trained = pq.read_table(table).set_column(0, "sequence", pa.array([form(t, trained_as) for t in oligos]))
    pq.write_table(trained, tmp_path / "t.parquet")
    ran = cli(
        "train",
        tmp_path / "t.parquet",
        "-o",
        tmp_path / "m",
        "--folds",
        "all",
        "--set",
        "n_folds=3",
        *SETTINGS,
    )
    assert ran.code == 0, ran.err
    folds = read_training_data(
        tmp_path / "t.parquet", resolve("noginet").contract(), DataOptions(n_folds=3)
    ).fold_N
    ref, alt = [form(t, run_as) for t in oligos[:200]], [form(t, run_as) for t in oligos[200:]]
    pq.write_table(pa.table({"ref_sequence": ref, "alt_sequence": alt}), tmp_path / "p.parquet")
    arguments = ("-m", tmp_path / "m", "-o", tmp_path / "o.parquet", "--out-of-fold", "mmh3", "--per-model")
    ran = cli("run", tmp_path / "p.parquet", *arguments, "--precision", "fp32")
    assert ran.code == 0, ran.err
    for i, row in enumerate(pq.read_table(tmp_path / "o.parquet").to_pylist()):
        if folds[i] != folds[200 + i]:
            assert row["status"] == "in_training"
        else:
            scored = [m for m, v in enumerate(row["effect_per_model"]) if v is not None and not np.isnan(v)]
            assert (row["status"], scored) == ("ok", [folds[i]])


def test_out_of_fold_hash_of_edits(tmp_path: Path, cli: Any) -> None:
    """An edited sequence that is in the training table itself counts as seen."""
    rng = np.random.default_rng(1)
    ref = [random_dna(rng, 80) for _ in range(60)]
    alt = [text[:5] + ("A" if text[5] != "A" else "C") + text[6:] for text in ref]
    pq.write_table(
        pa.table({"sequence": ref + alt, "expression": rng.uniform(0, 17, 120)}), tmp_path / "t.parquet"
    )
    ran = cli(
        "train",
        tmp_path / "t.parquet",
        "-o",
        tmp_path / "m",
        "--folds",
        "all",
        "--set",
        "n_folds=2",
        *SETTINGS,
    )
    assert ran.code == 0, ran.err
    folds = read_training_data(
        tmp_path / "t.parquet", resolve("noginet").contract(), DataOptions(n_folds=2)
    ).fold_N
    edits = pa.table(
        {
            "sequence": pa.array(ref).dictionary_encode(),
            "offset": [5] * 60,
            "alt_base": [text[5] for text in alt],
        }
    )
    pq.write_table(edits, tmp_path / "e.parquet")
    ran = cli(
        "run",
        tmp_path / "e.parquet",
        "-m",
        tmp_path / "m",
        "-o",
        tmp_path / "o.parquet",
        "--out-of-fold",
        "mmh3",
    )
    assert ran.code == 0, ran.err
    status = pq.read_table(tmp_path / "o.parquet")["status"].to_pylist()
    assert status == ["ok" if folds[i] == folds[60 + i] else "in_training" for i in range(60)]
    assert len(set(status)) == 2


def test_out_of_fold_by_split_column(table: Path, tmp_path: Path, cli: Any) -> None:
    t = pq.read_table(table).append_column(
        "split", pa.array(["valid" if i % 4 == 0 else "train" for i in range(400)])
    )
    pq.write_table(t, tmp_path / "t.parquet")
    assert cli("train", tmp_path / "t.parquet", "-o", tmp_path / "m", *SETTINGS).code == 0
    ran = cli(
        "run",
        tmp_path / "t.parquet",
        "-m",
        tmp_path / "m",
        "-o",
        tmp_path / "o.parquet",
        "--out-of-fold",
        "split",
    )
    assert ran.code == 0, ran.err
    status = pq.read_table(tmp_path / "o.parquet")["status"].to_pylist()
    assert status == ["ok" if i % 4 == 0 else "in_training" for i in range(400)]


def test_weights_all_zero_where_it_trains(tmp_path: Path) -> None:
    t = measured(60).append_column("part", pa.array([9] * 20 + [0] * 40))
    t = t.set_column(2, "reads", pa.array([1] * 20 + [0] * 40))
    pq.write_table(t, tmp_path / "t.parquet")
    recipe = resolve("noginet", options=TINY)
    data = read_training_data(
        tmp_path / "t.parquet", recipe.contract(), DataOptions(weight_column="reads", fold_column="part")
    )
    with pytest.raises(LegscoreError, match="sampling weights of all training rows are 0"):
        Trainer(recipe, recipe.contract(), data, (9,), 1, tmp_path / "s.pt")


def test_signal_handlers_are_put_back(table: Path, tmp_path: Path, cli: Any) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert cli("train", table, "-o", tmp_path, "-q", *SETTINGS).code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

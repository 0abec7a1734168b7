"""Every option of `train` and `ablate` has an effect on weights, contracts or records, also beside others that
touch the same thing: else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna, toy_checkpoint, yeast_contract
from test_option_pairs import names_of, refused, walk, words

torch = pytest.importorskip("torch", reason="training needs legscore[train]")

from legscore.cli import ablate, train  # noqa: E402
from legscore.dna.contract import Output  # noqa: E402
from legscore.model.checkpoint import load_checkpoint  # noqa: E402
from legscore.train import ablation, lr_find, train_models  # noqa: E402

Cli = Callable[..., Ran]
Given = dict[str, tuple[Any, ...]]
WITHOUT_EFFECT = {
    "data", "output", "device", "compiled", "save_every", "log_every", "resume", "tensorboard", "force", "threads", "quiet",
}  # fmt: skip
"""What is read, where to, on what, how it goes on after an interruption, and what is told."""
DATA: Given = {
    "sequence_column": ("other",), "expression_column": ("yfp",), "singleton_column": ("flag",), "weight_column": ("reads",),
    "fold_column": ("fold_a",), "split_column": ("part",), "where": ("medium=a",), "sequence_is": ("insert",),
    "out_of_range": ("clip",),
}  # fmt: skip
NETWORK: Given = {
    "preset": ("optimized",), "recipe_file": ("r.toml",), "settings": ("widths=8,16",), "construct": ("c.toml",),
    "bins": (15,), "target_sd": (0.9,), "target_shift": (0.7,), "floor": (4.0,),
}  # fmt: skip
MEMBERS: Given = {
    "seeds": (7,), "n_seeds": (2,), "valid_fold": (0,), "test_fold": (1,), "folds": ("all",), "full": (),
}  # fmt: skip
TUNING: Given = {"freeze": (1,), "block_rate": (0.5,), "new_head": ()}
OTHERS: Given = {"lr_find": (), "fraction": (4.0,), "predictors": ("p.safetensors",), "start_from": ("base",)}
STUDY: Given = {
    "variants_file": ("v.toml",), "study": ("architecture",), "only": ("no SE",), "list_only": (), "n_seeds": (2,),
    "test_file": ("t.parquet",), "valid_fold": (0,),
}  # fmt: skip
TINY = ("widths=8,8", "epochs=1", "steps_per_epoch=1", "batch=8", "kernel=3", "n_folds=3")
TOUCH = (
    ("fold_column", "split_column", "where", "valid_fold", "test_fold", "folds", "full"),
    ("seeds", "n_seeds", "folds", "start_from"),
    ("expression_column", "out_of_range", "bins", "target_sd", "target_shift", "floor", "preset"),
    ("sequence_column", "sequence_is", "singleton_column", "weight_column", "construct"),
    ("recipe_file", "settings", "preset"),
    ("start_from", "freeze", "block_rate", "new_head", "preset"),
    ("lr_find", "n_seeds", "floor", "full", "predictors"),
)
RECORDED = {"fold_column", "preset", "test_fold", "predictors"}
"""Beside some options they only say which rows are held out, where a recipe comes from, or who judged."""


def touch(a: str, b: str) -> bool:
    return any(a in group and b in group for group in TOUCH)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oligos of which two columns of each kind could be trained on, some outside the bins; a base model; files."""
    made, rng, n = tmp_path_factory.mktemp("pairs"), np.random.default_rng(3), 90
    contract = yeast_contract()
    oligos = [
        [contract.adapter5 + random_dna(rng, 80) + contract.adapter3 for _ in range(n)] for _ in range(2)
    ]
    expression = rng.uniform(1, 16, n)
    expression[::5] = np.round(expression[::5])
    expression[3::30] = 17.3
    columns = {
        "sequence": oligos[0], "other": oligos[1], "expression": expression, "yfp": np.roll(expression, 5),
        "flag": np.arange(n) % 2, "reads": rng.integers(1, 9, n), "fold_a": np.arange(n) % 4, "medium": ["a", "b"] * (n // 2),
        "part": np.where(np.arange(n) % 3 == 0, "valid", np.where(np.arange(n) % 7 == 0, "none", "train")),
    }  # fmt: skip
    pq.write_table(pa.table(columns), made / "t.parquet")
    fields = ["length", "flank5", "flank3", "adapter5", "adapter3", "insert_min", "insert_max"]
    construct = {name: getattr(contract, name) for name in fields} | {
        "length": 149,
        "insert_max": 136,
        "unit": "bin",
    }
    (made / "c.toml").write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in construct.items())
    )
    (made / "r.toml").write_text("max_lr = 0.02\nweight_decay = 0.2\n")
    (made / "v.toml").write_text('[[variant]]\nname = "lower"\nmax_lr = 0.001\n')
    unit = "mean sorting bin (0-17) of log reporter fluorescence"
    toy_checkpoint(1, yeast_contract(output=Output("bins", unit, 0.0, 17.0))).save(made / "p.safetensors")
    return made


@pytest.fixture
def here(world: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One thread: networks this small would only wait for the others."""
    monkeypatch.chdir(world)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(lr_find, "LEAST_STEPS", 40)
    monkeypatch.setattr(train_models, "write_range_test", outcome_of)
    monkeypatch.setattr(ablation, "draw", lambda path, rows, members: path.write_bytes(b""))
    if not (world / "base").exists():
        ran = cli("train", "t.parquet", "-o", "base", "--out-of-range", "drop", "--valid-fold", 0, *tiny())
        assert ran.code == 0, ran.err
    yield world
    torch.set_num_threads(threads)


def outcome_of(test: Any, folder: Path) -> tuple[Path, Path]:
    """The table of a learning-rate test; no picture."""
    (folder / "lr_find.csv").write_text(repr((test.lr.tolist(), test.loss.tolist())))
    return folder / "lr_find.csv", folder / "lr_find.png"


def tiny(*settings: str, given: Given | None = None) -> list[str]:
    """Without a number of folds where an option names a column of them."""
    columns = {(given or {}).get(name, ("hash",)) for name in ("fold_column", "split_column")} - {("hash",)}
    known = [setting for setting in TINY if not (columns and setting.startswith("n_folds"))]
    return [word for setting in (*known, *settings) for word in ("--set", setting)]


def made(folder: Path, printed: str) -> tuple[str, str]:
    """Weights, contracts and tables; records."""
    found = [load_checkpoint(path) for path in sorted(folder.rglob("*.safetensors"))]
    weights = [sorted((name, array.tobytes()) for name, array in one.arrays.items()) for one in found]
    tables = [path.read_text() for path in sorted(folder.rglob("*.csv"))]
    contracts = [(one.name, one.contract.to_json(), one.architecture) for one in found]
    return f"{hash(repr(weights))} {contracts} {tables} {printed}", str([one.training for one in found])


def test_every_option_is_walked() -> None:
    walked = {*DATA, *NETWORK, *MEMBERS, *TUNING, *OTHERS}
    assert set(names_of(train.command)) - walked == WITHOUT_EFFECT
    assert set(names_of(ablate.command)) - {*DATA, *NETWORK, *STUDY} == WITHOUT_EFFECT


PREDICTORS = {**DATA, **NETWORK, **MEMBERS, **OTHERS, **TUNING}
HUMAN = {**DATA, **NETWORK, **MEMBERS, **OTHERS, "preset": ("noginet-defined",), "construct": ("yeast",)}


@pytest.mark.parametrize(
    ("base", "options", "least"),
    [
        ({"out_of_range": ("drop",)}, PREDICTORS, 49),
        ({"preset": ("human",), "construct": ("yeast",), "settings": ("shift_max=0", "pools=2")}, HUMAN, 15),
        ({"start_from": ("base",), "valid_fold": (0,), "out_of_range": ("drop",)}, {**TUNING, **NETWORK, **MEMBERS}, 5),
        ({"preset": ("generator",), "out_of_range": ("drop",), "settings": ("valid_designs=4",)}, {**PREDICTORS}, 30),
        ({"lr_find": (), "out_of_range": ("drop",)}, {**MEMBERS, **NETWORK, **OTHERS, "settings": ("weight_decay=0.5",)}, 0),
    ],
    ids=["predictor", "human", "from", "generator", "lr-find"],
)  # fmt: skip
def test_options_of_train(
    here: Path, cli: Cli, tmp_path: Path, base: Given, options: Given, least: int
) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}"
        given = {**base, **given}
        settings = tiny(*base.get("settings", ()), *given.pop("settings", ()), given=given)
        ran = cli("train", "t.parquet", "-o", out, "-q", *settings, *words(train.command, given))
        return None if refused(ran) else made(out, ran.out)

    walked = {key: value for key, value in options.items() if base.get(key) != value}
    if "lr_find" in base:  # which leaves no record
        idle, accepted = walk(walked, one, lambda a, b: False, ())
    else:
        idle, accepted = walk(walked, one, touch, RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted >= least


@pytest.mark.parametrize(
    "base", [{"only": ("original",)}, {"list_only": ()}, {"only": ("plateau schedule",)}]
)
def test_options_of_ablate(here: Path, cli: Cli, tmp_path: Path, base: Given) -> None:
    count = itertools.count()
    base = {"out_of_range": ("drop",), "n_seeds": (1,), **base} if "list_only" not in base else base
    if base.get("only") == ("plateau schedule",):
        base = {"only": base["only"], "test_file": ("t.parquet",), "out_of_range": ("drop",)}

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}"
        given = {**base, **given}
        if "variants_file" in given:
            given.pop("only", None)
        settings = tiny(*given.pop("settings", ()), given=given)
        ran = cli("ablate", "t.parquet", "-o", out, "-q", *settings, *words(ablate.command, given))
        return None if refused(ran) else made(out, ran.out)

    walked = {key: value for key, value in {**DATA, **NETWORK, **STUDY}.items() if base.get(key) != value}
    if base.get("only") == ("plateau schedule",):
        walked = STUDY | {"only": ("original", "plateau schedule")}
        del walked["test_file"]
    if "settings" in walked:
        walked["settings"] = ("max_lr=0.03",)  # `--list` names rates, not widths
    idle, _ = walk(walked, one, lambda a, b: False, RECORDED)
    assert idle == [], "\n".join(idle)


@pytest.mark.parametrize(
    ("given", "words_"),
    [
        (["--preset", "human", "--set", "pools=2", "--target-sd", "1"], ["--target-sd has no effect here", "loss mse"]),
        (["--preset", "human", "--set", "pools=2", "--set", "bins=9"], ["--set bins has no effect here"]),
        (["--preset", "human", "--set", "pools=2", "--singleton", "flag"], ["--singleton has no effect here", "no singleton channel"]),
        (["--singleton", "flag", "--set", "singletons=frequency"], ["--set singletons has no effect here: --singleton names"]),
        (["--fold", "fold_a"], ["--set n_folds has no effect here: --fold names a column"]),
        (["--split", "part", "--set", "fold_on=padded"], ["has no effect here: --split names a column"]),
        (["--full", "--set", "keep=best"], ["--set keep has no effect here: with --full nothing validates"]),
        (["--fold", "hash", "--split", "part"], ["--fold and --split exclude each other"]),
        (["--lr-find", "--seeds", "3"], ["--seeds has no effect here"]),
        (["--lr-find", "--seed", "3", "--seed", "4"], ["--seed has no effect here"]),
        (["--lr-find", "--floor", "3"], ["--floor has no effect here"]),
        (["--from", "base", "--freeze", "1", "--block-rate", "0.5", "--valid-fold", "0"], ["--block-rate 0.5 has no effect"]),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_refused(
    here: Path, cli: Cli, tmp_path: Path, given: list[str], words_: list[str]
) -> None:
    one_line(
        cli("train", "t.parquet", "-o", tmp_path / "m", "--out-of-range", "drop", *tiny(), *given)
        if "human" not in given
        else cli("train", "t.parquet", "-o", tmp_path / "m", *tiny(), *given),
        *words_,
    )


def test_finished_models_with_another_floor_are_not_what_is_asked_for(here: Path, cli: Cli) -> None:
    same = ["train", "t.parquet", "-o", "base", "--out-of-range", "drop", "--valid-fold", 0, *tiny()]
    assert "finished already" in cli(*same).err
    one_line(cli(*same, "--floor", "4"), "was trained otherwise (floor was null, is now 4.0)")

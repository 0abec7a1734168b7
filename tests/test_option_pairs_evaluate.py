"""Every option of `evaluate` has an effect on the results, also beside every other one: else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran
from test_option_pairs import names_of, refused, walk, words

from legscore.cli import evaluate

Cli = Callable[..., Ran]
WITHOUT_EFFECT = {
    "paths",
    "truths",
    "predictions",
    "plot",
    "output",
    "json_path",
    "csv_path",
    "force",
    "quiet",
    "threads",
}
"""What is read, and where results go."""
OPTIONS: dict[str, tuple[Any, ...]] = {
    "keys": ("id",), "by": ("medium",), "cluster": ("promoter",), "where": ("medium=a",), "bootstrap": (31,), "seed": (7,),
    "confidence": (0.5,), "variant": (), "substitutions": ("n_other",), "replicates": ("r1", "r2"), "noise_sd": (0.7,),
    "noise_z": (0.4,), "curve": (), "class_weights": ("w.tsv",), "class_column": ("class",), "coverage": (0.6,),
    "calibrate": (),
}  # fmt: skip


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rng, n = np.random.default_rng(3), 240
    truth = rng.normal(size=n)
    members = truth[:, None] + rng.normal(size=(n, 9))
    columns = {
        "id": np.arange(n), "medium": np.tile(["a", "b"], n // 2), "promoter": np.arange(n) // 4, "truth": truth,
        "effect": members.mean(1), "effect_sd": members.std(1, ddof=1), "n_mut": np.arange(n) % 3 + 1,
        "n_other": np.arange(n) % 2 + 1, "r1": truth + 0.3 * rng.normal(size=n), "r2": truth + 0.3 * rng.normal(size=n),
        "class": np.tile(["x", "y", "x", "y", "y"], n // 5),
        "effect_per_model": pa.FixedSizeListArray.from_arrays(members.ravel(), 9),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    pq.write_table(pa.table({"id": np.arange(n), "other": truth}), tmp_path / "q.parquet")
    (tmp_path / "w.tsv").write_text("class\tweight\nx\t0.7\ny\t0.3\n")
    return tmp_path


def test_every_option_is_walked() -> None:
    assert set(names_of(evaluate.command)) - set(OPTIONS) == WITHOUT_EFFECT


@pytest.mark.parametrize(("resamples", "least"), [(20, 40), (0, 15)])
def test_options_of_evaluate_in_pairs(
    predictions: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, resamples: int, least: int
) -> None:
    """With intervals and without: the results (but for the list of options) or the calibration differ."""
    monkeypatch.chdir(predictions)
    count = itertools.count()

    def one(given: dict[str, tuple[Any, ...]]) -> Any:
        out = f"o{next(count)}"
        given = {"bootstrap": (resamples,), **given}
        more = ["--truth", "truth", "--prediction", "effect", "--json", f"{out}.json"]
        more += ["-o", f"{out}.cal"] if "calibrate" in given else []
        ran = cli("evaluate", "p.parquet", *more, *words(evaluate.command, given))
        if refused(ran):
            return None
        found = json.loads(Path(f"{out}.json").read_text())
        del found["options"]
        fitted = Path(f"{out}.cal").read_text() if "calibrate" in given else ""
        return json.dumps(found, sort_keys=True) + fitted, ""

    walked = {name: values for name, values in OPTIONS.items() if resamples or name != "bootstrap"}
    idle, accepted = walk(walked, one)
    assert idle == [], "\n".join(idle)
    assert accepted > least

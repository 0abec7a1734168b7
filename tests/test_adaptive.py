"""--until-se: members are added to a row until its standard error is below a bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, random_dna, toy_checkpoint

from legscore.model.checkpoint import MAX_MEMBERS
from legscore.run.adaptive import LEAST, standard_error, t_quantile

MEMBERS = 8


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in range(MEMBERS):
        toy_checkpoint(seed).save(folder / f"m{seed}.safetensors")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    ref = [random_dna(rng, 80) for _ in range(60)]
    alt = [text[:40] + random_dna(rng, 40) for text in ref]
    alt[7], ref[8], alt[9], alt[20], ref[20] = "ACXT", None, ref[9], alt[10], ref[10]  # type: ignore[call-overload]
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"id": range(60), "ref_sequence": ref, "alt_sequence": alt}), path)
    return path


def twin(values_NM: np.ndarray, bound: float) -> list[int]:
    """Members each row needs, one row and member at a time."""
    from scipy.stats import norm, t

    needed = []
    for values in values_NM:
        n = LEAST
        while (
            n < len(values) and t.ppf(norm.cdf(1), n - 1) * np.std(values[:n], ddof=1) / np.sqrt(n) >= bound
        ):
            n += 1
        needed.append(n)
    return needed


def test_quantiles_equal_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="the judge needs scipy")
    degrees = np.arange(1, MAX_MEMBERS)
    found = [t_quantile(int(df)) for df in degrees]
    assert np.abs(stats.t.ppf(stats.norm.cdf(1), degrees) - found).max() < 1e-9
    values = np.array([[1.0], [2.0], [3.0], [4.0], [10.0]])
    assert standard_error(values)[0] == pytest.approx(1.1416 * np.std(values, ddof=1) / np.sqrt(5), rel=1e-4)


@pytest.mark.parametrize("kind", ["pair", "sequence"])
def test_each_row_uses_the_members_it_needs(
    ensemble: Path, pairs: Path, tmp_path: Path, cli: Callable[..., Ran], kind: str
) -> None:
    pytest.importorskip("scipy", reason="the twin needs scipy")
    given = [
        pairs,
        "-m",
        ensemble,
        "--kind",
        kind,
        "--per-model",
        "--precision",
        "fp32",
        "--sequence-is",
        "insert",
    ]
    if kind == "sequence":
        given += ["--column", "sequence=ref_sequence"]
    assert cli("run", *given, "-o", tmp_path / "all.parquet").code == 0
    full = pq.read_table(tmp_path / "all.parquet").to_pydict()
    assert "n_members" not in full
    name = "effect" if kind == "pair" else "score"
    values = np.array(full[f"{name}_per_model"], dtype=np.float64)
    bound = float(np.median(np.std(values[~np.isnan(values[:, 0])], axis=1, ddof=1))) / np.sqrt(6)
    ran = cli("run", *given, "--until-se", str(bound), "-o", tmp_path / "some.parquet")
    assert ran.code == 0, ran.err
    assert "not strictly comparable" in ran.err
    some = pq.read_table(tmp_path / "some.parquet").to_pydict()
    assert some["status"] == full["status"]
    ok = [i for i, status in enumerate(full["status"]) if status == "ok"]
    needed = dict(zip(ok, twin(values[ok], bound), strict=True))
    assert some["n_members"] == [needed.get(i) for i in range(60)]
    assert LEAST < np.mean(list(needed.values())) < MEMBERS
    # toy members differ by much the same in every sequence
    assert kind == "sequence" or len(set(needed.values())) > 2
    for i in ok:
        used = values[i, : needed[i]]
        assert some[name][i] == pytest.approx(used.mean(), rel=1e-5, abs=1e-6)
        assert some[f"{name}_sd"][i] == pytest.approx(np.std(used, ddof=1), rel=1e-4, abs=1e-6)
        assert some[f"{name}_per_model"][i] == [
            *full[f"{name}_per_model"][i][: needed[i]],
            *[None] * (MEMBERS - needed[i]),
        ]
    record = json.loads((tmp_path / "some.parquet.run.json").read_text())
    assert record["options"]["until_se"] == bound
    assert record["windows_x_members_scored"] < record["windows_scored"] * MEMBERS
    assert f"{1 - record['windows_x_members_of_all']:.0%} of windows × members saved" in ran.err


def test_a_bound_out_of_reach_takes_every_member(
    ensemble: Path, pairs: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    given: list[Any] = ["run", pairs, "-m", ensemble, "--precision", "fp32", "-q"]
    assert cli(*given, "-o", tmp_path / "all.parquet").code == 0
    assert cli(*given, "--until-se", "1e-9", "-o", tmp_path / "some.parquet").code == 0
    some = pq.read_table(tmp_path / "some.parquet")
    assert set(some["n_members"].to_pylist()) == {MEMBERS, None}
    assert some.drop_columns("n_members").equals(pq.read_table(tmp_path / "all.parquet"))


@pytest.mark.parametrize("rows", [1, 3])
def test_parts_without_a_row_to_score(
    ensemble: Path, tmp_path: Path, cli: Callable[..., Ran], rows: int
) -> None:
    pq.write_table(pa.table({"sequence": pa.array(["AXA"] * rows, pa.string())}), tmp_path / "in.parquet")
    assert (
        cli(
            "run", tmp_path / "in.parquet", "-m", ensemble, "--until-se", "0.1", "-o", tmp_path / "o.parquet"
        ).code
        == 0
    )
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["n_members"].to_pylist() == [None] * rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--until-se", "0"), "above 0"),
        (("--until-se", "nan"), "nan is not a finite number"),
        (("--until-se", "0.1", "--out-of-fold", "fold"), "drop one"),
    ],
)
def test_bounds_that_make_no_sense(
    ensemble: Path, pairs: Path, tmp_path: Path, cli: Callable[..., Ran], given: tuple[str, ...], message: str
) -> None:
    ran = cli("run", pairs, "-m", ensemble, *given, "-o", tmp_path / "o.parquet")
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "o.parquet").exists()


def test_small_ensembles_are_refused(
    toy_models: Path, pairs: Path, tmp_path: Path, cli: Callable[..., Ran]
) -> None:
    ran = cli("run", pairs, "-m", toy_models, "--until-se", "0.1", "-o", tmp_path / "o.parquet")
    assert ran.code == 2
    assert "at least 5 members" in ran.err


@pytest.mark.parametrize("engine", ["null", "openvino"])
def test_ninety_members(tmp_path: Path, pairs: Path, cli: Callable[..., Ran], engine: str) -> None:
    """As many as the published human network has: each one's column, their mean and their SD."""
    models = tmp_path / "models"
    models.mkdir()
    for seed in range(90):
        toy_checkpoint(seed, widths=(8, 8), inner_widths=(16,), pools=(1,)).save(
            models / f"m{seed:02}.safetensors"
        )
    out = tmp_path / "out.parquet"
    precision = [] if engine == "null" else ["--precision", "fp32"]
    ran = cli("run", pairs, "-m", models, "-o", out, "--engine", engine, "--per-model", *precision)
    assert ran.code == 0, ran.err
    scores = pq.read_table(out)
    ok = np.array(scores["status"].to_pylist()) == "ok"
    effects_NM = np.array(scores["effect_per_model"].filter(ok).to_pylist())
    assert effects_NM.shape == (ok.sum(), 90)
    assert ok.sum() > 50
    assert scores["effect"].filter(ok).to_numpy() == pytest.approx(effects_NM.mean(axis=1), abs=1e-5)
    assert scores["effect_sd"].filter(ok).to_numpy() == pytest.approx(
        effects_NM.std(axis=1, ddof=1), abs=1e-5
    )

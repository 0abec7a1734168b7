"""legscore bench and what it measures with. Rates are for benchmarks; here only that numbers are
consistent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, in_parts_of, random_dna, yeast_contract

from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.errors import EngineError
from legscore.measure import whole_run as module
from legscore.measure.dry_run import spoken
from legscore.measure.estimate import estimate
from legscore.measure.rates import Job, alternate
from legscore.measure.whole_run import random_table, whole_run
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower


def test_jobs_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(1000))
    slow = iter([1, 1, 100, 1])  # one bad turn of four
    monkeypatch.setattr("legscore.measure.rates.time.perf_counter", lambda: float(now[0]))
    now = [0.0]

    def a() -> None:
        order.append("a")
        now[0] += 2.0

    def b() -> None:
        order.append("b")
        now[0] += 1.0 * next(slow)

    rates = alternate({"a": Job(a, 10.0), "b": Job(b, 10.0)}, 3, lambda: next(clock))
    assert order == ["a", "b"] * 4
    assert rates == {"a": 5.0, "b": 10.0}
    assert next(clock) == 8


@pytest.mark.parametrize("kind", ["sequence", "pair", "saturation"])
def test_random_tables_ask_for_as_many_windows_as_said(kind: str) -> None:
    contract = yeast_contract()
    table = random_table(contract, 2000, kind)
    windower = Windower(contract, KINDS["edit" if kind == "saturation" else kind], "insert")
    windows = windower({name: table[name].combine_chunks() for name in table.column_names if name != "id"})
    assert (windows.status_N == 0).all()
    per_insert = 3 * contract.insert_max + 1
    assert windows.batch.n_windows == (2000 // per_insert * per_insert if kind == "saturation" else 2000)


@pytest.mark.parametrize("kind", ["sequence", "pair", "saturation"])
def test_a_whole_run_gives_the_engines_scores(toy_models: Path, kind: str) -> None:
    ticks: list[int] = []
    run = whole_run(
        [toy_models],
        700,
        kind=kind,
        rounds=2,
        request=Request(precision="fp32"),
        tick=lambda: ticks.append(1),
    )
    assert (run.members, len(run.engine_s), len(run.run_s), len(ticks)) == (3, 2, 2, 4)
    assert 0 < run.of_engine_opened <= run.of_engine


def test_wrong_numbers_are_not_timed(toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.score

    def wrong(options: Any) -> Any:
        record = real(options)
        table = pq.read_table(options.output)
        moved = pa.array(table["score"].to_numpy() + np.float32(1e-3))
        pq.write_table(table.set_column(table.column_names.index("score"), "score", moved), options.output)
        return record

    monkeypatch.setattr(module, "score", wrong)
    with pytest.raises(EngineError, match="no timing of wrong numbers"):
        whole_run([toy_models], 50, rounds=1, request=Request(precision="fp32"))


@pytest.fixture
def repeated(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    few = [random_dna(rng, 80) for _ in range(40)]
    pq.write_table(pa.table({"sequence": [few[i % 40] for i in range(1000)]}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_an_estimate_counts_equal_windows_once(toy_models: Path, repeated: Path) -> None:
    found = estimate(str(repeated), [str(toy_models)])
    assert (found.rows, found.sampled_rows, found.windows, found.members) == (1000, 1000, 40, 3)
    assert found.seconds(20.0) == 2.0


def test_an_estimate_scales_up_what_it_sampled(
    toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(monkeypatch, 100)
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"sequence": [random_dna(rng, 80) for _ in range(950)]}), tmp_path / "in.parquet")
    found = estimate(str(tmp_path / "in.parquet"), [str(toy_models)])
    assert (found.rows, found.sampled_rows, found.windows) == (950, 350, 950)


def test_bench_tells_rates_limits_and_time(
    toy_models: Path, repeated: Path, tmp_path: Path, cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legscore.cli.bench.RUN_S", 0.2)
    monkeypatch.setattr("legscore.measure.hardware.JOB_FLOP", 1e8)
    ran = cli("bench", repeated, "-m", toy_models, "--rounds", "1", "--json", tmp_path / "b.json")
    assert ran.code == 0, ran.err
    result = json.loads((tmp_path / "b.json").read_text())
    assert "matrix products" in ran.out
    assert "1,000 rows, 40 windows: about" in ran.out
    assert result["input"]["windows"] == 40
    for rate in result["engines"]:
        limits = result["limits"]
        limit = limits.get(rate["precision"], limits["fp32"])
        assert rate["flop_per_s"] == pytest.approx(rate["of_limit"] * limit)
        assert (rate["of_bare"] is None) == (rate["engine"] == "openvino")
        if rate["engine"] == "native":
            assert rate["flop_per_s"] == pytest.approx(rate["of_bare"] * limits["bare"])
    native = {"native"} if library_path().is_file() else set()
    assert {rate["engine"] for rate in result["engines"]} == {"openvino"} | native
    assert {rate["members"] for rate in result["engines"]} == {1, 3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("none.parquet",), "none.parquet"),
        (("--json", "no/folder/b.json"), "folder no/folder does not exist"),
    ],
)
def test_bench_refuses_before_it_measures(
    toy_models: Path, cli: Callable[..., Ran], given: tuple[str, ...], message: str
) -> None:
    ran = cli("bench", "-m", toy_models, *given)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.strip().splitlines()) <= 3


def test_durations_are_spoken() -> None:
    assert [spoken(s) for s in (5, 119, 120, 7200, 864000)] == [
        "5 seconds",
        "119 seconds",
        "2.0 minutes",
        "2.0 hours",
        "10.0 days",
    ]

"""Numeric guards: wrong scores end a run and name the rows, whatever made them wrong; right ones pass; the
output never changes."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import human_contract, opened_by, random_dna, toy_checkpoint, yeast_contract

from legscore.dna.batch import Batch
from legscore.engine import open_engine as opening
from legscore.engine.fidelity import Fidelity
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError, LegscoreError
from legscore.model import forward
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import build_graph
from legscore.rows.groups import Group
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower
from legscore.run.verify import (
    LEAST_LIMIT,
    LIMIT_FACTOR,
    Verifier,
    choose_windows,
    closing_line,
    outside,
    picked,
)
from legscore.system.resources import folder


def batch(n: int = 3000, edits: int = 2000, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        rng.integers(0, 5, (n, 150), dtype=np.uint8),
        rng.integers(0, n, edits).astype(np.int32),
        rng.integers(0, 150, edits).astype(np.int16),
        rng.integers(0, 4, edits).astype(np.uint8),
    )


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.3, 1.0])
def test_the_share_asked_for_is_chosen_and_by_the_bases_alone(share: float) -> None:
    whole = batch()
    windows, _ = choose_windows(whole, share)
    expected = share * whole.n_windows
    assert abs(len(windows) - max(expected, 1)) <= 5 * np.sqrt(expected) + 1
    assert (np.diff(windows) > 0).all()
    assert (picked(whole, windows) == whole.expand()[windows]).all()
    order = np.random.default_rng(1).permutation(3000)  # the same windows elsewhere: the same are chosen
    moved = Batch(
        whole.codes_WL[order],
        np.argsort(order)[whole.window_E].astype(np.int32),
        whole.offset_E,
        whole.base_E,
    )
    chosen, _ = choose_windows(moved, share)
    assert {row.tobytes() for row in picked(moved, chosen)} == {
        row.tobytes() for row in picked(whole, windows)
    }


def test_members_take_turns() -> None:
    draws = {int(choose_windows(batch(50, 0, seed), 0.001)[1][0]) % 5 for seed in range(60)}
    assert draws == set(range(5))


class Altered:
    """An engine whose scores are changed on their way out: what a faulty device or a wrong index would do."""

    def __init__(self, engine: Any, change: Any) -> None:
        self._engine, self._change = engine, change
        self.name, self.precision, self.fidelity = engine.name, engine.precision, engine.fidelity

    def score(self, batch: Batch) -> np.ndarray:
        scores = self._engine.score(batch).copy()
        self._change(scores)
        return scores


def guarded(
    change: Any, share: float, fidelity: Fidelity | None = None, rows: int = 400, members: int = 2
) -> Verifier:
    """Windows of `rows` rows through an altered engine and a guard."""
    models = [toy_checkpoint(seed) for seed in range(members)]
    rng = np.random.default_rng(3)
    columns = {"sequence": pa.array([random_dna(rng, 80) for _ in range(rows)], pa.large_string())}
    windows = Windower(models[0].contract, KINDS["sequence"], "insert")({**columns})
    engine = OpenVINOEngine(models, load_recipe("fp32"), both_strands=True)
    engine.fidelity = fidelity
    guard = Verifier(models, engine, share, "a.parquet", rc="construct", is_singleton=False)
    try:
        guard.check(1000, [Group(None, None, windows)], [Altered(engine, change).score(windows.batch)])
    finally:
        guard.close()
        engine.close()
    return guard


def test_right_scores_pass() -> None:
    guard = guarded(lambda scores: None, 0.5)
    found = guard.record()
    assert 150 < found["windows"] < 250
    assert found["max_error"] <= 1e-5
    assert found["limit"] == LEAST_LIMIT
    assert (found["members"], found["members_verified"], found["members_not_verified"]) == (2, 2, [])
    assert "every member, against numpy fp32" in guard.announcement()


def test_opening_the_networks_is_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    real = forward.Forward

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return real(*arguments, **options)

    monkeypatch.setattr(forward, "Forward", slow)
    found = guarded(lambda scores: None, 0.001, rows=5).record()
    assert found["members_verified"] == 2
    assert found["opening_s"] >= 0.4
    assert found["seconds"] < found["opening_s"]


def measured(worst: float) -> Fidelity:
    return Fidelity("openvino fp32", 2048, 2048, worst, worst / 5, 1.0, 1.0)


def test_a_drift_beyond_the_fidelity_record_names_the_row() -> None:
    def drift(scores: np.ndarray) -> None:
        scores[:, 17] += 0.2

    with pytest.raises(
        EngineError,
        match=r"verify: row 1,018 of a.parquet: member model scored .* and .* in numpy fp32; .*allows 0.001",
    ):
        guarded(drift, 1.0)
    with pytest.raises(EngineError, match=r"row 1,018 of a.parquet"):
        guarded(drift, 1.0, measured(0.19 / LIMIT_FACTOR))
    assert guarded(drift, 1.0, measured(0.2 / LIMIT_FACTOR)).compared.max_error == pytest.approx(
        0.2, abs=1e-4
    )


def test_scores_of_neighbours_are_a_drift() -> None:
    """Windows that got each other's scores, as a wrong index or a race of two requests would give them."""

    def swapped(scores: np.ndarray) -> None:
        scores[:] = np.roll(scores, 1, axis=1)

    with pytest.raises(EngineError, match="verify: row"):
        guarded(swapped, 0.02)


def test_a_score_outside_the_range_names_the_rows_and_is_not_the_inputs_fault() -> None:
    def beyond(scores: np.ndarray) -> None:
        scores[1, [5, 9]] = 17.3

    with pytest.raises(
        EngineError,
        match=r"internal error: rows 1,006, 1,010 of a.parquet: member model scored 17.3 on engine openvino \(fp32\), outside .* 0 to 17",
    ):
        guarded(beyond, 0.0)
    assert guarded(lambda scores: None, 0.0).compared.windows == 0


def test_ranges() -> None:
    scores = np.array([[-0.2, -0.1, 0, 17, 17.1, 17.2, np.nan, np.inf]])
    assert outside(scores, yeast_contract()).tolist() == [
        [True, False, False, False, False, True, False, False]
    ]
    assert not outside(scores * 100, human_contract()).any()


def test_scores_that_are_not_finite_are_left_to_their_status() -> None:
    def nothing(scores: np.ndarray) -> None:
        scores[:, ::2] = np.nan

    guard = guarded(nothing, 1.0)
    assert guard.compared.windows == 200


def test_a_share_must_be_one() -> None:
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(LegscoreError, match="--verify"):
            guarded(lambda scores: None, share)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    pq.write_table(
        pa.table({"id": list(range(300)), "sequence": [random_dna(rng, 80) for _ in range(300)]}),
        tmp_path / "s.parquet",
    )
    return tmp_path / "s.parquet"


def test_a_run_checks_itself_and_its_bytes_stay_the_same(
    tmp_path: Path, rows: Path, toy_models: Path, cli: Any
) -> None:
    outputs = []
    for share, precision in (("0", "fp32"), ("0.001", "fp32"), ("1", "fp32")):
        out = tmp_path / f"{share}.parquet"
        ran = cli(
            "run",
            rows,
            "-m",
            toy_models,
            "-o",
            out,
            "--verify",
            share,
            "--precision",
            precision,
            "--engine",
            "openvino",
        )
        assert ran.code == 0, ran.err
        outputs.append(out.read_bytes())
        record = json.loads((tmp_path / f"{share}.parquet.run.json").read_text())["verify"]
        assert record["windows"] == {"0": 0, "0.001": 3, "1": 300}[share]
        assert ("verified: " in ran.err) == (share != "0")
    assert outputs[0] == outputs[1] == outputs[2]
    ran = cli("run", rows, "-m", toy_models, "-o", tmp_path / "n.parquet", "--engine", "null")
    assert ran.code == 0
    assert "verif" not in ran.err


def altered_weights(member: Checkpoint) -> Checkpoint:
    """The member with a stem that is a tenth stronger: scores that are wrong and look right."""
    arrays = {**member.arrays, "stem.conv.weight": member.arrays["stem.conv.weight"] * np.float32(1.1)}
    return replace(member, arrays=arrays)


def wrong_networks(monkeypatch: pytest.MonkeyPatch, wrong: Collection[str]) -> None:
    """Every graph of the members named is lowered wrongly, whatever it is for."""

    def lowered(member: Checkpoint, *rest: Any, **options: Any) -> Any:
        return build_graph(altered_weights(member) if member.name in wrong else member, *rest, **options)

    monkeypatch.setattr("legscore.engine.openvino_engine.build_graph", lowered)


ALL_FP32 = ("--engine", "openvino", "--precision", "fp32")


@pytest.mark.parametrize("cores", [1, 2])
def test_a_network_lowered_wrongly_is_found_also_when_it_comes_from_the_cache(
    tmp_path: Path, rows: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """On one core in FP32, engine and verifier asked for one and the same cached network once."""
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("legscore.engine.openvino_cpu.usable_cores", lambda: cores)
    command = ("run", rows, "-m", toy_model, "-o", tmp_path / "o.parquet", *ALL_FP32)
    with monkeypatch.context() as patched:
        wrong_networks(patched, {toy_model.stem})
        assert "verify: row " in cli(*command).err
    ran = cli(*command)  # nothing is wrong now but what the cache holds
    assert ran.code == 2
    assert "verify: row " in ran.err.splitlines()[-1]
    assert not (tmp_path / "o.parquet").exists()
    assert cli("cache", "clear", "networks").code == 0
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert "verified: 1 windows of the model in numpy fp32" in ran.err


@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize("part_rows", ["300", "100"])
def test_every_member_is_verified_whatever_the_number_of_parts(
    tmp_path: Path,
    rows: Path,
    toy_models: Path,
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
    wrong: int,
    part_rows: str,
) -> None:
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    name = sorted(path.stem for path in toy_models.glob("*.safetensors"))[wrong]
    wrong_networks(monkeypatch, {name})
    ran = cli(
        "run", rows, "-m", toy_models, "-o", tmp_path / "o.parquet", "--part-rows", part_rows, *ALL_FP32
    )
    assert ran.code == 2
    assert f"member {name} scored" in ran.err.splitlines()[-1]


def test_one_row_is_verified_with_every_member(tmp_path: Path, toy_models: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    ran = cli("run", tmp_path / "s.csv", "-m", toy_models, "-o", tmp_path / "o.csv", *ALL_FP32)
    assert ran.code == 0, ran.err
    assert "verified: 3 windows of all 3 members in numpy fp32" in ran.err
    record = json.loads((tmp_path / "o.csv.run.json").read_text())["verify"]
    assert (record["members_verified"], record["members_not_verified"]) == (3, [])


def test_members_that_scored_nothing_are_named() -> None:
    """As out-of-fold runs have them: no row was for the second of three members."""
    models = [toy_checkpoint(seed) for seed in range(3)]
    models = [replace(model, path=f"{'abc'[m]}.safetensors") for m, model in enumerate(models)]
    codes = np.random.default_rng(1).integers(0, 4, (5, 80))
    columns = {"sequence": pa.array(["".join("AGCT"[c] for c in row) for row in codes], pa.large_string())}
    windows = Windower(models[0].contract, KINDS["sequence"], "insert")(columns)
    engine = OpenVINOEngine(models, load_recipe("fp32"), both_strands=True)
    verifier = Verifier(models, engine, 1.0, "a.parquet", rc="construct", is_singleton=False)
    try:
        scores = engine.score(windows.batch, [0, 2])
        verifier.check(0, [Group(np.arange(5), (0, 2), windows)], [scores])
        record = verifier.record()
        assert (record["members_verified"], record["members_not_verified"]) == (2, ["b"])
        assert "of 2 of 3 members in numpy fp32" in closing_line(record)
        assert closing_line(record).endswith("; not verified: b")
        taken = verifier.take()
        assert (taken.windows, verifier.compared.windows) == (5, 0)
        assert taken.opening_s > 0  # apart from the windows' seconds
        assert (taken.seconds > 0, verifier.compared.opening_s) == (True, 0.0)
        verifier.compared.add(taken)
        assert verifier.record() == record
    finally:
        engine.close()


def test_other_engines_are_held_against_fp32(tmp_path: Path, rows: Path, toy_model: Path, cli: Any) -> None:
    """bf16, where the CPU has it, and PyTorch: every window, within what their fidelity allows."""
    import openvino

    loose = tmp_path / "loose.toml"  # scores of a network with random weights hardly vary
    loose.write_text(
        re.sub(r"(effect_spearman_min = )0\.\d+", r"\g<1>0.9", (folder("engines") / "bf16.toml").read_text())
    )
    ways = []
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        ways.append(("--engine", "openvino", "--recipe", loose))
    if importlib.util.find_spec("torch"):
        ways.append(("--engine", "torch", "--precision", "fp32"))
    for way in ways:
        ran = cli(
            "run", rows, "-m", toy_model, "-o", tmp_path / "o.parquet", "--force", "--verify", "1", *way
        )
        assert ran.code == 0, ran.err
        record = json.loads((tmp_path / "o.parquet.run.json").read_text())
        assert record["verify"]["windows"] == 300
        assert record["verify"]["limit"] == pytest.approx(
            LEAST_LIMIT + LIMIT_FACTOR * record["fidelity"]["score_max_error"]
        )
    if not ways:
        pytest.skip("neither bf16 nor PyTorch here")


def test_a_faulty_engine_ends_the_run_without_output(
    tmp_path: Path, rows: Path, toy_model: Path, cli: Any, monkeypatch: Any
) -> None:
    real = opening.open_engine

    def opened(*args: Any) -> Any:
        engine = real(*args)
        score = engine._score
        # after its fidelity was measured
        engine._score = lambda batch, *rest: score(batch, *rest) + np.float32(0.5)
        return engine

    opened_by(monkeypatch, opened)
    ran = cli(
        "run",
        rows,
        "-m",
        toy_model,
        "-o",
        tmp_path / "o.parquet",
        "--engine",
        "openvino",
        "--precision",
        "fp32",
    )
    assert ran.code == 2
    assert "verify: row " in ran.err.splitlines()[-1]
    assert not list(tmp_path.glob("o.parquet*"))
    bad = cli("run", rows, "-m", toy_model, "-o", tmp_path / "o.parquet", "--verify", "2")
    assert bad.code == 2

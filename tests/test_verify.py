"""Numeric guards: wrong scores end a run and name the rows, whatever made them wrong; right ones pass; the
output never changes."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import human_contract, random_dna, toy_checkpoint, yeast_contract

from legscore.dna.batch import Batch
from legscore.engine import open_engine as opening
from legscore.engine.fidelity import Fidelity
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError, LegscoreError
from legscore.rows.groups import Group
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower
from legscore.run.verify import LEAST_LIMIT, LIMIT_FACTOR, Verifier, choose_windows, outside, picked
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
    draws = {choose_windows(batch(50, 0, seed), 0.001)[1] % 5 for seed in range(60)}
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
    guard = Verifier(models, engine, share, "a.parquet", rc="construct", singleton=False)
    try:
        guard(1000, [Group(None, None, windows)], [Altered(engine, change).score(windows.batch)])
    finally:
        guard.close()
        engine.close()
    return guard


def test_right_scores_pass() -> None:
    guard = guarded(lambda scores: None, 0.5)
    found = guard.verified.record()
    assert 150 < found["windows"] < 250
    assert found["max_error"] <= 1e-5
    assert found["limit"] == LEAST_LIMIT
    assert "second fp32 network" in guard.said()


def measured(worst: float) -> Fidelity:
    return Fidelity("openvino fp32", 2048, 2048, worst, worst / 5, 1.0, 1.0)


def test_a_drift_beyond_the_fidelity_record_names_the_row() -> None:
    def drift(scores: np.ndarray) -> None:
        scores[:, 17] += 0.2

    with pytest.raises(
        EngineError,
        match=r"verify: row 1,018 of a.parquet: member model scored .* and .* in fp32 on openvino; .*allows 0.001",
    ):
        guarded(drift, 1.0)
    with pytest.raises(EngineError, match=r"row 1,018 of a.parquet"):
        guarded(drift, 1.0, measured(0.19 / LIMIT_FACTOR))
    assert guarded(drift, 1.0, measured(0.2 / LIMIT_FACTOR)).verified.max_error == pytest.approx(
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
    assert guarded(lambda scores: None, 0.0).verified.windows == 0


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
    assert guard.verified.windows == 200


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
        assert record["windows"] == {"0": 0, "0.001": 1, "1": 300}[share]
        assert ("verified: " in ran.err) == (share != "0")
    assert outputs[0] == outputs[1] == outputs[2]
    ran = cli("run", rows, "-m", toy_models, "-o", tmp_path / "n.parquet", "--engine", "null")
    assert ran.code == 0
    assert "verif" not in ran.err


def test_networks_that_verify_are_kept(
    tmp_path: Path, rows: Path, toy_models: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run builds none, though each part may be verified with another member. In a process that is
    held to a bound they are built: loading does not survive being refused memory."""
    import openvino

    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    built = []
    compile_model = openvino.Core.compile_model

    def compiled(core: Any, model: Any, *rest: Any) -> Any:
        if model.get_friendly_name() == "legnets":  # not what is asked for the name of its kernel
            built.append(1)
        return compile_model(core, model, *rest)

    monkeypatch.setattr(openvino.Core, "compile_model", compiled)

    def verified(out: str) -> int:
        built.clear()
        common = ("--precision", "fp32", "--engine", "openvino", "--part-rows", "30")
        ran = cli("run", rows, "-m", toy_models, "-o", tmp_path / out, *common)
        assert ran.code == 0, ran.err
        windows: int = json.loads((tmp_path / f"{out}.run.json").read_text())["verify"]["windows"]
        return windows

    assert verified("a.parquet") >= 10
    assert 2 < len(built) <= 4  # the ensemble, and each of its three members for what is verified
    assert verified("b.parquet") >= 10
    assert not built
    monkeypatch.setattr("legscore.run.verify.is_process_limited", lambda: True)
    verified("c.parquet")
    assert built
    assert len({(tmp_path / f"{name}.parquet").read_bytes() for name in "abc"}) == 1


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
        ran = cli("run", rows, "-m", toy_model, "-o", tmp_path / "o.parquet", "--verify", "1", *way)
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

    monkeypatch.setattr("legscore.run.prepare.open_engine", opened)
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

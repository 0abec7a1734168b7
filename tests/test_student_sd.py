"""The SD that a student tells: a second head on the same network, the same on every engine, and only where it
carries information."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from conftest import LONG, Ran, make_student, random_dna, toy_checkpoint

pytest.importorskip("torch", reason="distilling needs legscore[train]")

from test_distill import OPTIMISED, QUICK, _small_batches, ensemble  # noqa: F401

import legscore
from legscore.distill.labels import windows_of
from legscore.distill.make_student import distill
from legscore.distill.sd_head import with_sd_head
from legscore.distill.sources import RandomDna
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint, load_checkpoint, sd_shapes
from legscore.model.forward import Forward
from legscore.model.student import describe_student, sd_networks, sealed_student, student_record

ENGINES = ("openvino", "torch")  # others with the bundled student: bf16 is too coarse for toys


@pytest.fixture(scope="module")
def telling(ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A student that tells an SD, as if that carried information."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("legscore.distill.student_figures.LEAST_OF_SD", -2.0)
        path = tmp_path_factory.mktemp("telling") / "s.safetensors"
        return distill([str(ensemble)], path, replace(QUICK, force_student=True, half=True))


@pytest.fixture(scope="module")
def inserts() -> list[str]:
    rng = np.random.default_rng(3)
    return [random_dna(rng, 80) for _ in range(40)]


def told_by_twin(student: Checkpoint, inserts: list[str]) -> np.ndarray:
    """The readable network with the second head in place of the first."""
    arrays = {
        n: student.arrays[f"sd_{n}" if n.startswith("head.") else n] for n in student.architecture.shapes()
    }
    twin = Checkpoint("legscore", student.architecture, student.contract, arrays)
    codes = windows_of(np.stack([encode_text(text) for text in inserts]), student.contract)
    return Forward(twin, both_strands=False, is_singleton=False).score(codes)


def table_of(path: Path, **columns: Any) -> Path:
    csv.write_csv(pa.table(columns), path)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_tell_what_the_readable_network_says(
    telling: Path, inserts: list[str], tmp_path: Path, cli: Any, engine: str
) -> None:
    path = table_of(tmp_path / "s.csv", sequence=[*inserts, "ACGT"])
    out = tmp_path / "o.parquet"
    given = ["run", path, "-m", telling, "-o", out, "--engine", engine, "--precision", "fp32"]
    ran = cli(*given, "--per-model", "--verify", "1")
    assert ran.code == 0, ran.err
    found = pq.read_table(out)
    student = load_checkpoint(telling)
    assert found["status"].to_pylist() == ["ok"] * 40 + ["too_short"]
    assert found["score_sd"].to_pylist()[-1] is None
    np.testing.assert_allclose(found["score_sd"].to_numpy()[:40], told_by_twin(student, inserts), atol=2e-5)
    codes = windows_of(np.stack([encode_text(text) for text in inserts]), student.contract)
    scores = Forward(student, both_strands=False, is_singleton=False).score(codes)
    np.testing.assert_allclose(found["score"].to_numpy()[:40], scores, atol=2e-5)
    assert found["score_per_model"].type.list_size == 1
    verified = json.loads((tmp_path / "o.parquet.run.json").read_text())["verify"]
    assert verified["members_verified"] == 2  # both heads


def test_pairs_have_no_sd_and_cost_one_network(
    telling: Path, inserts: list[str], tmp_path: Path, cli: Any
) -> None:
    path = table_of(tmp_path / "p.csv", ref_sequence=inserts[:-1], alt_sequence=inserts[1:])
    ran = cli(
        "run", path, "-m", telling, "-o", tmp_path / "o.csv", "--engine", "torch", "--precision", "fp32"
    )
    assert ran.code == 0, ran.err
    found = csv.read_csv(tmp_path / "o.csv")
    assert found["effect_sd"].null_count == len(found)
    engine = open_engine([load_checkpoint(telling)], Request("torch", "fp32", both_strands=False))
    batch = Batch(windows_of(RandomDna(80).draw(5, np.random.default_rng(1)), engine.contract))
    assert (engine.n_members, engine.n_beside) == (1, 1)
    assert engine.score(batch).shape == (1, 5)
    assert engine.score(batch, [0, 1]).shape == (2, 5)
    with pytest.raises(IndexError):
        engine.score(batch, [2])
    engine.close()


def test_python_and_kept_parts_say_the_same(
    telling: Path, inserts: list[str], tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_of(tmp_path / "s.csv", sequence=inserts)
    given = ["run", path, "-m", telling, "--engine", "openvino", "--part-rows", 16, "--precision", "fp32"]
    assert cli(*given, "-o", tmp_path / "o.csv").code == 0
    with legscore.load_ensemble(str(telling), engine="openvino", precision="fp32") as loaded:
        table = loaded.score_table(csv.read_csv(path), keep="none", part_rows=16).read_all()
        assert len(loaded.score(inserts)) == 40
    expected = csv.read_csv(tmp_path / "o.csv")
    np.testing.assert_allclose(table["score_sd"].to_numpy(), expected["score_sd"].to_numpy(), rtol=1e-5)

    from legscore.output.parts import PartFolder

    kept, count = PartFolder.save, []

    def stops(self: PartFolder, number: int, scored: Any) -> None:
        kept(self, number, scored)
        count.append(number)
        if len(count) == 2:
            raise LegscoreError("stopped by the test")

    with monkeypatch.context() as patch:
        patch.setattr(PartFolder, "save", stops)
        assert cli(*given, "-o", tmp_path / "r.csv").code == 2
    assert cli(*given, "-o", tmp_path / "r.csv").code == 0
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "o.csv").read_bytes()


def test_several_models_tell_their_own_sd(
    telling: Path, inserts: list[str], tmp_path: Path, cli: Any
) -> None:
    """A student beside another model is a member like it."""
    shutil.copyfile(telling, tmp_path / "a.safetensors")
    plain = load_checkpoint(telling)
    arrays = {n: plain.arrays[n] * 1.01 for n in plain.architecture.shapes()}
    Checkpoint("legscore", plain.architecture, plain.contract, arrays).save(tmp_path / "b.safetensors")
    path = table_of(tmp_path / "s.csv", sequence=inserts)
    given = ["-o", tmp_path / "o.parquet", "--engine", "openvino", "--precision", "fp32", "--per-model"]
    ran = cli("run", path, "-m", tmp_path / "a.safetensors", "-m", tmp_path / "b.safetensors", *given)
    assert ran.code == 0, ran.err
    found = pq.read_table(tmp_path / "o.parquet")
    each = np.array(found["score_per_model"].to_pylist())
    np.testing.assert_allclose(found["score_sd"].to_numpy(), each.std(axis=1, ddof=1), atol=1e-5)


def test_a_cascade_of_sequences_has_both_kinds_of_sd(
    toy_models: Path, inserts: list[str], tmp_path: Path, cli: Any
) -> None:
    """Rows of the student have the SD that it tells, those of the ensemble its members'."""
    student = make_student(toy_models, tmp_path / "s.safetensors", tells_sd=True)
    path = table_of(tmp_path / "s.csv", sequence=inserts)
    alone = cli("run", path, "-m", student, "-o", tmp_path / "alone.csv", "--engine", "openvino")
    assert alone.code == 0, alone.err
    by_student = csv.read_csv(tmp_path / "alone.csv").to_pylist()
    middle = np.median([row["score"] for row in by_student])
    given = ["-m", toy_models, "--student", student, "--rescore", f"score>{middle}", "--engine", "openvino"]
    ran = cli("run", path, *given, "-o", tmp_path / "o.csv", "--rescore-sample", "0")
    assert ran.code == 0, ran.err
    whole = cli("run", path, "-m", toy_models, "-o", tmp_path / "whole.csv", "--engine", "openvino")
    assert whole.code == 0, whole.err
    by_ensemble = csv.read_csv(tmp_path / "whole.csv").to_pylist()
    found = csv.read_csv(tmp_path / "o.csv").to_pylist()
    assert {row["scored_by"] for row in found} == {"student", "ensemble"}
    for row, first, second in zip(found, by_student, by_ensemble, strict=True):
        expected = first if row["scored_by"] == "student" else second
        assert row["score_sd"] == pytest.approx(expected["score_sd"], abs=1e-6)


def test_a_head_that_tells_nothing_is_not_kept(
    ensemble: Path,  # noqa: F811
    telling: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Callable[..., Ran],
) -> None:
    monkeypatch.setattr("legscore.distill.student_figures.LEAST_OF_SD", 2.0)
    path = distill([str(ensemble)], tmp_path / "s.safetensors", replace(QUICK, force_student=True, half=True))
    student, other = load_checkpoint(path), load_checkpoint(telling)
    record, told = student_record(student), student_record(other)
    assert record is not None
    assert told is not None
    assert (record["outputs"], told["outputs"]) == (["mean"], ["mean", "sd"])
    assert record["fidelity"]["sd"]["informative"] is False
    assert set(student.arrays) == set(student.architecture.shapes())
    assert sd_networks([student]) == []
    assert "score_sd" not in describe_student(record)
    assert f"score_sd Spearman {told['fidelity']['sd']['spearman']:.3f}" in describe_student(told)
    for name in student.arrays:  # the score does not depend on the other head
        assert (student.arrays[name] == other.arrays[name]).all()
    table_of(tmp_path / "s.csv", sequence=[random_dna(np.random.default_rng(4), 80)])
    assert (
        cli("run", tmp_path / "s.csv", "-m", path, "-o", tmp_path / "o.csv", "--engine", "openvino").code == 0
    )
    assert csv.read_csv(tmp_path / "o.csv")["score_sd"].null_count == 1


def test_the_other_head_is_sealed_and_whole(telling: Path, tmp_path: Path) -> None:
    student = load_checkpoint(telling)
    changed = dict(student.arrays)
    changed["sd_head.conv.bias"] = changed["sd_head.conv.bias"] + 1
    replace(student, arrays=changed).save(tmp_path / "changed.safetensors")
    with pytest.raises(ModelError, match="was changed or belongs to other weights"):
        student_record(load_checkpoint(tmp_path / "changed.safetensors"))
    without = {n: student.arrays[n] for n in student.architecture.shapes()}
    replace(student, arrays=without).save(tmp_path / "without.safetensors")
    with pytest.raises(ModelError, match="was changed or belongs to other weights"):
        student_record(load_checkpoint(tmp_path / "without.safetensors"))
    half = {n: a for n, a in student.arrays.items() if n != "sd_head.conv.bias"}
    with pytest.raises(ModelError, match=r"arrays are missing: sd_head\.conv\.bias"):
        replace(student, arrays=half)
    record = student_record(student)
    assert record is not None
    for wrong in (["sd"], ["mean", "sd", "x"], "mean", 7, None):
        with pytest.raises(ModelError, match="record of a distillation is not one"):
            student_record(sealed_student(student, {**record, "outputs": wrong}))
    fidelity = {**record["fidelity"], "sd": {"spearman": "0.5"}}
    with pytest.raises(ModelError, match="record of a distillation is not one"):
        student_record(sealed_student(student, {**record, "fidelity": fidelity}))


@pytest.mark.parametrize(
    "kind", ["bins", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("with SiLU", "scalar"))]
)
def test_the_head_learns_what_differs(kind: str) -> None:
    """Members that differ as a share of G's says: the head finds it, and begins at the typical SD."""
    if kind == "scalar":
        from conftest import human_contract

        contract = replace(human_contract(), rc_trained=False)
        student = toy_checkpoint(5, contract, pools=(2, 2), **OPTIMISED)
        length = contract.insert_max
    else:
        changes = {**OPTIMISED, "final_activation": "silu" if kind == "with SiLU" else "none"}
        student, length = toy_checkpoint(7, **changes), 80
    rng = np.random.default_rng(11)
    share = rng.uniform(0.05, 0.6, (300, 1, 1))
    groups = np.where(rng.random((300, 4, length)) < share, 1, 3).astype(np.uint8)
    sd = 0.1 + (groups == 1).mean(axis=2)
    labels = np.stack([sd * z for z in (-1.0, 0.0, 1.0)]).astype(np.float32)
    whole = with_sd_head(student, groups, labels, 150, 3, lambda: False)
    (network,) = sd_networks([whole])
    codes = windows_of(groups[:, 0], student.contract)
    told = Forward(network, both_strands=False, is_singleton=False).score(codes)
    assert np.corrcoef(told, sd[:, 0])[0, 1] > 0.9
    assert abs(told.mean() / sd.mean() - 1) < 0.2
    again = with_sd_head(student, groups, labels, 150, 3, lambda: False) if LONG else whole
    assert all((again.arrays[n] == whole.arrays[n]).all() for n in sd_shapes(student.architecture))
    with pytest.raises(LegscoreError, match="the same command goes on"):
        with_sd_head(student, groups, labels, 5, 3, lambda: True)

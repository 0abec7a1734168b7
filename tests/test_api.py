"""The Python API: every container, the same numbers as files, errors that say which sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_dna, yeast_contract

import legscore
from legscore.errors import InputError, LegscoreError, ModelError

RNG = np.random.default_rng(0)
TEXTS = [random_dna(RNG, int(n)) for n in RNG.integers(60, 100, 40)]


@pytest.fixture(scope="module")
def ensemble(toy_models: Path) -> Any:
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as loaded:
        yield loaded


def test_score_takes_every_container(ensemble: Any) -> None:
    scores = ensemble.score(TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (40,)
    polars = pytest.importorskip("polars")
    for given in (
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS, dtype="S"),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:9], TEXTS[9:]]),
        pa.array(TEXTS).dictionary_encode(),
        polars.Series(TEXTS),
        (t.lower() for t in TEXTS),
    ):
        assert (ensemble.score(given) == scores).all(), type(given)


def test_score_equals_files_and_members(ensemble: Any, toy_models: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"sequence": TEXTS}), tmp_path / "s.parquet")
    record = legscore.score_file(
        tmp_path / "s.parquet",
        tmp_path / "o.parquet",
        models=toy_models,
        engine="openvino",
        precision="fp32",
        per_model=True,
    )
    assert record["status"] == {"ok": 40}
    out = pq.read_table(tmp_path / "o.parquet")
    members = ensemble.score(TEXTS, per_member=True)
    assert members.shape == (3, 40)
    assert (ensemble.score(TEXTS) == np.array(out["score"])).all()
    assert (np.array(out["score_per_model"].to_pylist(), dtype=np.float32) == members.T).all()
    with pytest.raises(LegscoreError, match="score_file has no option 'precison'"):
        legscore.score_file("a", "b", precison="fp32")


def test_effects(ensemble: Any) -> None:
    alts = [t[:10] + ("A" if t[10] != "A" else "G") + t[11:] for t in TEXTS]
    effects = ensemble.effects(TEXTS, alts)
    assert (effects.ref_score == ensemble.score(TEXTS)).all()
    assert np.allclose(effects.effect, effects.alt_score - effects.ref_score, atol=1e-6)
    assert effects.effect_sd.shape == (40,)
    assert set(effects.status) == {"ok"}
    mixed = ensemble.effects([*TEXTS[:2], "X"], [alts[0], TEXTS[1], "A"], invalid="nan")
    assert mixed.status.tolist() == ["ok", "ref_equals_alt", "invalid_base"]
    assert np.isnan(mixed.effect).tolist() == [False, True, True]
    with pytest.raises(InputError, match=r"different numbers of sequences: \[39, 40\]"):
        ensemble.effects(TEXTS, alts[1:])


def test_invalid_sequences(ensemble: Any) -> None:
    with pytest.raises(InputError, match="sequence 1 has status invalid_base"):
        ensemble.score(["ACGT", "AC GT"])
    scores = ensemble.score(["ACGT", "AC GT", None, ""], invalid="nan")
    assert np.isnan(scores).tolist() == [False, True, True, True]
    for given, message in (
        ("ACGT", "not one string"),
        ([1, 2], "must be text"),
        (pa.array([1]), "must be text"),
    ):
        with pytest.raises(InputError, match=message):
            ensemble.score(given)
    with pytest.raises(ValueError, match="invalid is 'drop'"):
        ensemble.score(["ACGT"], invalid="drop")
    with pytest.raises(ValueError, match="sequence_is"):
        ensemble.score(["ACGT"], sequence_is="gene")
    assert ensemble.score([]).shape == (0,)
    assert ensemble.score([], per_member=True).shape == (3, 0)


def test_properties(ensemble: Any, toy_models: Path) -> None:
    assert ensemble.contract == yeast_contract()
    assert ensemble.fidelity is None
    assert len(ensemble) == 3
    assert ensemble.engine["precision"] == "fp32"
    assert [Path(m.path).name for m in ensemble.members] == [f"member{i}.safetensors" for i in range(3)]
    single = legscore.load_ensemble(toy_models / "member1.safetensors", precision="fp32", rc="insert")
    assert single.score(TEXTS).shape == (40,)
    single.close()
    with pytest.raises(LegscoreError, match="this engine is closed"):
        single.score(TEXTS)
    with pytest.raises(ModelError, match="no such file"):
        legscore.load_ensemble("nowhere")
    with pytest.raises(LegscoreError, match="rc is 'both'"):
        legscore.load_ensemble(toy_models, rc="both")


def test_long_inputs_are_cut_into_parts(ensemble: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ensemble.score(TEXTS)
    monkeypatch.setattr("legscore.api.part_rows", lambda members, engine: 7)
    assert (ensemble.score(TEXTS) == whole).all()
    with pytest.raises(InputError, match="sequence 23 has status too_long"):
        ensemble.score([*TEXTS[:23], "A" * 999])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "cuda"}, "engine is 'cuda'; known are auto, openvino"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"sequence_is": "inserts"}, "sequence_is is 'inserts'"),
        ({"singleton": 2}, "singleton is 2"),
        ({"max_n": -1}, "max_n is -1"),
        ({"kind": "pairs"}, "kind is 'pairs'"),
        ({"rc": "both"}, "rc is 'both'"),
    ],
)
def test_option_values_are_checked(
    tmp_path: Path, toy_model: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    with pytest.raises(LegscoreError, match=message):
        legscore.score_file(tmp_path / "s.csv", tmp_path / "o.parquet", models=toy_model, **options)
    assert not (tmp_path / "o.parquet").exists()


def test_threads_may_load_and_score_at_once(
    toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six threads on a cold cache; one ensemble used by all."""
    from concurrent.futures import ThreadPoolExecutor

    pytest.importorskip("torch")
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))

    def load(_: int) -> np.ndarray:
        with legscore.load_ensemble(
            toy_models / "member0.safetensors", engine="torch", precision="fp32"
        ) as loaded:
            return loaded.score(TEXTS)

    with ThreadPoolExecutor(6) as pool:
        scores = list(pool.map(load, range(6)))
        assert all((s == scores[0]).all() for s in scores)
        with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as shared_one:
            expected = shared_one.score(TEXTS)
            assert all((s == expected).all() for s in pool.map(lambda _: shared_one.score(TEXTS), range(12)))


def test_missing_values_of_other_libraries(ensemble: Any) -> None:
    scores = ensemble.score(np.array(["ACGT", None, float("nan")], dtype=object), invalid="nan")
    assert np.isnan(scores).tolist() == [False, True, True]
    assert np.isnan(ensemble.score([b"ACGT", b"\xff"], invalid="nan")).tolist() == [False, True]
    with pytest.raises(InputError, match="one-dimensional"):
        ensemble.score(np.array("ACGT"))


def test_a_forked_child_gets_an_error_not_a_hang(ensemble: Any) -> None:
    import os

    assert ensemble.score(TEXTS[:2]).shape == (2,)
    child = os.fork()
    if child == 0:
        try:
            ensemble.score(TEXTS[:2])
        except LegscoreError as error:
            os._exit(7 if "does not survive a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

"""Checkpoint files: round trip, and one clear error for everything that is not a model."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import toy_checkpoint, yeast_contract
from safetensors.numpy import save

from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint, find_checkpoints, load_checkpoint, load_members


def write(
    path: Path, checkpoint: Checkpoint, arrays: dict[str, np.ndarray] | None = None, **manifest: Any
) -> Path:
    """A file that may be wrong: arrays or manifest entries replaced (None removes one)."""
    data = {k: v for k, v in {**checkpoint.manifest(), **manifest}.items() if v is not None}
    path.write_bytes(save(checkpoint.arrays if arrays is None else arrays, {"legscore": json.dumps(data)}))
    return path


def test_round_trip(tmp_path: Path) -> None:
    checkpoint, path = toy_checkpoint(7), tmp_path / "a.safetensors"
    checkpoint.save(path)
    loaded = load_checkpoint(path)
    assert (loaded.architecture, loaded.contract, loaded.family) == (
        checkpoint.architecture,
        checkpoint.contract,
        "legscore",
    )
    assert all((loaded.arrays[name] == array).all() for name, array in checkpoint.arrays.items())
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_any_header_length_loads(tmp_path: Path) -> None:
    """A safetensors file begins with its header's length, whose bytes may look like another format's."""
    checkpoint, path = toy_checkpoint(), tmp_path / "a.safetensors"
    first_bytes = set()
    for n in range(8, 8 * 40, 8):
        replace(checkpoint, training={"note": "x" * n}).save(path)
        first_bytes.add(path.read_bytes()[0])
        assert load_checkpoint(path).training["note"] == "x" * n
    assert 0x80 in first_bytes


def test_half_precision_arrays_load_as_float32(tmp_path: Path) -> None:
    checkpoint = toy_checkpoint()
    halves = {name: array.astype(np.float16) for name, array in checkpoint.arrays.items()}
    loaded = load_checkpoint(write(tmp_path / "a.safetensors", checkpoint, halves))
    assert all(array.dtype == np.float32 for array in loaded.arrays.values())


def changed(name: str, array: np.ndarray | None) -> dict[str, np.ndarray]:
    arrays = dict(toy_checkpoint().arrays)
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    return arrays


STEM = toy_checkpoint().arrays["stem.conv.weight"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed("stem.conv.weight", None), "arrays are missing: stem.conv.weight"),
        (changed("extra", STEM), "unknown array extra"),
        (
            changed("stem.conv.weight", STEM[:, :, :5].copy()),
            r"shape \(16, 6, 5\); the architecture says \(16, 6, 7\)",
        ),
        (changed("stem.conv.weight", np.full_like(STEM, np.nan)), "stem.conv.weight holds NaN"),
        (changed("stem.norm.running_var", -np.ones(16, np.float32)), "negative variance"),
        (changed("stem.conv.weight", STEM.astype(np.float64)), "is F64; checkpoints hold F16 or F32"),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = write(tmp_path / "bad.safetensors", toy_checkpoint(), arrays)
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": 2}, "format 2; this legscore reads format 1"),
        ({"family": "F9"}, "family is 'F9'"),
        ({"architecture": None}, "lacks 'architecture'"),
        ({"training": None}, "lacks 'training'"),
        ({"shape": {}}, "unknown entries: shape"),
        ({"architecture": {**toy_checkpoint().architecture.to_json(), "kernel": 4}}, "kernels must be odd"),
        ({"architecture": {**toy_checkpoint().architecture.to_json(), "se": "complex"}}, "se is 'complex'"),
        (
            {"architecture": {**toy_checkpoint().architecture.to_json(), "widths": [10**6, 8, 8]}},
            "widths holds 1000000",
        ),
        (
            {"architecture": {**toy_checkpoint().architecture.to_json(), "kernel": "5"}},
            "kernel is '5', of the wrong type",
        ),
        (
            {"contract": {**yeast_contract().to_json(), "channels": list("AGCT")}},
            "first convolution has 6 channels",
        ),
        ({"contract": {**yeast_contract().to_json(), "length": 10}}, "exceeds length"),
        ({"contract": {**yeast_contract().to_json(), "n_value": 10**400}}, "a number is too large"),
    ],
)
def test_wrong_manifest(tmp_path: Path, manifest: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_checkpoint(write(tmp_path / "bad.safetensors", toy_checkpoint(), **manifest))


HOSTILE_TRAINING: list[dict[str, Any]] = [
    {"recipe": "x"}, {"recipe": [1]}, {"recipe": None}, {"metrics": "x"}, {"metrics": {"pearson": "0.9"}},
    {"metrics": {"pearson": 10**400}}, {"note": 5}, {"folds": 3}, {"folds": {"by": 7}},
    {"folds": {"by": "split", "column": [1]}}, {"folds_held_out": 1}, {"folds_held_out": [[1]]},
    {"folds_held_out": ["a"]}, {"seed": "1"}, {"seed": True}, {"steps": 1.5}, {"sampling": []},
    {"sampling": {"emphasis": "much"}}, {"sampling": {"feed": 1}}, {"expression_percentiles": {"50%": None}},
    {"expression_percentiles": {"50%": float("nan")}}, {"validated_by": {"name": "x"}}, {"validated_by": ["x"]},
    {"data_sha256": 3}, {"legscore": {}}, {"test_metrics": [0.9]},
]  # fmt: skip


@pytest.mark.parametrize("training", HOSTILE_TRAINING, ids=str)
def test_a_training_record_of_another_kind_is_one_line(
    tmp_path: Path, training: dict[str, Any], cli: Any
) -> None:
    model = write(tmp_path / "bad.safetensors", toy_checkpoint(), training=training)
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    name = next(iter(training))
    for command in (
        ("show", model),
        ("run", tmp_path / "s.csv", "-m", model, "-o", tmp_path / "o.csv", "--engine", "null"),
        ("run", tmp_path / "s.csv", "-m", model, "-o", tmp_path / "o.csv", "--out-of-fold", "mmh3"),
    ):
        ran = cli(*command)
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        assert f"bad.safetensors: its training record: {name} is " in ran.err


def test_what_training_records_hold_besides_is_taken_as_it_is(tmp_path: Path, cli: Any) -> None:
    training = {
        "lab": {"people": ["a", "b"]},
        "metrics": {"pearson": None, "loss": float("nan")},
        "note": "n",
    }
    model = write(tmp_path / "m.safetensors", toy_checkpoint(), training=training)
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    assert "lab: {'people': ['a', 'b']}" in cli("show", model).out
    ran = cli("run", tmp_path / "s.csv", "-m", model, "-o", tmp_path / "o.csv", "--engine", "null")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("place", ["training", "source"])
@pytest.mark.parametrize("depth", [25, 900, 100_000])
def test_manifests_of_any_depth_are_one_line(tmp_path: Path, place: str, depth: int) -> None:
    manifest = json.dumps({**toy_checkpoint().manifest(), place: {"x": "HERE"}})
    manifest = manifest.replace('"HERE"', "[" * depth + "]" * depth)
    path = tmp_path / "bad.safetensors"
    path.write_bytes(save(dict(toy_checkpoint().arrays), {"legscore": manifest}))
    with pytest.raises(ModelError, match="nested more than 20 levels deep|manifest is not JSON"):
        load_checkpoint(path)


def test_hidden_files_in_a_folder_of_models_are_passed_over(tmp_path: Path) -> None:
    for n, name in enumerate(("b", "a")):
        toy_checkpoint(n).save(tmp_path / f"{name}.safetensors")
    (tmp_path / "._a.safetensors").write_bytes(b"\0\5\x16\7" + bytes(100))
    (tmp_path / ".ipynb_checkpoints").mkdir()
    toy_checkpoint(0).save(tmp_path / ".ipynb_checkpoints" / "b-checkpoint.safetensors")
    (tmp_path / ".b.safetensors.part").write_bytes(b"half")
    assert [member.name for member in load_members([tmp_path])] == ["a", "b"]
    with pytest.raises(ModelError, match="not a safetensors file"):  # whoever names one means it
        load_members([tmp_path / "._a.safetensors"])
    (tmp_path / "only hidden").mkdir()
    (tmp_path / "only hidden" / "._a.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="no \\*.safetensors in this directory"):
        load_members([tmp_path / "only hidden"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"hello world, this is text", "not a safetensors file"),
        (b"\xff" * 8 + b"{}", "not a safetensors file"),
        (b"PK\x03\x04rest of a zip", "is a PyTorch file.*legscore import"),
        (save({"a": np.zeros(3, np.float32)}), 'without a "legscore" manifest'),
        (save({"a": np.zeros(3, np.float32)}, {"legscore": "{"}), "manifest is not JSON"),
        (save({"a": np.zeros(3, np.float32)}, {"legscore": "[" * 100_000}), "manifest is not JSON"),
        (save({"a": np.zeros(3, np.float32)}, {"legscore": "[]"}), "format None"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(path)


def test_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    toy_checkpoint().save(path)
    content = path.read_bytes()
    for cut in np.linspace(0, len(content) - 1, 25).astype(int):
        path.write_bytes(content[:cut])
        with pytest.raises(ModelError):
            load_checkpoint(path)


def test_ensemble_order_and_size(toy_models: Path) -> None:
    names = [Path(m.path).name for m in load_members([toy_models])]
    assert names == ["member0.safetensors", "member1.safetensors", "member2.safetensors"]
    given = [toy_models / "member2.safetensors", toy_models / "member0.safetensors"]
    assert [Path(m.path).name for m in load_members(given)] == ["member2.safetensors", "member0.safetensors"]


def test_ensemble_refuses(tmp_path: Path, toy_models: Path, toy_model: Path) -> None:
    with pytest.raises(ModelError, match=r"member0.safetensors is the same model as .*--allow-duplicates"):
        load_members([toy_models, toy_model])
    assert len(load_members([toy_models, toy_model], allow_duplicates=True)) == 4
    other = tmp_path / "other.safetensors"
    toy_checkpoint(9, yeast_contract(n_value=0.0)).save(other)
    with pytest.raises(
        ModelError, match=r"other.safetensors: its sequence contract differs .* n_value is 0.0, not 0.25"
    ):
        load_members([toy_model, other])
    with pytest.raises(ModelError, match="at most 256"):
        find_checkpoints([toy_model] * 257)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match=r"no \*.safetensors in this directory"):
        load_members([empty])
    (empty / "model_300.pth").touch()
    with pytest.raises(ModelError, match="model_300.pth need legscore import"):
        load_members([empty])
    with pytest.raises(ModelError, match="no such file"):
        load_members([tmp_path / "nowhere"])
    with pytest.raises(ModelError, match="no model given"):
        load_members([])
    with pytest.raises(ModelError, match="an empty name"):
        load_members([""])
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ModelError, match="not a regular file"):
        load_members([tmp_path / "pipe.safetensors"])


def test_half_size_files(tmp_path: Path) -> None:
    """FP16 weights come back widened, normalisation untouched; a weight beyond FP16 is refused, nothing is
    written."""
    checkpoint = toy_checkpoint(3)
    checkpoint.save(tmp_path / "whole.safetensors")
    checkpoint.save(tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.75 * (
        tmp_path / "whole.safetensors"
    ).stat().st_size
    for name, array in load_checkpoint(tmp_path / "half.safetensors").arrays.items():
        expected = checkpoint.arrays[name]
        assert (
            array == (expected if "norm" in name else expected.astype(np.float16).astype(np.float32))
        ).all(), name
    large = replace(checkpoint, arrays=checkpoint.arrays | {"head.conv.bias": np.full(18, 1e6, np.float32)})
    with pytest.raises(ModelError, match=r"head.conv.bias does not fit FP16"):
        large.save(tmp_path / "large.safetensors", half=True)
    assert not (tmp_path / "large.safetensors").exists()


def test_arrays_that_were_let_go_of_are_read_again(toy_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((toy_models / "member0.safetensors").read_bytes())
    member = load_checkpoint(path)
    before = {name: array.copy() for name, array in member.arrays.items()}
    member.release()
    assert set(member.arrays) == set(before)
    assert all((member.arrays[name] == array).all() for name, array in before.items())
    member.release()
    path.write_bytes((toy_models / "member1.safetensors").read_bytes())
    with pytest.raises(ModelError, match="has changed since"):
        len(member.arrays)

"""FP16's range: what activations reach on sequences that drive a network hard, and what happens above a quarter
of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, toy_checkpoint

from legscore.engine import fidelity as fid
from legscore.engine.choose import Request
from legscore.errors import EngineError
from legscore.model import headroom
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.forward import Forward
from legscore.model.gpu_form import FP16_MAX, GpuForm
from legscore.model.gpu_graph import balanced, build_gpu_graph

BUNDLED = [
    path for path in sorted((REPOSITORY / "examples").rglob("*.safetensors")) if "generator" not in path.name
]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_bundled_models_fit_fp16_four_times(path: Path) -> None:
    largest = headroom.largest_activation(load_checkpoint(path), is_singleton=True)
    assert 1 < largest < FP16_MAX / 4
    assert headroom.shortfall([largest]) == ""


def test_the_probes_hold_what_they_say() -> None:
    codes = headroom.probes(150)
    assert codes.dtype == np.uint8
    assert {tuple(np.unique(row)) for row in codes} >= {(0,), (1,), (2,), (3,), (4,), (0, 1), (2, 3)}
    assert len(np.unique(codes, axis=0)) == len(codes) >= 20


def scaled(member: Checkpoint, name: str, factor: float) -> Checkpoint:
    return replace(member, arrays={**member.arrays, name: member.arrays[name] * np.float32(factor)})


def test_every_place_is_watched() -> None:
    """A layer made a million times larger shows, wherever it is: also factors of the bilinear gate."""
    member = toy_checkpoint(1)
    assert headroom.largest_activation(member, is_singleton=False) < 1000
    for name in (
        "stem.norm.weight", "blocks.0.expand.norm.weight", "blocks.1.group.norm.bias", "blocks.1.project.norm.weight",
        "blocks.0.mix.norm.weight", "blocks.0.se.squeeze.weight", "blocks.1.se.hidden.weight",
        "blocks.0.se.bilinear.factor_0", "blocks.0.se.bilinear.factor_2", "blocks.1.se.excite.bias",
    ):  # fmt: skip
        largest = headroom.largest_activation(scaled(member, name, 1e6), is_singleton=False)
        assert "must hold 4 times that below 65,504" in headroom.shortfall([1.0, largest]), name
    assert headroom.shortfall([float("nan")])
    assert headroom.shortfall([float("inf")])


def test_watching_changes_no_score() -> None:
    member, codes = toy_checkpoint(2), headroom.probes(150)
    watched = headroom._Watched(member, both_strands=True, is_singleton=False)
    plain = Forward(member, both_strands=True, is_singleton=False).score(codes)
    assert np.abs(watched.score(codes) - plain).max() < 1e-5
    assert watched.largest > 0


def test_factors_give_each_other_powers_of_two() -> None:
    rng = np.random.default_rng(0)
    left, right, joined = (
        rng.normal(0, 0.05, shape).astype(np.float32) for shape in ((8, 5), (8, 5), (4, 5))
    )
    a, b, c = balanced(left, right, joined)
    assert (a * np.float32(16) == left).all()
    assert (c / np.float32(256) == joined).all()
    y = rng.normal(0, 1, (3, 8)).astype(np.float32)
    assert np.array_equal(((y @ a) * (y @ b)) @ c.T, ((y @ left) * (y @ right)) @ joined.T)
    large = joined * np.float32(1e4)
    assert (balanced(left, right, large)[2] == large).all(), "no room for a power of two"


def test_weights_that_leave_no_headroom_are_not_run_in_fp16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto takes FP32 and says why; FP16 asked for is an error; the record carries the figure."""
    pytest.importorskip("torch", reason="FP16 on this machine is engine torch's")
    from legscore.engine import choose, open_engine

    plain = toy_checkpoint(1)
    wild = scaled(plain, "blocks.0.mix.norm.weight", 1e4)
    wild = scaled(wild, "blocks.1.expand.conv.weight", 1e-4)
    wild = scaled(wild, "blocks.1.mix.conv.weight", 1e-4)
    build_gpu_graph(wild, GpuForm(), 64)  # its weights do fit FP16
    engine = open_engine.open_engine([plain], Request("torch", "fp16"))
    assert isinstance(engine.fidelity, fid.HalfFidelity)
    assert 1 < engine.fidelity.largest_activation < 1000
    assert "activations to" in str(engine.fidelity)
    engine.close()
    with pytest.raises(
        EngineError, match=r"too low for this ensemble \(activations reach [\d,]+, and FP16 must"
    ):
        open_engine.open_engine([wild], Request("torch", "fp16"))
    said: list[str] = []
    monkeypatch.setattr(choose, "choose_recipe", None)
    chosen: Any = choose.load_recipe("fp16"), "the recipe for GPUs"
    monkeypatch.setattr(open_engine, "choose_recipe", lambda *arguments: chosen)
    engine = open_engine.open_engine([wild], Request("torch"), said.append)
    assert engine.precision == "fp32"
    assert any(line.startswith("precision: fp32 instead of fp16 (activations reach") for line in said)
    engine.close()


def test_a_record_keeps_the_figure(tmp_path: Path) -> None:
    found = fid.HalfFidelity("openvino fp32", 9, 9, 0.01, 0.001, 0.9999, 0.999, 1234.0)
    path, key = fid.record_path(tmp_path, {"a": 1}), {"a": 1}
    fid.save_record(path, key, found)
    assert fid.load_record(path, key) == found
    assert str(found).endswith("; activations to 1,234 of 65,504")

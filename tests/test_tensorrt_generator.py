"""A generator on the TensorRT engine: its loop on a card made of the CPU, over a stand-in for TensorRT with
each version's names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Ran, toy_checkpoint, yeast_contract
from test_generator import generator_contract, toy_generator

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from fake_tensorrt import World
from test_tensorrt_engine import GPU, VERSIONS, card_for, kernels, recipe, world  # noqa: F401  (fixtures)

from legscore.cuda.card import CardError
from legscore.dna.contract import Output
from legscore.engine import choose
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError
from legscore.generate.draws import start_codes
from legscore.generate.openvino_denoiser import OpenVINODenoiser
from legscore.generate.sample import Schedule, one_hot_bases, sample
from legscore.model.checkpoint import Checkpoint

LENGTH = 80
SEEDS = np.arange(70) + 11
TARGETS = np.linspace(2, 15, len(SEEDS)).astype(np.float32)


@pytest.fixture(scope="module")
def generator() -> Checkpoint:
    made = toy_generator(5)
    made.arrays["head.conv.weight"][:] *= 0.2  # random weights are too sure of themselves
    return made


def opened(generator: Checkpoint, made: Recipe, said: list[str] | None = None) -> Any:
    from legscore.generate.tensorrt_denoiser import TensorRTDenoiser

    return TensorRTDenoiser(generator, made, card_for(), (said if said is not None else []).append)


def small(precision: str, **changes: Any) -> Recipe:
    return recipe(precision, **{"batch": [4096, 32], **changes})


@pytest.mark.parametrize("world", VERSIONS, indirect=True)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_step_is_that_of_openvino(world: World, generator: Checkpoint, precision: str) -> None:  # noqa: F811
    """70 designs in passes of 32: probabilities within 1e-4 in FP32, in FP16 an RMSE below 0.005; bases drawn
    from them too."""
    said: list[str] = []
    engine, reference = (
        opened(generator, small(precision), said),
        OpenVINODenoiser(generator, load_recipe("fp32")),
    )
    assert said == ["plan: compiling model (1 of 1) for passes of 32 rows"]
    start = one_hot_bases(start_codes(SEEDS, LENGTH))
    for denoiser in (engine, reference):
        denoiser.begin(start, TARGETS, SEEDS)
    assert (engine.bases() == start).all()
    for number, (n, draw) in enumerate([(100, False), (40, False), (7, True), (1, False)], start=1):
        for denoiser in (engine, reference):
            denoiser.step(number, n, n + 30, draw)
        ours, theirs = engine.bases(), reference.bases()
        same = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
        if draw:
            assert set(np.unique(ours)) == {0.0, 1.0}
            assert same > (0.995 if precision == "fp16" else 0.9999)
        else:
            apart = np.abs(ours - theirs)
            assert apart.max() < (0.2 if precision == "fp16" else 1e-4)
            assert np.sqrt((apart**2).mean()) < (0.005 if precision == "fp16" else 1e-5)
            assert np.abs(ours.sum(axis=1) - 1).max() < 1e-5
            assert same > 0.99
        engine.put(theirs)  # differences do not add up
    assert 0 < engine.engine_s < 60
    described = engine.describe()
    assert (described["engine"], described["batch"], described["tensorrt"]) == ("tensorrt", 32, world.version)
    x = np.random.default_rng(0).random((5, 6, LENGTH)).astype(np.float32)
    assert np.abs(engine.probabilities(x) - reference.probabilities(x)).max() < (
        0.2 if precision == "fp16" else 1e-4
    )
    engine.close()
    engine.close()
    assert not world.card.held, "memory was left on the card"
    eight = world.version.startswith("8")
    (built,) = world.builds
    assert built["flags"] - {"REQUIRE_USER_ALLOCATION"} == (
        {"FP16", "OBEY_PRECISION_CONSTRAINTS"} if eight and precision == "fp16" else set()
    )
    if eight and precision == "fp16":
        assert any("softmax" in name for name in built["fp32"])


@pytest.mark.parametrize("feed", ["soft", "sample"])
def test_same_seeds_same_designs(world: World, generator: Checkpoint, feed: str) -> None:  # noqa: F811
    """The whole loop: in FP32 the designs are OpenVINO's; in FP16 most bases are, since every step feeds on
    the last."""
    schedule = Schedule(steps=12, start=40, feed=feed)
    found = {}
    for name in ("openvino", "fp32", "fp16"):
        engine = (
            OpenVINODenoiser(generator, load_recipe("fp32"))
            if name == "openvino"
            else opened(generator, small(name))
        )
        found[name] = sample(engine, TARGETS, SEEDS, schedule)[0].argmax(axis=1)
        engine.close()
    assert (found["fp32"] == found["openvino"]).mean() > 0.999
    assert (found["fp16"] == found["openvino"]).mean() > 0.95
    engine = opened(generator, small("fp32"))
    some = sample(engine, TARGETS[40:43], SEEDS[40:43], schedule, batch=2)[0].argmax(axis=1)
    assert (some == found["fp32"][40:43]).mean() > 0.999, "a design depends on its neighbours"
    engine.close()


def test_plans_are_kept_and_forms_are_checked(world: World, generator: Checkpoint) -> None:  # noqa: F811
    for changes in (
        {"refit": True},
        {"layout": "nc1l", "groups": "repack8"},
        {"groups": "native", "silu": "tanh"},
    ):
        first = opened(generator, small("fp16", **changes))
        assert not world.builds[-1]["flags"], "a generator's plan holds its weights"
        n = len(world.builds)
        again = opened(generator, small("fp16", **changes))
        assert len(world.builds) == n
        assert again.describe() == first.describe()
        bases = one_hot_bases(start_codes(SEEDS[:4], LENGTH))
        for engine in (first, again):
            engine.begin(bases, TARGETS[:4], SEEDS[:4])
            engine.step(1, 20, 50)
        assert (first.bases() == again.bases()).all()
        for engine in (first, again):
            engine.close()
    with pytest.raises(EngineError, match="layout hwc8 holds FP16, a generator's input is FP32"):
        opened(generator, small("fp16", layout="hwc8"))
    engine = opened(generator, small("fp16", batch=[4096]))
    assert engine.describe()["batch"] == 4096, "the recipe's only batch"
    engine.begin(bases, TARGETS[:4], SEEDS[:4])
    with pytest.raises(EngineError, match=r"70,000 mutations cannot be told in fp16 \(at most 65,504\)"):
        engine.step(1, 20, 70_000)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.step(1, 20, 50)
    assert not world.card.held


@pytest.mark.parametrize("fail", ["parse", "build", "context", "enqueue", "card"])
def test_failures_are_errors_and_leave_nothing(world: World, generator: Checkpoint, fail: str) -> None:  # noqa: F811
    if fail in ("parse", "build", "context"):
        world.fail = fail
        with pytest.raises(EngineError, match="TensorRT"):
            opened(generator, small("fp16"))
    else:
        engine = opened(generator, small("fp16"))
        engine.begin(one_hot_bases(start_codes(SEEDS, LENGTH)), TARGETS, SEEDS)
        world.fail = fail
        if fail == "card":
            world.card.fail_at = world.card.done_work + 5
        with pytest.raises(CardError):
            engine.step(1, 20, 50)
        engine.close()
    assert not world.card.held, "memory was left on the card"


@pytest.fixture
def command(
    world: World,  # noqa: F811
    generator: Checkpoint,
    tmp_path: Path,
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ran]:
    """`legscore design` where TensorRT and two GPUs seem to be; small passes."""
    gpus = [GPU, replace(GPU, number=1)]
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: (gpus, ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 192)

    def load(name: str) -> Recipe:
        return (
            small(name, batch=[32])
            if name in ("fp16", "fp32") and not asked["openvino"]
            else load_recipe(name)
        )

    asked = {"openvino": False}
    monkeypatch.setattr(choose, "load_recipe", load)
    generator.save(tmp_path / "g.safetensors")
    shape = {"widths": (8, 8, 8), "inner_widths": (16, 16)}
    toy_checkpoint(1, yeast_contract(output=Output("bins", "bin", 0.0, 17.0, None)), **shape).save(
        tmp_path / "p.safetensors"
    )

    def run(*more: object) -> Ran:
        asked["openvino"] = "openvino" in more
        ran: Ran = cli(
            "design",
            "-g",
            tmp_path / "g.safetensors",
            "-m",
            tmp_path / "p.safetensors",
            "--target",
            "6:10",
            "--n",
            9,
            "--steps",
            6,
            "--min-distance",
            0,
            *more,
        )
        return ran

    return run


def test_design_from_the_command_line(command: Callable[..., Ran], tmp_path: Path, world: World) -> None:  # noqa: F811
    """auto takes TensorRT for generator and predictor; FP32 gives OpenVINO's designs; constraints go through
    the host."""
    ran = command("-o", tmp_path / "auto.parquet", "--avoid", "EcoRI", "--gc", "30-60", "--device", "0,1")
    assert ran.code == 0, ran.err
    assert "generator: engine tensorrt (NVIDIA GPU), precision fp16 (the recipe for GPUs)" in ran.err
    assert "generator: on GPU 0 alone; its loop uses one" in ran.err
    assert re.search(
        r"generator: probabilities RMSE \S+, same base at \S+ of positions, against openvino fp32", ran.err
    )
    table = pq.read_table(tmp_path / "auto.parquet").to_pylist()
    assert len(table) == 9
    assert all(
        "GAATTC" not in row["sequence"] and 0.3 <= sum(c in "GC" for c in row["insert"]) / 80 <= 0.6
        for row in table
    )
    record = json.loads((tmp_path / "auto.parquet.run.json").read_text())
    assert record["design"]["generator_engine"]["engine"] == "tensorrt"
    assert record["design"]["generator_engine"]["gpu"] == "NVIDIA H200"
    assert record["design"]["generator_agreement"]["same"] > 0.98
    assert 0 < record["engine_share"] <= 1
    inserts = []
    for engine in ("tensorrt", "openvino"):
        ran = command("-o", tmp_path / f"{engine}.parquet", "--engine", engine, "--precision", "fp32")
        assert ran.code == 0, ran.err
        inserts.append(pq.read_table(tmp_path / f"{engine}.parquet")["insert"].to_pylist())
    alike = [a == b for one, other in zip(*inserts, strict=True) for a, b in zip(one, other, strict=True)]
    assert np.mean(alike) > 0.99
    assert not world.card.held


def test_fp16_that_is_too_far_off_is_given_up_and_said(
    command: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import legscore.generate.open_denoiser as module

    monkeypatch.setattr(module, "RMSE_MAX", 1e-5)
    monkeypatch.setattr(
        module, "load_recipe", lambda name: small(name) if name == "fp32" else load_recipe(name)
    )
    ran = command("-o", tmp_path / "d.parquet")
    assert ran.code == 0, ran.err
    assert re.search(
        r"generator: precision fp32 instead of fp16 \(probabilities RMSE 0.0\d+ is above 1e-05\)", ran.err
    )
    ran = command("-o", tmp_path / "e.parquet", "--precision", "fp16")
    assert ran.code == 2
    assert "precision fp16 is too far from fp32 for this generator" in ran.err


def test_generators_of_other_alphabets(world: World) -> None:  # noqa: F811
    contract = generator_contract(alphabet="ACGT", channels=(*"ACGT", "expression", "n_mutations"))
    generator = toy_generator(3, contract)
    engine, reference = opened(generator, small("fp32")), OpenVINODenoiser(generator, load_recipe("fp32"))
    for denoiser in (engine, reference):
        denoiser.begin(one_hot_bases(start_codes(SEEDS, LENGTH)), TARGETS, SEEDS)
        denoiser.step(1, 50, 80)
    assert np.abs(engine.bases() - reference.bases()).max() < 1e-4
    engine.close()

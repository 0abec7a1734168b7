"""The TensorRT engine over a stand-in for TensorRT with each version's names: builds, loads, refits,
failures, choice."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import in_parts_of, toy_checkpoint, yeast_contract
from host_kernels import HostKernels, compiler

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

import fake_tensorrt
from fake_tensorrt import World
from host_card import HostCard
from test_card_engine import SMALL, batch_of, short, truth

from legscore.cuda.libcuda import Gpu
from legscore.engine import choose
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.system import resources

GPU = Gpu(0, "NVIDIA H200", "9.0", 132, 150_000_000_000)
RTX_4090 = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 128, 24_000_000_000)
VERSIONS = ("8.6.0", "10.13.3.9", "11.4.0.106", "RTX 1.7.1.116")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    if compiler() is None:
        pytest.skip("no C++ compiler here to run the kernels on the CPU")
    return HostKernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members as files."""
    path = tmp_path_factory.mktemp("models")
    for seed in range(3):
        toy_checkpoint(seed, yeast_contract(**short()), **SMALL).save(path / f"m{seed}.safetensors")
    return path


@pytest.fixture(scope="module")
def members(folder: Path) -> list[Checkpoint]:
    return load_members([folder])


@pytest.fixture
def world(
    kernels: HostKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> World:
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    made = World(getattr(request, "param", "11.4.0.106"), HostCard(kernels))
    fake_tensorrt.install(made, monkeypatch)
    return made


def recipe(precision: str = "fp16", **changes: Any) -> Recipe:
    loaded = load_recipe(precision)
    loaded.settings["tensorrt"] |= {"batch": [128, 64], "batch_of": {}, "cuda_graph": False, **changes}
    return loaded


def with_batch(rows: int) -> str:
    """The recipe fp16 with one batch, on every card."""
    text = (resources.folder("engines") / "fp16.toml").read_text()
    return re.sub(r"\[\d+(, \d+)*\]", f"[{rows}]", text)


def card_for() -> Gpu:
    """A card that the TensorRT of this test is for."""
    from legscore.engine.trt import common

    return RTX_4090 if common.version().startswith("RTX") else GPU


def opened(members: list[Checkpoint], made: Recipe, said: list[str] | None = None) -> Any:
    from legscore.engine.tensorrt_engine import TensorRTEngine

    return TensorRTEngine(
        members, made, card_for(), both_strands=True, say=(said if said is not None else []).append
    )


@pytest.mark.parametrize("world", VERSIONS, indirect=True)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.005), ("fp32", 1e-4)])
def test_scores_and_builds_on_every_version(
    world: World, members: list[Checkpoint], precision: str, tolerance: float
) -> None:
    said: list[str] = []
    engine = opened(members, recipe(precision), said)
    batch = batch_of(100, 20)
    scores = engine.score(batch)
    assert np.abs(scores - truth(members).score(batch)).max() < tolerance
    assert [line for line in said if "compiling" in line] == [
        f"plan: compiling m{i} ({i + 1} of 3) for passes of 128 rows" for i in range(3)
    ]
    described = engine.describe()
    assert (described["tensorrt"], described["batch"], described["gpu"]) == (
        world.version,
        128,
        engine.gpu.name,
    )
    assert len(set(described["plans"])) == 3
    assert world.builders == 1, "one builder for all members"
    assert world.loads == 3, "a plan that was just built is loaded once"
    engine.close()
    engine.close()
    assert not world.card.held
    for built in world.builds:
        eight, rtx = world.version.startswith("8"), world.version.startswith("RTX")
        flags = {"FP16", "OBEY_PRECISION_CONSTRAINTS"} if eight and precision == "fp16" else set()
        assert built["flags"] == (flags | {"REQUIRE_USER_ALLOCATION"} if rtx else flags)
        assert built["compute"] == ("SM89" if rtx else ""), "built for the card's compute capability"
        assert built["sources"] == (24 if eight else 0)
        assert (built["level"], built["aux"]) == (3, 0)
        assert bool(built["fp32"]) == (eight and precision == "fp16"), (
            "FP32 islands are demanded on 8.6 alone"
        )
    if world.version.startswith("8") and precision == "fp16":
        assert any("reducemean" in name for name in world.builds[0]["fp32"])
        assert not any("conv" in name for name in world.builds[0]["fp32"])
    assert [len(timing) for timing in world.timings] == [0, 4, 8], (
        "later builds use the timings of earlier ones"
    )

    said.clear()
    again = opened(members, recipe(precision), said)
    assert (again.score(batch) == scores).all()
    assert (world.builders, world.loads) == (1, 6)
    assert again.describe() == described
    assert said == []
    again.close()


def test_tf32_and_formats_reach_the_builder(world: World, members: list[Checkpoint]) -> None:
    opened(members[:1], recipe("fp32", tf32=True, aux_streams=2, optimization_level=1)).close()
    assert world.builds[-1]["flags"] == {"TF32"}
    assert (world.builds[-1]["level"], world.builds[-1]["aux"], world.builds[-1]["formats"]) == (1, 2, 1)
    from legscore.engine.tensorrt_plans import compile_plans

    found = compile_plans(members[:1], recipe(layout="hwc8"), GPU, lambda line: None)
    assert found.batch == 128
    assert world.builds[-1]["formats"] == 1 << 2
    assert len(world.builds) == 2


def test_a_plan_that_is_refused_is_built_again_once(world: World, members: list[Checkpoint]) -> None:
    opened(members[:2], recipe()).close()
    world.refuse_plans = {(2).to_bytes(4, "big")}
    said: list[str] = []
    engine = opened(members[:2], recipe(), said)
    assert [line.split(" ")[1] for line in said if line.startswith("plan:") and "compiling" in line] == [
        "compiling"
    ]
    assert any("does not load; building it again" in line for line in said)
    assert len(world.builds) == 3
    plans = engine.describe()["plans"]
    engine.close()
    fresh = opened(members[:2], recipe())
    assert fresh.describe()["plans"] == plans, "the record names the plans that were used"
    fresh.close()


def test_memory_decides_groups_and_batch_before_anything_is_scored(
    world: World, members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    from legscore.engine import fit

    monkeypatch.setattr(fit, "IN_FLIGHT", 0)
    monkeypatch.setattr(fit, "USABLE", 1.0)
    batch = batch_of(150, 0)
    expected = truth(members).score(batch)
    world.scratch = 1 << 20
    each = fit.MEMBER_OVERHEAD + (1 << 20)
    world.card.memory = (1 << 21) + 2 * each
    said: list[str] = []
    engine = opened(members, recipe(), said)
    assert engine.arrangement.groups == [[0, 1], [2]]
    assert any("loaded in 2 groups in turn" in line for line in said)
    assert np.abs(engine.score(batch) - expected).max() < 0.005
    engine.close()
    world.card.memory = 1000
    with pytest.raises(EngineError, match=r"not even passes of 64 rows fit"):
        opened(members, recipe())
    assert not world.card.held


@pytest.mark.parametrize("world", VERSIONS[1:], indirect=True)
def test_refit_builds_once_and_is_checked(world: World, members: list[Checkpoint]) -> None:
    engine = opened(members, recipe(refit=True))
    assert len(world.builds) == 1
    assert world.builds[0]["flags"] - {"REQUIRE_USER_ALLOCATION"} == {"REFIT"}
    batch = batch_of(40, 0)
    assert np.abs(engine.score(batch) - truth(members).score(batch)).max() < 0.005
    engine.close()
    world.fail = "wrong refit"
    with pytest.raises(EngineError, match=r"refit: m1: .* is below .*; set tensorrt.refit to false"):
        opened(members, recipe(refit=True))
    world.fail = "missing weights"
    with pytest.raises(EngineError, match="1 weights are missing"):
        opened(members, recipe(refit=True))
    assert not world.card.held


@pytest.mark.parametrize("world", ["8.6.0"], indirect=True)
def test_refit_on_8_6_is_refused(world: World, members: list[Checkpoint]) -> None:
    with pytest.raises(EngineError, match="needs TensorRT 10 or newer"):
        opened(members, recipe(refit=True))
    assert not world.builds


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("no driver", "cannot use this GPU and driver: CUDA initialization failure with error: 35"),
        ("parse", "cannot read the graph: In node 3 with name: conv_3"),
        (
            "build",
            r"cannot build this network in fp16: Could not find any implementation for node conv_5.; another tensorrt.groups",
        ),
        ("context", "made no context"),
        ("enqueue", "did not run a pass: enqueueV3: invalid argument"),
    ],
)
def test_failures_carry_tensorrts_own_words(
    world: World, members: list[Checkpoint], fail: str, message: str
) -> None:
    world.fail = fail
    with pytest.raises(EngineError, match=message):
        opened(members[:1], recipe())
    assert not world.card.held, "memory was left on the card"


def test_the_logger_writes_nowhere_and_keeps_each_threads_errors(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    import threading

    from legscore.engine.trt import common

    log = common.Log()
    log.log(3, "information")
    assert log.take() == "no message"
    other = threading.Thread(target=lambda: log.log(1, "theirs"))
    other.start()
    other.join()
    log.log(0, "mine,\n  on two lines")
    assert log.take() == "mine, on two lines"
    for i in range(100):
        log.log(1, f"error {i}")
    assert log.take() == "error 96 | error 97 | error 98 | error 99"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("version", "module"),
    [
        ("8.6.1", "v8"),
        ("10.1.0", "v10"),
        ("10.16.1.11", "v10"),
        ("11.0.0.1", "v10"),
        ("8.5.3", ""),
        ("10.0.1", ""),
        ("12.0.0", ""),
        ("RTX 1.7.1.116", "rtx"),
        ("RTX 1.2.0", ""),
        ("RTX 2.0.0", ""),
    ],
)
def test_versions(world: World, version: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from legscore.engine.trt import common

    if module == "v8":  # its names are those of another fake
        monkeypatch.setitem(sys.modules, "legscore.engine.trt.v8", sys)
    monkeypatch.setattr(common, "version", lambda: version)
    if module:
        assert module in (common.differences().__name__ if module != "v8" else "v8")
    else:
        with pytest.raises(
            EngineError, match=rf"TensorRT[ -]{version} is not supported; install .*legscore\[gpu"
        ):
            common.differences()


def test_run_from_the_command_line(
    world: World, folder: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto takes TensorRT, measures its fidelity, records it; compile beforehand; --device; a lost card
    writes nothing."""
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 256)
    small = tmp_path / "small.toml"
    small.write_text(with_batch(128))
    ran = cli("compile", folder, "--recipe", small)
    assert ran.code == 0, ran.err
    assert "plans: 3 for passes of 128 rows" in ran.err
    rows = ["".join("ACGT"[i] for i in np.random.default_rng(seed).integers(0, 4, 24)) for seed in range(90)]
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    asked = [
        "run",
        tmp_path / "in.csv",
        "-m",
        folder,
        "-o",
        tmp_path / "out.parquet",
        "--recipe",
        small,
        "--sequence-is",
        "window",
    ]
    ran = cli(*asked, "--device", "0")
    assert ran.code == 0, ran.err
    assert "engine: tensorrt (NVIDIA GPU), precision fp16" in ran.err
    assert "gpu: 0 (NVIDIA H200, compute capability 9.0)" in ran.err
    assert "fidelity: measuring fp16" in ran.err
    assert "compiling" not in ran.err, "compiled beforehand"
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 90
    assert set(table.column("status").to_pylist()) == {"ok"}
    assert b"NVIDIA H200" in table.schema.metadata[b"legscore"]
    ran = cli(*asked, "--device", "1", "--force")
    assert (ran.code, "there is no GPU 1; here are 0 (NVIDIA H200)" in ran.err) == (2, True)
    (tmp_path / "out.parquet").unlink()
    world.card.fail_at = world.card.done_work + 12
    ran = cli(*asked)
    assert ran.code == 2
    assert "an illegal memory access" in ran.err
    assert not (tmp_path / "out.parquet").exists()


def test_several_gpus_make_one_file(
    world: World, folder: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    gpus = [GPU, replace(GPU, number=1)]
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: (gpus, ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 192)
    in_parts_of(monkeypatch, 20)
    monkeypatch.setattr(
        choose, "load_recipe", lambda name: recipe(name) if name == "fp16" else load_recipe(name)
    )
    rows = ["".join("ACGT"[i] for i in np.random.default_rng(seed).integers(0, 4, 24)) for seed in range(150)]
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    scores = []
    for device in ("all", "0", "1,0"):
        ran = cli(
            "run",
            tmp_path / "in.csv",
            "-m",
            folder,
            "-o",
            tmp_path / "o.parquet",
            "--engine",
            "tensorrt",
            "--sequence-is",
            "window",
            "--device",
            device,
            "--force",
        )
        assert ran.code == 0, ran.err
        scores.append(pq.read_table(tmp_path / "o.parquet").column("score").to_numpy())
        if device == "all":
            shares = [world.card.done_work, world.others[1].done_work]
            assert min(shares) > 0, "one card did all the work"
            assert "gpu: 1 (NVIDIA H200" in ran.err
    assert (scores[0] == scores[1]).all()
    assert (scores[0] == scores[2]).all()
    assert not world.card.held
    assert not world.others[1].held
    gpus[1] = replace(GPU, number=1, name="Tesla T4")
    ran = cli(
        "run",
        tmp_path / "in.csv",
        "-m",
        folder,
        "-o",
        tmp_path / "o.parquet",
        "--engine",
        "tensorrt",
        "--device",
        "all",
        "--force",
    )
    assert (ran.code, "0 (NVIDIA H200), 1 (Tesla T4) differ" in ran.err) == (2, True)


def test_auto_falls_to_fp32_when_fp16_is_too_far_off(
    world: World, members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 192)

    def small(name: str) -> Recipe:
        made = recipe(name) if name in ("fp16", "fp32") else load_recipe(name)
        if name == "fp16":
            made.settings["fidelity"] = {"score_pearson_min": 0.9, "effect_spearman_min": 0.99999999}
        return made

    monkeypatch.setattr(choose, "load_recipe", small)
    with pytest.raises(EngineError, match="precision fp16: measured fidelity is too low"):
        open_engine(members, Request("tensorrt", "fp16"))
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    said: list[str] = []
    engine = open_engine(members, Request(), said.append)
    assert (engine.name, engine.precision) == ("tensorrt", "fp32")
    assert any("precision: fp32 instead of fp16" in line for line in said)
    engine.close()
    with pytest.raises(
        EngineError, match=r"precision bf16: engine tensorrt \(asked for\) computes in fp32 or fp16"
    ):
        open_engine(members, Request("tensorrt", "bf16"))

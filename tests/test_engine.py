"""Engines: agreement, independence of batch and neighbours, fidelity, choice with its reason."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import human_contract, random_batch, toy_checkpoint

from legscore.dna.batch import Batch
from legscore.engine import choose
from legscore.engine import fidelity as fid
from legscore.engine.choose import Request
from legscore.engine.networks import clear_oldest
from legscore.engine.null_engine import NullEngine
from legscore.engine.open_engine import open_engine
from legscore.engine.openvino_engine import TILE_WINDOWS, OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.system.resources import folder

FP32 = load_recipe("fp32")
FP32_TEXT = (folder("engines") / "fp32.toml").read_text()


@pytest.fixture(scope="module")
def members() -> list[Checkpoint]:
    return [toy_checkpoint(seed) for seed in range(3)]


def has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("singleton", [False, True])
def test_openvino_equals_torch(members: list[Checkpoint], both: bool, singleton: bool) -> None:
    pytest.importorskip("torch", reason="the torch engine needs legscore[train]")
    from legscore.engine.torch_engine import TorchEngine

    batch = random_batch(20, 17)
    ours = OpenVINOEngine(members, FP32, both_strands=both, is_singleton=singleton)
    theirs = TorchEngine(members, FP32, both_strands=both, is_singleton=singleton, device="cpu")
    a, b = ours.score(batch), theirs.score(batch)
    assert a.shape == (3, 37)
    assert a.dtype == b.dtype == np.float32
    assert np.abs(a - b).max() < 1e-4
    assert (ours.score(batch, [2, 0]) == a[[2, 0]]).all()
    assert np.abs(theirs.score(batch, [1]) - a[[1]]).max() < 1e-4
    with pytest.raises(IndexError, match="ensemble of 3"):
        ours.submit(batch, [3])
    ours.close()
    theirs.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_do_not_depend_on_neighbours_batch_or_order(members: list[Checkpoint], precision: str) -> None:
    if precision == "bf16" and not has_bf16():
        pytest.skip("this CPU has no bf16")
    engine = OpenVINOEngine(members[:1], load_recipe(precision), both_strands=True)
    batch = random_batch(TILE_WINDOWS + 50, 0)
    scores = engine.score(batch)[0]
    order = np.random.default_rng(1).permutation(len(scores))
    assert (engine.score(Batch(batch.codes_WL[order]))[0] == scores[order]).all()
    for n in (1, 3, 17):
        assert (engine.score(Batch(batch.codes_WL[:n]))[0] == scores[:n]).all()
    futures = [engine.submit(Batch(batch.codes_WL[i : i + 40])) for i in range(0, 200, 40)]
    assert (np.concatenate([f.result()[0] for f in futures]) == scores[:200]).all()
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_joined_networks_give_the_bits_of_networks_apart(members: list[Checkpoint], precision: str) -> None:
    if precision == "bf16" and not has_bf16():
        pytest.skip("this CPU has no bf16")
    many, batch = [members[i % 3] for i in range(12)], random_batch(30, 7)
    joined, apart = (
        OpenVINOEngine(many, load_recipe(precision), both_strands=True, separate_members=apart)
        for apart in (False, True)
    )
    assert joined.computed_together == [list(range(10)), [10, 11]]
    assert apart.computed_together == [[m] for m in range(12)]
    scores = apart.score(batch)
    assert (joined.score(batch) == scores).all()
    for chosen in ([11, 1, 1], [5], [10, 0]):
        heard: list[float] = []
        assert (joined.submit(batch, chosen, watch=heard.append).result() == scores[chosen]).all()
        assert sum(heard) == pytest.approx(1.0)
        assert (joined.scores_forward(batch, chosen) == apart.scores_forward(batch, chosen)).all()
    joined.close()
    apart.close()


def test_edits_equal_expanded_windows(members: list[Checkpoint]) -> None:
    engine = OpenVINOEngine(members, FP32, both_strands=True)
    batch = random_batch(9, 300)
    assert (engine.score(batch) == engine.score(Batch(batch.expand()))).all()
    assert engine.score(Batch(np.empty((0, 150), np.uint8))).shape == (3, 0)
    engine.close()


def test_human_networks_without_extra_channels() -> None:
    member = toy_checkpoint(1, human_contract(), pools=(2, 2), se="plain", filters_per_group=1)
    engine = OpenVINOEngine([member], FP32, both_strands=True)
    batch = random_batch(6, 0, 230)
    from legscore.dna.contract import reverse_complement

    flipped = engine.score(Batch(reverse_complement(batch.codes_WL)))
    assert np.allclose(engine.score(batch), flipped, atol=1e-5)
    engine.close()


def test_fidelity_is_measured_cached_and_enforced(
    members: list[Checkpoint], toy_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_bf16():
        pytest.skip("this CPU has no bf16")
    loaded, said = load_members([toy_models]), []
    monkeypatch.setattr(fid, "TOTAL", 300)
    settings = {"score_pearson_min": 0.9, "effect_spearman_min": 0.9}
    monkeypatch.setattr(choose, "load_recipe", lambda name: _with_fidelity(load_recipe(name), settings))
    engine = open_engine(loaded, Request("openvino", "bf16"), said.append)
    record = engine.fidelity
    assert record is not None
    assert (record.windows, record.changes) == (300, 300)
    assert 0.9 < record.effect_spearman < 1
    assert record.score_rmse > 0
    assert any("measuring" in line for line in said)
    engine.close()

    said.clear()
    again = open_engine(loaded, Request("openvino", "bf16"), said.append)
    assert again.fidelity == record
    assert not any("measuring" in line for line in said)
    again.close()

    settings["effect_spearman_min"] = 0.9999999
    with pytest.raises(EngineError, match=r"effect spearman 0\.\d+ is below 0.9999999.*--precision fp32"):
        open_engine(loaded, Request("openvino", "bf16"))
    said.clear()
    fallen = open_engine(loaded, Request("openvino", "auto"), said.append)
    assert fallen.precision == "fp32"
    assert any("precision: fp32 instead of bf16 (effect spearman" in line for line in said)
    fallen.close()


def _with_fidelity(recipe: Any, settings: dict[str, float]) -> Any:
    return replace(recipe, settings={**recipe.settings, "fidelity": settings})


def test_damaged_fidelity_records_are_measured_again(tmp_path: Path) -> None:
    path, key = tmp_path / "x.json", {"engine": "x"}
    record = fid.Fidelity("openvino fp32", 1, 1, 0.1, 0.1, 0.9, 0.9)
    fid.save_record(path, key, record)
    assert fid.load_record(path, key) == record
    assert fid.load_record(path, {"engine": "y"}) is None
    for text in ("", "{", "[]", '{"key": {"engine": "x"}, "fidelity": {"wrong": 1}}'):
        path.write_text(text)
        assert fid.load_record(path, key) is None


def test_a_reference_that_is_built_wrongly_judges_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines and reference are lowered by the same rewrites: what is wrong in both shows in numpy alone."""
    from legscore.engine import openvino_engine
    from legscore.engine.reference import reference_engine

    member = toy_checkpoint(4)
    with reference_engine(member, is_singleton=False) as reference:
        assert reference.name == "openvino"
    build = openvino_engine.build_graph

    def wrong(checkpoint: Any, *rest: Any, **options: Any) -> Any:
        arrays = {name: array * np.float32(1.1) for name, array in checkpoint.arrays.items()}
        return build(replace(checkpoint, arrays=arrays), *rest, **options)

    monkeypatch.setattr(openvino_engine, "build_graph", wrong)
    with (
        pytest.raises(EngineError, match="its network in openvino fp32 scores .* as published scores"),
        reference_engine(member, is_singleton=False),
    ):
        pass


def test_no_flipped_bit_of_a_fidelity_record_is_believed(tmp_path: Path) -> None:
    path, key = tmp_path / "x.json", {"engine": "x", "models": ["ab" * 32]}
    record = fid.Fidelity("openvino fp32", 2048, 2048, 0.0428, 0.0083, 0.999996, 0.9997)
    fid.save_record(path, key, record)
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        assert fid.load_record(path, key) in (None, record), f"bit {bit}"  # white space means nothing


@pytest.mark.parametrize(
    "impossible",
    [
        {"effect_spearman": 7.5}, {"score_pearson": -1.01}, {"score_rmse": 0.2}, {"score_max_error": -0.1},
        {"windows": 0}, {"changes": True}, {"score_rmse": float("nan")}, {"reference": 5},
    ],
)  # fmt: skip
def test_figures_that_cannot_be_are_measured_again(tmp_path: Path, impossible: dict[str, Any]) -> None:
    """A checksum says that nothing was damaged, not that what was written made sense."""
    path, key = tmp_path / "x.json", {"engine": "x"}
    record = fid.Fidelity("openvino fp32", 1, 1, 0.1, 0.1, 1.0 + 2e-16, float("nan"))
    fid.save_record(path, key, record)
    assert fid.load_record(path, key) is not None
    fid.save_record(path, key, replace(record, **impossible))
    assert fid.load_record(path, key) is None


def test_probe_is_seeded_and_changes_one_base() -> None:
    contract = toy_checkpoint().contract
    batch = fid.probe(contract, 70, 3)
    again = fid.probe(contract, 70, 3)
    assert (batch.expand() == again.expand()).all()
    codes = batch.expand()
    assert ((codes[:70] != codes[70:]).sum(axis=1) == 1).all()
    assert (fid.probe(contract, 70, 4).codes_WL != batch.codes_WL).any()
    assert [fid.per_member(m, "bf16") for m in (1, 5, 32, 50)] == [2048, 410, 64, 64]
    assert [fid.per_member(m, "fp32") for m in (1, 5)] == [256, 64]


def test_choice_carries_its_reason(members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(choose, "nvidia_driver", lambda: False)
    monkeypatch.setattr(choose.sys, "platform", "linux")
    open_engine(members, Request("auto", "fp32"), said.append).close()
    assert said[0] == "engine: openvino (no NVIDIA driver), precision fp32 (asked for)"
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr(choose.importlib.util, "find_spec", lambda name: None)
    said.clear()
    open_engine(members, Request("auto", "fp32"), said.append).close()
    assert "TensorRT and PyCUDA are not installed: pip install 'legscore[gpu]'" in said[0]
    assert "PyTorch, which would use it, is not installed" in said[0]
    with pytest.raises(EngineError, match=r"engine torch needs PyTorch: pip install 'legscore\[train\]'"):
        open_engine(members, Request("torch"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            Request("tensorrt"),
            r"engine tensorrt cannot be used here: no NVIDIA driver.*pip install 'legscore\[gpu(-rtx)?\]'",
        ),
        (Request("openvino", device="0"), r"--device 0: engine openvino \(asked for\) uses no NVIDIA GPU"),
        (Request("null", device="0"), r"--device 0: engine null \(asked for\) uses no NVIDIA GPU"),
        (Request("openvino", "fp16"), "fp16 is for engines tensorrt and torch"),
        (Request("openvino", "bf16", "fp32"), "--recipe fp32 is fp32, --precision bf16"),
        (
            Request("openvino", "auto", "quick"),
            "recipe quick: No such file.*known recipes are bf16, fp16, fp32",
        ),
    ],
)
def test_what_cannot_be_served_is_an_error(
    members: list[Checkpoint], request_: Request, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        open_engine(members, request_)


def test_bf16_without_the_instructions_is_an_error(
    members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    class Core(openvino.Core):
        def get_property(self, device: str, name: Any, *rest: Any) -> Any:
            value = super().get_property(device, name, *rest)
            return [c for c in value if c != "BF16"] if isinstance(value, (list, set)) else value

    core = Core()
    monkeypatch.setattr("legscore.engine.openvino_cpu.openvino_core", lambda: core)
    with pytest.raises(EngineError, match="this CPU has no bf16"):
        open_engine(members, Request("openvino", "bf16"))
    said: list[str] = []
    open_engine(members, Request("openvino", "auto"), said.append).close()
    assert "precision fp32 (the CPU has no bf16)" in said[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision = 'fp64'", "precision is 'fp64'"),
        ("precision = 'fp32'", "lacks openvino.batch"),
        (
            "precision = 'fp32'\n[openvino]\nbatches = 3",
            r"unknown setting openvino.batches \(did you mean \"batch\"\?\)",
        ),
        ("precision = 'fp32'\n[cuda]\nbatch = 3", "unknown entry 'cuda'"),
        ("precision = 'fp32'\n[openvino]\nbatch = '16'", "of the wrong type"),
        ("precision = 'fp32'\n[openvino]\nbatch = true", "of the wrong type"),
        ("precision = 'fp32'\n[openvino]\nbatch = 0", "outside 1..65536"),
        ("precision = ", "not TOML"),
        ("precision = 'fp16'", "lacks tensorrt.batch"),
        (
            "precision = 'fp16'\n[openvino]\nbatch = 3",
            r"openvino does not compute in fp16; drop \[openvino\]",
        ),
        ("precision = 'bf16'\n[tensorrt]\nbatch = [64]", "tensorrt does not compute in bf16"),
        (
            "precision = 'fp16'\n[tensorrt]\nbatch = 64",
            r"tensorrt.batch is 64, not a list of numbers in 1..65536",
        ),
        (
            "precision = 'fp16'\n[tensorrt]\nbatch = [100]",
            r"tensorrt.batch is \[100\], not all multiples of 64",
        ),
        ("precision = 'fp16'\n[tensorrt]\nbatch = [64, 128]", "not falling"),
        ("precision = 'fp16'\n[tensorrt]\nbatch = []", "not a list of numbers"),
        ("precision = 'fp16'\n[tensorrt]\nbatch_of = 3", "batch_of is 3, not a table of GPU names"),
        ("precision = 'fp16'\n[tensorrt.batch_of]\nT4 = [1]", "not all multiples of 64 for 'T4'"),
        ("precision = 'fp16'\n[tensorrt]\noptimization_level = 6", r"outside 0\.\.5"),
        (
            "precision = 'fp16'\n[tensorrt]\ngroups = 'dense'",
            "not one of depthwise, repack8, repack16, repack32, native",
        ),
        ("precision = 'fp16'\n[tensorrt]\ntactic = 1", "unknown setting tensorrt.tactic"),
        ("precision = 'fp16'\n[tensorrt]\nrefit = 1", "of the wrong type"),
        (FP32_TEXT.replace('"ncl"', '"hwc8"'), "hwc8 holds FP16 only"),
        (FP32_TEXT.replace("tf32 = false", ""), "lacks tensorrt.tf32"),
    ],
)
def test_recipes_refuse_what_they_do_not_know(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(EngineError, match=message):
        load_recipe(str(tmp_path / "r.toml"))


def test_batches_go_by_the_name_of_the_gpu() -> None:
    recipe = load_recipe("fp16")
    recipe.settings["tensorrt"]["batch_of"] = {"A100": [1024], "A100-SXM4-80GB": [2048], "t4": [64]}
    names = ("NVIDIA A100-PCIE-40GB", "NVIDIA A100-SXM4-80GB", "Tesla T4", "NVIDIA H200")
    assert [recipe.batches(name)[0] for name in names] == [1024, 2048, 64, recipe.get("tensorrt", "batch")[0]]


L2_MB = {
    "NVIDIA A100-SXM4-80GB": 40, "NVIDIA L4": 48, "NVIDIA H100 80GB HBM3": 50, "NVIDIA H200": 50, "NVIDIA GeForce RTX 4080": 64,
    "NVIDIA GeForce RTX 4090": 72, "NVIDIA L40S": 96, "NVIDIA GeForce RTX 5090": 96, "NVIDIA A10": 6, "NVIDIA A40": 6,
    "NVIDIA GeForce RTX 3090": 6, "Tesla T4": 4, "Tesla V100-SXM2-16GB": 6,
}  # fmt: skip


@pytest.mark.parametrize("engine", ["tensorrt", "torch"])
def test_batches_of_known_gpus_are_rows_whose_widest_tensor_fits_the_l2_cache(engine: str) -> None:
    """64s, at most 256; at least 128, which give each multiprocessor a tile of 128 positions."""
    a_row = 1024 * 150 * 2  # bytes of the optimised network's widest tensor
    recipe = load_recipe("fp16")
    for name, megabytes in L2_MB.items():
        rows = min(256, max(128, int(megabytes * 1e6) // a_row // 64 * 64))
        assert recipe.batches(name, engine) == [
            n for n in (256, 192, 128, 64) if n == rows or (n in (128, 64) and n < rows)
        ]
    assert len(recipe.get(engine, "batch_of")) == len(L2_MB), "a card of the table is not tested"
    assert recipe.batches("NVIDIA B200", engine) == [256, 128, 64]


def test_null_engine_scores_zero_and_says_so(members: list[Checkpoint]) -> None:
    engine = NullEngine(members)
    assert (engine.score(random_batch(5, 2)) == np.zeros((3, 7))).all()
    assert "nothing was computed" in engine.describe()["warning"]
    engine.close()


def test_networks_are_kept_and_damaged_ones_built_again(toy_models: Path, tmp_path: Path) -> None:
    loaded, batch, said = load_members([toy_models]), random_batch(20, 5), []

    def scores() -> np.ndarray:
        engine = OpenVINOEngine(loaded, FP32, both_strands=True, cache=tmp_path / "networks", say=said.append)
        try:
            found = engine.score(batch)
            if Path("/proc/self/maps").exists():
                assert ".plan" in Path("/proc/self/maps").read_text(), "weights lie in the file"
            return found
        finally:
            engine.close()

    apart = OpenVINOEngine(loaded, FP32, both_strands=True, separate_members=True)
    expected = apart.score(batch)
    apart.close()
    assert (scores() == expected).all()
    (kept,) = (tmp_path / "networks").glob("*.plan")
    assert (tmp_path / "networks").stat().st_mode & 0o777 == 0o700
    first = kept.stat()
    assert (scores() == expected).all()
    assert kept.stat().st_ino == first.st_ino
    assert len(said) == 1, "the first run alone compiles"
    assert "compiling" in said.pop()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.unlink()  # not in place: the file may still be mapped
    kept.write_bytes(content)
    assert (scores() == expected).all()
    assert "does not load; building it again" in said[0]
    assert (scores() == expected).all()
    assert ["compiling" in line for line in said] == [False, True], "and is kept again"


def test_networks_that_cannot_be_kept_are_compiled_all_the_same(toy_models: Path, tmp_path: Path) -> None:
    (tmp_path / "networks").write_text("a file where the folder should be")
    said: list[str] = []
    engine = OpenVINOEngine(
        load_members([toy_models]), FP32, both_strands=True, cache=tmp_path / "networks", say=said.append
    )
    assert engine.score(random_batch(3, 0)).shape == (3, 3)
    assert "not kept for the next run" in said[0]
    engine.close()


def test_networks_unused_for_longest_go_first(tmp_path: Path) -> None:
    for age, size in enumerate((30, 20, 10)):
        path = tmp_path / f"{age}.plan"
        path.write_bytes(bytes(size))
        os.utime(path, ns=(0, 10**9 * (10 - age)))
    clear_oldest(tmp_path, 60)
    assert len(list(tmp_path.iterdir())) == 3
    clear_oldest(tmp_path, 35)
    assert [p.name for p in tmp_path.iterdir()] == ["0.plan"]
    clear_oldest(tmp_path / "none", 0)


def test_a_correlation_that_is_none_falls_short() -> None:
    record = fid.Fidelity("x", 1, 1, 0, 0, float("nan"), 1.0)
    assert record.shortfall({"score_pearson_min": 0.9, "effect_spearman_min": 0.9})

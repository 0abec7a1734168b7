"""bench/gpu.py as far as a CPU allows: kernels on the test's card, TensorRT parts over its stand-in, torch on
the CPU, results."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, toy_checkpoint, yeast_contract

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from fake_tensorrt import World
from host_kernels import HostKernels
from test_card_engine import SMALL, short
from test_tensorrt_engine import GPU, kernels, world  # noqa: F401

from legscore.engine import choose
from legscore.engine.recipe import load_recipe


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's modules, which lie outside the package; short timings."""
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    modules = {
        name: importlib.import_module(name)
        for name in ("gpu_store", "gpu_kernels", "gpu_tensorrt", "gpu_torch", "gpu")
    }
    for name in ("gpu_kernels", "gpu_tensorrt", "gpu_torch"):
        monkeypatch.setattr(modules[name], "seconds_each", lambda job, finish: (job(), finish(), 0.5)[2])
    yield type("Bench", (), modules)
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Any) -> Path:
    """Two tiny models, recipes of a tiny batch."""
    for seed in range(2):
        toy_checkpoint(seed, yeast_contract(**{**short(), "insert_min": 20}), **SMALL).save(
            tmp_path / f"m{seed}.safetensors"
        )

    def tiny(name: str) -> Any:
        made = load_recipe(name)
        if "tensorrt" in made.settings:
            made.settings["tensorrt"] |= {"batch": [128], "cuda_graph": False}
        return made

    monkeypatch.setattr(bench.gpu_tensorrt, "load_recipe", tiny)
    monkeypatch.setattr(choose, "load_recipe", tiny)
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 128)
    return tmp_path


def limits(bench: Any, model: Path | str = "", windows: int = 300, seconds: float = 600) -> Any:
    return bench.gpu_store.Limits(time.monotonic() + seconds, str(model), windows)


def test_kernels_part(bench: Any, world: World) -> None:  # noqa: F811
    with world.card.use():
        compared = bench.gpu_kernels.check(world.card, rounds=1)
        rows = bench.gpu_kernels.rates(world.card, limits(bench), windows=64)
    assert compared == {
        "one_hot": 18,
        "average_strands": 6,
        "mutate": 3,
        "mark_sites": 1,
        "mutate_bases": 1,
        "keep_bases": 2,
    }
    assert rows[0]["what"] == "copy within the card"
    assert all(row["rate"] > 0 for row in rows)
    assert len(rows) == 5
    assert not world.card.held


def test_kernels_part_notices_a_wrong_kernel(
    bench: Any,
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = HostKernels.launch

    def wrong(self: HostKernels, name: str, grid: int, block: int, arguments: Any) -> None:
        plain(self, name, max(grid - 1, 1) if name == "one_hot_hwc8" else grid, block, arguments)

    monkeypatch.setattr(HostKernels, "launch", wrong)
    with world.card.use(), pytest.raises(SystemExit, match="one_hot differs from its numpy twin"):
        bench.gpu_kernels.check(world.card, rounds=1)


def test_tensorrt_parts(bench: Any, world: World, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    found = bench.gpu_tensorrt.fidelity(GPU, limits(bench, small))
    assert found["fidelity"]["fp16"]["score_rmse"] > found["fidelity"]["fp32"]["score_rmse"]
    monkeypatch.setattr(bench.gpu_tensorrt, "SIZES", (1, 3))
    monkeypatch.setattr(bench.gpu_tensorrt, "BATCHES", (192,))
    monkeypatch.setattr(bench.gpu_tensorrt, "LEAST_WINDOWS", 100)
    found = bench.gpu_tensorrt.ensemble(GPU, limits(bench, small))
    assert [row["what"] for row in found["rows"]] == [
        "1 members, both strands",
        "3 members (2 distinct, loaded repeatedly), both strands",
    ]
    monkeypatch.setattr(bench.gpu_tensorrt, "product_rate", lambda gpu, limits: 1e12)
    found = bench.gpu_tensorrt.engines(GPU, limits(bench, small), batch=64)
    assert len({row["what"] for row in found["rows"]}) == len(found["rows"]) == 1 + 5 + 2 + 1 + 1
    assert ["ratio" in row for row in found["rows"][1:6]] == [True, True, True, False, True]
    assert "cannot be repacked to 32" in found["rows"][4]["what"]
    assert all("ratio" in row for row in found["rows"][6:])
    world.fail = "build"
    late = limits(bench, small, seconds=-1)
    found = bench.gpu_tensorrt.engines(GPU, late, batch=256)
    assert len(found["rows"]) == 1
    assert len(late.not_reached) > 5
    found = bench.gpu_tensorrt.engines(GPU, limits(bench, small), batch=256)
    assert "Could not find any implementation" in found["rows"][1]["what"]


def test_end_to_end_part(bench: Any, world: World, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    found = bench.gpu_tensorrt.end_to_end(GPU, limits(bench, small, windows=200))
    assert [row["what"] for row in found["rows"]] == [
        "engine alone",
        "Parquet to Parquet",
        "the same with loading",
    ]


def test_product(bench: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(bench.gpu_tensorrt, "PRODUCTS", ((64, 64, 64), (128, 64, 64)))
    monkeypatch.setattr(bench.gpu_tensorrt, "seconds_each", lambda job, finish: 0.5)
    assert bench.gpu_tensorrt.product_rate(GPU, limits(bench)) == 2 * 128 * 64 * 64 / 0.5
    assert not world.card.held


def test_torch_part(bench: Any, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="the torch part needs PyTorch")
    tf32, asked = list[bool](), list[dict[str, object]]()
    monkeypatch.setattr(torch, "compile", lambda network, **how: (asked.append(how), network)[1])
    monkeypatch.setattr(
        bench.gpu_torch,
        "seconds_each",
        lambda job, finish: (job(), tf32.append(torch.backends.cudnn.allow_tf32), 0.5)[2],
    )
    found = bench.gpu_torch.measure(torch.device("cpu"), lambda: None, limits(bench, small), (32,))
    assert [row["what"] for row in found["rows"]] == [
        "torch fp32 eager, batch 32",
        "torch fp32 compile, batch 32",
    ]
    assert tf32 == [False, False], "cuDNN's default is TF32, which is not FP32"
    assert asked == [{"dynamic": False}], "each batch has code of its own"


def test_results_are_added_and_shown(bench: Any, tmp_path: Path) -> None:
    store = bench.gpu_store
    assert "has not been run on a GPU" in store.table(tmp_path)
    rows = [
        {"what": "copy", "rate": 3000.0, "unit": "GB/s"},
        {"what": "one_hot", "rate": 2000, "unit": "GB/s", "ratio": 0.667, "of": "of the copy"},
    ]
    path = store.add(tmp_path / "r", GPU, "kernels", {"rows": rows, "not_reached": ["mutate"]})
    assert path == store.add(tmp_path / "r", GPU, "torch", {"rows": []})
    assert path.name.startswith("h200-20")
    assert set(json.loads(path.read_text())["parts"]) == {"kernels", "torch"}
    shown = store.table(tmp_path / "r")
    assert "### NVIDIA H200, compute capability 9.0" in shown
    assert "| kernels | one_hot | 2,000 GB/s | 0.667 of the copy |" in shown
    assert "| kernels | not reached in time: mutate | | |" in shown
    assert [p.name for p in (tmp_path / "r").iterdir()] == [path.name]


def test_seconds_each_fills_its_time(bench: Any) -> None:
    calls: list[int] = []
    taken = bench.gpu_store.seconds_each(
        lambda: (calls.append(1), time.sleep(0.001)), lambda: None, least_s=0.05
    )
    assert 0.001 <= taken < 0.01
    assert len(calls) > 30


def test_a_machine_without_a_gpu_is_told(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.gpu, "find_gpus", lambda: ([], "no NVIDIA driver (libcuda.so.1 is not here)"))
    for part in bench.gpu.PARTS:
        assert bench.gpu.main(["--part", part]) == 2
        assert (
            capsys.readouterr().err
            == f"part {part} needs an NVIDIA GPU: no NVIDIA driver (libcuda.so.1 is not here)\n"
        )
    monkeypatch.setattr(bench.gpu, "find_gpus", lambda: ([GPU], ""))
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert bench.gpu.main(["--part", "kernels"]) == 2
    assert "part kernels needs pycuda" in capsys.readouterr().err


def test_a_machine_without_git_is_described(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a part measured for minutes must not be lost for want of a commit's name."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench.gpu.describe()["commit"] == ""


def test_the_script_shows_its_table() -> None:
    done = subprocess.run(
        [sys.executable, "bench/gpu.py", "--table"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "GPU" in done.stdout

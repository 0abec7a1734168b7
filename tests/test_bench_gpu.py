"""bench/gpu.py as far as a CPU allows: kernels on the test's card, TensorRT parts over its stand-in, torch on
the CPU, results."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, toy_checkpoint, yeast_contract

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from fake_tensorrt import World
from host_kernels import HostKernels
from test_card_engine import SMALL, short
from test_tensorrt_engine import GPU, kernels, world  # noqa: F401

from legscore.engine import choose
from legscore.engine.recipe import load_recipe

MODULES = (
    "gpu_store", "gpu_reference", "gpu_engine", "gpu_kernels", "gpu_tensorrt", "gpu_torch", "gpu_streams", "gpu_bundle",
    "gpu_calls", "gpu",
)  # fmt: skip


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's modules, which lie outside the package; short timings."""
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    modules = {name: importlib.import_module(name) for name in MODULES}
    for name in ("gpu_engine", "gpu_kernels", "gpu_tensorrt", "gpu_torch"):
        monkeypatch.setattr(modules[name], "seconds_each", lambda job, finish: (job(), finish(), 0.5)[2])
    yield type("Bench", (), modules)
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Any) -> Path:
    """Two tiny models, recipes of a tiny batch."""
    models = tmp_path / "models"
    models.mkdir()
    for seed in range(2):
        toy_checkpoint(seed, yeast_contract(**{**short(), "insert_min": 20}), **SMALL).save(
            models / f"m{seed}.safetensors"
        )

    def tiny(name: str) -> Any:
        made = load_recipe(name)
        if "tensorrt" in made.settings:
            made.settings["tensorrt"] |= {"batch": [128], "batch_of": {}, "cuda_graph": False}
        made.settings["torch"] |= {"batch": [64], "batch_of": {}}
        made.settings["fidelity"] |= {"effect_spearman_min": 0.99}  # few changes, many of them alike
        return made

    for module in (bench.gpu_engine, bench.gpu_tensorrt, bench.gpu_torch, bench.gpu_streams, choose):
        monkeypatch.setattr(module, "load_recipe", tiny)
    monkeypatch.setattr(bench.gpu_streams, "BATCH", 64)
    monkeypatch.setattr(bench.gpu_engine, "LEAST_WINDOWS", 100)
    monkeypatch.setattr(bench.gpu_engine, "SIZES", (1, 3))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 128)
    return models


def limits(bench: Any, model: Path | str = "", windows: int = 300, seconds: float = 600) -> Any:
    return bench.gpu_store.Limits(time.monotonic() + seconds, str(model), windows)


@pytest.fixture
def on_cpu(bench: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """A machine whose card is the test's, and whose PyTorch runs on the CPU."""
    torch = pytest.importorskip("torch", reason="these parts need PyTorch")
    from host_card import at

    monkeypatch.setattr(bench.gpu_torch, "place_of", lambda gpu: bench.gpu_torch.Place("cpu", lambda: None))
    monkeypatch.setattr(bench.gpu_torch, "PRODUCTS", ((64, 64, 64), (128, 64, 64)))
    monkeypatch.setattr(torch, "compile", lambda network, **how: network)
    kinds = {"<f2": np.float16, "<f4": np.float32}

    def view(address: int, shape: tuple[int, ...], kind: str) -> Any:
        nbytes = int(np.prod(shape)) * np.dtype(kinds[kind]).itemsize
        return torch.from_numpy(at(address, nbytes).view(kinds[kind]).reshape(shape))

    bridge = bench.gpu_streams.Bridge("cpu", view, lambda stream, work: stream.card.queue(stream, work))
    monkeypatch.setattr(bench.gpu_streams, "cuda_bridge", lambda gpu: bridge)
    return bridge


def test_kernels_part(bench: Any, world: World) -> None:  # noqa: F811
    kept = limits(bench)
    with world.card.use():
        compared = bench.gpu_kernels.check(world.card, rounds=1)
        bench.gpu_kernels.rates(world.card, kept, windows=64)
    assert compared == {
        "one_hot": 18,
        "average_strands": 6,
        "mutate": 3,
        "mark_sites": 1,
        "mutate_bases": 1,
        "keep_bases": 2,
    }
    assert kept.rows[0]["what"] == "copy within the card"
    assert all(row["rate"] > 0 for row in kept.rows)
    assert len(kept.rows) == 5
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
    kept = limits(bench, small)
    bench.gpu_tensorrt.fidelity(GPU, kept)
    assert kept.rows[0]["fidelity"]["score_rmse"] > kept.rows[1]["fidelity"]["score_rmse"]
    kept = limits(bench, small)
    bench.gpu_tensorrt.first(GPU, kept)
    assert [row["what"].split(":")[0] for row in kept.rows] == ["built", "opened again"]
    assert len(world.builds) > 0
    kept = limits(bench, small)
    bench.gpu_tensorrt.ensemble(GPU, kept)
    assert [row["what"] for row in kept.rows] == [
        "1 members, both strands",
        "3 members (2 distinct, loaded repeatedly), both strands",
    ]
    monkeypatch.setattr(bench.gpu_tensorrt, "product_rate", lambda gpu, limits: 1e12)
    monkeypatch.setattr(bench.gpu_tensorrt, "BATCHES", (192,))
    kept = limits(bench, small)
    best = bench.gpu_tensorrt.engines(GPU, kept, batch=64)["best"]
    assert len({row["what"] for row in kept.rows}) == len(kept.rows) == 1 + 2 + 4 + 2 + 1
    assert best["batch"] == [192], "as many strands as possible in a time that is always the same"
    assert [row["what"] for row in kept.rows if "ratio" not in row and "product" not in row["what"]] == [
        next(row["what"] for row in kept.rows if "cannot be repacked to 32" in row["what"])
    ]
    world.fail = "build"
    late = limits(bench, small, seconds=-1)
    bench.gpu_tensorrt.engines(GPU, late, batch=256)
    assert len(late.rows) == 1
    assert len(late.not_reached) > 5
    kept = limits(bench, small)
    bench.gpu_tensorrt.engines(GPU, kept, batch=256)
    assert "Could not find any implementation" in kept.rows[1]["what"]


def test_end_to_end_part(bench: Any, world: World, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    kept = limits(bench, small, windows=200)
    bench.gpu_tensorrt.end_to_end(GPU, kept)
    assert [row["what"] for row in kept.rows] == [
        "engine alone",
        "Parquet to Parquet",
        "the same with loading",
    ]


def test_product(bench: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(bench.gpu_tensorrt, "PRODUCTS", ((64, 64, 64), (128, 64, 64)))
    monkeypatch.setattr(bench.gpu_tensorrt, "seconds_each", lambda job, finish: 0.5)
    assert bench.gpu_tensorrt.product_rate(GPU, limits(bench)) == 2 * 128 * 64 * 64 / 0.5
    assert not world.card.held


def test_torch_as_it_is(bench: Any, small: Path, on_cpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    tf32, asked = list[bool](), list[dict[str, object]]()
    monkeypatch.setattr(torch, "compile", lambda network, **how: (asked.append(how), network)[1])
    monkeypatch.setattr(
        bench.gpu_torch,
        "seconds_each",
        lambda job, finish: (job(), tf32.append(torch.backends.cudnn.allow_tf32), 0.5)[2],
    )
    kept = limits(bench, small)
    bench.gpu_torch.plain(GPU, kept, (32,))
    assert [row["what"] for row in kept.rows] == [
        "torch fp32 eager, batch 32",
        "torch fp32 compile, batch 32",
    ]
    assert tf32 == [False, False], "cuDNN's default is TF32, which is not FP32"
    assert asked == [{"dynamic": False}], "each batch has code of its own"


def test_torch_engine_parts(bench: Any, small: Path, on_cpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against FP32 scores that came along; every form once, those that are not to be had with their reason."""
    kept = limits(bench, small)
    kept.reference = str(small.parent / "reference.npz")
    members = bench.gpu_engine.members_of(kept)
    bench.gpu_reference.write(Path(kept.reference), members, 40)
    held = bench.gpu_reference.Reference(kept.reference)
    for member in members:
        assert (held.scores(member, both=True) != held.scores(member, both=False)).any()
        assert held.batch(member).n_windows == 80 == len(held.scores(member, both=True))
    bench.gpu_torch.right(GPU, kept)
    assert len(kept.rows) == 8
    assert all(row["fidelity"]["effect_spearman"] > 0.995 for row in kept.rows)
    assert kept.rows[0]["fidelity"]["score_max_error"] < 1e-4 < kept.rows[-1]["fidelity"]["score_max_error"]
    monkeypatch.setattr(bench.gpu_torch, "BATCHES", (64, 128))
    kept.rows.clear()
    monkeypatch.setitem(bench.gpu_engine.load_recipe("fp16").settings["torch"], "compile", False)
    best = bench.gpu_torch.rates(GPU, kept)["best"]
    assert best["batch"] == [128]
    assert len({row["what"] for row in kept.rows}) == len(kept.rows)
    kept.rows.clear()
    bench.gpu_torch.many(GPU, kept)
    assert [row["batch"] for row in kept.rows] == [64, 64]
    stranger = toy_checkpoint(9, yeast_contract(**{**short(), "insert_min": 20}), **SMALL)
    stranger.save(small.parent / "stranger.safetensors")
    with pytest.raises(SystemExit, match="no scores of stranger"):
        bench.gpu_torch.rates(
            GPU,
            bench.gpu_store.Limits(
                time.monotonic() + 60, str(small.parent / "stranger.safetensors"), 10, kept.reference
            ),
        )


def test_members_run_by_torch_on_the_streams_of_a_card(
    bench: Any,
    world: World,  # noqa: F811
    small: Path,
    on_cpu: Any,
) -> None:
    kept = limits(bench, small)
    bench.gpu_streams.streams(GPU, kept)
    assert [row["what"].split(":")[0] for row in kept.rows] == [
        "2 members, forward", "2 members, forward, 6 batches in flight",
        "2 members, both strands", "2 members, both strands, 6 batches in flight",
    ]  # fmt: skip


def test_a_card_that_fails_gives_no_score(bench: Any, world: World, small: Path, on_cpu: Any) -> None:  # noqa: F811
    card, kept = world.card, limits(bench, small)

    def wild(stream: Any) -> None:
        card.fail_at = card.done_work + 1

    bench.gpu_streams.break_down(card, on_cpu, kept, wild)
    assert any("illegal memory access" in text for text in kept.rows[0]["errors"])


def test_a_failure_that_gives_scores_is_noticed(bench: Any, world: World, small: Path, on_cpu: Any) -> None:  # noqa: F811
    with pytest.raises(SystemExit, match="a batch of a card that failed gave"):
        bench.gpu_streams.break_down(world.card, on_cpu, limits(bench, small), lambda stream: None)


@pytest.fixture
def lent(bench: Any, small: Path, on_cpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lent machine: steps run here instead of in processes of their own; a bundle that is only unpacked."""
    monkeypatch.setattr(bench.gpu, "find_gpus", lambda: ([GPU], ""))
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setattr(bench.gpu_tensorrt, "product_rate", lambda gpu, limits: 1e12)
    monkeypatch.setattr(bench.gpu_torch, "BATCHES", (64,))
    monkeypatch.setattr(bench.gpu_torch, "GROUPS", ("repack16",))
    monkeypatch.setattr(bench.gpu_tensorrt, "BATCHES", ())
    monkeypatch.setattr(bench.gpu_tensorrt, "GROUPS", ("depthwise",))
    asked: list[list[str]] = []

    def run(command: list[str], timeout: float, env: Any, check: bool) -> Any:
        asked.append(command)
        if "--part fault" in " ".join(command):  # the test's card cannot be asked for a faulting kernel
            return subprocess.CompletedProcess(command, 0)
        return subprocess.CompletedProcess(command, bench.gpu.main(command[2:]))

    places = bench.gpu_calls.Places(tmp_path / "out", tmp_path / "store", tmp_path / "carried")

    def call(number: int, run: Any = run) -> int:
        return int(
            bench.gpu_calls.run_call(number, GPU, places, ["--model", str(small), "--windows", "300"], run)
        )

    return type(
        "Lent", (), {"places": places, "asked": asked, "call": staticmethod(call), "run": staticmethod(run)}
    )


def pieces(folder: Path, n: int) -> None:
    """A small bundle in pieces."""
    root = folder / "made/legscore-gpu"
    (root / "python/bin").mkdir(parents=True)
    (root / "python/bin/python3.10").symlink_to(sys.executable)
    (root / "site").mkdir()
    pack = f"tar -C made -cf - legscore-gpu | zstd -q > whole && split -n {n} -d -a 3 whole piece."
    subprocess.run(pack, shell=True, cwd=folder, check=True)
    subprocess.run("sha256sum piece.* > SHA256SUMS", shell=True, cwd=folder, check=True)


def parts(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return dict(json.loads(path.read_text())["parts"])


def test_four_calls(bench: Any, lent: Any, tmp_path: Path) -> None:
    """Each call brings a piece, keeps what it found after every step, and the last one unpacks the bundle."""
    if shutil.which("zstd") is None:
        pytest.skip("needs zstd to make a bundle")
    source, carried = tmp_path / "bundle", lent.places.carried
    source.mkdir()
    carried.mkdir()
    pieces(source, 4)
    for number in range(1, 5):
        shutil.copy(source / "SHA256SUMS", carried)
        shutil.move(source / f"piece.{number - 1:03}", carried)
        assert lent.call(number) == 0
        assert not list(carried.glob("piece.*")), "pieces are moved out of the checkout"
        found = parts(lent.places.results)
        assert set(found) >= {step.part for step in bench.gpu_calls.CALLS[number] if step.part != "fault"}
        assert all(entry["rows"] and not entry.get("failed") for entry in found.values())
    assert [command[0] for command in lent.asked][-1] == str(
        lent.places.store / "legscore-gpu/python/bin/python3.10"
    )
    environment = bench.gpu_bundle.environment(lent.places.store / "legscore-gpu")
    assert environment["CUDA_MODULE_LOADING"] == "LAZY"
    assert environment["LD_LIBRARY_PATH"].startswith(str(lent.places.store / "legscore-gpu/stubs"))


def test_the_seconds_and_sizes_of_the_calls_are_those_that_the_readme_tells(bench: Any) -> None:
    """Seconds of each step, call and all calls; the checkout fits the 64 MiB of a call beside a piece."""
    text, calls = (REPOSITORY / "bench/README.md").read_text(), bench.gpu_calls
    rows = dict(re.findall(r"^\| ([1-4]) \| (.+) \|$", text, re.MULTILINE))
    spare, totals = calls.LEFT_OPEN_S, {}
    for number, steps in calls.CALLS.items():
        told, total = rows[str(number)].rsplit(" | ", 1)
        seconds = [*map(int, re.findall(r"(?<!about )\b(\d+)\)", told))]
        left_open = [spare[number]] if spare.get(number) else []
        assert sorted(seconds) == sorted([*(step.seconds for step in steps), *left_open]), number
        totals[number] = sum(seconds) + (10 if "unpacking (about 10)" in told else 0)
        assert int(total) == totals[number]
    most, least = sum(totals.values()), sum(totals.values()) - sum(spare.values())
    assert f"That is {most} seconds if every step takes all of its time" in text
    assert f"{least:.0f} if nothing was" in text
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    left_out = re.escape(
        "`rm examples/models_1/*.safetensors examples/student/*.safetensors` before the calls"
    )
    assert re.search(left_out, text)
    names = [name for name in listed.stdout.split("\0") if name]
    removed = r"examples/(models_1|student)/.*\.safetensors"
    files = [REPOSITORY / name for name in names if not re.fullmatch(removed, name)]
    assert sum(path.stat().st_size for path in files if path.is_file()) < (64 - 38 - 2) << 20


@pytest.mark.long
def test_what_a_call_leaves_open_the_next_one_does(bench: Any, lent: Any) -> None:
    """A step that hangs, and one that ends badly, cost themselves alone; their rows are kept."""
    hung = {"torch-rates", "kernels"}

    def run(command: list[str], timeout: float, env: Any, check: bool) -> Any:
        part = command[command.index("--part") + 1]
        if part in hung:
            hung.remove(part)
            if part == "kernels":
                return subprocess.CompletedProcess(command, 134)
            lent.run(command, timeout, env, check)  # its rows are there, and then it does not end
            raise subprocess.TimeoutExpired(command, timeout)
        return lent.run(command, timeout, env, check)

    assert lent.call(1, run) == 2
    found = parts(lent.places.results)
    assert found["kernels"] == {"rows": [], "failed": "exit code 134"}
    assert found["torch-rates"]["rows"]
    assert found["torch-rates"]["failed"] == "ended after 75 s"
    assert "failed" not in found["torch-right"]
    assert lent.call(2) == 0
    found = parts(lent.places.results)
    assert not any(entry.get("failed") for entry in found.values())
    assert found["kernels"]["rows"]
    assert lent.call(4) == 3, "without its pieces the bundle's steps fail, one by one"
    assert "lacks" in parts(lent.places.results)["tensorrt-first"]["failed"]


def test_a_damaged_piece_is_refused(bench: Any, tmp_path: Path) -> None:
    carried, store = tmp_path / "carried", tmp_path / "store"
    carried.mkdir()
    (carried / "piece.000").write_bytes(b"whole")
    (carried / "SHA256SUMS").write_text(f"{hashlib.sha256(b'other').hexdigest()}  piece.000\n")
    with pytest.raises(SystemExit, match="piece.000 is damaged"):
        bench.gpu_bundle.take_pieces(carried, store)
    with pytest.raises(SystemExit, match="the bundle lacks SHA256SUMS"):
        bench.gpu_bundle.unpack(tmp_path / "nothing")


def test_parts_for_a_card_import_nothing_that_is_not_there(tmp_path: Path) -> None:
    """pyarrow, OpenVINO, polars, pysam, onnx and platformdirs are not on a machine that was sent a checkout."""
    pytest.importorskip("torch", reason="the engine needs PyTorch")
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'openvino', 'polars', 'pysam', 'onnx', 'platformdirs', 'mmh3', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import gpu, gpu_torch\n"
        "from legscore.cuda.libcuda import Gpu\n"
        "gpu_torch.place_of = lambda gpu: gpu_torch.Place('cpu', lambda: None)\n"
        "gpu.find_gpus = lambda: ([Gpu(0, 'NVIDIA H200', '9.0', 132, 1 << 30)], '')\n"
        "sys.exit(gpu.main(sys.argv[1:]))\n"
    )
    model = tmp_path / "m.safetensors"
    member = toy_checkpoint(1, yeast_contract(**{**short(), "insert_min": 20}), **SMALL)
    member.save(model)
    reference = tmp_path / "reference.npz"
    write = [
        sys.executable,
        "bench/gpu_reference.py",
        "-o",
        str(reference),
        "--model",
        str(model),
        "--windows",
        "20",
    ]
    subprocess.run(write, cwd=REPOSITORY, check=True, capture_output=True)
    ran = subprocess.run(
        [sys.executable, "-c", code, "--part", "torch-right", "--model", str(model), "--reference", str(reference),
         "--results", str(tmp_path / "r")],
        cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:bench"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert len(parts(tmp_path / "r")["torch-right"]["rows"]) == 8


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

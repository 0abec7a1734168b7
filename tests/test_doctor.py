"""legscore doctor and legscore compile where TensorRT is not: what is said, what to install, exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from legscore.cuda.libcuda import Gpu
from legscore.engine import choose, doctor, machine
from legscore.engine.machine import missing_for_tensorrt

GPU = Gpu(0, "NVIDIA H200", "9.0", 132, 150_000_000_000)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without driver, packages, nvcc or compiled kernels, whatever this one has."""
    monkeypatch.setattr(machine, "find_gpus", lambda: ([], "no NVIDIA driver (libcuda.so.1 is not here)"))
    monkeypatch.setattr(doctor, "find_gpus", lambda: ([], "no NVIDIA driver (libcuda.so.1 is not here)"))
    for module in (machine, choose, doctor):
        monkeypatch.setattr(module, "nvidia_driver", lambda: False)
    monkeypatch.setattr(machine, "_installed", lambda package: False)
    for module in (machine, doctor):
        monkeypatch.setattr(module, "find_nvcc", lambda: None)
        monkeypatch.setattr(module, "kernels_installed", lambda: False)


@pytest.mark.usefixtures("bare")
def test_everything_missing_is_named_once_with_its_way_out(toy_model: Path, cli: Any) -> None:
    assert missing_for_tensorrt() == [
        "no NVIDIA driver (libcuda.so.1 is not here)",
        "TensorRT and PyCUDA are not installed: pip install 'legscore[gpu]'",
        "the CUDA kernels are not compiled and nvcc is not here: install the CUDA toolkit (nvcc), "
        "or install legscore with nvcc on the PATH",
    ]
    for arguments in (
        ("compile", toy_model),
        ("run", toy_model, "-o", "-", "--engine", "tensorrt", "-m", toy_model),
    ):
        ran = cli(*arguments)
        assert ran.code == 2
    ran = cli("compile", toy_model)
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("legscore: engine tensorrt cannot be used here: no NVIDIA driver")
    assert "pip install 'legscore[gpu]'" in ran.err


@pytest.mark.usefixtures("bare")
def test_one_thing_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr(machine, "kernels_installed", lambda: True)
    monkeypatch.setattr(machine, "_installed", lambda package: package == "tensorrt")
    assert missing_for_tensorrt() == ["PyCUDA is not installed: pip install 'legscore[gpu]'"]
    monkeypatch.setattr(machine, "_installed", lambda package: True)
    monkeypatch.setattr(
        machine,
        "import_complaint",
        lambda module: "ImportError: libnvinfer.so.11: cannot open" if module == "tensorrt" else "",
    )
    assert missing_for_tensorrt() == [
        "TensorRT is installed but does not load (ImportError: libnvinfer.so.11: cannot open): "
        "pip install --force-reinstall 'legscore[gpu]'"
    ]
    monkeypatch.setattr(machine, "import_complaint", lambda module: "")
    monkeypatch.setattr(machine, "builder_complaint", lambda gpu: "")
    assert missing_for_tensorrt() == []


def test_a_module_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_binding.py").write_text(
        "raise OSError('libnvinfer.so.11:\\n  cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        machine.import_complaint("broken_binding")
        == "OSError: libnvinfer.so.11: cannot open shared object file"
    )
    assert machine.import_complaint("nowhere_binding").startswith("ModuleNotFoundError")
    assert machine.import_complaint("json") == ""


def test_doctor_finds_packages_installed_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install tensorrt_cu12` and the system's packages give the module tensorrt without a distribution
    of that name."""
    (tmp_path / "other_binding.py").write_text("__version__ = '8.6.0'")
    (tmp_path / "other_broken.py").write_text("raise OSError('libnvinfer.so.8: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._package("other_binding", "other_binding") == "8.6.0"
    assert doctor._package("other_broken", "other_broken") == (
        "installed, but it does not load (OSError: libnvinfer.so.8: cannot open)"
    )
    assert doctor._package("nowhere_binding", "nowhere_binding") == "not installed"
    sys.modules.pop("other_binding")


@pytest.mark.usefixtures("bare")
def test_doctor_on_a_bare_machine(cli: Any) -> None:
    ran = cli("doctor")
    assert ran.code == 0
    assert "scores with: engine openvino (no NVIDIA driver)" in ran.out
    assert "NVIDIA driver: none" in ran.out
    assert "nvcc:          none" in ran.out
    assert "for more:    an NVIDIA GPU with its driver, then pip install 'legscore[gpu]'" in ran.out
    report = json.loads(cli("doctor", "--json").out)
    assert report["engine"] == "openvino"
    assert report["precision"] in ("bf16", "fp32")
    assert {"CPU", "OpenVINO", "TensorRT", "TensorRT-RTX", "PyCUDA", "nvcc", "CUDA kernels"} <= set(
        report["has"]
    )


@pytest.mark.usefixtures("bare")
def test_doctor_where_only_packages_are_missing(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the machine described here has PyTorch, without its GPU")
    for module in (machine, doctor):
        monkeypatch.setattr(module, "find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr("legscore.engine.torch_devices.best_device", lambda: "cpu")
    ran = cli("doctor")
    assert "GPU 0:         NVIDIA H200, compute capability 9.0, 132 multiprocessors, 150 GB" in ran.out
    assert (
        "scores with: engine openvino (an NVIDIA driver is there, but TensorRT cannot be used: TensorRT and PyCUDA"
        in ran.out
    )
    assert "for more:    TensorRT and PyCUDA are not installed: pip install 'legscore[gpu]'" in ran.out
    assert "for more:    the CUDA kernels are not compiled and nvcc is not here" in ran.out
    monkeypatch.setattr("legscore.engine.torch_devices.best_device", lambda: "cuda")
    assert choose.choose_engine("auto")[0] == "torch"
    assert choose.choose_engine("auto")[1].startswith(
        "NVIDIA GPU; TensorRT cannot be used: TensorRT and PyCUDA are not installed"
    )
    for module in (machine, choose):
        monkeypatch.setattr(module, "missing_for_tensorrt", list)
    monkeypatch.setattr(doctor, "missing_for_tensorrt", list)
    ran = cli("doctor")
    assert "scores with: engine tensorrt (NVIDIA GPU)" in ran.out
    assert "precision:   fp16 (the recipe for GPUs)" in ran.out
    assert "for more" not in ran.out

"""What `auto` takes on machines that are not here, and how it explains it; --device on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("onnxruntime", reason="the stand-in for TensorRT needs legscore[bench]")

import fake_tensorrt
from fake_tensorrt import World
from host_card import HostCard

from legscore.cuda.libcuda import Gpu
from legscore.engine import choose, machine
from legscore.engine.choose import Request, choose_engine, choose_recipe
from legscore.engine.fit import choose_devices
from legscore.engine.trt.installed import RTX
from legscore.errors import EngineError

H200 = Gpu(0, "NVIDIA H200", "9.0", 132, 150_000_000_000)
RTX_4090 = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 128, 24_000_000_000)
T4 = Gpu(0, "Tesla T4", "7.5", 40, 16_000_000_000)
V100 = Gpu(0, "Tesla V100-SXM2-16GB", "7.0", 80, 16_000_000_000)


@dataclass(frozen=True)
class Machine:
    gpus: tuple[Gpu, ...] = (H200,)
    driver: bool = True
    packages: tuple[str, ...] = ("tensorrt", "pycuda", "torch")
    torch_sees: str = "cuda"
    builder: bool = True
    loads: bool = True
    engine: str = "tensorrt"
    precision: str = "fp16"
    reason: str = "NVIDIA GPU"


NOT_BUILT = (
    "TensorRT 11.4.0.106 cannot use this GPU and driver: CUDA initialization failure with error: 35 (compute "
    "capability {}, driver 470): install a newer driver, or the TensorRT that this GPU and driver are for"
)
MACHINES = {
    "everything": Machine(),
    "two cards": Machine(gpus=(H200, replace(H200, number=1))),
    "none": Machine((), False, ("torch",), "cpu", engine="openvino", precision="", reason="no NVIDIA driver"),
    "a driver, PyTorch and no TensorRT": Machine(
        packages=("torch",),
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: TensorRT and PyCUDA are not installed: pip install 'legscore[gpu]'",
    ),
    "a driver and no package": Machine(
        packages=(),
        engine="openvino",
        precision="",
        reason="an NVIDIA driver is there, but TensorRT cannot be used: TensorRT and PyCUDA are not installed: pip "
        "install 'legscore[gpu]'; and PyTorch, which would use it, is not installed",
    ),
    "PyTorch without CUDA": Machine(
        packages=("torch",),
        torch_sees="cpu",
        engine="openvino",
        precision="",
        reason="an NVIDIA driver is there, but TensorRT cannot be used: TensorRT and PyCUDA are not installed: pip "
        "install 'legscore[gpu]'; and the installed PyTorch cannot use it",
    ),
    "TensorRT without PyCUDA": Machine(
        packages=("tensorrt", "torch"),
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: PyCUDA is not installed: pip install 'legscore[gpu]'",
    ),
    "an old driver": Machine(
        builder=False,
        engine="torch",
        reason=f"NVIDIA GPU; TensorRT cannot be used: {NOT_BUILT.format('9.0')}",
    ),
    "an old card": Machine(
        gpus=(V100,),
        builder=False,
        engine="torch",
        reason=f"NVIDIA GPU; TensorRT cannot be used: {NOT_BUILT.format('7.0')}",
    ),
    "TensorRT-RTX": Machine(gpus=(RTX_4090,), packages=(RTX, "pycuda", "torch")),
    "TensorRT beside TensorRT-RTX, on a card that only the first is for": Machine(
        packages=("tensorrt", RTX, "pycuda", "torch")
    ),
    "TensorRT-RTX without PyCUDA": Machine(
        gpus=(RTX_4090,),
        packages=(RTX, "torch"),
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: PyCUDA is not installed: pip install 'legscore[gpu-rtx]'",
    ),
    "TensorRT-RTX on a card that it is not for": Machine(
        packages=(RTX, "pycuda", "torch"),
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: TensorRT-RTX 1.7.1.116 builds such networks for compute "
        "capability 8.0, 8.6, 8.9, 12.0, 12.1 (compute capability 9.0, driver 470): install a newer driver, or the TensorRT that this GPU "
        "and driver are for",
    ),
    "TensorRT-RTX on a card without FP32 products": Machine(
        gpus=(T4,),
        packages=(RTX, "pycuda", "torch"),
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: TensorRT-RTX 1.7.1.116 builds such networks for compute "
        "capability 8.0, 8.6, 8.9, 12.0, 12.1 (compute capability 7.5, driver 470): install a newer driver, or the "
        "TensorRT that this GPU and driver are for",
    ),
    "TensorRT-RTX and an old driver": Machine(
        gpus=(RTX_4090,),
        packages=(RTX, "pycuda", "torch"),
        loads=False,
        engine="torch",
        reason="NVIDIA GPU; TensorRT cannot be used: TensorRT-RTX 1.7.1.116 cannot use this GPU and driver: CUDA driver "
        "version is insufficient (compute capability 8.9, driver 470): install a newer driver, or the TensorRT that "
        "this GPU and driver are for",
    ),
    "a driver that offers no card": Machine(
        gpus=(),
        torch_sees="cpu",
        engine="openvino",
        precision="",
        reason="an NVIDIA driver is there, but TensorRT cannot be used: the NVIDIA driver offers no GPU; and the "
        "installed PyTorch cannot use it",
    ),
}


@pytest.fixture
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    pytest.importorskip("torch", reason="engine torch needs legscore[train]")
    found: Machine = MACHINES[request.param]
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path))
    is_rtx = RTX in found.packages and "tensorrt" not in found.packages
    version = "RTX 1.7.1.116" if is_rtx else "11.4.0.106"
    world = World(version, HostCard(None))  # type: ignore[arg-type]
    fake_tensorrt.install(world, monkeypatch)
    world.fail = "" if found.builder and found.loads else "load" if found.builder else "no driver"
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    gpus = list(found.gpus), "" if found.gpus else "the NVIDIA driver offers no GPU"
    monkeypatch.setattr(machine, "find_gpus", lambda: gpus)
    monkeypatch.setattr(machine, "driver_branch", lambda: "470")
    monkeypatch.setattr(machine, "kernels_installed", lambda: True)
    monkeypatch.setattr(machine, "_installed", lambda package: package in found.packages)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: found.driver)
    find = choose.importlib.util.find_spec
    monkeypatch.setattr(
        choose.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "torch" and "torch" not in found.packages else find(name, *rest),
    )
    monkeypatch.setattr("legscore.engine.torch_devices.best_device", lambda: found.torch_sees)
    monkeypatch.setattr(sys, "platform", "linux")
    return found


@pytest.mark.parametrize("made", MACHINES, indirect=True)
def test_auto_takes_what_the_machine_has_and_says_why(made: Machine) -> None:
    engine, reason = choose_engine("auto")
    assert (engine, reason) == (made.engine, made.reason)
    recipe, why = choose_recipe(Request(), engine, reason)
    if made.precision:
        assert (recipe.precision, why) == (made.precision, "the recipe for GPUs")
    if engine == "tensorrt":
        assert choose_engine("tensorrt") == ("tensorrt", "asked for")
    else:
        with pytest.raises(EngineError, match="engine tensorrt cannot be used here"):
            choose_engine("tensorrt")


@pytest.mark.parametrize("made", ["everything"], indirect=True)
def test_a_builder_that_was_made_once_is_not_made_again(
    made: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds; another driver is looked at again."""
    from legscore.engine.trt import common

    counted: list[int] = []
    make = common.make_builder
    monkeypatch.setattr(common, "make_builder", lambda: counted.append(1) or make())
    for _ in range(3):
        assert choose_engine("auto")[0] == "tensorrt"
    assert len(counted) == 1
    monkeypatch.setattr(machine, "driver_branch", lambda: "580")
    assert choose_engine("auto")[0] == "tensorrt"
    assert len(counted) == 2


@pytest.mark.parametrize("made", ["two cards", "a driver, PyTorch and no TensorRT", "none"], indirect=True)
def test_devices_go_to_engines_that_use_them(made: Machine) -> None:
    engine, reason = choose_engine("auto")
    if engine == "openvino":
        with pytest.raises(
            EngineError, match=r"--device all: engine openvino \(no NVIDIA driver\) uses no NVIDIA GPU"
        ):
            choose.check_device(engine, reason, "all")
        return
    choose.check_device(engine, reason, "0,1")
    names = [gpu.name for gpu in made.gpus]
    assert choose_devices("all", names) == list(range(len(names)))
    if len(names) == 1:
        with pytest.raises(EngineError, match=r"there is no GPU 1; here are 0 \(NVIDIA H200\)"):
            choose_devices("0,1", names)

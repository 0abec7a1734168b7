"""A fault at every CUDA call of a run, of a design and of compiling: the command line, TensorRT's stand-in, the
real PyCUDA card on PyCUDA's stand-in, CUDA graphs on a stand-in for the driver's library.

Each fault ends in one line, without output, with the parts kept, and leaves no context behind. The first, the
middle and the last call of each kind are tried with all that follow failing too, the middle one alone as
well; LEGSCORE_LONG=1 tries every call (.ci/full).
"""

# ruff: noqa: F811 (fixtures of another file)
from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import LONG, Ran, toy_checkpoint, yeast_contract

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

import fake_pycuda
from fake_pycuda import Fake
from fake_tensorrt import World
from host_kernels import KERNEL, HostKernels
from test_card_engine import SMALL, short
from test_generator import toy_generator
from test_tensorrt_engine import GPU, kernels, with_batch, world  # noqa: F401

from legscore.cuda.image import RejectedError
from legscore.dna.codes import encode_text
from legscore.dna.contract import Output
from legscore.engine import choose
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.generate import open_denoiser, openvino_denoiser
from legscore.generate.openvino_denoiser import OpenVINODenoiser
from legscore.model.checkpoint import load_checkpoint
from legscore.model.forward import Forward
from legscore.model.student import sd_networks
from legscore.system import resources

OTHERS = ("legscore: CUDA kernels: the driver rejects", "legscore: TensorRT ")
"""What begins a line where the card's name is not known."""


@pytest.fixture
def fake(
    world: World, kernels: HostKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fake]:
    made, package = Fake(kernels), ModuleType("pycuda")
    made.module.mem_get_info = lambda: (1 << 40, 1 << 41)  # type: ignore[attr-defined]
    package.driver = made.module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", made.module)
    monkeypatch.delitem(sys.modules, "legscore.cuda.driver")
    import legscore.cuda.driver as driver
    import legscore.engine.tensorrt_engine as tensorrt_engine

    images = {
        path.stem: " ".join(KERNEL.findall(path.read_text())).encode()
        for path in resources.folder("kernels").glob("*.cu")
    }

    def load(accept: Any, architecture: str, say: Any) -> str:
        """What `image.load_images` does where the kernels are shipped and nvcc is not here."""
        try:
            accept(images)
        except RejectedError as error:
            raise EngineError(f"CUDA kernels: the driver rejects the installed kernels ({error})") from None
        return "shipped"

    library = fake_pycuda.Library(made)
    stream = fake_pycuda.Stream(library)
    monkeypatch.setattr(driver, "load_images", load)
    monkeypatch.setattr(tensorrt_engine, "Libcuda", lambda: library)
    monkeypatch.setattr(world, "stream", lambda handle: stream)
    monkeypatch.setattr(world, "refuses", made.refuses)
    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: ([GPU], ""))
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 64)
    yield made
    sys.modules.pop("legscore.cuda.driver", None)


def tiny_recipe(folder: Path) -> Path:
    """fp16 with passes of 64 rows alone."""
    path = folder / "tiny.toml"
    path.write_text(with_batch(64))
    return path


def chosen(calls: list[str], lasting: bool) -> list[int]:
    """Numbers of the calls to try: all, or of each kind the first, middle and last, or the middle alone."""
    if LONG:
        return [*range(len(calls))]
    of = {kind: [i for i, call in enumerate(calls) if call == kind] for kind in dict.fromkeys(calls)}
    places = (0.0, 0.5, 1.0) if lasting else (0.5,)
    return sorted({found[round(place * (len(found) - 1))] for found in of.values() for place in places})


def ended_in_one_line(ran: Ran, where: tuple[int, str, str]) -> None:
    *before, last = ran.err.splitlines()
    assert ran.code == 2, where
    assert last.startswith(("legscore: GPU 0 (NVIDIA H200): ", *OTHERS)), where
    assert "illegal memory access" in last, where
    assert not any(line.startswith(("legscore: ", "Traceback")) for line in before), where


def walk(
    fake: Fake, run: Callable[..., Ran], out: Path, lasting: bool, *, keeps_parts: bool
) -> tuple[list[str], int]:
    """Run with a fault at each of the chosen calls, and again without where parts are kept; the calls of a
    run without a fault, and how many runs were resumed from kept parts."""
    ran = run()
    assert ran.code == 0, ran.err
    expected = out.read_bytes()
    fake.calls.clear()
    assert run("--force").code == 0
    calls, resumed = list(fake.calls), 0
    fake.lasting = lasting
    for number in chosen(calls, lasting):
        for path in (out, Path(f"{out}.run.json")):
            path.unlink(missing_ok=True)
        fake.calls.clear()
        fake.fail_at = number
        ran = run()
        fake.fail_at = -1
        where = (number, calls[number], ran.err)
        assert not any(fake.stacks.values()), f"a context was left behind: {where}"
        if ran.code == 0:  # what is only given back cannot spoil a file; a graph may go unused
            assert out.read_bytes() == expected, where
            continue
        ended_in_one_line(ran, where)
        assert not out.exists(), where
        fake.allocations.clear()
        if not (keeps_parts or LONG):
            continue
        ran = run()
        assert ran.code == 0, (where, ran.err)
        assert out.read_bytes() == expected, where
        resumed += "resum" in ran.err
    return calls, resumed


LASTING = pytest.mark.parametrize("lasting", [True, False], ids=["and all that follow", "alone"])


@LASTING
def test_a_fault_at_any_call_of_a_run_ends_in_one_line(
    fake: Fake, tmp_path: Path, cli: Any, lasting: bool
) -> None:
    for seed in range(2):
        toy_checkpoint(seed, yeast_contract(**short()), **SMALL).save(tmp_path / f"m{seed}.safetensors")
    rng, out = np.random.default_rng(0), tmp_path / "out.csv"
    rows = ["".join("ACGT"[i] for i in rng.integers(0, 4, 24)) for _ in range(9 if lasting else 24)]
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    asked = [
        *("run", tmp_path / "in.csv", "-m", tmp_path, "-o", out, "--sequence-is", "window"),
        *("--recipe", tiny_recipe(tmp_path), "--part-rows", "3"),
    ]
    calls, resumed = walk(fake, lambda *more: cli(*asked, *more), out, lasting, keeps_parts=True)
    assert set(calls) == {
        *("cuCtxPushCurrent", "cuCtxPopCurrent", "cuCtxSynchronize", "cuModuleLoadDataEx", "cuLaunchKernel"),
        *("cuMemAlloc", "cuMemFree", "cuMemAllocHost", "cuMemFreeHost", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"),
        *("cuStreamCreate", "cuStreamWaitEvent", "cuEventCreate", "cuEventRecord", "cuEventSynchronize"),
        *("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy"),
        *("cuGraphLaunch", "cuGraphExecDestroy"),
        *("deserializeCudaEngine", "createExecutionContext", "enqueueV3"),
    }  # fmt: skip
    # at most two parts on the card: of what every part needs, the last call of three parts and the middle one
    # of eight come after kept parts
    assert resumed >= 9, "parts that were scored before a fault are kept"


@LASTING
def test_a_fault_at_any_call_of_a_design_ends_in_one_line(
    fake: Fake, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    generator, predictor, out = tmp_path / "g.safetensors", tmp_path / "p.safetensors", tmp_path / "out.csv"
    toy_generator(5).save(generator)
    toy_checkpoint(1, yeast_contract(output=Output("bins", "bin", 0.0, 17.0, None)), **SMALL).save(predictor)
    # FP32 on the CPU, to compare with, is compiled once
    reference = OpenVINODenoiser(load_checkpoint(generator), load_recipe("fp32"))
    monkeypatch.setattr(reference, "close", lambda: None)
    monkeypatch.setattr(openvino_denoiser, "OpenVINODenoiser", lambda checkpoint, recipe: reference)
    monkeypatch.setattr(open_denoiser, "PROBES", 8)
    tiny = tiny_recipe(tmp_path)
    monkeypatch.setattr(choose, "load_recipe", lambda name: load_recipe(str(tiny)))
    asked = [
        *("design", "-g", generator, "-m", predictor, "--target", "6:10", "--n", "2", "--steps", "2"),
        *("--min-distance", "0", "-o", out),
    ]
    calls, _ = walk(fake, lambda *more: cli(*asked, *more), out, lasting, keeps_parts=False)
    assert calls.count("enqueueV3") == 6, "the generator's passes among them"


def test_a_student_tells_its_sd_on_a_card(fake: Fake, tmp_path: Path, cli: Any) -> None:
    """Both heads are compiled ahead, and sequences have what the second one says."""
    student, other = (toy_checkpoint(seed, yeast_contract(**short()), **SMALL) for seed in (0, 1))
    beside = {f"sd_{name}": array for name, array in other.arrays.items() if name.startswith("head.")}
    replace(student, arrays={**student.arrays, **beside}).save(tmp_path / "s.safetensors")
    rng, out = np.random.default_rng(0), tmp_path / "out.csv"
    rows = ["".join("ACGT"[i] for i in rng.integers(0, 4, 24)) for _ in range(9)]
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    given = ("--recipe", tiny_recipe(tmp_path))
    ran = cli("compile", tmp_path / "s.safetensors", *given)
    assert ran.code == 0, ran.err
    assert fake.calls.count("buildSerializedNetwork") == 2
    asked = ("run", tmp_path / "in.csv", "-m", tmp_path / "s.safetensors", "-o", out, *given)
    ran = cli(*asked, "--sequence-is", "window", "--verify", "1")
    assert ran.code == 0, ran.err
    assert fake.calls.count("buildSerializedNetwork") == 2
    (network,) = sd_networks([load_checkpoint(tmp_path / "s.safetensors")])
    codes = np.stack([encode_text(row) for row in rows])
    expected = Forward(network, both_strands=network.contract.rc_trained, is_singleton=False).score(codes)
    told = [float(line.split(",")[2]) for line in out.read_text().splitlines()[1:]]
    assert out.read_text().startswith("sequence,score,score_sd,")
    np.testing.assert_allclose(told, expected, atol=0.05)


@LASTING
def test_a_fault_at_any_call_of_compiling_ends_in_one_line(
    fake: Fake, tmp_path: Path, cli: Any, lasting: bool
) -> None:
    for seed in range(2):
        toy_checkpoint(seed, yeast_contract(**short()), **SMALL).save(tmp_path / f"m{seed}.safetensors")
    asked, plans = ("compile", tmp_path, "--recipe", tiny_recipe(tmp_path)), resources.cache_folder("plans")
    assert cli(*asked).code == 0
    calls = list(fake.calls)
    assert calls.count("buildSerializedNetwork") == 2
    fake.lasting = lasting
    for number in chosen(calls, lasting):
        shutil.rmtree(plans)
        fake.calls.clear()
        fake.fail_at = number
        ran = cli(*asked)
        fake.fail_at = -1
        where = (number, calls[number], ran.err)
        assert not any(fake.stacks.values()), f"a context was left behind: {where}"
        if ran.code:  # what is only given back cannot spoil a plan
            ended_in_one_line(ran, where)
        ran = cli(*asked)
        assert ran.code == 0, (where, ran.err)
        assert len([*plans.glob("*.plan")]) == 2, where

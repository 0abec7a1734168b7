"""Calls into the driver's library, against a stand-in compiled here: signatures, errors, captures that go
wrong."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from legscore.cuda import libcuda
from legscore.cuda.card import CardError
from legscore.cuda.libcuda import Gpu, Graph, Libcuda, driver_branch, find_gpus

SOURCE = Path(__file__).parent / "data" / "stub_cuda.c"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to make a stand-in for libcuda")
    library = tmp_path / "libcuda.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(SOURCE)], check=True)
    monkeypatch.setattr(libcuda, "LIBRARY", str(library))
    monkeypatch.setattr(libcuda, "PROC_VERSION", tmp_path / "version")
    return ctypes.CDLL(str(library))


def test_gpus_are_listed(stub: ctypes.CDLL) -> None:
    gpus, reason = find_gpus()
    assert reason == ""
    assert gpus == [
        Gpu(0, "NVIDIA H200", "9.0", 132, 150_000_000_000),
        Gpu(1, "Tesla T4", "7.5", 40, 16_000_000_000),
    ]
    assert [gpu.architecture for gpu in gpus] == ["sm_90", "sm_75"]


def test_no_gpu_and_no_driver_have_reasons(stub: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_STUB", "none")
    assert find_gpus() == (
        [],
        "the NVIDIA driver offers no GPU (cuInit: no CUDA-capable device is detected (CUDA error 100))",
    )
    monkeypatch.setattr(libcuda, "LIBRARY", "libnowhere.so.1")
    assert find_gpus() == ([], "no NVIDIA driver (libnowhere.so.1 is not here)")
    assert driver_branch() == "none"


def test_driver_branch(stub: ctypes.CDLL) -> None:
    assert driver_branch() == "cuda 13.1"
    libcuda.PROC_VERSION.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\nGCC version: gcc 13.3.0\n"
    )
    assert driver_branch() == "580"


def test_capture_launch_and_free(stub: ctypes.CDLL) -> None:
    enqueued = []
    graph = Graph(Libcuda(), 77, lambda: enqueued.append(stub.stub_state()))
    assert enqueued == [1000], "capturing while enqueue runs"
    graph.launch(88)
    graph.launch(88)
    assert stub.stub_state() == 12, "one launchable, two launches, no graph left"
    graph.close()
    graph.close()
    assert stub.stub_state() == 2


def test_a_failing_enqueue_ends_the_capture(stub: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CardError("execute_async_v3 was refused")

    with pytest.raises(CardError, match="was refused"):
        Graph(Libcuda(), 77, refuse)
    assert stub.stub_state() == 0
    monkeypatch.setenv("CUDA_STUB", "refuse")
    with pytest.raises(CardError, match="was refused"):
        Graph(Libcuda(), 77, refuse)
    with pytest.raises(
        CardError, match="cuStreamEndCapture: operation failed due to a previous error during capture"
    ):
        Graph(Libcuda(), 77, lambda: None)
    assert stub.stub_state() == 0
    with pytest.raises(CardError, match="cuStreamEndCapture: CUDA error 999"):
        Libcuda().handle("cuStreamEndCapture", 76, last=True)


def test_an_old_driver_is_named(stub: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(libcuda._SIGNATURES, "cuFuture", ())
    with pytest.raises(CardError, match="lacks cuFuture; install a newer one"):
        Libcuda().call("cuFuture")

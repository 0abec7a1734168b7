"""The PyCUDA card over a stand-in for PyCUDA: launches, copies, contexts of threads, freeing, errors."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY
from host_kernels import KERNEL, HostKernels, compiler

pytest.importorskip("onnxruntime", reason="the test's card needs legscore[bench]")

from fake_pycuda import Fake

from legscore.cuda.card import CardError
from legscore.cuda.image import RejectedError
from legscore.cuda.libcuda import Gpu
from legscore.system.resources import folder

GPU = Gpu(0, "NVIDIA H200", "9.0", 132, 150_000_000_000)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    if compiler() is None:
        pytest.skip("no C++ compiler here to run the kernels on the CPU")
    return HostKernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def fake(kernels: HostKernels, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(kernels)
    package = ModuleType("pycuda")
    package.driver = made.module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", made.module)
    monkeypatch.delitem(sys.modules, "legscore.cuda.driver", raising=False)
    return made


@pytest.fixture
def driver(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = importlib.import_module("legscore.cuda.driver")
    images = {
        path.stem: " ".join(KERNEL.findall(path.read_text())).encode()
        for path in folder("kernels").glob("*.cu")
    }

    def load(accept: Any, architecture: str, say: Any) -> str:
        assert architecture == "sm_90"
        with pytest.raises(RejectedError, match="kernel image is invalid"):
            accept({"one_hot": b"newer than the driver"})
        # a lazy driver says so at the kernel
        with pytest.raises(RejectedError, match="no kernel image is available"):
            accept({name: b"late " + image for name, image in images.items()})
        with pytest.raises(RejectedError, match="named symbol not found"):
            accept(dict.fromkeys(images, b"of older kernels"))
        accept(images)
        return "shipped"

    monkeypatch.setattr(module, "load_images", load)
    yield module
    sys.modules.pop("legscore.cuda.driver", None)


def test_kernels_launched_through_pycuda_equal_their_twins(
    driver: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    card = driver.PyCudaCard(GPU)
    with card.use():
        assert card.free_memory() == 7
        importlib.import_module("gpu_kernels").check(card, rounds=1)
        across = [card.allocate(64) for _ in range(2)]
        card.copy_across(across[0].address, across[1].address, 64, card.stream())
        for memory in across:
            assert memory.address % 256 == 0
            memory.free()
    card.close()
    assert fake.depth() == 0
    assert not fake.allocations
    for name in ("gpu_kernels", "gpu_store"):
        sys.modules.pop(name, None)


def test_every_thread_pushes_and_pops_for_itself(driver: Any, fake: Fake) -> None:
    card, seen = driver.PyCudaCard(GPU), []

    def work() -> None:
        with card.use():
            seen.append((fake.depth(), card.event() is not None))
        seen.append((fake.depth(), True))

    with card.use():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert fake.depth() == 1
    assert seen == [(1, True), (0, True)]
    with pytest.raises(ValueError, match="mine"), card.use():
        raise ValueError("mine")
    assert fake.depth() == 0
    assert driver.PyCudaCard(GPU)._context is card._context, "one primary context for each GPU"


@pytest.mark.parametrize(
    "call",
    [
        "cuMemAlloc",
        "cuMemAllocHost",
        "cuStreamCreate",
        "cuEventCreate",
        "cuEventRecord",
        "cuStreamWaitEvent",
        "cuEventSynchronize",
        "cuCtxSynchronize",
        "cuMemcpyHtoDAsync",
        "cuMemcpyDtoHAsync",
        "cuMemcpyDtoDAsync",
        "cuMemFree",
        "cuMemFreeHost",
        "cuLaunchKernel",
    ],
)
def test_every_failing_call_is_a_card_error(driver: Any, fake: Fake, call: str) -> None:
    from legscore.cuda import launches

    card = driver.PyCudaCard(GPU)
    with card.use():
        memory, pinned, stream, event = card.allocate(256), card.pinned(256), card.stream(), card.event()
        rows = launches.average_strands(
            memory.address, memory.address, members=1, batch=2, windows=1, both=True, columns=1, start=0
        )
        fake.fail = call
        jobs = {
            "cuMemAlloc": lambda: card.allocate(1), "cuMemAllocHost": lambda: card.pinned(1), "cuStreamCreate": card.stream,
            "cuEventCreate": card.event, "cuEventRecord": lambda: card.record(event, stream),
            "cuStreamWaitEvent": lambda: card.wait(stream, event), "cuEventSynchronize": lambda: card.synchronize(event),
            "cuCtxSynchronize": card.drain, "cuMemcpyHtoDAsync": lambda: card.copy_in(memory.address, pinned.array, stream),
            "cuMemcpyDtoHAsync": lambda: card.copy_out(pinned.array, memory.address, stream),
            "cuMemcpyDtoDAsync": lambda: card.copy_across(memory.address, memory.address, 1, stream),
            "cuMemFree": memory.free, "cuMemFreeHost": pinned.free, "cuLaunchKernel": lambda: card.launch(rows, stream),
        }  # fmt: skip
        with pytest.raises(
            CardError, match=rf"GPU 0 \(NVIDIA H200\): {call} failed: an illegal memory access.*run it again"
        ):
            jobs[call]()
        fake.fail = ""
    assert fake.depth() == 0


@pytest.mark.parametrize("others", [0, 1])
def test_a_context_that_cannot_be_popped_is_given_up(driver: Any, fake: Fake, others: int) -> None:
    """After a kernel that faulted the driver refuses even that: no thread keeps it on its stack, since PyCUDA
    would end the process with that thread."""
    card, threads = driver.PyCudaCard(GPU), []
    entered, faulted = threading.Event(), threading.Event()

    def work() -> None:
        with pytest.raises(CardError), card.use():
            entered.set()
            faulted.wait()

    for _ in range(others):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        entered.wait()
    with pytest.raises(CardError, match="cuEventCreate failed: an illegal memory access"), card.use():
        fake.fail_at = len(fake.calls)
        card.event()
    faulted.set()
    for thread in threads:
        thread.join()
    assert not any(fake.stacks.values()), "a thread ended with a context on its stack"
    with pytest.raises(CardError, match="was given up after an error"), card.use():
        pass
    fake.fail_at = -1
    with driver.PyCudaCard(GPU).use():
        assert fake.depth() == 1, "another engine gets a context that is alive"


def test_a_pop_that_fails_alone_is_an_error(driver: Any, fake: Fake) -> None:
    card = driver.PyCudaCard(GPU)
    with pytest.raises(CardError, match="cuCtxPopCurrent failed"), card.use():
        fake.fail = "cuCtxPopCurrent"
    assert not any(fake.stacks.values())

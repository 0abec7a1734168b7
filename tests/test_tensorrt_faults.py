"""The TensorRT engine where something goes amiss under way: graphs that cannot be captured or lost work,
Ctrl-C during builds."""

# ruff: noqa: F811 (fixtures of another file)
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from fake_tensorrt import World
from test_card_engine import batch_of, truth
from test_tensorrt_engine import GPU, folder, kernels, members, opened, recipe, world  # noqa: F401

from legscore.cuda.card import CardError
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint


def test_a_graph_that_cannot_be_captured_is_said_and_passes_are_enqueued(
    world: World, members: list[Checkpoint]
) -> None:
    """There is no libcuda here, so capturing fails; with it, test_libcuda.py runs the capture."""
    said: list[str] = []
    engine = opened(members[:2], recipe(cuda_graph=True), said)
    assert any(line.startswith("cuda graph: not used, passes are enqueued one by one") for line in said)
    assert engine.score(batch_of(10, 0)).shape == (2, 10)
    engine.close()


class HostGraph:
    """`legscore.cuda.libcuda.Graph` on the test's card: work queued while capturing is kept and queued again
    at each launch."""

    made: list[HostGraph]

    def __init__(self, library: Any, stream: int, enqueue: Callable[[], None]) -> None:
        world = library
        self.world, self.launches, self.open = world, 0, True
        source = world.stream(stream)
        assert not source.work, "captured before the first run was waited for"
        enqueue()
        self.work = [work for _, work in source.work]
        source.work.clear()
        HostGraph.made.append(self)

    def launch(self, stream: int) -> None:
        assert self.open
        self.launches += 1
        target = self.world.stream(stream)
        for work in self.work:
            target.card.queue(target, work)

    def close(self) -> None:
        self.open = False


def test_a_pass_of_all_members_is_one_graph(
    world: World, members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    import legscore.engine.tensorrt_engine as module

    HostGraph.made = []
    monkeypatch.setattr(module, "Graph", HostGraph)
    monkeypatch.setattr(module, "Libcuda", lambda: world)
    said: list[str] = []
    engine = opened(members, recipe("fp32", cuda_graph=True), said)
    plain = opened(members, recipe("fp32"))
    assert not any("cuda graph" in line for line in said)
    (graph,) = HostGraph.made
    assert len(graph.work) == 3
    assert graph.launches == 1, "compared with a plain pass before it is used"
    batch = batch_of(150, 10)  # three passes of 64 windows, both strands
    scores = engine.score(batch)
    assert graph.launches == 4
    assert (scores == plain.score(batch)).all()
    assert (engine.score(batch, [2, 0]) == scores[[2, 0]]).all()
    assert graph.launches == 4, "some of the members are enqueued one by one"
    engine.close()
    assert not graph.open
    plain.close()


@pytest.mark.parametrize("fault", ["empty", "lacks one", "wrong input"])
def test_a_graph_that_lost_work_is_not_used(
    world: World, members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A capture may succeed without the work in it (what TensorRT put on another stream or card): no score
    comes from that."""
    import legscore.engine.tensorrt_engine as module

    class Lossy(HostGraph):
        def __init__(self, library: Any, stream: int, enqueue: Callable[[], None]) -> None:
            super().__init__(library, stream, enqueue)
            self.work = {"empty": [], "lacks one": self.work[:-1], "wrong input": [self.work[0]] * 3}[fault]

    HostGraph.made = []
    monkeypatch.setattr(module, "Graph", Lossy)
    monkeypatch.setattr(module, "Libcuda", lambda: world)
    said: list[str] = []
    engine = opened(members, recipe(cuda_graph=True), said)
    (line,) = [line for line in said if line.startswith("cuda graph")]
    assert line == (
        "cuda graph: not used, passes are enqueued one by one (a captured pass does not give what the members give)"
    )
    assert not HostGraph.made[0].open
    batch = batch_of(100, 10)
    assert np.abs(engine.score(batch) - truth(members).score(batch)).max() < 0.005
    engine.close()
    assert not world.card.held


def test_an_error_left_by_a_failed_capture_shows_before_the_run(
    world: World, members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    import legscore.engine.tensorrt_engine as module

    def fail(*arguments: Any) -> None:
        world.fail = "enqueue"
        raise CardError("cuStreamEndCapture: operation not permitted")

    monkeypatch.setattr(module, "Graph", fail)
    monkeypatch.setattr(module, "Libcuda", lambda: world)
    with pytest.raises(EngineError, match="did not run a pass"):
        opened(members[:1], recipe(cuda_graph=True))
    assert not world.card.held


OWN_PROCESS = "LEGSCORE_TEST_IN_ITS_OWN_PROCESS"


def test_signals_in_a_process_of_its_own() -> None:
    """The two tests below send SIGINT to their process, which would end a worker of pytest with all its other
    tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        OWN_PROCESS: "1"
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "ctrl_c_during",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.skipif(OWN_PROCESS not in os.environ, reason="run by the test above, in a process of its own")
@pytest.mark.parametrize("compiling", [True, False])
def test_ctrl_c_during_a_build_ends_it(world: World, members: list[Checkpoint], compiling: bool) -> None:
    """TensorRT drops what its log raises, and the log is where a signal would be raised in the thread that
    builds."""
    from legscore.engine.tensorrt_plans import compile_plans

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

    world.during_build = interrupt
    with pytest.raises(KeyboardInterrupt):
        compile_plans(members, recipe(), GPU, lambda line: None) if compiling else opened(members, recipe())
    assert len(world.builds) == 1, "went on with the next member"
    assert not world.card.held
    world.during_build = lambda: None
    opened(members, recipe()).close()
    assert len(world.builds) == 3, "what was built before is kept"


@pytest.mark.parametrize("compiling", [True, False])
def test_ctrl_c_as_the_thread_starts_builds_nothing(
    world: World, members: list[Checkpoint], compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is then in nobody's books: nothing waits for it, and it must not go on."""
    from legscore.engine.tensorrt_plans import compile_plans

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("legscore-tensorrt"):
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_plans(members, recipe(), GPU, lambda line: None) if compiling else opened(members, recipe())
    until = time.monotonic() + 20
    while any(thread.name.startswith("legscore-tensorrt") for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not world.builds
    assert not world.card.held

"""Ctrl-C while a thread is starting: no work goes on behind whoever cleans up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from legscore import load_ensemble
from legscore.run.stream import background
from legscore.system.threads import running_pool


class Interrupted:
    """Ctrl-C as the `after`-th thread has started and is not yet in anybody's books."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.starts, start = 0, threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            start(thread)
            self.starts += 1
            if self.starts == after:
                raise KeyboardInterrupt

        monkeypatch.setattr(threading.Thread, "start", interrupted)


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def gone(name: str) -> bool:
    until = time.monotonic() + 20
    while named(name) and time.monotonic() < until:
        time.sleep(0.01)
    return not named(name)


def test_an_ordinary_pool_does_not_wait_for_such_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there is `running_pool` at all; should Python mend it, this fails and the pool may go."""
    Interrupted(monkeypatch, 1)
    release, done = threading.Event(), threading.Event()

    def work() -> None:
        release.wait()
        done.set()

    pool = ThreadPoolExecutor(1)
    with pytest.raises(KeyboardInterrupt):
        pool.submit(work)
    pool.shutdown(wait=True)
    assert not done.is_set()
    release.set()
    assert done.wait(20)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_interrupted_pools_leave_no_thread(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    Interrupted(monkeypatch, after)
    with pytest.raises(KeyboardInterrupt):
        running_pool(3, "interrupted-pool")
    assert gone("interrupted-pool")


def test_every_thread_runs_before_work_comes() -> None:
    with running_pool(3, "running-pool") as pool:
        assert len(named("running-pool")) == 3
        together = threading.Barrier(3)
        assert sorted(pool.map(lambda _: together.wait(20), range(3))) == [0, 1, 2]
    assert gone("running-pool")


def test_engines_start_no_thread_when_work_comes(monkeypatch: pytest.MonkeyPatch, toy_model: Path) -> None:
    ensemble = load_ensemble(toy_model, engine="null")
    seen = Interrupted(monkeypatch, 1)
    ensemble.score(["ACGT" * 20] * 4)
    assert seen.starts == 0
    ensemble.close()


def test_interrupted_stages_touch_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(3):
            taken.append(item)
            yield item

    Interrupted(monkeypatch, 1)
    stopped: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        list(background(items(), 1, "interrupted-stage", lambda: stopped.append(True)))
    assert gone("legscore-interrupted-stage")
    assert taken == []
    assert stopped == [True]

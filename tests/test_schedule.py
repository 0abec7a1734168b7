"""Which parts go to whom, and what becomes of faults: without Ray."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from legscore.cluster.schedule import MOST_PARTS, Schedule, consecutive_runs
from legscore.cluster.table import closing_table
from legscore.system.cores import take_cores


def test_runs_of_neighbours() -> None:
    assert consecutive_runs([7, 1, 2, 3, 9, 8]) == [range(1, 4), range(7, 10)]
    assert consecutive_runs([]) == []


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_part_is_handed_out_once(workers: int) -> None:
    missing = [n for n in range(200) if n % 17]
    schedule, seen = Schedule(missing, retries=3), []
    sizes = []
    while (parts := schedule.take(workers)) is not None:
        seen += list(parts)
        sizes.append(len(parts))
    assert sorted(seen) == missing
    assert max(sizes) <= MOST_PARTS
    assert sizes[-1] == 1, "single parts at the end, so that nobody waits long for another"


def test_a_part_that_fails_is_tried_alone_and_then_given_up() -> None:
    schedule, tried, done = Schedule(range(40), retries=2), 0, set()
    while (parts := schedule.take(2)) is not None:
        for number in parts:
            if number == 5:
                tried += 1
                given_up = schedule.failed(range(5, parts.stop), "it burns")
                assert (given_up == 5) == (tried == 3)
                break
            done.add(number)
    assert tried == 3
    assert schedule.poison == {5: "it burns"}
    assert schedule.retried == 2
    assert done == set(range(40)) - {5}


def test_a_passing_fault_costs_one_retry() -> None:
    schedule = Schedule(range(3), retries=1)
    parts = schedule.take(1)
    assert parts is not None
    assert schedule.failed(parts, "killed") is None
    left = []
    while (parts := schedule.take(1)) is not None:
        left += list(parts)
    assert sorted(left) == [0, 1, 2]
    assert not schedule.poison


def test_cores_are_shared_out_and_free_again_after_a_kill(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: nothing to share out")
    code = (
        "import sys, time; from pathlib import Path; from legscore.system.cores import take_cores\n"
        f"print(take_cores(1, Path({str(tmp_path)!r})), flush=True); time.sleep(60)"
    )
    start = lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    first, second = start(), start()
    try:
        assert first.stdout is not None
        assert second.stdout is not None
        one, other = first.stdout.readline(), second.stdout.readline()
        assert one != other, "two processes, two cores"
        first.kill()
        first.wait()
        with open(tmp_path / one.strip("[]\n"), "r+") as freed:
            fcntl.flock(freed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_more_cores_than_there_are_is_no_error(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        assert take_cores(len(before) + 5, tmp_path) == sorted(before)
    finally:
        os.sched_setaffinity(0, before)


def test_the_closing_table() -> None:
    workers = [
        {"worker": "a:12", "rows": 3000, "parts": 3, "busy_s": 10.0, "utilisation": 0.98, "deaths": 1},
        {"worker": "worker 1", "rows": 0, "parts": 0, "busy_s": 0.0, "utilisation": 0.0, "deaths": 0},
    ]
    lines = closing_table({"workers": workers, "retries": 1})
    assert lines[1].split() == ["a:12", "3,000", "3", "300.0", "98%", "1"]
    assert lines[-1] == "retries: 1"
    assert len(lines) == 3

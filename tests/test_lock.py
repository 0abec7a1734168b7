"""Kernel locks: the one primitive that runs, caches, trainings and cores use."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from legscore.system import lock
from legscore.system.lock import take_lock

HOLD = (
    "import sys; from pathlib import Path; from legscore.system.lock import take_lock\n"
    "handle = take_lock(Path(sys.argv[1])); print(handle is not None, flush=True); sys.stdin.readline()"
)


def held_elsewhere(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input gets a line."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    return other


def test_a_lock_is_refused_waited_for_and_ends_with_its_process(tmp_path: Path) -> None:
    path, told = tmp_path / "x.lock", []
    other = held_elsewhere(path)
    assert take_lock(path) is None

    def release() -> None:
        told.append("waiting")
        other.kill()

    handle = take_lock(path, release)
    other.wait()
    assert handle is not None
    assert told == ["waiting"]
    assert held_elsewhere_is_refused(path)
    os.close(handle)
    assert not held_elsewhere_is_refused(path)


def held_elsewhere_is_refused(path: Path) -> bool:
    ran = subprocess.run(
        [sys.executable, "-c", HOLD, str(path)], input="\n", capture_output=True, text=True, check=True
    )
    return ran.stdout == "False\n"


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path: Path) -> None:
    """Two processes must not hold two files of one name."""
    path = tmp_path / "x.lock"
    first, found = take_lock(path), []
    assert first is not None
    waits = threading.Event()
    thread = threading.Thread(target=lambda: found.append(take_lock(path, waits.set)))
    thread.start()
    assert waits.wait(10)
    path.unlink()
    os.close(first)
    thread.join(10)
    assert os.path.samestat(os.fstat(found[0]), os.stat(path))
    assert take_lock(path) is None
    os.close(found[0])


def test_errors_of_the_system_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        take_lock(tmp_path / "missing" / "x.lock")

    def refuse(handle: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with pytest.raises(OSError, match="not supported"):
        take_lock(tmp_path / "x.lock")
    if before:
        assert len(os.listdir("/proc/self/fd")) <= len(before)

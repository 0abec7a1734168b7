"""A signal ends a command as such also where a library makes another error of it, or swallows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_resume import sequences

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import legscore.run.stages as stages
from legscore.cli import main

real, calls = stages.result_table, []

def stumbles(*arguments):
    calls.append(1)
    if len(calls) == 2:
        try:
            os.kill(os.getpid(), NUMBER)
            time.sleep(20)
        except BaseException:
            if HOW == "converts":
                raise AttributeError("partially initialized module 'pandas'") from None
    return real(*arguments)

HOW, NUMBER = sys.argv.pop(1), int(sys.argv.pop(1))
stages.result_table = stumbles
main()
"""


def command(source: Path, model: Path, out: Path) -> list[str]:
    words = ["run", source, "-m", model, "-o", out, "--part-rows", 50, "--engine", "null", "--log-json"]
    return [*map(str, words), str(out.with_suffix(".jsonl"))]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("how", ["converts", "swallows"])
def test_a_signal_that_a_library_hides_still_ends_the_run(
    tmp_path: Path, toy_model: Path, how: str, number: int
) -> None:
    source, out = sequences(tmp_path / "in.parquet", 400), tmp_path / "o.parquet"
    words = [sys.executable, "-c", CHILD, how, str(int(number)), *command(source, toy_model, out)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 128 + number, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "the same command goes on from there" in ended.stderr
    assert not out.exists()
    finish = json.loads(out.with_suffix(".jsonl").read_text().splitlines()[-1])
    assert (finish["event"], finish["ok"], finish["exit_code"]) == ("finish", False, 128 + number)
    again = [sys.executable, "-m", "legscore", *command(source, toy_model, out)]
    assert subprocess.run(again, env=environment, capture_output=True, timeout=60).returncode == 0


ALONE = """
import signal, sys
from legscore.system import interrupts

def told(body):
    try:
        with interrupts.interrupts_first():
            body()
        return "nothing"
    except BaseException as error:
        return type(error).__name__

def fails():
    raise ValueError

signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.end_on_signals()
print(told(fails), told(interrupts.check))
print(told(lambda: signal.raise_signal(int(sys.argv[1]))), told(fails), told(interrupts.check))
interrupts.end_on_signals()
print(told(fails), told(interrupts.check))
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_errors_after_a_signal_are_the_signal_s(number: int) -> None:
    """In a process of its own, since a signal may end a worker of pytest."""
    words = [sys.executable, "-c", ALONE, str(int(number))]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    lines = subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout
    raised = "KeyboardInterrupt" if number == signal.SIGINT else "SystemExit"
    assert lines.split() == [*("ValueError", "nothing"), *[raised] * 3, *("ValueError", "nothing")]


FREED_ELSEWHERE = """
import gc, signal, sys, threading, time
import legscore
signal.signal(signal.SIGINT, lambda *_: print("still here"))
held = [legscore.load_ensemble(sys.argv[1], engine="openvino", precision="fp32")]
held[0].score(["ACGT" * 20])
held[0].close()
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_another_thread_freed_an_ensemble(toy_model: Path) -> None:
    """The stack for signals that OpenVINO gives a thread is not freed under it."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", FREED_ELSEWHERE, str(toy_model)]
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, "still here\n"), ran.stderr

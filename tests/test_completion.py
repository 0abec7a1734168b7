"""legscore completion, in the shells themselves: a command's name and a file's, typed and completed."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

CODE = "import sys; sys.argv[0] = 'legscore'; from legscore.cli import main; main()"
WAIT_S = 90.0
READY = "READY-TO-TYPE"
INTERACTIVE = {
    "bash": (
        ["--norc", "--noprofile", "-i"],
        'bind "set enable-bracketed-paste off"; eval "$(legscore completion bash)"',
    ),
    "zsh": (
        ["-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; bindkey "^I" complete-word; eval "$(legscore completion zsh)"',
    ),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder with a file to complete, and `legscore` on the PATH."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "legscore"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(CODE)} "$@"\n')
    command.chmod(0o755)
    (tmp_path / "my_variants.csv").write_text("sequence\nACGT\n")
    return {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


def found(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def typed(shell: str, keys: str, wanted: str, folder: Path, environment: dict[str, str]) -> str:
    """What an interactive shell shows after the keys, once it shows what is wanted (or the time is up)."""
    arguments, setup = INTERACTIVE[shell]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(found(shell), [shell, *arguments], environment)
    shown = ""
    try:
        os.write(terminal, f"{setup}; echo {READY[:5]}''{READY[5:]}\n".encode())
        until = time.monotonic() + WAIT_S
        has_typed = False
        while time.monotonic() < until:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # the shell has ended
                break
            if not has_typed and READY in shown:
                has_typed, shown = True, ""
                os.write(terminal, keys.encode())
            elif has_typed and wanted in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]", "", shown):
                return wanted
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return shown


@pytest.mark.parametrize("shell", INTERACTIVE)
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("legscore eva\t", "legscore evaluate "),
        ("legscore run my_v\t", "legscore run my_variants.csv "),
        ("legscore run x.csv --calib\t", "legscore run x.csv --calibration "),
    ],
)
def test_keys_are_completed(
    shell: str, keys: str, wanted: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    found(shell)
    assert typed(shell, keys, wanted, tmp_path, environment) == wanted


def test_fish_completes(tmp_path: Path, environment: dict[str, str]) -> None:
    """By the command that fish's own Tab asks."""
    lines = ["legscore ru", "legscore run my_v", "legscore run x.csv --precision f"]
    asked = "; ".join(f"complete -C {shlex.quote(line)}" for line in lines)
    ran = subprocess.run(
        [found("fish"), "-c", f"legscore completion fish | source; {asked}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    offered = ran.stdout.splitlines()
    assert offered[0].startswith("run\t") or offered[0] == "run"
    assert offered[1:] == ["my_variants.csv", "fp16", "fp32"]

"""Scripts of bench/ and examples/ say what they do when asked, and do nothing else then."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

SCRIPTS = [
    path
    for folder in ("bench", "examples")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if "__main__" in path.read_text()
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_scripts_parse_their_command_line(path: Path) -> None:
    """None takes `--help` for a file: words are read by argparse, or by `arguments` of bench/machine.py."""
    text = path.read_text()
    read = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert read & {"argparse", "arguments", "click"}, f"{path.name} reads no command line"


@pytest.mark.long
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_scripts_have_help(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, str(path), "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    if "No module named" in ran.stderr or "is not installed" in ran.stderr:
        pytest.skip(ran.stderr.splitlines()[-1])
    assert ran.returncode == 0, ran.stderr
    assert "usage:" in ran.stdout
    assert not list(tmp_path.iterdir())

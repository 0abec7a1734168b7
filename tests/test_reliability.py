"""RELIABILITY.md promises what a test holds: every row names tests, and those are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

TESTS = {
    path.name: set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    for path in Path(__file__).parent.glob("test_*.py")
}
ROWS = [
    line.strip("|").split(" | ")
    for line in (REPOSITORY / "RELIABILITY.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_a_promise_names_tests_that_exist(row: list[str]) -> None:
    promise, held_by = row
    named = re.findall(r"`(?:(test_\w+\.py)(?:::)?)?(test_\w+)?`", held_by)
    assert named, promise
    for file, test in named:
        assert not file or file in TESTS, file
        if test:
            assert test in (TESTS[file] if file else set().union(*TESTS.values())), test


def test_the_table_is_read() -> None:
    assert len(ROWS) > 20

"""bench/native.py on small networks: its lines, what it keeps, and its exit code."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY, toy_checkpoint
from native_families import NOT_BUILT

from legscore.engine import fidelity as fid
from legscore.engine.native_library import library_path, missing_form

pytestmark = pytest.mark.skipif(not library_path().is_file(), reason=NOT_BUILT)
MODULES = ("native", "native_proofs", "machine")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, with small networks and a folder of results of its own."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "bench"))
    monkeypatch.setattr(fid, "TOTAL", 128)
    # scores of networks that were not trained hardly vary, which bf16 shows
    monkeypatch.setattr(fid.Fidelity, "shortfall", lambda self, minimum: "")
    script = importlib.import_module("native")
    for seed, name in enumerate(("original", "optimised")):
        toy_checkpoint(seed).save(tmp_path / f"{name}.safetensors")
        monkeypatch.setitem(script.NETWORKS, name, tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(script, "ORIGINAL", tmp_path / "original.safetensors")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "ROUNDS", 1)
    yield script
    for name in MODULES:
        sys.modules.pop(name, None)


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """The exit code of the script with these words; short turns, and no proofs (which have tests of their
    own)."""
    small = ("--pairs", "2", "--seconds", "0.01", "--proofs", "none", "--windows", "0")
    monkeypatch.setattr(sys, "argv", ["native.py", *small, *words])
    with pytest.raises(SystemExit) as ended:
        script.main()
    return ended.value.code


def kept(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "native.json").read_text())["runs"]
    return found


def test_it_prints_each_line_keeps_every_run_and_claims_nothing_without_amx(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(bench, monkeypatch, "--windows", "40")
    said = capsys.readouterr().out
    for line, wanted in (
        ("original, one thread", 4.0),
        ("optimised, one thread", 3.8),
        ("original, all cores", 3.0),
        ("optimised, all cores", 3.0),
    ):
        (found,) = [one for one in said.splitlines() if one.startswith(line)]
        assert f"(wanted {wanted})" in found
        assert "(wanted 0.5), 2 pairs: " in found
    assert "legscore run, 40 windows × 3 members: " in said
    assert "(wanted 0.95); verifying takes" in said
    if missing_form("amx"):
        assert code == 2
        assert "no claim is made (form amx" in said
        assert said.count("2 pairs: no claim") == 4
    (first,) = kept(tmp_path)
    assert (first["ended"], len(first["lines"]), first["run"]["windows"]) == (True, 4, 40)
    assert first["machine"]["cpu"]

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    real = bench.pairs
    monkeypatch.setattr(
        bench, "pairs", lambda line, *rest: (real if "original" in line else stopped)(line, *rest)
    )
    monkeypatch.setattr(sys, "argv", ["native.py", "--pairs", "1", "--seconds", "0.01", "--proofs", "none"])
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    runs = kept(tmp_path)
    assert runs[0] == first
    assert [(one["ended"], len(one["lines"])) for one in runs] == [(True, 4), (False, 1)]


def line(ratio: float = 4.5, share: float = 0.6, swing: float = 0.1) -> dict[str, Any]:
    return {"ratio": ratio, "share": share, "swing": swing}


@pytest.mark.parametrize(
    ("found", "said", "code"),
    [
        (line(), "holds", 0),
        (line(ratio=3.9), "falls short", 1),
        (line(share=0.49), "falls short", 1),
        (line(swing=0.21), "not settled (the bare rate swings by 21%)", 1),
        (line(ratio=3.9, swing=0.21), "not settled (the bare rate swings by 21%)", 1),
    ],
)
def test_a_line_that_falls_short_or_is_not_settled_is_said_and_fails(
    bench: ModuleType, found: dict[str, Any], said: str, code: int
) -> None:
    one = bench.judged(found, 4.0)
    assert bench.verdict(one, True) == said
    whole = {"lines": [bench.judged(line(), 3.0), one], "run": None, "proofs_hold": None}
    assert bench.exit_code(whole, True) == code
    assert bench.exit_code(whole, False) == 2


def test_whole_runs_and_proofs_count(bench: ModuleType) -> None:
    good: dict[str, Any] = {"lines": [bench.judged(line(), 4.0)], "run": {"holds": True}, "proofs_hold": True}
    assert bench.exit_code(good, True) == 0
    assert bench.exit_code({**good, "run": {"holds": False}}, True) == 1
    for claims in (True, False):
        assert bench.exit_code({**good, "proofs_hold": False}, claims) == 1


def test_a_run_that_falls_short_is_kept_too(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "missing_form", lambda form: "")  # as if claims were made here
    monkeypatch.setitem(bench.WANTED, "original/1", 1e9)
    assert run(bench, monkeypatch, "--lines", "original/1") == 1
    (found,) = kept(tmp_path)
    assert (found["lines"][0]["holds"], found["ended"]) == (False, True)


@pytest.mark.parametrize(("option", "word"), [("--lines", "original/2"), ("--proofs", "speed")])
def test_unknown_parts_are_refused(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, option: str, word: str
) -> None:
    assert f"{word} is not known" in str(run(bench, monkeypatch, option, word))

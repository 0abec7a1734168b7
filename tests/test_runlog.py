"""--log-json: events that a scheduler can follow, one finish whatever happens; warnings once per kind."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import Ran, in_parts_of, scored_by
from test_resume import PART, ROWS, Cheap, Interrupted, interrupt_after, sequences

from legscore.errors import OutputError
from legscore.output.parts import parts_folder
from legscore.system.log import RunLog, logged

PARTS = -(-ROWS // PART)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_parts_of(monkeypatch, PART)
    scored_by(monkeypatch, Cheap)
    return sequences(tmp_path / "in.parquet")


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_of_an_interrupted_run_and_its_resumption(
    tmp_path: Path, source: Path, toy_model: Path, cli: Any
) -> None:
    log, out = tmp_path / "run.jsonl", tmp_path / "o.parquet"
    command = ("run", source, "-m", toy_model, "-o", out, "--log-json", log)
    patch = interrupt_after(pytest.MonkeyPatch(), 3)
    with pytest.raises(Interrupted):
        cli(*command)
    patch.undo()
    first = events(log)
    assert [e["event"] for e in first] == ["start", "part", "part", "part", "finish"]
    assert (first[0]["rows"], first[0]["parts"], first[0]["members"]) == (ROWS, PARTS, 1)
    assert first[0]["inputs"] == [str(source)]
    assert [e["part"] for e in first[1:4]] == [0, 1, 2]
    assert (first[-1]["ok"], first[-1]["exit_code"], first[-1]["error"]) == (False, 1, "Interrupted")
    for part in (0, 2):
        path = parts_folder(out) / f"part-{part:08d}"
        path.write_bytes(path.read_bytes()[:-3])
    ran: Ran = cli(*command)
    assert ran.code == 0, ran.err
    assert ran.err.count("is scored again") == 1, "the first of its kind"
    assert "warning: damaged part: 2 in all" in ran.err
    second = events(log)[len(first) :]
    assert [e["event"] for e in second if e["event"] not in ("part", "retry", "warning")] == [
        "start",
        "resume",
        "finish",
    ]
    assert next(e for e in second if e["event"] == "resume")["parts"] == 3
    assert [e["part"] for e in second if e["event"] == "retry"] == [0, 2]
    assert sum(e["event"] == "warning" for e in second) == 1
    parts = [e for e in second if e["event"] == "part"]
    assert [(e["part"], e["resumed"]) for e in parts] == [(i, i == 1) for i in range(PARTS)]
    assert [e["rows_done"] for e in parts] == [min((i + 1) * PART, ROWS) for i in range(PARTS)]
    assert {e["rows_total"] for e in parts} == {ROWS}
    done = second[-1]
    assert (done["ok"], done["exit_code"], done["rows"], done["rows_resumed"]) == (True, 0, ROWS, PART)
    assert done["warnings"] == {"damaged part": 2}
    assert sum(done["status"].values()) == ROWS
    assert all(
        datetime.datetime.fromisoformat(e["time"]).utcoffset() == datetime.timedelta(0)
        for e in first + second
    )


def test_a_run_that_cannot_begin_finishes_too(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    log = tmp_path / "run.jsonl"
    assert (
        cli("run", tmp_path / "none.csv", "-m", toy_model, "-o", tmp_path / "o.csv", "--log-json", log).code
        == 2
    )
    (only,) = events(log)
    assert (only["event"], only["ok"], only["exit_code"]) == ("finish", False, 2)
    assert "none.csv: no such file" in only["error"]


def test_both_passes_of_a_null_are_in_the_log(world: Path, toy_model: Path, cli: Any) -> None:
    log = world / "run.jsonl"
    base = (
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--centered",
        "-m",
        toy_model,
        "--engine",
        "null",
        "-q",
    )
    assert cli(*base, "-o", world / "o.parquet", "--shuffle-null", "2", "--log-json", log).code == 0
    kinds = [e["event"] for e in events(log)]
    assert kinds.count("start") == 2
    assert kinds.count("finish") == 1
    assert kinds[-1] == "finish"
    assert events(log)[-1]["output"] == str(world / "o.parquet")


def test_wrong_log_files(tmp_path: Path, source: Path, toy_model: Path, cli: Any) -> None:
    base = ("run", source, "-m", toy_model, "-o", tmp_path / "o.parquet", "-q", "--log-json")
    (tmp_path / "folder").mkdir()
    for log, message in (
        (tmp_path / "no" / "log", "log cannot be written: No such file or directory"),
        (tmp_path / "folder", "cannot be written: Is a directory"),
        ("/dev/full", "/dev/full cannot be written: No space left on device"),
        (source, "is both input and output; choose another --log-json"),
        (tmp_path / "o.parquet", "would be written twice, by -o and --log-json"),
    ):
        ran: Ran = cli(*base, log)
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        assert message in ran.err
    assert not (tmp_path / "o.parquet").exists()


def test_warnings_are_said_once_per_kind(tmp_path: Path) -> None:
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning
        with logged(str(tmp_path / "log"), said.append) as log:
            for i in range(5):
                warnings.warn(f"number {i}\nin two lines", RuntimeWarning, stacklevel=1)
            log.warn("other", "something else")
        assert warnings.showwarning is before
    assert said == [
        "warning: number 0 in two lines",
        "warning: something else",
        "warning: RuntimeWarning: 5 in all",
    ]
    assert log.warnings == {"RuntimeWarning": 5, "other": 1}
    assert [e["kind"] for e in events(tmp_path / "log")] == ["RuntimeWarning", "other"]
    with pytest.raises(OutputError, match="cannot be written"):
        RunLog(str(tmp_path / "no" / "log"))

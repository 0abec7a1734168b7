"""Caches: private, one user's own, made once however many want them, rebuilt when damaged, listed and
cleared."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_dna, toy_checkpoint

from legscore.engine import fidelity as fid
from legscore.engine.plans import PlanCache, Stored
from legscore.errors import OutputError
from legscore.system.caches import clear, entries, locked, private
from legscore.system.resources import cache_folder

RECORD = fid.Fidelity("openvino fp32", 2048, 2048, 0.1, 0.01, 0.999, 0.998)
KEY = {"engine": "x"}
unix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes and owners are checked on Unix")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "mine"))
    return tmp_path / "mine"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@unix
def test_folders_are_made_private(cache: Path) -> None:
    old = os.umask(0)
    try:
        private(cache / "plans")
    finally:
        os.umask(old)
    assert (mode(cache), mode(cache / "plans")) == (0o700, 0o700)
    (cache / "plans").chmod(0o755)
    private(cache / "plans")
    assert mode(cache / "plans") == 0o700


@unix
def test_a_folder_that_others_may_write_to_is_refused(cache: Path) -> None:
    """A plan is code: who may put one there could run it."""
    plans = PlanCache(cache / "plans")
    plans.write(KEY, Stored(b"plan", {}))
    for folder in (cache / "plans", cache):
        folder.chmod(0o777)
        for use in (lambda: plans.read(KEY), lambda: plans.write(KEY, Stored(b"other", {}))):
            with pytest.raises(
                OutputError, match=r"others may write to the cache folder .*chmod go-w.*LEGSCORE_CACHE"
            ):
                use()
        folder.chmod(0o700)
    assert plans.read(KEY) == Stored(b"plan", {})


@unix
def test_a_folder_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(cache / "plans")
    owner = (cache / "plans").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # what belongs to root is trusted
        os.chown(cache / "plans", 12345, 12345)
    with pytest.raises(OutputError, match=r"plans belongs to another user \(id \d+\)"):
        PlanCache(cache / "plans").read(KEY)


def test_plans_beside_models_and_in_the_working_directory_are_never_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = PlanCache(cache_folder("plans"))
    plans.write(KEY, Stored(b"theirs", {}))
    name = plans.path(KEY).name
    for place in (tmp_path, tmp_path / "plans", tmp_path / "models"):
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(plans.path(KEY).read_bytes())
    plans.path(KEY).unlink()
    monkeypatch.chdir(tmp_path)
    assert plans.read(KEY) is None


def _measure(folder: Path, out: Path) -> None:
    def measure() -> fid.Fidelity:
        time.sleep(0.3)
        with open(out, "a") as stream:
            stream.write("measured\n")
        return RECORD

    found, _ = fid.remembered(folder / "r.json", KEY, measure, lambda line: None)
    assert found == RECORD


def test_processes_measure_once(cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=_measure, args=(cache / "fidelity", tmp_path / "made")) for _ in range(3)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "made").read_text() == "measured\n"


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "[" * 5000,
        '{"key": {"engine": "x"}, "fidelity": {"wrong": 1}}',
        '{"key": {"engine": "y"}, "fidelity": FIELDS}',
        "\udcff",
        '{"key": {"engine": "x"}, "fidelity": TEXT}',
        '{"key": {"engine": "x"}, "fidelity": ENDLESS}',
    ],
)
def test_a_damaged_record_is_measured_again_once_and_said(cache: Path, damage: str) -> None:
    fields = fid.asdict(RECORD)
    damage = damage.replace("FIELDS", json.dumps(fields)).replace(
        "TEXT", json.dumps({**fields, "score_rmse": "0.1"})
    )
    damage = damage.replace("ENDLESS", json.dumps({**fields, "score_max_error": float("inf")}))
    path = cache / "fidelity" / "r.json"
    fid.save_record(path, KEY, RECORD)
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    said: list[str] = []
    measured: list[int] = []

    def measure() -> fid.Fidelity:
        measured.append(1)
        return RECORD

    assert fid.remembered(path, KEY, measure, said.append) == (RECORD, False)
    assert fid.remembered(path, KEY, measure, said.append) == (RECORD, True)
    assert len(measured) == 1
    assert said == ["fidelity: the record r.json is damaged; measuring again"]


@unix
def test_a_cache_that_cannot_be_used_costs_time_not_the_run(cache: Path) -> None:
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    said: list[str] = []
    assert fid.remembered(cache / "fidelity" / "r.json", KEY, lambda: RECORD, said.append) == (RECORD, False)
    assert "not remembered (others may write to the cache folder" in said[0]


def test_list_and_clear(cache: Path, cli: Any) -> None:
    ran = cli("cache", "list")
    assert ran.code == 0
    assert ran.out == f"0 files, 0.0 MiB in {cache}\n"
    PlanCache(cache / "plans").write(KEY, Stored(b"x" * 1000, {}))
    fid.save_record(cache / "fidelity" / "r.json", KEY, RECORD)
    with locked(cache / "fidelity" / "r.json"):
        pass
    (cache / "fidelity" / ".half.part").write_bytes(b"x")
    assert [(entry.kind, entry.path.suffix) for entry in entries()] == [
        ("plans", ".plan"),
        ("fidelity", ".json"),
    ]
    ran = cli("cache", "list")
    assert ran.out.splitlines()[-1].startswith("2 files, ")
    assert "fidelity " in ran.out
    assert "r.json" in ran.out
    rows = [json.loads(line) for line in cli("cache", "list", "fidelity", "--json").out.splitlines()]
    assert [row["kind"] for row in rows] == ["fidelity"]
    assert cli("cache", "clear", "plans").out.startswith("1 files, 0.0 MiB removed in ")
    assert [entry.kind for entry in entries()] == ["fidelity"]
    assert [entry.kind for entry in clear()] == ["fidelity"]
    assert entries() == []
    assert cli("cache", "clear", "everything").code == 2
    assert cli("cache", "empty").code == 2


def test_a_run_after_a_clear_measures_again(cache: Path, tmp_path: Path, cli: Any) -> None:
    pytest.importorskip("torch", reason="fidelity is measured for PyTorch's engine here")
    toy_checkpoint(1).save(tmp_path / "m.safetensors")
    rng = np.random.default_rng(1)
    (tmp_path / "s.csv").write_text("sequence\n" + "".join(random_dna(rng, 80) + "\n" for _ in range(5)))
    base = (
        "run",
        tmp_path / "s.csv",
        "-m",
        tmp_path / "m.safetensors",
        "-o",
        tmp_path / "o.csv",
        "--engine",
        "torch",
        "--force",
        "-v",
    )
    for expected in ("measuring", "(cached)"):
        ran = cli(*base)
        assert ran.code == 0, ran.err
        assert expected in ran.err
    clear()
    assert "measuring" in cli(*base).err
    (record,) = entries(["fidelity"])
    assert mode(record.path.parent) == 0o700

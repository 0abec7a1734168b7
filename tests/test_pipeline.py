"""Threads between stages and the whole pipeline: order, bounds, exceptions, nothing half-written."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_dna
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.engine.null_engine import NullEngine
from legscore.errors import InputError, OutputError
from legscore.output.part_file import Scored, part_name
from legscore.output.parts import PartFolder, parts_folder
from legscore.output.write import open_writer
from legscore.run.job import score
from legscore.run.options import Options
from legscore.run.pipeline import KEEPING
from legscore.run.plan import part_rows
from legscore.run.stream import apply, background, in_flight
from legscore.system.log import RunLog
from legscore.system.memory import Budget
from legscore.system.publish import publishing, writing


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 4))
def test_background_and_in_flight_keep_order(n: int, depth: int, flights: int) -> None:
    with ThreadPoolExecutor(3) as pool:
        chain = in_flight(
            background(iter(range(n)), depth, "test"), lambda i: pool.submit(lambda: i * i), flights
        )
        assert list(chain) == [(i, i * i) for i in range(n)]


def test_background_is_bounded() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    stream = background(source(), 3, "bounded")
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(made) == 1 + 3
    stream.close()
    assert not any("bounded" in thread.name for thread in threading.enumerate())


def test_no_stage_holds_what_it_handed_on() -> None:
    """Items are parts of megabytes: alive are only those that wait or are worked on."""

    class Item:
        nbytes = 1

    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    def source() -> Iterator[Item]:
        for _ in range(20):
            alive.add(item := Item())
            handed = [item]
            del item
            yield handed.pop()

    budget = Budget(1000)
    windows = background(apply(lambda item: item, budget.admit(source())), 1, "test")
    with ThreadPoolExecutor(1) as pool:
        done = apply(lambda pair: pair[0], in_flight(windows, lambda item: pool.submit(id, item), 2))
        with contextlib.closing(background(done, 1, "test-done")) as chain:
            for _ in range(3):
                assert isinstance(next(chain), Item)
                time.sleep(0.2)
                assert len(alive) == 3  # ready for us; submitted; ready to be submitted


@pytest.mark.parametrize("at", [0, 3])
def test_exceptions_cross_threads_in_place(at: int) -> None:
    def source() -> Iterator[int]:
        for i in range(10):
            if i == at:
                raise InputError("row trouble")
            yield i

    stream = background(map(lambda i: i + 1, background(source(), 2, "inner")), 2, "outer")
    got = []
    with pytest.raises(InputError, match="row trouble"):
        for item in stream:
            got.append(item)
    assert got == list(range(1, at + 1))
    assert not any(t.name in ("legscore-inner", "legscore-outer") for t in threading.enumerate())


def test_in_flight_keeps_at_most_depth() -> None:
    out: list[int] = []
    highest = 0

    def submit(i: int) -> Future[int]:
        nonlocal highest
        highest = max(highest, i + 1 - len(out))
        future: Future[int] = Future()
        future.set_result(i)
        return future

    for item, _ in in_flight(iter(range(20)), submit, 3):
        out.append(item)
    assert highest == 3


@pytest.mark.parametrize("fails", [0, 1, 2, 5])
@pytest.mark.parametrize("at", ["items", "submit"])
def test_what_is_there_comes_before_an_error(at: str, fails: int) -> None:
    """The engine that refuses part 5 may have had parts 3 and 4 done: they are scored, and must be kept."""

    def items() -> Iterator[int]:
        for i in range(20):
            if at == "items" and i == fails:
                raise InputError("no more")
            yield i

    def submit(i: int) -> Future[int]:
        if at == "submit" and i == fails:
            raise InputError("no more")
        future: Future[int] = Future()
        future.set_result(-i)
        return future

    got = []
    with pytest.raises(InputError, match="no more"):
        for pair in in_flight(items(), submit, 3):
            got.append(pair)
    assert got == [(i, -i) for i in range(fails)]


def test_nothing_comes_after_what_failed() -> None:
    """Part 2 failed while it was scored; part 3 is there, but output is in order."""
    futures: list[Future[int]] = [Future() for _ in range(5)]
    for i, future in enumerate(futures):
        future.set_exception(InputError("part 2")) if i == 2 else future.set_result(i)
    got = []
    with pytest.raises(InputError, match="part 2"):
        for item, _ in in_flight(iter(range(5)), lambda i: futures[i], 2):
            got.append(item)
    assert got == [0, 1]
    del futures[4:]
    got.clear()
    with pytest.raises(IndexError):  # submitting fails while part 2 is at the head of what waits
        for item, _ in in_flight(iter(range(2, 9)), lambda i: futures[i], 3):
            got.append(item)
    assert got == []


def sequences_file(path: Path, rows: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    distinct = [random_dna(rng, int(n)) for n in rng.integers(0, 145, max(rows // 3, 1))]
    texts = [None if i % 17 == 5 else distinct[j] for i, j in enumerate(rng.integers(0, len(distinct), rows))]
    pq.write_table(pa.table({"id": np.arange(rows), "sequence": texts}), path)
    return path


def test_rows_come_out_in_order_whatever_the_parts(tmp_path: Path, toy_models: Path) -> None:
    """Three members, parts of 97 rows against one part: the same scores, statuses and order."""
    source = sequences_file(tmp_path / "in.parquet", 500)
    options = {"models": [str(toy_models)], "precision": "fp32", "per_model": True}
    score(Options([str(source)], str(tmp_path / "one.parquet"), **options))
    seen: list[float] = []
    record = score(
        Options([str(source)], str(tmp_path / "many.parquet"), part_rows=97, **options),
        progress=lambda total, members: seen.append,
    )
    one, many = pq.read_table(tmp_path / "one.parquet"), pq.read_table(tmp_path / "many.parquet")
    assert one.equals(many)
    assert one["id"].to_pylist() == list(range(500))
    assert record["rows"] == 500
    assert sum(seen) == pytest.approx(500)
    assert len(seen) > 6, "progress comes more often than parts"
    per_model = np.array(many.filter(pa.compute.equal(many["status"], "ok"))["score_per_model"].to_pylist())
    mean = np.array(many["score"].drop_null())
    assert np.allclose(per_model.mean(axis=1), mean, atol=1e-6)
    assert np.allclose(per_model.std(axis=1, ddof=1), np.array(many["score_sd"].drop_null()), atol=1e-6)
    nulls = np.array(many["score"].is_null())
    assert many.filter(nulls)["score_per_model"][0].as_py() == [None, None, None]
    assert (nulls == np.array([s != "ok" for s in many["status"].to_pylist()])).all()


def test_parts_are_kept_side_by_side_and_told_in_order(
    tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: parts are told of and written once they are on it, in order, whichever was there first."""
    source, out = sequences_file(tmp_path / "in.parquet", 900), tmp_path / "out.parquet"
    common: dict[str, Any] = {"models": [str(toy_model)], "engine": "null", "part_rows": 100}
    score(Options([str(source)], str(tmp_path / "plain.parquet"), **common))
    saving, at_once, told = [0], [0], []
    whole, lock = PartFolder.save, threading.Lock()

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        with lock:
            saving[0] += 1
            at_once[0] = max(at_once[0], saving[0])
        time.sleep(0.2 if number % 3 == 0 else 0.05)
        whole(self, number, scored)
        with lock:
            saving[0] -= 1

    class Log(RunLog):
        def event(self, event: str, **fields: Any) -> None:
            if event == "part":
                told.append((fields["part"], fields["rows_done"]))
                assert (parts_folder(out) / part_name(fields["part"])).exists()

    monkeypatch.setattr(PartFolder, "save", save)
    score(Options([str(source)], str(out), **common), log=Log())
    assert told == [(number, 100 * number + 100) for number in range(9)]
    assert 1 < at_once[0] <= KEEPING
    assert out.read_bytes() == (tmp_path / "plain.parquet").read_bytes()


def test_output_bytes_do_not_depend_on_the_run(tmp_path: Path, toy_models: Path) -> None:
    """Same input, models and options: the same file, byte for byte; no path, time or rate in it."""
    source = sequences_file(tmp_path / "in.parquet", 300)
    other = tmp_path / "elsewhere"
    other.mkdir()
    copy = other / "copy.parquet"
    copy.write_bytes(source.read_bytes())
    score(Options([str(source)], str(tmp_path / "a.parquet"), [str(toy_models)], precision="fp32"))
    score(Options([str(copy)], str(other / "b.parquet"), [str(toy_models)], precision="fp32"))
    assert (tmp_path / "a.parquet").read_bytes() == (other / "b.parquet").read_bytes()
    metadata = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"legscore"])
    assert set(metadata) == {"legscore", "models", "contract", "engine", "fidelity", "options"}
    assert str(tmp_path) not in json.dumps(metadata)
    record = json.loads((tmp_path / "a.parquet.run.json").read_text())
    assert record["inputs"] == [str(source)]
    assert {k: record[k] for k in metadata} == metadata


def test_row_groups_and_bytes_do_not_depend_on_how_parts_were_cut(tmp_path: Path) -> None:
    """Dictionaries are for what repeats: a key that differs in every row fills at most 64 KiB of one."""
    rng, n = np.random.default_rng(0), 150_000
    table = pa.table(
        {
            "id": [f"v{i}" for i in range(n)],
            "score": rng.random(n, np.float32),
            "gene": rng.choice(["A", "B"], n),
        }
    )
    contents = []
    for cuts in ((n,), (1, 65_536, 140_000, n), (70_000, 70_001, n), range(16_384, n + 16_384, 16_384)):
        path, start = tmp_path / f"{len(contents)}.parquet", 0
        with open_writer(str(path), "parquet", table.schema, {}) as writer:
            for stop in cuts:
                writer.write(table.slice(start, stop - start))
                start = stop
        contents.append(path.read_bytes())
    assert len(set(contents)) == 1
    metadata = pq.read_metadata(tmp_path / "0.parquet")
    assert [metadata.row_group(g).num_rows for g in range(3)] == [65_536, 65_536, n - 131_072]
    assert pq.read_table(tmp_path / "0.parquet").equals(table)
    columns = [metadata.row_group(0).column(c) for c in range(3)]
    assert [column.has_dictionary_page for column in columns] == [True] * 3
    assert all(column.data_page_offset - column.dictionary_page_offset < 70_000 for column in columns)


def test_part_rows_come_from_a_table() -> None:
    assert [part_rows(m) for m in (1, 2, 5, 32, 50)] == [8192, 8192, 3276, 1024, 1024]
    assert [part_rows(m, "tensorrt") for m in (1, 5, 50)] == [262_144, 52_428, 32_768]


class Broken(NullEngine):
    def _score(self, batch: Any, members: list[int], both: bool, tell: Any) -> np.ndarray:
        raise RuntimeError("the card fell off")


def test_an_engine_that_dies_leaves_nothing(tmp_path: Path, toy_models: Path) -> None:
    source = sequences_file(tmp_path / "in.parquet", 50)
    before = set(threading.enumerate())
    options = Options([str(source)], str(tmp_path / "out.parquet"), [str(toy_models)])
    with pytest.raises(RuntimeError, match="the card fell off"):
        score(options, opener=lambda members, request, say: Broken(members))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet"]
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("legscore")]


def test_a_reader_that_dies_midway_leaves_nothing(
    tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sequences_file(tmp_path / "in.parquet", 60_000)
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    source.write_bytes(content)
    (tmp_path / "out.parquet").write_text("what was there before")
    options = Options(
        [str(source)], str(tmp_path / "out.parquet"), [str(toy_model)], engine="null", force=True
    )
    with pytest.raises(InputError, match="reading stopped"):
        score(options)
    assert (tmp_path / "out.parquet").read_text() == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) in (
        ["in.parquet", "out.parquet"],
        ["in.parquet", "out.parquet", "out.parquet.parts"],
    )


def test_publishing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with publishing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    with pytest.raises(KeyError), publishing(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    with pytest.raises(OutputError, match="No space left"), publishing(target) as temporary, writing(target):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="not about the output"), publishing(target):
        raise OSError("not about the output")
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("legscore") and t.is_alive()]


def test_an_error_ends_every_thread_even_while_its_traceback_is_kept(
    tmp_path: Path, toy_models: Path
) -> None:
    source = sequences_file(tmp_path / "in.parquet", 500)
    before = alive()
    options = Options([str(source)], str(tmp_path / "out.parquet"), [str(toy_models)], part_rows=10)
    with pytest.raises(RuntimeError) as caught:
        score(options, opener=lambda members, request, say: Broken(members))
    assert caught.value.__traceback__ is not None
    assert alive() == before


INTERRUPTED = """
import signal, sys, threading, time
from legscore.run.job import Options, score

ticks = []
timer = threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))

def tick(rows):
    if not ticks:  # scoring has begun, however long the start took
        timer.start()
    ticks.append(time.perf_counter())

try:
    options = Options([sys.argv[1]], sys.argv[2], [sys.argv[3]], engine="null", null_rate=300.0)
    score(options, progress=lambda rows, members: tick)
except KeyboardInterrupt:
    assert time.perf_counter() - ticks[0] < 8
    left = [t.name for t in threading.enumerate() if t.name.startswith("legscore") and "engine" not in t.name and t.is_alive()]
    assert not left, left
    print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_the_part(tmp_path: Path, toy_model: Path) -> None:
    """A part that would take minutes is cut short, and nothing is left behind. In a process of its own, whose
    signals nobody else has touched."""
    source = sequences_file(tmp_path / "in.parquet", 3000)
    command = [sys.executable, "-c", INTERRUPTED, str(source), str(tmp_path / "o.parquet"), str(toy_model)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "interrupted", ended.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet"]


@pytest.mark.parametrize("name", ["o.parquet", "o.arrow", "o.csv", "o.tsv.gz"])
def test_a_full_disk_is_one_error_and_keeps_what_was_scored(
    tmp_path: Path, toy_model: Path, name: str
) -> None:
    """A file-size limit stands for the full disk: the write fails in the middle, whatever the format; with
    room, the run goes on to the bytes of an uninterrupted one."""
    import resource
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    pq.write_table(
        pa.table({"id": rng.integers(0, 2**62, 200_000), "sequence": ["ACGT"] * 200_000}),
        tmp_path / "in.parquet",
    )

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    def command(out: str) -> list[str]:
        model = ["-m", str(toy_model), "--engine", "null", "-q"]
        return [
            sys.executable,
            "-m",
            "legscore",
            "run",
            str(tmp_path / "in.parquet"),
            "-o",
            str(tmp_path / out),
            *model,
        ]

    done = subprocess.run(command(name), capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{name} cannot be written: File too large" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet", f"{name}.parts"]
    left = sorted(p.name for p in (tmp_path / f"{name}.parts").iterdir())
    assert left[-1] == "record.json"
    assert all(file.startswith("part-") for file in left[:-1])
    for out in (name, f"whole.{name}"):
        assert subprocess.run(command(out)).returncode == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    assert not (tmp_path / f"{name}.parts").exists()

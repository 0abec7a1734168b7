"""What happens to long jobs happens here: kills, full disks, two runs at once, damaged and changing inputs,
engines and threads that die. The outcome is always the bytes of an uninterrupted run, or one clear error, and
what was scored is kept."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import LONG, REPOSITORY, Ran, in_parts_of, scored_by
from test_resume import PART, ROWS, Cheap, names, sequences

from legscore.errors import EngineError, InputError, LegscoreError, OutputError
from legscore.output.parts import PartFolder, parts_folder
from legscore.run.job import score
from legscore.run.options import Options
from legscore.system.publish import check_writable, remove_stale

sys.path.insert(0, str(REPOSITORY / "bench"))
import kills

PARTS = -(-ROWS // PART)
HANG_S = 60.0


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_parts_of(monkeypatch, PART)
    scored_by(monkeypatch, Cheap)
    return sequences(tmp_path / "in.parquet")


@pytest.fixture
def whole(source: Path, tmp_path: Path, toy_model: Path) -> bytes:
    """The bytes of an uninterrupted run."""
    score(Options([str(source)], str(tmp_path / "whole.parquet"), [str(toy_model)]))
    content = (tmp_path / "whole.parquet").read_bytes()
    for name in ("whole.parquet", "whole.parquet.run.json"):
        (tmp_path / name).unlink()
    return content


def in_time(function: Callable[[], Any]) -> BaseException | None:
    """What a call raises; fails where it does not end."""
    raised: list[BaseException | None] = []

    def call() -> None:
        try:
            function()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "hangs"
    return raised[0]


def alive() -> list[str]:
    return [
        t.name for t in threading.enumerate() if t.name.startswith("legscore-") and "engine" not in t.name
    ]


def test_random_kills(tmp_path: Path) -> None:
    """SIGKILL, SIGTERM and SIGINT at seeded moments of runs on tables and on a VCF; `bench/kills.py` does it
    at length."""
    (tmp_path / "work").mkdir()
    tally = kills.kill_runs(kills.Folder(tmp_path / "work", "cheap", 2000), 30 if LONG else 12, seed=7)
    assert sum(tally.kills.values()) == (30 if LONG else 12)
    assert tally.kills["SIGKILL"] >= 6
    assert tally.resumed >= 4
    assert tally.finished >= 1


# Disk full


TMPFS = """
import os, subprocess, sys
disk, source, model, whole = sys.argv[1:5]
def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
def run():
    from_there = [sys.executable, KILLS, "--child", "cheap", "run", source, "-m", model, "-o", "o.parquet", "-q"]
    return subprocess.run(from_there, cwd=disk, capture_output=True, text=True)
for kilobytes in (4, 16, 40, 84):
    mount(f"size={kilobytes}k")
    done = run()
    assert done.returncode == 2, (kilobytes, done)
    assert done.stderr.count("\\n") == 1 and "No space left on device" in done.stderr, done.stderr
    assert not os.path.exists(f"{disk}/o.parquet")
    print(kilobytes, done.stderr.strip(), sorted(os.listdir(f"{disk}/o.parquet.parts")) if os.path.exists(f"{disk}/o.parquet.parts") else [])
    mount("remount,size=10m")
    done = run()
    assert done.returncode == 0, done.stderr
    assert open(f"{disk}/o.parquet", "rb").read() == open(whole, "rb").read()
    assert sorted(os.listdir(disk)) == ["o.parquet", "o.parquet.run.json"]
    subprocess.run(["umount", disk], check=True)
"""


def test_a_full_disk_is_one_error_and_with_room_the_run_goes_on(tmp_path: Path, toy_model: Path) -> None:
    """A real file system that is too small: for the lock, for parts, for the output."""
    if (
        subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("no user namespaces here, so no small file system")
    source = sequences(tmp_path / "in.parquet", 2000)
    run = [
        sys.executable,
        REPOSITORY / "bench/kills.py",
        "--child",
        "cheap",
        "run",
        source,
        "-m",
        toy_model,
        "-q",
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([*run, "-o", tmp_path / "whole.parquet"], check=True, env=env)
    (tmp_path / "disk").mkdir()
    script = f"KILLS = {str(REPOSITORY / 'bench/kills.py')!r}\n{TMPFS}"
    command = [
        "unshare",
        "-rm",
        sys.executable,
        "-c",
        script,
        tmp_path / "disk",
        source,
        toy_model,
        tmp_path / "whole.parquet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr + done.stdout
    said = done.stdout.splitlines()
    assert any("part-" in line.split("cannot be")[0] for line in said), said
    assert any("o.parquet cannot be written" in line for line in said), said


@pytest.mark.parametrize("call", range(13))
def test_the_disk_fills_at_any_sync(
    tmp_path: Path, source: Path, whole: bytes, toy_model: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th fsync of the run fails: of the record, a part, the output, its note, OUT.run.json."""
    options = Options([str(source)], str(tmp_path / "o.parquet"), [str(toy_model)])
    sync, left = os.fsync, [call]

    def fsync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # folders may refuse
            return sync(handle)
        left[0] -= 1
        if left[0] == -1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return sync(handle)

    monkeypatch.setattr("os.fsync", fsync)
    error = in_time(lambda: score(options))
    assert isinstance(error, OutputError) == (call < PARTS + 4), "record, parts, output, note, OUT.run.json"
    if error:
        assert "cannot be written: No space left on device" in str(error)
        assert not [n for n in names(tmp_path) if n not in ("in.parquet", "o.parquet", "o.parquet.parts")]
    assert (tmp_path / "o.parquet").exists() == (call >= PARTS + 3)
    monkeypatch.setattr("os.fsync", sync)
    assert in_time(lambda: score(options)) is None
    assert (tmp_path / "o.parquet").read_bytes() == whole
    assert names(tmp_path) == ["in.parquet", "o.parquet", "o.parquet.run.json"]


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fidelity record is a convenience: the run goes on without it."""
    pytest.importorskip("torch", reason="an engine whose fp32 is measured needs legscore[train]")
    sequences(tmp_path / "in.parquet", 20)
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    ran: Ran = cli(
        "run", tmp_path / "in.parquet", "-m", toy_model, "-o", tmp_path / "o.parquet", "--engine", "torch"
    )
    assert ran.code == 0, ran.err
    assert "fidelity: not remembered" in ran.err


# Two runs


def test_two_runs_at_once(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    """The second refuses and names the first, which ends well; both started as processes."""
    sequences(tmp_path / "in.parquet", 400)
    out = tmp_path / "o.parquet"
    run = ("run", tmp_path / "in.parquet", "-m", toy_model, "-o", out, "--engine", "null")
    slow = [sys.executable, "-m", "legscore", *map(str, run), "--null-rate", "100", "-q"]
    first = subprocess.Popen(slow, cwd=REPOSITORY)
    ends = time.monotonic() + HANG_S
    while not (parts_folder(out) / "record.json").exists():
        assert time.monotonic() < ends
        time.sleep(0.05)
    ran: Ran = cli(*run, "-q")
    assert ran.code == 2
    assert f"o.parquet is being written by process {first.pid} on " in ran.err
    assert first.wait(HANG_S) == 0
    assert pq.read_metadata(out).num_rows == 400
    assert cli(*run, "-q", "--force").code == 0


def test_a_probe_that_another_run_clears_away_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds the lock removes what killed runs left, and a probe of a run beside it looks the same."""
    touch = Path.touch

    def touched(path: Path, **given: Any) -> None:
        touch(path, **given)
        remove_stale(tmp_path / "o.parquet")
        assert not path.exists()

    monkeypatch.setattr(Path, "touch", touched)
    check_writable(tmp_path / "o.parquet")


def test_many_runs_at_once_end_with_one_whole_output(tmp_path: Path, toy_model: Path) -> None:
    """Whoever comes first: every run either writes the output or is refused, and it is whole."""
    sequences(tmp_path / "in.parquet", 400)
    options = ["-m", toy_model, "-o", tmp_path / "o.parquet", "--engine", "null", "-q"]
    command = [sys.executable, "-m", "legscore", "run", tmp_path / "in.parquet", *options]
    runs = [
        subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [run.communicate(timeout=4 * HANG_S)[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert set(codes) <= {0, 2}
    assert 0 in codes
    assert all("is being written by" in text for text, code in zip(said, codes, strict=True) if code == 2), (
        said
    )
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 400
    assert names(tmp_path) == ["in.parquet", "o.parquet", "o.parquet.run.json"]


# Inputs that stop or change while they are read


@pytest.mark.parametrize("name", ["in.csv.gz", "in.fa.gz", "in.tsv"])
@pytest.mark.parametrize("how", ["cut", "replaced", "appended"])
def test_an_input_that_stops_or_changes_after_it_was_opened(
    tmp_path: Path, toy_model: Path, name: str, how: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass saw a whole file; what comes after is one clear error, and no part of it is kept."""
    if ".fa" in name:
        text = "".join(f">s{i}\n{'ACGT' * (5 + i % 20)}\n" for i in range(4000))
    else:
        text = f"id{chr(9) if 'tsv' in name else ','}sequence\n"
        text += "".join(
            f"{i}{chr(9) if 'tsv' in name else ','}{'ACGT' * (5 + i % 20)}\n" for i in range(4000)
        )
    rng = np.random.default_rng(0)
    noise = "".join(rng.choice(list("ACGT"), 200_000))  # so that the end is not in the first block read
    text += f">n\n{noise}\n" if ".fa" in name else f"n{chr(9) if 'tsv' in name else ','}{noise}\n"
    content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    path = tmp_path / name
    path.write_bytes(content)
    whole_save = PartFolder.save

    def save(self: PartFolder, number: int, scored: Any) -> None:
        whole_save(self, number, scored)
        if number == 1 and how == "replaced":
            other = tmp_path / "other"
            other.write_bytes(content)
            os.replace(other, path)
        elif number == 1:
            with open(path, "r+b") as stream:
                stream.seek(0, 2)
                stream.write(b"\n") if how == "appended" else stream.truncate(len(content) // 2)

    monkeypatch.setattr(PartFolder, "save", save)
    monkeypatch.setattr("legscore.run.pipeline.KEEPING", 1)  # no part is kept while the input changes
    options = Options([str(path)], str(tmp_path / "o.parquet"), [str(toy_model)])
    error = in_time(lambda: score(options))
    assert isinstance(error, InputError)
    assert f"{name} changed while it was being read" in str(error)
    assert not (tmp_path / "o.parquet").exists()
    assert PartFolder(parts_folder(tmp_path / "o.parquet")).numbers() == {0, 1}
    assert not alive()


@pytest.mark.parametrize("name", ["in.csv.gz", "in.fa.gz", "in.parquet"])
def test_a_damaged_input_is_one_error(
    tmp_path: Path, toy_model: Path, name: str, source: Path, cli: Any
) -> None:
    """A gzip that stops in the middle shows at once, a Parquet page that does when it is reached."""
    text = (
        "".join(f">s{i}\n{'ACGT' * 20}\n" for i in range(2000))
        if ".fa" in name
        else "id,sequence\n" + "1,ACGT\n" * 2000
    )
    path = tmp_path / name
    if name.endswith(".gz"):
        content = gzip.compress(text.encode())
        path.write_bytes(content[: len(content) // 2])
    else:
        pq.write_table(
            pq.read_table(source), path, row_group_size=200, use_dictionary=False, write_page_checksum=True
        )
        chunk = pq.ParquetFile(path).metadata.row_group(2).column(3)
        content = bytearray(path.read_bytes())
        middle = chunk.data_page_offset + chunk.total_compressed_size // 2
        content[middle] ^= 1
        path.write_bytes(content)
    ran: Ran = cli("run", path, "-m", toy_model, "-o", tmp_path / "o.parquet", "-q")
    assert ran.code == 2
    assert ran.err.count("\n") == 1, ran.err
    assert f"{name} cannot be read as" in ran.err or f"{name}: reading stopped" in ran.err
    assert not (tmp_path / "o.parquet").exists()
    assert not alive()


# Engine and threads


class Falls(Cheap):
    """Dies at the third batch."""

    at, error = 2, EngineError("the card fell off")

    def _score(self, batch: Any, members: list[int], both: bool, tell: Any) -> np.ndarray:
        self.at -= 1
        if self.at < 0:
            raise self.error
        return super()._score(batch, members, both, tell)


class DeathError(BaseException):
    """No Exception: such as a signal in the middle of a thread's work."""


def die(target: Any, name: str, at: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """The `at`-th call of target.name raises."""
    alive_one, left = getattr(target, name), [at]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return alive_one(*args, **kwargs)

    patch.setattr(target, name, call)


PLACES = {
    "read": ("legscore.input.columnar.ParquetSource", "batches"),
    "read a part": ("legscore.input.read.Part", "__init__"),
    "look for a part": ("legscore.output.parts.PartFolder", "load"),
    "window": ("legscore.rows.window.Windower", "__call__"),
    "submit": ("legscore.engine.base.ThreadedEngine", "submit"),
    "score": ("test_resume.Cheap", "_score"),
    "reduce": ("legscore.run.plan", "reduce_scores"),
    "check the input": ("legscore.input.read.Input", "check_unchanged"),
    "keep": ("legscore.output.parts.PartFolder", "save"),
    "table": ("legscore.run.stages", "result_table"),
    "write": ("legscore.output.write.ParquetWriter", "write"),
    "close": ("legscore.output.write.ParquetWriter", "close"),
    "rename": ("os", "replace"),
    "record": ("legscore.run.job", "circumstances"),
    "clear": ("legscore.output.parts.PartFolder", "clear"),
}


@pytest.mark.parametrize(
    "error", [RuntimeError("dead"), MemoryError("dead"), DeathError("dead")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("place", list(PLACES))
def test_whatever_dies_ends_the_run_and_keeps_the_rest(
    tmp_path: Path, source: Path, whole: bytes, toy_model: Path, place: str, error: BaseException
) -> None:
    """The error comes out as it was raised, no thread is left, parts are whole, and the same command ends
    well."""
    options = Options([str(source)], str(tmp_path / "o.parquet"), [str(toy_model)])
    module, _, leaf = PLACES[place][0].rpartition(".")
    target = __import__("importlib").import_module(PLACES[place][0]) if leaf.islower() else None
    target = target or getattr(__import__("importlib").import_module(module), leaf)
    once = place in ("read", "close", "record", "clear")
    patch = pytest.MonkeyPatch()
    die(target, PLACES[place][1], 0 if once else 3, error, patch)
    if place == "clear":  # called at the beginning too, where there is no record
        patch.undo()
        die(target, PLACES[place][1], 1, error, patch)
    raised = in_time(lambda: score(options))
    patch.undo()
    assert raised is error
    assert not alive()
    left = set(names(tmp_path)) - {"in.parquet", "o.parquet.parts"}
    assert left <= {"o.parquet", "o.parquet.run.json"}
    if "o.parquet" in left:
        assert (tmp_path / "o.parquet").read_bytes() == whole
    assert in_time(lambda: score(options)) is None
    assert (tmp_path / "o.parquet").read_bytes() == whole
    assert names(tmp_path) == ["in.parquet", "o.parquet", "o.parquet.run.json"]


def test_an_engine_that_raises_in_the_middle(
    tmp_path: Path, source: Path, whole: bytes, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.parquet"
    scored_by(monkeypatch, Falls)
    ran: Ran = cli("run", source, "-m", toy_model, "-o", out)
    assert ran.code == 2
    lines = ran.err.splitlines()
    assert lines[-1] == "legscore: the card fell off"
    assert lines[-2] == f"kept: 2 of {PARTS} parts ({parts_folder(out)}); the same command goes on from there"
    assert not out.exists()
    scored_by(monkeypatch, Cheap)
    ran = cli("run", source, "-m", toy_model, "-o", out)
    assert ran.code == 0, ran.err
    assert f"resume: 2 of {PARTS} parts are there" in ran.err
    assert out.read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_ends_at_once_and_keeps_parts(
    tmp_path: Path, toy_model: Path, number: int
) -> None:
    source, out = sequences(tmp_path / "in.parquet", 2000), tmp_path / "o.parquet"
    run = [
        sys.executable,
        REPOSITORY / "bench/kills.py",
        "--child",
        "null",
        "run",
        source,
        "-m",
        toy_model,
        "-o",
        out,
    ]
    process = subprocess.Popen(
        [*map(str, run), "--engine", "null", "--null-rate", "400"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    ends = time.monotonic() + HANG_S
    while not (parts_folder(out) / "part-00000001").exists():
        assert time.monotonic() < ends
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    started = time.monotonic()
    _, said = process.communicate(timeout=HANG_S)
    assert time.monotonic() - started < 15
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    assert len(PartFolder(parts_folder(out)).numbers()) >= 2
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_an_ignored_signal_stays_ignored(tmp_path: Path, toy_model: Path, number: int) -> None:
    """As nohup, and shells that put a job into the background, ask for."""
    source, out = sequences(tmp_path / "in.parquet", 400), tmp_path / "o.parquet"
    run = [sys.executable, "-m", "legscore", "run", source, "-m", toy_model, "-o", out, "--part-rows", "50"]
    process = subprocess.Popen(
        [*map(str, run), "--engine", "null", "--null-rate", "200", "-q"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, preexec_fn=lambda: signal.signal(number, signal.SIG_IGN) and None,
    )  # fmt: skip
    ends = time.monotonic() + HANG_S
    while not (parts_folder(out) / "record.json").exists():
        assert time.monotonic() < ends
        time.sleep(0.02)
    for _ in range(3):
        process.send_signal(number)
    assert process.wait(HANG_S) == 0
    assert pq.read_metadata(out).num_rows == 400


def test_errors_of_every_kind_leave_a_readable_record(tmp_path: Path, source: Path, toy_model: Path) -> None:
    """A record that a failing disk left unreadable is an error with a way out, never taken for a match."""
    options = Options([str(source)], str(tmp_path / "o.parquet"), [str(toy_model)])
    patch = pytest.MonkeyPatch()
    die(PartFolder, "save", 2, RuntimeError("dead"), patch)
    with pytest.raises(RuntimeError):
        score(options)
    patch.undo()
    record = parts_folder(options.output) / "record.json"
    assert json.loads(record.read_text())["inputs"][0]["path"] == str(source)
    for text in ("", "{", "[]", "\x00" * 50):
        record.write_text(text)
        with pytest.raises(LegscoreError, match=r"record.json (cannot be read|is no record).*--restart"):
            score(options)
    assert score(Options(options.inputs, options.output, options.models, restart=True))["rows_resumed"] == 0

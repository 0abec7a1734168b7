"""Memory bounds: slices whatever the row groups, parts under way, --memory held by the system, one line for
what does not fit."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.errors import LegscoreError
from legscore.input.read import open_input
from legscore.input.row_groups import slices
from legscore.run.stream import apply, background, in_flight
from legscore.system.memory import Budget, Limits, machine_bytes, parse_bytes


def test_sizes() -> None:
    assert [parse_bytes(text) for text in ("8G", "512M", "1.5GiB", "2 gb", 1 << 30)] == [
        8 << 30,
        512 << 20,
        3 << 29,
        2 << 30,
        1 << 30,
    ]
    for text in ("8X", "", "-8G", "1e9", "8GG", "G", "255M", "0", "٨G"):
        with pytest.raises(LegscoreError, match="--memory"):
            parse_bytes(text)
    assert Limits.of(None).total == machine_bytes() // 2 >= 128 << 20


class Thing:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


def test_budget_lets_in_what_fits_and_one_that_does_not() -> None:
    budget = Budget(100)
    admitted: list[int] = []

    def reader() -> None:
        for thing in budget.admit([Thing(n) for n in (60, 30, 20, 500, 1)], lambda thing: thing.nbytes):
            if thing is not None:
                admitted.append(thing.nbytes)

    thread = threading.Thread(target=reader)
    thread.start()
    for expected in ([60, 30], [60, 30, 20], [60, 30, 20], [60, 30, 20, 500], [60, 30, 20, 500, 1]):
        for _ in range(200):
            thread.join(0.01)
            if admitted == expected:
                break
        assert admitted == expected
        budget.done()
    thread.join(5)
    assert not thread.is_alive()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 150), max_size=30), st.integers(1, 4))
def test_parts_of_any_size_go_through_the_stages(costs: list[int], depth: int) -> None:
    """Engines take two parts or more at a time; where only one has room they must not wait for the next."""
    budget, under_way, most = Budget(100), 0, 0
    lock = threading.Lock()

    def begin(thing: Thing | None) -> Thing | None:
        nonlocal under_way, most
        if thing is not None:
            with lock:
                most = max(most, under_way + thing.nbytes) if under_way else most
                under_way += thing.nbytes
        return thing

    parts = apply(begin, budget.admit([Thing(n) for n in costs], lambda thing: thing.nbytes))
    found = []
    with ThreadPoolExecutor(1) as pool:
        flying = in_flight(
            background(parts, 1, "limits"), lambda thing: pool.submit(lambda: thing.nbytes), depth
        )
        with contextlib.closing(background(flying, 2, "limits-score", budget.end)) as ended:
            for thing, result in ended:
                assert thing.nbytes == result
                found.append(result)
                with lock:
                    under_way -= result
                budget.done()
    assert found == costs
    assert most <= 100


def test_stages_end_while_a_part_waits_for_room() -> None:
    budget = Budget(10)
    parts = apply(
        lambda thing: thing, budget.admit([Thing(9), Thing(9), Thing(9)], lambda thing: thing.nbytes)
    )
    with ThreadPoolExecutor(1) as pool:
        flying = in_flight(background(parts, 1, "limits"), lambda thing: pool.submit(lambda: 1), 2)
        ended = background(flying, 2, "limits-score", budget.end)
        next(ended)
        started = time.perf_counter()
        ended.close()  # nobody said that the first is done
        assert time.perf_counter() - started < 5
    assert not any("limits" in thread.name for thread in threading.enumerate())


def test_a_reader_that_waits_for_room_ends_when_nobody_wants_it() -> None:
    budget = Budget(10)
    thread = threading.Thread(
        target=lambda: list(budget.admit([Thing(9), Thing(9)], lambda thing: thing.nbytes))
    )
    thread.start()
    budget.end()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("dictionary", [False, True])
def test_slices_hold_the_rows_of_the_file(tmp_path: Path, dictionary: bool) -> None:
    rng = np.random.default_rng(1)
    n = 5000
    table = pa.table({
        "a.b": [f"v{i}" * int(rng.integers(1, 40)) for i in rng.integers(0, 900, n)], "n": rng.integers(0, 9, n),
        "l": [[1.0] * int(k) for k in rng.integers(0, 4, n)], "flag": rng.random(n) > 0.5, "s": [{"x": "y" * 50}] * n, "nothing": pa.nulls(n),
        "fixed": pa.array([b"12345"] * n, pa.binary(5)),
    })  # fmt: skip
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, table.schema, use_dictionary=dictionary) as writer:
        for start, rows in ((0, 1), (1, 3000), (3001, 1), (3002, 1998)):
            writer.write_table(table.slice(start, rows), row_group_size=rows)
    columns = ["n", "a.b", "s", "l", "flag", "nothing", "fixed"]
    for slice_bytes, most in ((1, 1), (20_000, 500), (1 << 20, 8192)):
        found = list(slices(path, columns, 8192, slice_bytes))
        assert pa.Table.from_batches(found).select(columns) == table.select(columns)
        assert max(batch.num_rows for batch in found) <= most
    for column in columns:
        assert pa.Table.from_batches(slices(path, [column], 8192, 1)).select([column]) == table.select(
            [column]
        )
    assert sum(batch.num_rows for batch in slices(path, ["n"], 100, 1 << 20, [1, 2])) == 3001


def test_a_value_that_a_dictionary_repeats_makes_slices_short(tmp_path: Path) -> None:
    """1 MB, 600 times, in a file of a few kilobytes; it could as well be a million times."""
    text = pa.array(["A" * 1_000_000]).take(pa.array(np.zeros(60, np.int64)))
    path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(
        path, pa.schema([("sequence", pa.string())]), compression="zstd", dictionary_pagesize_limit=1 << 24
    ) as writer:
        for _ in range(10):
            writer.write_table(pa.table({"sequence": text}))
    assert path.stat().st_size < 4096
    first = next(slices(path, ["sequence"], 8192, 1 << 23))
    assert first.num_rows == 8
    opened = open_input([path]).within(Limits.of("256M"))
    with pytest.raises(
        LegscoreError,
        match=r"bomb.parquet: rows 1 to 48 of columns sequence take more than 32 MiB.*--keep.*--memory",
    ):
        next(opened.parts(["sequence"], 1000))


def test_dictionaries_count_as_what_they_stand_for(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    """50,000 rows of one value of 1 MB: they would be written as 50 GB."""
    values = pa.array(["ACGT", "A" * 1_000_000])
    column = pa.DictionaryArray.from_arrays(pa.array(np.ones(50_000, np.int32)), values)
    with pa.ipc.new_file(str(tmp_path / "d.arrow"), pa.schema([("sequence", column.type)])) as writer:
        writer.write_table(pa.table({"sequence": column}))
    ran = cli("run", tmp_path / "d.arrow", "-m", toy_model, "-o", tmp_path / "o.arrow", "--engine", "null")
    assert ran.code == 2
    assert "d.arrow: rows 1 to 4,096 of columns sequence take more than" in ran.err
    with pa.ipc.new_file(str(tmp_path / "few.arrow"), pa.schema([("sequence", column.type)])) as writer:
        writer.write_table(
            pa.table({"sequence": pa.DictionaryArray.from_arrays(pa.array([0, 0, None], pa.int32()), values)})
        )
    part = next(open_input([tmp_path / "few.arrow"]).parts(["sequence"], 50_000))
    assert part.nbytes == 2 * 4 + 3 * 8


RUN = """
import sys
from legscore.cli import main
seen, sys.argv = sys.argv[1], ["legscore", *sys.argv[2:]]
try:
    main()
finally:
    open(seen, "w").write(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mib(folder: Path, *args: object) -> tuple[int, float]:
    """Exit code and peak resident memory, as the process itself saw it (getrusage counts its parent's
    too)."""
    done = subprocess.run([sys.executable, "-c", RUN, folder / "peak", *map(str, args)])
    return done.returncode, int((folder / "peak").read_text()) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit is set on Linux only")
def test_one_huge_row_group_under_a_cap(tmp_path: Path, toy_model: Path) -> None:
    """64 MB in one row group; the cap leaves little beyond what Python and Arrow take. `bench/row_group.py`
    does it with 1 GB."""
    rng = np.random.default_rng(2)
    n = 160_000
    letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (n, 400), dtype=np.uint8)]
    offsets = np.arange(n + 1, dtype=np.int32) * 400
    note = pa.Array.from_buffers(pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    pq.write_table(
        pa.table({"note": note, "sequence": pa.array(["ACGT" * 20] * n)}),
        tmp_path / "big.parquet",
        row_group_size=n,
        use_dictionary=False,
    )
    assert pq.read_metadata(tmp_path / "big.parquet").row_group(0).total_byte_size > 64e6
    base = ("run", tmp_path / "big.parquet", "-m", toy_model, "--engine", "null", "-q")
    code, peak = peak_mib(tmp_path, *base, "-o", tmp_path / "o.parquet", "--memory", "400M")
    assert code == 0
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == n
    assert peak < 300
    assert peak_mib(tmp_path, *base, "-o", tmp_path / "p.parquet")[0] == 0
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "p.parquet").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit is set on Linux only")
def test_parts_that_only_fit_one_at_a_time(tmp_path: Path, toy_model: Path) -> None:
    """8,192 rows of 4 kB: two parts at once, each counted four times, are more than half of 400 MB. The run
    once waited here for ever. Slices end elsewhere than parts: what is beyond a part's end does not count
    against it."""
    base = _long_rows(tmp_path, toy_model)
    for out, more in (("o.parquet", ["--memory", "400M"]), ("p.parquet", [])):
        subprocess.run([*base, "-o", str(tmp_path / out), *more], check=True, timeout=60)
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "p.parquet").read_bytes()


def _long_rows(folder: Path, toy_model: Path) -> list[str]:
    """Words of a run on 20,000 rows of 4 kB, whose sequences all differ: one that is there already takes an
    engine no time."""
    n, rng = 20_000, np.random.default_rng(1)
    sequences = ["".join("ACGT"[base] for base in row) for row in rng.integers(0, 4, (n, 80))]
    table = pa.table({"note": [f"{i:04000d}" for i in range(n)], "sequence": sequences})
    pq.write_table(table, folder / "long.parquet", row_group_size=5_000)
    words = (sys.executable, "-m", "legscore", "run", folder / "long.parquet", "-m", toy_model)
    return [*map(str, words), "--engine", "null", "-q"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit is set on Linux only")
def test_a_run_that_waits_for_room_can_be_stopped(tmp_path: Path, toy_model: Path) -> None:
    """Parts of 8,192 rows take two seconds each; the next one waits until the one before is done."""
    base = _long_rows(tmp_path, toy_model)
    out = tmp_path / "o.parquet"
    process = subprocess.Popen(
        [*base, "-o", str(out), "--memory", "400M", "--null-rate", "4000"], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    ends = time.monotonic() + 60
    while not list(Path(f"{out}.parts").glob("part-*")):
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not out.exists()
    for name, more in (("o.parquet", ["--memory", "400M"]), ("p.parquet", [])):
        subprocess.run([*base, "-o", str(tmp_path / name), *more], check=True, timeout=60)
    assert out.read_bytes() == (tmp_path / "p.parquet").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit is set on Linux only")
def test_what_does_not_fit_is_one_line(tmp_path: Path, toy_model: Path, capfd: Any) -> None:
    """One value of 600 MB in a file of a few kilobytes."""
    pq.write_table(
        pa.table({"sequence": ["A" * 600_000_000]}),
        tmp_path / "value.parquet",
        compression="zstd",
        write_statistics=False,
    )
    capfd.readouterr()
    code, peak = peak_mib(
        tmp_path,
        "run",
        tmp_path / "value.parquet",
        "-m",
        toy_model,
        "--engine",
        "null",
        "-o",
        tmp_path / "o.parquet",
        "-q",
        "--memory",
        "512M",
    )
    err = capfd.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert "value.parquet: " in err
    assert peak < 512
    assert not (tmp_path / "o.parquet").exists()


def test_bad_sizes_are_one_line(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    for size in ("8X", "12"):
        ran = cli(
            "run",
            tmp_path / "s.csv",
            "-m",
            toy_model,
            "-o",
            tmp_path / "o.csv",
            "--memory",
            size,
            "--engine",
            "null",
        )
        assert ran.code == 2
        assert f"--memory {size}" in ran.err.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit is set on Linux only")
def test_a_bound_below_what_the_models_take_is_one_line(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bundled models, compiled and then from the cache, where OpenVINO would end the process or wait
    forever if it was refused memory. What the line says is enough."""
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    base = (
        "run",
        tmp_path / "s.csv",
        "-o",
        tmp_path / "o.csv",
        "--engine",
        "openvino",
        "--precision",
        "fp32",
        "-q",
    )
    for _ in range(2):
        capfd.readouterr()
        code, _ = peak_mib(tmp_path, *base, "--memory", "256M")
        err = capfd.readouterr().err
        assert (code, err.count("\n")) == (2, 1), err
        found = re.fullmatch(
            r"legscore: --memory: 3 models on engine openvino and libraries take \d+ MiB of 256.*least (\d+M)\n",
            err,
        )
        assert found, err
        assert not (tmp_path / "o.csv").exists()
    assert list((tmp_path / "cache").rglob("*.plan"))
    assert peak_mib(tmp_path, *base, "--memory", found[1])[0] == 0
    assert (tmp_path / "o.csv").read_text().splitlines()[1].endswith(",ok,0")

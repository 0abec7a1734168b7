"""SIGKILL at every call that changes the disk: in publishing, joining, folders of files, tracks and nulls. Then
the output is not there or whole, and the same command ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import LONG, REPOSITORY, random_dna

CALLS = ("replace", "rename", "link", "unlink", "fsync", "rmdir")
SCRIPT = f"""
import json, os, signal, sys
import legscore.cli, legscore.run.job, legscore.cli.merge, pyarrow.parquet, numpy
from pathlib import Path

words, out, expected, beside, step = json.loads(sys.argv[1])

def run(at):
    "The command in a child, killed before the call number `at`; its exit code, negative for a signal."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [at]
    def counted(whole):
        def call(*given, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*given, **named)
        return call
    for name in {CALLS!r}:
        setattr(os, name, counted(getattr(os, name)))
    sys.argv = ["legscore", *words]
    try:
        legscore.cli.main()
    except SystemExit as end:
        os._exit(end.code or 0)
    except BaseException:
        os._exit(99)
    os._exit(0)

def files():
    found = Path(out)
    return {{p.name: p.read_bytes() for p in (found.iterdir() if found.is_dir() else [found])}} if found.exists() else None

twin = Path(expected)
right = {{p.name: p.read_bytes() for p in twin.iterdir()}} if twin.is_dir() else {{Path(out).name: twin.read_bytes()}}
before = set(os.listdir(beside))
kills, at = 0, 0
while True:
    code = run(at)
    if code == -signal.SIGKILL:
        kills += 1
        if not Path(out).is_dir():
            assert files() in (None, right), (at, "half an output")
        assert run(10**9) == 0, at
    else:
        assert code == 0, (at, code)
    assert files() == right, (at, "other bytes")
    left = set(os.listdir(beside)) - before
    assert not [name for name in left if name.startswith(".") or name.endswith(".parts")], (at, left)
    if code == 0:
        break
    for path in (Path(out), Path(out.rstrip("/") + ".run.json")):
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    at += step
print(kills)
"""


def every_call(words: list[Any], out: Path | str, expected: Path, fewest: int, step: int = 1) -> None:
    """Fails unless a command, killed at its every call, ends as it should; it is killed at least `fewest`
    times. `step`: calls from one kill to the next, unless all are asked for."""
    step = 1 if LONG else step
    given = json.dumps([[str(word) for word in words], str(out), str(expected), str(expected.parent), step])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, given], capture_output=True, text=True, cwd=REPOSITORY, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= fewest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    texts = [random_dna(rng, 40) for _ in range(12)]
    alts = [text[:20] + {"A": "C", "C": "A", "G": "T", "T": "G"}[text[20]] + text[21:] for text in texts]
    pq.write_table(pa.table({"ref_sequence": texts, "alt_sequence": alts}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.parametrize("kind", ["a table", "a folder", "a null"])
def test_runs_killed_at_every_call(
    tmp_path: Path, source: Path, toy_model: Path, cli: Any, kind: str
) -> None:
    given = ["run", source, "-m", toy_model, "--engine", "null", "--part-rows", 6, "-q"]
    given += {"a table": [], "a folder": ["--file-rows", 6], "a null": ["--shuffle-null", 2]}[kind]
    ending = "/" if kind == "a folder" else ".parquet"
    assert cli(*given, "-o", f"{tmp_path}/whole{ending}").code == 0
    out = f"{tmp_path}/o{ending}"
    step = {"a table": 3, "a folder": 5, "a null": 12}[kind]  # .ci/full takes all
    every_call([*given, "-o", out], out, Path(f"{tmp_path}/whole{ending}"), fewest=8, step=step)


@pytest.mark.parametrize("name", ["o.parquet", "o.csv"])
def test_a_join_killed_at_every_call(
    tmp_path: Path, source: Path, toy_model: Path, cli: Any, name: str
) -> None:
    given = ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", 6, "-q")
    shards = [tmp_path / f"{i}.{name}" for i in (1, 2)]
    for i, shard in enumerate(shards, 1):
        assert cli(*given, "--shard", f"{i}/2", "-o", shard).code == 0
    assert cli(*given, "-o", tmp_path / f"whole.{name}").code == 0
    out = tmp_path / name
    every_call(["merge", *shards, "-o", out, "-q"], out, tmp_path / f"whole.{name}", fewest=3)

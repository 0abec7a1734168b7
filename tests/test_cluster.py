"""Runs on Ray: real clusters of real processes, the same bytes as one machine's, whatever dies."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, make_student, one_line, random_dna

from legscore.cluster.worker import Refused, Scorer, versions
from legscore.output.parts import PartFolder, parts_folder

Cli = Callable[..., Ran]
# before Ray is imported: whoever runs the tests may have a token at home
os.environ["RAY_AUTH_MODE"] = "disabled"
HAS_RAY = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'legscore[ray]'")
TESTS = Path(__file__).parent
ROWS, PART = 600, 40
COMMON = ("--part-rows", PART, "--precision", "fp32")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def started(port: int, *more: str) -> Iterator[str]:
    """A head of a cluster on this machine; its address."""
    known = {**os.environ, "LEGSCORE_TEST_WORKER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    known["PYTHONPATH"] = os.pathsep.join(
        [str(TESTS / "stumbling"), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--head", "--block", f"--port={port}", "--include-dashboard=false"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats", *more]
    for _ in range(5):  # Ray gives its own processes 30 s, which a busy machine may not keep
        head = subprocess.Popen(
            command, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert head.stdout is not None
        told: list[str] = []
        while (line := head.stdout.readline()) and "Ray runtime started" not in line:
            told.append(line)
        if line:
            break
        head.wait()
    else:
        pytest.skip("Ray could not be started here: " + "".join(told)[-200:])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(60)
        except subprocess.TimeoutExpired:
            head.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of two CPUs on this machine; its address."""
    with started(free_port(), "--num-cpus=2") as address:
        yield address


def write(path: Path, rows: int = ROWS, marked: dict[int, str] | None = None) -> Path:
    """A table; `marked` rows are 130 of one base, over which the cluster's engines stumble."""
    rng = np.random.default_rng(1)
    texts = [random_dna(rng, 80) for _ in range(rows)]
    for row, base in (marked or {}).items():
        texts[row] = base * 130
    pq.write_table(pa.table({"id": np.arange(rows), "sequence": texts}), path, row_group_size=150)
    return path


@with_ray
def test_the_bytes_are_those_of_one_machine(cli: Cli, cluster: str, tmp_path: Path, toy_models: Path) -> None:
    source = write(tmp_path / "in.parquet")
    given = ("run", source, "-m", toy_models, *COMMON)
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    ran = cli(
        *given,
        "-o",
        tmp_path / "ray.parquet",
        "--ray",
        cluster,
        "--workers",
        2,
        "--log-json",
        tmp_path / "log.jsonl",
    )
    assert ran.code == 0, ran.err
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert not parts_folder(tmp_path / "ray.parquet").exists()
    assert "retries: 0" in ran.err
    assert "verified:" in ran.err
    record = json.loads((tmp_path / "ray.parquet.run.json").read_text())
    assert sum(worker["rows"] for worker in record["cluster"]["workers"]) == ROWS
    assert record["rows_resumed"] == 0
    assert record["verify"]["windows"] >= ROWS // PART
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    parts = [event for event in events if event["event"] == "part"]
    assert sorted(event["part"] for event in parts) == list(range(ROWS // PART))
    assert parts[-1]["rows_done"] == ROWS
    assert {event["event"] for event in events} >= {"start", "worker", "part", "finish"}
    assert events[-1]["ok"]
    # shards, and members until a standard error: the same on Ray
    for more in (("--shard", "2/3"), ("--per-model", "--verify", 1)):
        assert cli(*given, *more, "--force", "-o", tmp_path / "one.arrow").code == 0
        ran = cli(*given, *more, "--force", "-o", tmp_path / "ray.arrow", "--ray", cluster, "--workers", 1)
        assert ran.code == 0, ran.err
        assert (tmp_path / "ray.arrow").read_bytes() == (tmp_path / "one.arrow").read_bytes()


@with_ray
def test_workers_write_the_files_of_a_folder(
    cli: Cli, cluster: str, tmp_path: Path, toy_models: Path
) -> None:
    source = write(tmp_path / "in.parquet")
    given = ("run", source, "-m", toy_models, *COMMON, "--file-rows", 2 * PART)
    assert cli(*given, "-o", f"{tmp_path}/one/").code == 0
    log = tmp_path / "log.jsonl"
    ran = cli(*given, "-o", f"{tmp_path}/ray/", "--ray", cluster, "--workers", 2, "--log-json", log)
    assert ran.code == 0, ran.err
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert len(files) == 8
    assert {path.name: path.read_bytes() for path in (tmp_path / "ray").iterdir()} == files
    assert not parts_folder(tmp_path / "ray").exists()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    written = {
        event["file"]: event["worker"]
        for event in events
        if event["event"] == "file" and not event.get("resumed")
    }
    assert sorted(written) == list(range(8)), "the workers wrote them, not the driver"
    assert sum(event["rows"] for event in events if event["event"] == "part") == ROWS
    record = json.loads((tmp_path / "ray.run.json").read_text())
    assert record["rows_resumed"] == 0
    assert sum(worker["rows"] for worker in record["cluster"]["workers"]) == ROWS


@with_ray
def test_a_student_tells_its_sd_on_workers(cli: Cli, cluster: str, tmp_path: Path, toy_models: Path) -> None:
    source = write(tmp_path / "in.parquet")
    student = make_student(toy_models, tmp_path / "s.safetensors", tells_sd=True)
    given = ("run", source, "-m", student, *COMMON)
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    ran = cli(*given, "-o", tmp_path / "ray.parquet", "--ray", cluster, "--workers", 2)
    assert ran.code == 0, ran.err
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert pq.read_table(tmp_path / "ray.parquet")["score_sd"].null_count < ROWS
    verified = json.loads((tmp_path / "ray.parquet.run.json").read_text())["verify"]
    assert verified["members_verified"] == verified["members"] == 2


@with_ray
def test_a_cascade_has_the_bytes_of_one_machine(
    cli: Cli, cluster: str, tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was interrupted in its second pass on one machine."""
    rng = np.random.default_rng(4)
    pairs = [random_dna(rng, 80) for _ in range(150)]
    table = pa.table({"ref_sequence": pairs, "alt_sequence": [t[:40] + random_dna(rng, 40) for t in pairs]})
    pq.write_table(table, tmp_path / "in.parquet")
    student = make_student(toy_models, tmp_path / "s.safetensors")
    given = (
        "run",
        tmp_path / "in.parquet",
        "-m",
        toy_models,
        *COMMON,
        "--student",
        student,
        "--rescore",
        "10%",
    )
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    ran = cli(*given, "-o", tmp_path / "ray.parquet", "--ray", cluster, "--workers", 2)
    assert ran.code == 0, ran.err
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert not parts_folder(tmp_path / "ray.parquet").exists()
    assert "chosen: 15 of 150 rows (10%)" in ran.err
    whole, left = PartFolder.save, [6]

    def save(self: PartFolder, number: int, scored: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        whole(self, number, scored)

    with monkeypatch.context() as patch:
        patch.setattr(PartFolder, "save", save)
        cli(*given, "-o", tmp_path / "again.parquet")
    assert (parts_folder(tmp_path / "again.parquet") / "student_scores").is_dir()
    ran = cli(*given, "-o", tmp_path / "again.parquet", "--ray", cluster, "--workers", 1)
    assert ran.code == 0, ran.err
    assert ran.err.count("resume:") == 2
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


@with_ray
def test_intervals_of_effects_are_those_of_one_machine(
    cli: Cli, cluster: str, tmp_path: Path, toy_models: Path
) -> None:
    """--calibration."""
    from legscore.model.checkpoint import load_members
    from legscore.run.calibration import Calibration

    rng = np.random.default_rng(4)
    pairs = [random_dna(rng, 80) for _ in range(90)]
    table = pa.table({"ref_sequence": pairs, "alt_sequence": [random_dna(rng, 80) for _ in pairs]})
    pq.write_table(table, tmp_path / "in.parquet")
    found = Calibration(
        tuple(member.sha256 for member in load_members([toy_models])),
        {"rc": "construct", "singleton": 0},
        0.8,
        1.7,
        0.1,
        True,
        0.9,
    )
    found.save(tmp_path / "calibration.json")
    given = (
        "run",
        tmp_path / "in.parquet",
        "-m",
        toy_models,
        *COMMON,
        "--calibration",
        tmp_path / "calibration.json",
    )
    assert cli(*given, "-o", tmp_path / "one.arrow").code == 0
    ran = cli(*given, "-o", tmp_path / "ray.arrow", "--ray", cluster, "--workers", 1)
    assert ran.code == 0, ran.err
    assert "effect_low" in pa.ipc.open_file(tmp_path / "ray.arrow").schema.names
    assert (tmp_path / "ray.arrow").read_bytes() == (tmp_path / "one.arrow").read_bytes()


@pytest.mark.parametrize("killed", [False, True], ids=["stays", "is killed"])
@with_ray
def test_workers_go_to_machines_that_come_later(
    cli: Cli, tmp_path: Path, toy_model: Path, killed: bool
) -> None:
    """Two workers on a cluster with room for one: the run begins, and the second works as soon as a machine
    has joined. When all processes of that machine are killed, the first finishes the work alone."""
    psutil = pytest.importorskip("psutil")
    source, out = write(tmp_path / "in.parquet"), tmp_path / "ray.parquet"
    given = ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", PART)
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    with started(free_port(), "--num-cpus=1") as address:
        process = start(source, out, address, toy_model, "--workers", 2, "--null-rate", 20)

        def wait_for(workers: int) -> None:
            while process.poll() is None and len(workers_of(Path(f"{out}.jsonl"))) < workers:
                time.sleep(0.2)

        wait_for(1)
        ray = str(Path(sys.executable).with_name("ray"))
        words = [
            ray,
            "start",
            f"--address={address}",
            "--block",
            "--num-cpus=1",
            "--object-store-memory=100000000",
        ]
        joined = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if killed:
                wait_for(2)
                for one in (*psutil.Process(joined.pid).children(recursive=True), joined):
                    one.kill()
            assert process.wait(300) == 0, Path(f"{out}.err").read_text()
        finally:
            joined.terminate()
            joined.wait(60)
    assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()
    cluster = json.loads(Path(f"{out}.run.json").read_text())["cluster"]
    assert sum(worker["rows"] for worker in cluster["workers"]) == ROWS
    if killed:
        assert max(worker["deaths"] for worker in cluster["workers"]) >= 1
        assert cluster["retries"] >= 1
    else:
        assert all(worker["rows"] > 0 for worker in cluster["workers"])


@with_ray
def test_named_ensembles_are_scored_by_the_workers(
    cli: Cli, cluster: str, tmp_path: Path, toy_models: Path
) -> None:
    source = write(tmp_path / "in.parquet", 120)
    named = ("-m", f"all={toy_models}", "-m", f"first={toy_models / 'member0.safetensors'}")
    given = ("run", source, *named, *COMMON, "--per-model")
    assert cli(*given, "-o", tmp_path / "one.arrow").code == 0
    ran = cli(*given, "-o", tmp_path / "ray.arrow", "--ray", cluster, "--workers", 1)
    assert ran.code == 0, ran.err
    assert (tmp_path / "ray.arrow").read_bytes() == (tmp_path / "one.arrow").read_bytes()
    assert "of all 4 members" in ran.err


@with_ray
def test_an_atlas_has_the_bytes_of_one_machine(
    cli: Cli, cluster: str, tmp_path: Path, toy_models: Path
) -> None:
    from atlas_world import content, write_world

    world = write_world(tmp_path)
    given = ("atlas", "build", "--fasta", world / "g.fa", "--tiles", world / "t.bed", "-m", toy_models)
    given = (*given, *COMMON, "--indels", "--tabix", "vcf")
    assert cli(*given, "-o", tmp_path / "one").code == 0
    ran = cli(*given, "-o", tmp_path / "ray", "--ray", cluster, "--workers", 2)
    assert ran.code == 0, ran.err
    one, ray = content(tmp_path / "one"), content(tmp_path / "ray")
    assert ray.keys() == one.keys()
    assert [name for name in one if ray[name] != one[name]] == []
    assert not parts_folder(tmp_path / "ray").exists()


@with_ray
def test_members_of_a_row_are_chosen_by_the_workers(cli: Cli, cluster: str, tmp_path: Path) -> None:
    """--until-se and --out-of-fold."""
    from conftest import toy_checkpoint

    for member in range(6):
        checkpoint = toy_checkpoint(member)
        rule = {"by": "column", "column": "fold", "fold_on": "insert", "n_folds": 3}
        training = {"folds": rule, "folds_held_out": [member % 3], "recipe": {"keep": "last"}, "seed": member}
        object.__setattr__(checkpoint, "training", training)
        checkpoint.save(tmp_path / f"m{member}.safetensors")
    rng = np.random.default_rng(3)
    table = pa.table({"fold": rng.integers(0, 3, 160), "sequence": [random_dna(rng, 80) for _ in range(160)]})
    pq.write_table(table, tmp_path / "in.parquet")
    given = (
        "run",
        tmp_path / "in.parquet",
        *(w for m in range(6) for w in ("-m", tmp_path / f"m{m}.safetensors")),
        *COMMON,
    )
    for more in (("--until-se", "0.5"), ("--out-of-fold", "fold")):
        assert cli(*given, *more, "--force", "-o", tmp_path / "one.tsv").code == 0
        ran = cli(*given, *more, "--force", "-o", tmp_path / "ray.tsv", "--ray", cluster, "--workers", 1)
        assert ran.code == 0, ran.err
        assert (tmp_path / "ray.tsv").read_bytes() == (tmp_path / "one.tsv").read_bytes()


def workers_of(log: Path) -> list[int]:
    """Process ids of workers, as the log tells them."""
    if not log.exists():
        return []
    events = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [event["process"] for event in events if event["event"] == "worker"]


def start(source: Path, out: Path, cluster: str, models: Path, *more: object) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "legscore",
        "run",
        source,
        "-m",
        models,
        "-o",
        out,
        "--part-rows",
        PART,
        "--ray",
        cluster,
    ]
    command += ["--engine", "null", "--log-json", f"{out}.jsonl", *more]
    return subprocess.Popen([str(word) for word in command], stderr=open(f"{out}.err", "wb"))


@with_ray
def test_workers_killed_at_random(cli: Cli, cluster: str, tmp_path: Path, toy_model: Path) -> None:
    """Ten kills, seeded, over as many runs as that takes; every output has the bytes of an undisturbed run's.
    A run that a kill ends (a part may fail four times) is run again."""
    source = write(tmp_path / "in.parquet", 1600)
    assert (
        cli(
            "run",
            source,
            "-m",
            toy_model,
            "--engine",
            "null",
            "--part-rows",
            PART,
            "-o",
            tmp_path / "one.parquet",
        ).code
        == 0
    )
    rng, kills, runs, seen = random.Random(7), 0, 0, set[int]()
    while kills < 10:
        runs += 1
        assert runs <= 12
        out = tmp_path / f"ray{runs}.parquet"
        while not out.exists():
            process = start(source, out, cluster, toy_model, "--workers", 2, "--null-rate", 100)
            while process.poll() is None:
                time.sleep(rng.uniform(0.2, 1.5))
                alive = [pid for pid in workers_of(Path(f"{out}.jsonl")) if pid not in seen]
                if alive and kills < 10:
                    seen.add(pid := rng.choice(alive))
                    try:
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
                    except ProcessLookupError:
                        continue
            assert process.returncode in (0, 2), Path(f"{out}.err").read_text()
        assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()


@with_ray
def test_a_driver_that_dies_leaves_parts_for_the_next(
    cli: Cli, cluster: str, tmp_path: Path, toy_model: Path
) -> None:
    source, out = write(tmp_path / "in.parquet"), tmp_path / "ray.parquet"
    given = ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", PART)
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    process = start(source, out, cluster, toy_model, "--workers", 1, "--null-rate", 100)
    ends = time.monotonic() + 120
    while time.monotonic() < ends and process.poll() is None:
        time.sleep(0.1)
        if parts_folder(out).is_dir() and len(PartFolder(parts_folder(out)).numbers()) >= 3:
            break
    process.kill()
    process.wait()
    assert not out.exists()
    kept = len(PartFolder(parts_folder(out)).numbers())
    assert kept >= 3
    ran = cli(*given, "-o", out)  # one machine goes on
    assert ran.code == 0, ran.err
    assert f"resume: {kept} of {ROWS // PART} parts" in ran.err, "nothing that was scored is lost"
    assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()


@with_ray
def test_poison_is_named_and_the_rest_is_kept(
    cli: Cli, cluster: str, tmp_path: Path, toy_model: Path
) -> None:
    """Row 100 raises in the engine, row 301 ends the process: parts 2 and 7."""
    source, out = write(tmp_path / "in.parquet", marked={100: "T", 301: "A"}), tmp_path / "o.parquet"
    given = ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", PART, "-o", out)
    ran = cli(*given, "--ray", cluster, "--workers", 2)
    assert ran.code == 2
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("legscore: 2 of 15 parts failed 4 times each: part 2 (rows 81 to 120): ")
    assert "this window cannot be scored" in last
    assert "part 7 (rows 281 to 320)" in last
    assert "Traceback" not in ran.err
    assert PartFolder(parts_folder(out)).numbers() == set(range(15)) - {2, 7}
    ran = cli(*given)  # here nothing stumbles
    assert ran.code == 0, ran.err
    assert "resume: 13 of 15 parts" in ran.err


@with_ray
def test_wrong_scores_end_the_run(cli: Cli, cluster: str, tmp_path: Path, toy_models: Path) -> None:
    source, out = write(tmp_path / "in.parquet", marked={100: "G"}), tmp_path / "o.parquet"
    given = (
        "run",
        source,
        "-m",
        toy_models,
        *COMMON,
        "--verify",
        1,
        "-o",
        out,
        "--log-json",
        tmp_path / "log.jsonl",
    )
    ran = cli(*given, "--ray", cluster, "--workers", 1)
    assert ran.code == 2
    assert "verify: row 101 of" in ran.err.splitlines()[-1] or "verify: row 101 of" in ran.err
    assert '"retry"' not in (tmp_path / "log.jsonl").read_text(), (
        "wrong numbers are no fault to be tried again"
    )


def test_bad_requests_are_one_line(
    cli: Cli, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("run", write(tmp_path / "in.parquet"), "-m", toy_model)
    out = ("-o", tmp_path / "o.parquet")
    one_line(cli(*given, *out, "--workers", 2), "--workers", "--ray")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "ray" else real(name, *a)
    )
    one_line(cli(*given, *out, "--ray", "local"), "pip install 'legscore[ray]'")
    monkeypatch.undo()
    if not HAS_RAY:
        return
    one_line(cli(*given, "-o", "-", "--ray", "local"), "standard output")
    one_line(cli(*given, *out, "--ray", "local", "--device", "0"), "--num-gpus")
    one_line(cli(*given, *out, "--ray", "local", "--shuffle-null", 3), "--shuffle-null")
    one_line(cli(*given, *out, "--ray", "nonsense"), "HOST:PORT")
    one_line(cli(*given, *out, "--ray", "ray://127.0.0.1:10001"), "ray job submit")
    one_line(cli(*given, *out, "--ray", "127.0.0.1:1"), "127.0.0.1:1 cannot be reached")
    one_line(cli(*given, *out, "--ray", "local", "--workers", 4096), "4096 workers")
    monkeypatch.setattr("legscore.cluster.connect.PROBE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one_line(
            cli(*given, *out, "--ray", f"127.0.0.1:{silent.getsockname()[1]}"),
            "cannot be reached (timed out)",
        )
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        one_line(
            cli(*given, *out, "--ray", f"127.0.0.1:{other.server_address[1]}"),
            "something else than Ray listens there",
        )
        other.shutdown()


def test_workers_of_other_versions_are_refused() -> None:
    """What a worker answers a driver whose pyarrow is another."""
    answer = Scorer().open({}, {**versions(), "pyarrow": "1.0"}, 0, {})
    assert isinstance(answer, Refused)
    assert 'pyarrow is "1.0", here and' in answer.error


def test_dry_run_says_parts_windows_and_time(
    cli: Cli, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legscore.measure.dry_run.MEASURED_S", 0.5)
    rng = np.random.default_rng(0)
    distinct = [random_dna(rng, 80) for _ in range(50)]
    pq.write_table(pa.table({"sequence": distinct * 4}), tmp_path / "in.parquet")
    ran = cli(
        "run",
        tmp_path / "in.parquet",
        "-m",
        toy_model,
        "-o",
        tmp_path / "o.parquet",
        "--part-rows",
        100,
        "--dry-run",
    )
    assert ran.code == 0, ran.err
    assert "parts: 2, of 200 rows" in ran.out
    assert "windows: 100 after deduplication, × 1 members" in ran.out
    assert "time: about" in ran.out
    assert not (tmp_path / "o.parquet").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


def test_nothing_of_the_cluster_is_imported_without_ray(tmp_path: Path, toy_model: Path) -> None:
    source = write(tmp_path / "in.parquet", 10)
    arguments: list[Any] = [
        "legscore",
        "run",
        source,
        "-m",
        toy_model,
        "-o",
        tmp_path / "o.parquet",
        "--engine",
        "null",
        "-q",
    ]
    code = (
        f"import sys; sys.argv = {[str(word) for word in arguments]!r}\nfrom legscore.cli import main\nmain()\n"
        "print([name for name in sys.modules if name == 'ray' or name.startswith('legscore.cluster')])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )

"""Object stores: a real S3 server on loopback, behind a proxy that counts, delays and drops."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import socket
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

from legscore.input.files import find_files
from legscore.input.ranges import RangeReader
from legscore.output.remote_parts import RemoteParts
from legscore.system.storage import ATTEMPTS, Remote, _with_length, is_remote

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None,
    reason="moto's server is not installed: pip install 'moto[server]'",
)
Cli = Callable[..., Ran]
ROWS, PART = 2400, 300


class Proxy:
    """Hands bytes on between a client and the store; `dropped` and `delay_s` are what it does to
    connections."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.down = 0
        self.drop_share = 0.0
        self.delay_s = 0.0
        self.dropped = 0
        self._rng = random.Random(3)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if down:
                    self.down += len(data)
                    time.sleep(self.delay_s)
                    if self._rng.random() < self.drop_share:
                        self.dropped += 1
                        sink.sendall(data[: len(data) // 2])
                        break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Port of the S3 server."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()[1]
    running.stop()


@pytest.fixture
def store(
    server: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A bucket behind a proxy; the environment points there. Locks lie in the temporary folder, and other
    workers of this suite have a store with the same names: each test gets a folder of its own."""
    proxy = Proxy(server)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    import boto3

    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server}").create_bucket(Bucket="bucket")
    yield proxy
    Remote("s3://bucket").filesystem.delete_dir_contents("bucket")
    proxy.close()


def table(rows: int = ROWS) -> pa.Table:
    rng = np.random.default_rng(0)
    wide = pa.array(rng.bytes(600).hex() + str(i) for i in range(rows))
    sequences = pa.array([random_dna(rng, 80) for _ in range(rows // 4)]).take(
        pa.array(np.arange(rows) % (rows // 4))
    )
    return pa.table({"id": np.arange(rows), "wide": wide, "sequence": sequences})


def put(folder: Path, uri: str, rows: int = ROWS, group: int = 700) -> Path:
    """The same table on this disk and in the store."""
    path = folder / Remote(uri).name
    pq.write_table(table(rows), path, row_group_size=group)
    Remote(uri).upload(path)
    return path


def objects() -> list[str]:
    from pyarrow import fs

    found = Remote("s3://bucket").filesystem.get_file_info(fs.FileSelector("bucket", recursive=True))
    return sorted(entry.path for entry in found if entry.type == fs.FileType.File)


GIVEN = ("--engine", "null", "--part-rows", PART, "--keep", "id")


def test_from_store_to_store_with_the_bytes_of_a_disk(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path
) -> None:
    local = put(tmp_path, "s3://bucket/in.parquet")
    assert cli("run", local, "-m", toy_model, *GIVEN, "-o", tmp_path / "o.parquet").code == 0
    ran = cli("run", "s3://bucket/in.parquet", "-m", toy_model, *GIVEN, "-o", "s3://bucket/out/o.parquet")
    assert ran.code == 0, ran.err
    assert Remote("s3://bucket/out/o.parquet").read() == (tmp_path / "o.parquet").read_bytes()
    record = json.loads(Remote("s3://bucket/out/o.parquet.run.json").read())
    assert record["rows"] == ROWS
    assert objects() == ["bucket/in.parquet", "bucket/out/o.parquet", "bucket/out/o.parquet.run.json"], (
        "no parts, no probes"
    )
    (tmp_path / "t.csv").write_text("id,sequence\n1,ACGT\n2,GGGT\n")
    Remote("s3://bucket/t.csv").upload(tmp_path / "t.csv")
    assert cli("run", "s3://bucket/t.csv", "-m", toy_model, *GIVEN, "-o", tmp_path / "t.tsv").code == 0
    assert (tmp_path / "t.tsv").read_text().splitlines()[1].startswith("1\t")


def test_only_the_needed_columns_travel(cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path) -> None:
    """Each byte of the columns that are read, once, and the footer; not the wide column."""
    local = put(tmp_path, "s3://bucket/in.parquet", 20_000, 6_000)
    metadata = pq.read_metadata(local)
    needed = sum(
        metadata.row_group(g).column(c).total_compressed_size
        for g in range(metadata.num_row_groups)
        for c in range(3)
        if metadata.schema.column(c).path != "wide"
    )
    store.down = 0
    ran = cli(
        "run",
        "s3://bucket/in.parquet",
        "-m",
        toy_model,
        "--engine",
        "null",
        "--keep",
        "id",
        "-o",
        tmp_path / "o.parquet",
    )
    assert ran.code == 0, ran.err
    overhead = (1 << 17) + 60 * 1024  # the footer and what surrounds it, headers of some requests
    assert store.down < 1.1 * needed + overhead, (store.down, needed, local.stat().st_size)
    assert local.stat().st_size > 4 * needed


def test_dropped_connections_and_slow_answers(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path
) -> None:
    local = put(tmp_path, "s3://bucket/in.parquet")
    assert cli("run", local, "-m", toy_model, *GIVEN, "-o", tmp_path / "o.parquet").code == 0
    store.drop_share, store.delay_s = 0.08, 0.02
    ran = cli("run", "s3://bucket/in.parquet", "-m", toy_model, *GIVEN, "-o", "s3://bucket/o.parquet")
    assert ran.code == 0, ran.err
    store.drop_share = 0.0
    assert store.dropped > 0
    assert Remote("s3://bucket/o.parquet").read() == (tmp_path / "o.parquet").read_bytes()


def interrupt(cli: Cli, given: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until all parts are kept and the output is about to be put into the store."""

    def cut(self: Remote, source: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as until:
        until.setattr(Remote, "upload", cut)
        assert cli(*given).code == 130


def test_an_interrupted_run_goes_on_and_no_half_object_shows(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = put(tmp_path, "s3://bucket/in.parquet")
    assert cli("run", local, "-m", toy_model, *GIVEN, "-o", tmp_path / "o.parquet").code == 0
    given = ("run", "s3://bucket/in.parquet", "-m", toy_model, *GIVEN, "-o", "s3://bucket/o.parquet")
    interrupt(cli, given, monkeypatch)
    kept = [name for name in objects() if "/o.parquet.parts/part-" in name]
    assert len(kept) == ROWS // PART
    assert "bucket/o.parquet" not in objects()
    differs = cli(*given, "--max-n", 3)
    assert differs.code == 2
    assert (
        "s3://bucket/o.parquet.parts holds an interrupted run that differs"
        in differs.err.strip().splitlines()[-1]
    )
    ran = cli(*given)
    assert ran.code == 0, ran.err
    assert "resume: 8 of 8 parts are there (s3://bucket/o.parquet.parts)" in ran.err
    assert Remote("s3://bucket/o.parquet").read() == (tmp_path / "o.parquet").read_bytes()


def test_a_student_first_from_store_to_store(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in either pass it goes on; other runs to this output are refused meanwhile."""
    local = put(tmp_path, "s3://bucket/in.parquet")
    student = make_student(toy_model, tmp_path / "s.safetensors")
    plain = ("-m", toy_model, *GIVEN)
    given = (*plain, "--student", student, "--rescore", "score>-1")
    assert cli("run", local, *given, "-o", tmp_path / "o.parquet").code == 0
    remote, whole, left = ("run", "s3://bucket/in.parquet"), RemoteParts.save, [3]

    def save(self: RemoteParts, number: int, scored: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        whole(self, number, scored)

    with monkeypatch.context() as until:
        until.setattr(RemoteParts, "save", save)
        until.setattr("legscore.run.pipeline.KEEPING", 1)
        for parts in (3, ROWS // PART):  # in the first pass, then in the second
            left[0] = parts
            assert cli(*remote, *given, "-o", "s3://bucket/o.parquet").code == 130
            kept = [name for name in objects() if "/o.parquet.parts/student_scores/part-" in name]
            assert len(kept) == min(parts, ROWS // PART)
            one_line(
                cli(*remote, *plain, "-o", "s3://bucket/o.parquet"), "holds an interrupted run with a student"
            )
    assert "bucket/o.parquet.parts/scores/record.json" in objects()
    ran = cli(*remote, *given, "-o", "s3://bucket/o.parquet")
    assert ran.code == 0, ran.err
    assert "resume: 8 of 8 parts are there (s3://bucket/o.parquet.parts/student_scores)" in ran.err
    assert Remote("s3://bucket/o.parquet").read() == (tmp_path / "o.parquet").read_bytes()
    assert objects() == ["bucket/in.parquet", "bucket/o.parquet", "bucket/o.parquet.run.json"]
    assert "already finished" in cli(*remote, *given, "-o", "s3://bucket/o.parquet").err
    interrupt(cli, (*remote, *plain, "-o", "s3://bucket/p.parquet"), monkeypatch)
    one_line(cli(*remote, *given, "-o", "s3://bucket/p.parquet"), "holds an interrupted run on a table")


@pytest.mark.parametrize("name", ["notes.txt", "files/part-00000000"])
def test_what_is_somebody_elses_among_parts_stays(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path, name: str
) -> None:
    put(tmp_path, "s3://bucket/in.parquet")
    Remote(f"s3://bucket/p.parquet.parts/{name}").put(b"precious")
    given = (
        "run",
        "s3://bucket/in.parquet",
        "-m",
        toy_model,
        *GIVEN,
        "-o",
        "s3://bucket/p.parquet",
        "--force",
    )
    assert cli(*given).code == 0
    left = [found for found in objects() if found.startswith("bucket/p.parquet.parts/")]
    assert left == [f"bucket/p.parquet.parts/{name}"]
    Remote(f"s3://bucket/p.parquet.parts/{name}").delete()


def test_parts_exchanged_in_a_store_are_scored_again(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of one run say which they are, wherever they lie."""
    local = put(tmp_path, "s3://bucket/in.parquet")
    assert cli("run", local, "-m", toy_model, *GIVEN, "-o", tmp_path / "o.parquet").code == 0
    given = ("run", "s3://bucket/in.parquet", "-m", toy_model, *GIVEN, "-o", "s3://bucket/o.parquet")
    interrupt(cli, given, monkeypatch)
    one, two = (Remote(f"s3://bucket/o.parquet.parts/part-{number:08d}") for number in (1, 3))
    first, second = one.read(), two.read()
    one.put(second)
    two.put(first)
    ran = cli(*given)
    assert ran.code == 0, ran.err
    assert "part 1 is scored again" in ran.err
    assert json.loads(Remote("s3://bucket/o.parquet.run.json").read())["parts_damaged"] == 2
    assert Remote("s3://bucket/o.parquet").read() == (tmp_path / "o.parquet").read_bytes()


def test_a_folder_of_files_in_a_store(
    cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = put(tmp_path, "s3://bucket/in.parquet")
    files = ("--file-rows", 3 * PART)
    assert cli("run", local, "-m", toy_model, *GIVEN, *files, "-o", f"{tmp_path}/o/").code == 0
    given = ("run", "s3://bucket/in.parquet", "-m", toy_model, *GIVEN, "-o", "s3://bucket/o/")
    whole = Remote.upload

    def cut(self: Remote, source: Path) -> None:
        if self.name == "scores-00000001.parquet":
            raise KeyboardInterrupt
        whole(self, source)

    monkeypatch.setattr(Remote, "upload", cut)
    assert cli(*given, *files).code == 130
    assert "bucket/o/scores-00000000.parquet" in objects()
    assert "bucket/o.run.json" not in objects(), "the record says that all files are there"
    monkeypatch.setattr(Remote, "upload", whole)
    ran = cli(*given, *files)
    assert ran.code == 0, ran.err
    made = [f"bucket/o/{path.name}" for path in sorted((tmp_path / "o").iterdir())]
    assert objects() == ["bucket/in.parquet", "bucket/o.run.json", *made]
    for name in made:
        assert Remote(f"s3://{name}").read() == (tmp_path / "o" / Remote(f"s3://{name}").name).read_bytes()
    again = cli(*given, *files)
    assert (again.code, again.err.count("\n")) == (0, 1), again.err
    assert "s3://bucket/o/: already finished" in again.err
    Remote("s3://bucket/o/scores-00000001.parquet").put(b"something else")
    one_line(cli(*given, *files), "s3://bucket/o/ is there already and not what s3://bucket/o.run.json says")
    # begun anew with other files: those of the interrupted run go
    Remote("s3://bucket/o").delete_below()
    monkeypatch.setattr(Remote, "upload", cut)
    assert cli(*given, *files).code == 130
    monkeypatch.setattr(Remote, "upload", whole)
    ran = cli(*given, "--file-rows", 10 * ROWS, "--restart")
    assert ran.code == 0, ran.err
    held = ["bucket/in.parquet", "bucket/o.run.json", "bucket/o/scores-00000000.parquet"]
    assert objects() == held
    Remote("s3://bucket/o/notes.txt").put(b"precious")
    one_line(cli(*given, "--force"), "s3://bucket/o/ holds notes.txt, which legscore did not write there")
    assert objects() == sorted([*held, "bucket/o/notes.txt"])
    Remote("s3://bucket/o/notes.txt").delete()
    assert cli(*given, "--force").code == 0
    assert objects() == held


def test_what_a_store_refuses_is_one_line(cli: Cli, store: Proxy, tmp_path: Path, toy_model: Path) -> None:
    local = put(tmp_path, "s3://bucket/in.parquet", 300)
    given = ("-m", toy_model, *GIVEN)
    one_line(
        cli("run", "s3://bucket/none.parquet", *given, "-o", tmp_path / "o.parquet"),
        "s3://bucket/none.parquet",
    )
    one_line(
        cli("run", local, *given, "-o", "s3://nobucket/o.parquet"),
        "s3://nobucket/o.parquet cannot be written",
    )
    one_line(
        cli("run", "s3://bucket/in.parquet", *given, "-o", "s3://bucket/in.parquet"), "both input and output"
    )
    one_line(
        cli("run", "s3://bucket/x.vcf", *given, "--fasta", "g.fa", "--centered", "-o", tmp_path / "o.csv"),
        "disk",
    )
    one_line(cli("merge", "s3://bucket/a.parquet", "-o", tmp_path / "o.parquet"), "on a disk")


def test_no_permission_is_one_line(
    cli: Cli, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers everything with 403, as one does to the wrong key."""
    import http.server

    class Refuses(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    refusing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.server_address[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        (tmp_path / "in.csv").write_text("sequence\nACGT\n")
        one_line(
            cli("run", tmp_path / "in.csv", "-m", toy_model, "-o", "s3://bucket/o.parquet"),
            "access was refused",
        )
        one_line(
            cli("run", "s3://bucket/in.parquet", "-m", toy_model, "-o", tmp_path / "o.parquet"),
            "access was refused",
        )
    finally:
        refusing.shutdown()


def test_prefixes_and_patterns(store: Proxy, tmp_path: Path) -> None:
    for name in ("d/b.parquet", "d/a.parquet", "d/sub/c.parquet", "d/_skip.parquet", "d/x.csv"):
        put(tmp_path, f"s3://bucket/{name}", 20, 20)
    for name in ("chrom=chr%201/part-0", "_temporary/0/a.parquet", "o.parts/files/x.parquet", "e.PARQ"):
        put(tmp_path, f"s3://bucket/d/{name}", 20, 20)
    found = find_files(["s3://bucket/d/"], own_outputs=["s3://bucket/d/o.parts"])
    assert {str(file.path).removeprefix("s3://bucket/d/"): file.keys for file in found.files} == {
        "a.parquet": (),
        "b.parquet": (),
        "chrom=chr%201/part-0": (("chrom", "chr 1"),),
        "e.PARQ": (),
        "sub/c.parquet": (),
        "x.csv": (),  # Parquet all the same
    }
    assert "d/: 2 left out (" in found.notes[0]
    assert "the first is s3://bucket/d/_skip.parquet" in found.notes[0]
    names = [file.path.name for file in find_files(["s3://bucket/d/[ab_]*.parquet"]).files]
    assert names == ["a.parquet", "b.parquet"]
    found = find_files(["s3://bucket/d/*/*"], own_outputs=["s3://bucket/d/o.parts"])
    assert dict(found.files[0].keys) == {"chrom": "chr 1"}
    assert is_remote("S3://b/x")
    assert not is_remote("/tmp/s3://b")


def test_ranges_give_the_bytes_of_the_object(store: Proxy, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(400_000)
    (tmp_path / "x.bin").write_bytes(content)
    Remote("s3://bucket/x.bin").upload(tmp_path / "x.bin")
    reader = RangeReader(Remote("s3://bucket/x.bin"), 1 << 18)
    reader.expect([(100, 90_000), (90_000, 200_000), (250_000, 300_000)])
    rng = random.Random(0)
    for _ in range(200):
        start, n = rng.randrange(len(content)), rng.randrange(1, 120_000)
        assert reader.read_at(start, n) == content[start : start + n]
    file = reader.file()
    assert file.seek(-10, 2) == len(content) - 10
    assert file.read() == content[-10:]


@pytest.mark.parametrize(("lengths", "asked"), [([5], 1), ([0, 5], 2), ([None], 1), ([0] * 9, ATTEMPTS)])
def test_answers_without_a_length_are_asked_for_again(lengths: list[int | None], asked: int) -> None:
    """An answer cut short after its first line says nothing of a length, which then reads as 0; an empty
    object stays empty."""
    left = iter(lengths)
    seen: list[int | None] = []

    def ask() -> int | None:
        seen.append(next(left))
        return seen[-1]

    assert _with_length(ask, lambda answer: answer) == lengths[asked - 1]
    assert len(seen) == asked

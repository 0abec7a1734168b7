"""Outputs that are there already: finished, cut short at the very end, or somebody else's; streams."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna, toy_checkpoint

from legscore.errors import OutputError
from legscore.output.parts import parts_folder
from legscore.run.job import score
from legscore.run.options import Options
from legscore.system import publish
from legscore.system.json_records import sealed
from legscore.system.publish import check_moves, check_writable, is_mount_point

Cli = Callable[..., Ran]
ROWS = 120


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({"id": range(ROWS), "sequence": [random_dna(rng, 60) for _ in range(ROWS)]}), path
    )
    return path


@pytest.fixture
def given(source: Path, toy_model: Path) -> tuple[Any, ...]:
    return ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", 20, "--file-rows", 40)


def files_of(path: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and times of an output and its record."""
    found = [path, *(path.iterdir() if path.is_dir() else ()), Path(f"{path}.run.json")]
    return {str(one): (one.read_bytes(), one.stat().st_mtime_ns) for one in found if one.is_file()}


@pytest.mark.parametrize("name", ["o.parquet", "o.csv.gz", "folder/"])
def test_a_finished_output_is_told_in_one_line(cli: Cli, tmp_path: Path, given: Any, name: str) -> None:
    if not name.endswith("/"):
        given = given[:-2]
    out, path = f"{tmp_path}/{name}", tmp_path / name
    assert cli(*given, "-o", out).code == 0
    before = files_of(path)
    for more in ((), ("--restart",), ("--memory", "2G")):
        again = cli(*given, "-o", out, *more)
        assert again.code == 0
        assert again.err == f"{out}: already finished ({ROWS} rows); --force scores it again\n"
        assert (again.out, files_of(path)) == ("", before)
    log = tmp_path / "log.jsonl"
    assert cli(*given, "-o", out, "-q", "--log-json", log).err == ""
    assert json.loads(log.read_text().splitlines()[-1])["rows"] == ROWS
    forced = cli(*given, "-o", out, "--force")
    assert forced.code == 0
    assert "already" not in forced.err
    assert not parts_folder(path).exists()
    after = files_of(path)
    assert {key: value[0] for key, value in after.items() if not key.endswith(".json")} == {
        key: value[0] for key, value in before.items() if not key.endswith(".json")
    }


@pytest.mark.parametrize("name", ["scores.parquet", "out/", "deep/er/"])
@pytest.mark.parametrize("named", ["{}", "{}/**"])
def test_an_output_in_its_own_folder_of_inputs(
    cli: Cli, tmp_path: Path, source: Path, toy_model: Path, name: str, named: str
) -> None:
    """It is no input of the next run, finished or forced."""
    folder = tmp_path / "d"
    (folder / "deep").mkdir(parents=True)
    source.rename(folder / "in.parquet")
    out = f"{folder}/{name}"
    given = ("run", named.format(folder), "-m", toy_model, "--engine", "null", "-o", out)
    assert cli(*given).code == 0
    before = files_of(Path(out))
    again = cli(*given)
    assert (again.code, files_of(Path(out))) == (0, before)
    assert again.err.endswith(f"{out}: already finished ({ROWS} rows); --force scores it again\n")
    assert cli(*given, "--force").code == 0
    assert pq.read_table(out).num_rows == ROWS


@pytest.mark.parametrize("name", ["scores.parquet", "out/"])
def test_what_was_put_in_the_place_of_an_output_stays(
    cli: Cli, tmp_path: Path, source: Path, toy_model: Path, name: str
) -> None:
    """A file that the record does not know is an input of that folder: it is not replaced, not with --force."""
    folder, out = tmp_path / "d", f"{tmp_path}/d/{name}"
    folder.mkdir()
    source.rename(folder / "in.parquet")
    given = ("run", folder, "-m", toy_model, "--engine", "null", "-o", out)
    assert cli(*given).code == 0
    placed = Path(out, "mine.parquet") if name.endswith("/") else Path(out)
    pq.write_table(pq.read_table(folder / "in.parquet").slice(0, 7), placed)
    content = placed.read_bytes()
    for more in ((), ("--force",)):
        one_line(cli(*given, *more), "is both input and output")
        assert placed.read_bytes() == content


def test_quickly_made_scores_make_room_for_those_of_other_files(
    cli: Cli, tmp_path: Path, source: Path, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while they are what their record says, and only where that took less than QUICK_S."""
    other = tmp_path / f"other{source.suffix}"
    other.write_bytes(source.read_bytes())
    out = tmp_path / "o.parquet"
    options = [*given[:-2], "-o", out]
    of_other = [other if part == source else part for part in options]
    assert of_other != options
    assert cli(*options).code == 0
    replaced = cli(*of_other)
    assert replaced.code == 0
    assert f"replacing {out}, quickly made scores of other files" in replaced.err
    assert json.loads(Path(f"{out}.run.json").read_text())["inputs"] == [str(other)]
    monkeypatch.setattr("legscore.run.finished.QUICK_S", 0.0)
    one_line(cli(*options), str(out), "differs from this one", "--force")
    monkeypatch.undo()
    whole = out.read_bytes()
    out.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    one_line(cli(*options), str(out), "is there already and not what", "--force")


def test_an_output_of_another_run_is_refused(
    cli: Cli, tmp_path: Path, source: Path, toy_model: Path, given: Any
) -> None:
    given, out = (*given[:-2], "-o", tmp_path / "o.parquet"), tmp_path / "o.parquet"
    assert cli(*given).code == 0
    before, record = files_of(out), Path(f"{out}.run.json")

    def refused(*words: str, more: tuple[Any, ...] = ()) -> None:
        seen = files_of(out)
        one_line(cli(*given, *more), str(out), *words, "--force")
        assert files_of(out) == seen
        assert not parts_folder(out).exists()

    refused("options max_n was null, is now 4", more=("--max-n", 4))
    refused("options verify", more=("--verify", 0.5))
    os.utime(source, ns=(0, 10**18))
    refused("modified_ns was")
    assert cli(*given, "--force").code == 0
    other = tmp_path / "other.safetensors"
    toy_checkpoint(5).save(other)
    refused("models", more=("-m", other))
    whole = out.read_bytes()
    out.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    refused("is there already and not what", "o.parquet.run.json says")
    out.write_bytes(whole)
    for broken in (b"{", b"[]", b'{"asked": {}}', b"[" * 100_000, b'{"legscore": 1e999}', b"\xff"):
        record.write_bytes(broken)
        refused("is there already")
    record.unlink()
    refused("is there already; choose another -o")
    out.write_text("mine")
    refused("is there already; choose another -o")
    assert cli(*given, "--force").code == 0
    assert out.read_bytes() == before[str(out)][0]


def test_a_record_that_lacks_what_is_told(cli: Cli, tmp_path: Path, given: Any) -> None:
    given, record = (*given[:-2], "-o", tmp_path / "o.parquet"), tmp_path / "o.parquet.run.json"
    assert cli(*given).code == 0
    whole = json.loads(record.read_text())
    for name, value in (("rows", None), ("rows", "x"), ("status", 3), ("rows_per_s", []), ("output", 1)):
        record.write_text(sealed({**whole, name: value}))
        one_line(cli(*given), "o.parquet.run.json is no run's", "--force")


GENOME_OUTPUTS = ("o.vcf.gz", "o.parquet", "o.tsv")


@pytest.mark.parametrize("name", GENOME_OUTPUTS)
def test_outputs_of_genomes(cli: Cli, world: Path, toy_model: Path, name: str) -> None:
    given = (
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        "--assume-utr",
        20,
    )
    given = (*given, "-m", toy_model, "--engine", "null", "-o", world / name)
    given = (*given, "--shuffle-null", 3) if name == "o.tsv" else given
    assert cli(*given).code == 0
    out = world / name
    before = files_of(out)
    again = cli(*given)
    assert (again.code, again.err.count("\n")) == (0, 1), again.err
    assert "already finished" in again.err
    one_line(cli(*given, "--on-mismatch", "use-fasta"), "build on_mismatch was", "--force")
    assert files_of(out) == before
    out.write_bytes(out.read_bytes() + b"\n")
    one_line(cli(*given), "is there already and not what")
    assert cli(*given, "--force").code == 0
    assert files_of(out)[str(out)][0] == before[str(out)][0]
    assert not [path for path in world.iterdir() if path.name.endswith(".parts")]


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("name", ["o.parquet", "folder/", "o.vcf"])
def test_cut_short_between_the_name_and_the_record(
    cli: Cli, tmp_path: Path, world: Path, given: Any, toy_model: Path, name: str, monkeypatch: Any
) -> None:
    """The same command goes on; what somebody put in the output's place meanwhile stays."""

    def stop(*_: object) -> None:
        raise Killed

    given = given if name.endswith("/") else given[:-2]
    if name == "o.vcf":
        given = ("run", world / "v.vcf", "--fasta", world / "g.fa", "--promoters", world / "g.gtf")
        given = (*given, "--assume-utr", 20, "-m", toy_model, "--engine", "null")
    where = (
        "legscore.variants.run_output.write_record" if name == "o.vcf" else "legscore.run.job.write_record"
    )
    out, path = f"{tmp_path}/{name}", tmp_path / name
    with monkeypatch.context() as patch:
        patch.setattr(where, stop)
        with pytest.raises(Killed):
            cli(*given, "-o", out)
    assert path.exists()
    assert not Path(f"{path}.run.json").exists()
    first = next(iter(sorted(path.iterdir()))) if path.is_dir() else path
    right = first.read_bytes()
    first.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    one_line(cli(*given, "-o", out), "is there already; choose another -o")
    assert first.read_bytes() != right
    first.write_bytes(right)
    assert cli(*given, "-o", out).code == 0
    assert first.read_bytes() == right
    assert Path(f"{str(path).rstrip('/')}.run.json").exists()
    assert not parts_folder(path).exists()


@contextlib.contextmanager
def reader(kind: str, path: Path) -> Iterator[list[bytes]]:
    """A pipe or a socket at `path`; what was written to it."""
    found: list[bytes] = []
    if kind == "pipe":
        os.mkfifo(path)
        read = lambda: found.append(path.read_bytes())
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(1)

        def read() -> None:
            with server.accept()[0] as end, end.makefile("rb") as stream:
                found.append(stream.read())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield found
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pipes_and_sockets_are_written_to(
    cli: Cli, tmp_path: Path, given: Any, kind: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    given = given[:-2]
    expected = cli(*given, "-o", "-", "-q").out
    assert expected.count("\n") == ROWS + 1
    with reader(kind, Path("end")) as found:
        ran = cli(*given, "-o", "end")
        assert ran.code == 0, ran.err
    assert found[0].decode() == expected
    assert sorted(os.listdir()) == ["end", "in.parquet"]


def test_devices_are_written_to(cli: Cli, given: Any) -> None:
    for more in ((), ("--format", "arrow")):
        assert cli(*given[:-2], "-o", "/dev/null", *more).code == 0
    assert not os.path.exists("/dev/null.run.json")
    assert not os.path.isfile("/dev/null")


def test_one_rule_for_python_too(tmp_path: Path, source: Path, toy_model: Path) -> None:
    options: dict[str, Any] = {"models": [str(toy_model)], "engine": "null"}
    out = tmp_path / "o.parquet"
    assert "already_finished" not in score(Options([str(source)], str(out), **options))
    assert score(Options([str(source)], str(out), **options))["already_finished"]
    with pytest.raises(OutputError, match="--force"):
        score(Options([str(source)], str(out), max_n=3, **options))
    assert "already_finished" not in score(Options([str(source)], str(out), force=True, **options))


def test_what_would_fail_at_the_end_is_found_at_the_start(
    cli: Cli, tmp_path: Path, given: Any, monkeypatch: Any
) -> None:
    """A file that something is mounted on; parts on another disk; a folder that allows no renames."""
    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(tmp_path)
    out = tmp_path / "o.parquet"
    given = (*given[:-2], "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "is_mount_point", lambda path: path == out)
        one_line(cli(*given), "o.parquet is a mount point, which cannot be replaced")
        one_line(cli(*given, "--force"), "o.parquet is a mount point, which cannot be replaced")
    shm = Path("/dev/shm")
    if shm.is_dir() and shm.stat().st_dev != tmp_path.stat().st_dev:
        elsewhere = shm / f"legscore-test-{os.getpid()}"
        elsewhere.mkdir()
        parts_folder(out).symlink_to(elsewhere)
        one_line(cli(*given), "cannot be moved to", "both must be folders of one disk")
        assert list(elsewhere.iterdir()) == []
        parts_folder(out).unlink()
        elsewhere.rmdir()
    real = os.replace

    def refuse(a: Any, b: Any) -> None:
        if str(b).endswith(".probe"):
            raise PermissionError(1, "Operation not permitted")
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match="cannot be written: Operation not permitted"):
            check_writable(out)
        with pytest.raises(OutputError, match="cannot be moved to"):
            check_moves(tmp_path, str(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]

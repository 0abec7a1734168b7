"""Outputs that are folders of files: the rows of the single file, in order, whatever happened on the way."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

from legscore.output.part_file import Scored
from legscore.output.parts import FILES, PartFolder, parts_folder
from legscore.run.dataset import n_files, parts_a_file, parts_of
from legscore.run.job import score
from legscore.run.options import Options

Cli = Callable[..., Ran]
ROWS, PART, FILE = 700, 50, 160
"""Three parts a file: four files of 150 rows and one of 100."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "in.parquet"
    texts = [None if i % 29 == 3 else random_dna(rng, 80) for i in range(ROWS)]
    pq.write_table(pa.table({"id": np.arange(ROWS), "sequence": texts}), path, row_group_size=130)
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def test_the_rows_of_one_file_in_many(cli: Cli, tmp_path: Path, source: Path, toy_models: Path) -> None:
    given = ("run", source, "-m", toy_models, "--precision", "fp32", "--part-rows", PART)
    assert cli(*given, "-o", tmp_path / "one.parquet").code == 0
    ran = cli(*given, "-o", f"{tmp_path}/many/", "--file-rows", FILE)
    assert ran.code == 0, ran.err
    assert f"output: {tmp_path}/many/ (record: {tmp_path}/many.run.json)" in ran.err
    assert names(tmp_path) == ["in.parquet", "many", "many.run.json", "one.parquet", "one.parquet.run.json"]
    files = sorted((tmp_path / "many").iterdir())
    assert [path.name for path in files] == [f"scores-{n:08d}.parquet" for n in range(5)]
    assert [pq.read_metadata(path).num_rows for path in files] == [150, 150, 150, 150, 100]
    one, many = pq.read_table(tmp_path / "one.parquet"), pads.dataset(files).to_table()
    assert many.equals(one)
    said = [json.loads((pq.read_schema(path).metadata or {})[b"legscore"]) for path in files]
    alone = json.loads((one.schema.metadata or {})[b"legscore"])
    assert all(found == said[0] for found in said)
    assert said[0]["options"].pop("parts_a_file") == 3
    assert said[0] == alone
    record = json.loads((tmp_path / "many.run.json").read_text())
    assert record["rows"] == ROWS
    assert record["status"] == json.loads((tmp_path / "one.parquet.run.json").read_text())["status"]
    # what is written as a folder is read as one
    again = cli(
        "run",
        tmp_path / "many",
        "-m",
        toy_models,
        "--engine",
        "null",
        "-o",
        "-",
        "-q",
        "--column",
        "sequence=id",
    )
    assert "id" in again.err  # the folder was opened: numbers are no sequences, and that is what is said


class Interrupted(Exception):  # noqa: N818
    pass


@contextlib.contextmanager
def stops_at(where: str, after: int) -> Iterator[None]:
    """The run stops at keeping a part, publishing a file or giving the folder its name, once that was done
    `after` times."""
    left = [after]

    def counted(real: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            if concerns(*given):
                if not left[0]:
                    raise Interrupted
                left[0] -= 1
            return real(*given)

        return call

    with pytest.MonkeyPatch.context() as patch:
        if where == "part":
            patch.setattr(PartFolder, "save", counted(PartFolder.save, lambda *_: True))
            patch.setattr("legscore.run.pipeline.KEEPING", 1)
        elif where == "file":
            patch.setattr(os, "replace", counted(os.replace, lambda a, b: Path(b).name.startswith("scores-")))
        else:
            patch.setattr(os, "rename", counted(os.rename, lambda a, b: True))
        yield


def test_a_run_goes_on_to_the_same_files(
    tmp_path: Path, source: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common: dict[str, Any] = {
        "models": [str(toy_models)],
        "precision": "fp32",
        "part_rows": PART,
        "file_rows": FILE,
    }
    score(Options([str(source)], f"{tmp_path}/whole/", **common))
    options = Options([str(source)], f"{tmp_path}/cut/", **common)
    for where, after in (("part", 0), ("part", 5), ("part", 3), ("file", 2), ("rename", 0)):
        with stops_at(where, after), pytest.raises(Interrupted):
            score(options)
        assert not (tmp_path / "cut").exists(), "the folder has its name when all files are there"
        assert parts_folder(tmp_path / "cut").exists() == ((where, after) != ("part", 0)), (
            "nothing done, nothing left"
        )
    written = parts_folder(tmp_path / "cut") / FILES
    assert len(names(written)) == 5
    (written / "scores-00000002.parquet").write_bytes(b"not what was written")
    (written / "scores-00000004.parquet").unlink()
    kept = (written / "scores-00000001.parquet").stat().st_mtime_ns
    record = score(options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert (tmp_path / "cut/scores-00000001.parquet").stat().st_mtime_ns == kept, (
        "files that are whole are not written again"
    )
    assert record["rows"] == record["rows_resumed"] == ROWS
    assert names(tmp_path) == ["cut", "cut.run.json", "in.parquet", "whole", "whole.run.json"]


def test_killed_between_the_name_and_the_end(tmp_path: Path, source: Path, toy_model: Path) -> None:
    """The folder has its name, its parts are still there: the same command ends well; a file of somebody else
    stops it."""
    options = Options(
        [str(source)], f"{tmp_path}/out/", [str(toy_model)], engine="null", part_rows=PART, file_rows=FILE
    )

    def stop(*_: object) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("legscore.run.job.write_record", stop)
        with pytest.raises(Interrupted):
            score(options)
    before = contents(tmp_path / "out")
    score(options)
    assert contents(tmp_path / "out") == before
    assert names(tmp_path) == ["in.parquet", "out", "out.run.json"]


def test_bad_requests_are_one_line(cli: Cli, tmp_path: Path, source: Path, toy_model: Path) -> None:
    given = ("run", source, "-m", toy_model, "--engine", "null")
    taken = tmp_path / "taken"
    taken.mkdir()
    one_line(cli(*given, "-o", taken), f"{taken} is a directory; name a file, or write {taken}/")
    (taken / "mine.txt").write_text("keep me")
    one_line(
        cli(*given, "-o", f"{taken}/"),
        f"{taken}/ is there already; choose another -o, or add --force to replace it",
    )
    assert names(taken) == ["mine.txt"]
    assert cli(*given, "-o", f"{tmp_path}/done/").code == 0
    again = cli(*given, "-o", f"{tmp_path}/done/")
    assert (again.code, again.err.count("\n")) == (0, 1)
    assert f"{tmp_path}/done/: already finished (700 rows)" in again.err
    one_line(cli(*given, "-o", f"{tmp_path}/done/", "--max-n", 3), "options max_n was null, is now 3; choose")
    (tmp_path / "plain").touch()
    one_line(cli(*given, "-o", f"{tmp_path}/plain/"), "is a file")
    (tmp_path / "plain").unlink()
    one_line(cli(*given, "-o", f"{tmp_path}/nowhere/out/"), "nowhere does not exist")
    one_line(cli(*given, "-o", f"{tmp_path}/o/", "--shard", "1/2"), "--shard", "a file of its own")
    one_line(cli(*given, "-o", f"{tmp_path}/o/", "--format", "tsv"), "--format tsv", "folder of Parquet")
    one_line(cli(*given, "-o", f"{tmp_path}/o/", "--shuffle-null", 3), "--shuffle-null", "folder of files")
    one_line(cli(*given, "-o", tmp_path / "o.parquet", "--file-rows", 10), "--file-rows", "o.parquet/")
    one_line(
        cli(*given, "-o", f"{tmp_path}/o/", "--file-rows", 10), "a part has 8,192 rows; add --part-rows 10"
    )
    assert names(tmp_path) == ["done", "done.run.json", "in.parquet", "taken"]


def test_force_replaces_nothing_but_what_a_run_wrote(
    cli: Cli, tmp_path: Path, source: Path, toy_model: Path
) -> None:
    """Files and folders beside those of the run, and somebody's files of such names, stay."""
    given = ("run", source, "-m", toy_model, "--engine", "null", "-q", "-o", f"{tmp_path}/o/")
    assert cli(*given).code == 0
    first = contents(tmp_path / "o")
    for foreign in ("thesis.txt", "sub/thesis.txt", "scores-00000001.parquet"):
        path = tmp_path / "o" / foreign
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
        one_line(cli(*given, "--force"), f"o/ holds {foreign}, which legscore did not write there")
        assert path.read_text() == "precious"
        path.unlink()
        if path.parent.name == "sub":
            one_line(cli(*given, "--force"), "o/ holds sub/, which")
            path.parent.rmdir()
    assert cli(*given, "--force").code == 0
    (tmp_path / "o.run.json").unlink()
    one_line(cli(*given), "is there already")
    assert cli(*given, "--force").code == 0
    assert contents(tmp_path / "o") == first


@pytest.mark.parametrize("part", [1, 32_768, 1 << 20, 3 << 20])
def test_files_hold_a_million_rows_or_a_part(part: int) -> None:
    assert parts_a_file(part, None) == max(1, (1 << 20) // part)


@pytest.mark.parametrize(("parts", "together"), [(1, 3), (3, 3), (4, 3), (14, 3), (5, 1)])
def test_every_part_is_in_one_file(parts: int, together: int) -> None:
    class Plan:
        numbers, parts_a_file = range(parts), together

    plan: Any = Plan()
    assert [n for number in range(n_files(plan)) for n in parts_of(plan, number)] == list(range(parts))


def test_parts_of_a_file_that_are_damaged_are_scored_again(
    tmp_path: Path, source: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(
        [str(source)], f"{tmp_path}/out/", [str(toy_model)], engine="null", part_rows=PART, file_rows=FILE
    )
    score(options)
    before = contents(tmp_path / "out")
    for path in [*(tmp_path / "out").iterdir(), tmp_path / "out.run.json"]:
        path.unlink()
    with stops_at("rename", 0), pytest.raises(Interrupted):
        score(options)
    part = parts_folder(tmp_path / "out") / "part-00000004"
    part.write_bytes(part.read_bytes()[:-7])
    seen: list[int] = []
    whole = PartFolder.save

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        seen.append(number)
        whole(self, number, scored)

    monkeypatch.setattr(PartFolder, "save", save)
    score(options)
    assert seen == [4]
    assert contents(tmp_path / "out") == before

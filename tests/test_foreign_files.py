"""What is somebody else's under names that a run uses stays: folders of parts, and outputs inside outputs.
Records and Arrow shards that are not as they were written are not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

from legscore.output.parts import PartFolder, parts_folder
from legscore.system.json_records import is_sealed, sealed

Cli = Callable[..., Ran]


@pytest.fixture
def given(tmp_path: Path, toy_model: Path) -> tuple[Any, ...]:
    """A run of 40 pairs of sequences on engine null."""
    rng = np.random.default_rng(3)
    columns = {name: [random_dna(rng, 60) for _ in range(40)] for name in ("ref_sequence", "alt_sequence")}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    return ("run", tmp_path / "in.parquet", "-m", toy_model, "--engine", "null", "--part-rows", 10, "-q")


@pytest.mark.parametrize("force", [(), ("--force",), ("--restart",)], ids=["", "force", "restart"])
@pytest.mark.parametrize("name", ["notes/a.txt", "part-of-a-thesis.txt", "files/a.txt", "outputs.csv"])
@pytest.mark.parametrize("output", ["o.parquet", "o/", "o.tsv"])
def test_a_folder_of_somebody_else_is_not_taken_for_parts(
    tmp_path: Path, given: tuple[Any, ...], cli: Cli, output: str, name: str, force: tuple[str, ...]
) -> None:
    theirs = parts_folder(tmp_path / output.rstrip("/")) / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    null = ("--shuffle-null", 1) if output == "o.tsv" else ()
    ran = cli(*given, "-o", f"{tmp_path}/{output}", *null, *force)
    one_line(ran, ".parts is where this run would keep its parts", name.split("/")[0], "-o")
    assert ran.code == 2
    assert theirs.read_text() == "precious"


def test_a_link_to_a_folder_of_somebody_else(tmp_path: Path, given: tuple[Any, ...], cli: Cli) -> None:
    (tmp_path / "theirs" / "inside").mkdir(parents=True)
    parts_folder(tmp_path / "o.parquet").symlink_to("theirs")
    one_line(cli(*given, "-o", tmp_path / "o.parquet"), "inside")
    assert (tmp_path / "theirs" / "inside").is_dir()


def test_what_was_put_among_parts_stays(tmp_path: Path, given: tuple[Any, ...], cli: Cli) -> None:
    """Beside the record of an interrupted run, whose parts go."""
    room = parts_folder(tmp_path / "o.parquet")
    (room / "notes").mkdir(parents=True)
    (room / "part-00000000.bak").write_text("precious")
    (room / "part-00000000").write_text("of another run")
    PartFolder(room).begin({"of": "another run"}, restart=False)
    (room / "part-00000000").write_text("of another run")
    assert cli(*given, "-o", tmp_path / "o.parquet", "--restart").code == 0
    assert sorted(path.name for path in room.iterdir()) == ["notes", "part-00000000.bak"]


@pytest.mark.parametrize(("option", "name"), [("--log-json", "log.jsonl"), ("--multiqc", "a_mqc.json")])
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_no_output_in_the_folder_of_another(
    tmp_path: Path, given: tuple[Any, ...], cli: Cli, option: str, name: str, force: tuple[str, ...]
) -> None:
    (tmp_path / "out").mkdir()
    ran = cli(*given, "-o", f"{tmp_path}/out/", option, tmp_path / "out" / name, *force)
    one_line(ran, f"{name} lies in", f"choose another {option}")
    assert not any((tmp_path / "out").iterdir())


EDITED: dict[str, Any] = {
    "rows": -5,
    "status": {"ok": "all"},
    "models": None,
    "engine": None,
    "rows_per_s": float("inf"),
    "output": "other.parquet",
}


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_record_of_a_finished_output(
    tmp_path: Path, given: tuple[Any, ...], cli: Cli, name: str
) -> None:
    output, told = tmp_path / "o.parquet", tmp_path / "o_mqc.json"
    assert cli(*given, "-o", output).code == 0
    place = tmp_path / "o.parquet.run.json"
    record = json.loads(place.read_text())
    assert is_sealed(record)
    place.write_text(json.dumps(record | {name: EDITED[name]}))
    one_line(cli(*given, "-o", output, "--multiqc", told), "o.parquet.run.json is not as a run wrote it")
    place.write_text(json.dumps(record))  # on one line, yet saying the same
    assert cli(*given, "-o", output, "--multiqc", told).code == 0


def test_no_flipped_bit_of_a_record_is_believed(tmp_path: Path, given: tuple[Any, ...], cli: Cli) -> None:
    assert cli(*given, "-o", tmp_path / "o.parquet").code == 0
    text = (tmp_path / "o.parquet.run.json").read_bytes()
    said, rng, read = json.loads(text), np.random.default_rng(0), 0
    for _ in range(1500):
        damaged = bytearray(text)
        damaged[rng.integers(len(text))] ^= 1 << int(rng.integers(8))
        try:
            record = json.loads(damaged)
        except ValueError:
            continue
        read += 1
        assert record == said or not is_sealed(record)
    assert read > 200


def test_a_sealed_record_says_what_it_said() -> None:
    record = {"a": (1, 2), "b": float("nan"), "c": {1: 0.1}, "d": "é"}
    assert is_sealed(json.loads(sealed(record)))
    assert not is_sealed(json.loads(sealed(record)) | {"d": "e"})
    assert not is_sealed({"a": 1})


def test_no_flipped_bit_of_an_arrow_shard_is_joined(tmp_path: Path, given: tuple[Any, ...], cli: Cli) -> None:
    """Arrow files have no checksums of their own; the record beside each has one."""
    paths = [tmp_path / f"{i}.arrow" for i in (1, 2)]
    for i, path in enumerate(paths, 1):
        assert cli(*given, "-o", path, "--shard", f"{i}/2").code == 0
    joined, whole = tmp_path / "joined.arrow", paths[1].read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        paths[1].write_bytes(damaged)
        one_line(cli("merge", *paths, "-o", joined), "2.arrow")
        assert not joined.exists()
    paths[1].write_bytes(whole)
    assert cli("merge", *paths, "-o", joined).code == 0
    (tmp_path / "2.arrow.run.json").unlink()
    one_line(cli("merge", *paths, "-o", joined, "--force"), "2.arrow lacks 2.arrow.run.json")


def test_a_pipe_has_no_record(tmp_path: Path, given: tuple[Any, ...], cli: Cli) -> None:
    ran = cli(*given[:-1], "-o", "/dev/null")
    assert ran.code == 0
    assert "output: /dev/null\n" in ran.err
    assert ".run.json" not in ran.err

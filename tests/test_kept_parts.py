"""What an interrupted run kept is taken only when it is this run's, that part's and whole: everything else is
scored or written again, and told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

from legscore.output.part_file import DamagedPartError, Scored
from legscore.output.parts import FILES, PartFolder, parts_folder
from legscore.rows.reduce import Results
from legscore.run.job import score
from legscore.run.options import Options

Cli = Callable[..., Ran]
PART, ROWS = 20, 160


class Interrupted(Exception):  # noqa: N818
    pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pa.table({"id": range(ROWS), "sequence": [random_dna(rng, 60) for _ in range(ROWS)]})
    pq.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@contextlib.contextmanager
def stopping(name: str, after: int) -> Iterator[None]:
    """A run within is interrupted at the call number `after` (from 0) of a function of os or of PartFolder."""
    owner: Any = PartFolder if name == "save" else os
    whole, left = getattr(owner, name), [after]

    def call(*given: Any) -> Any:
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        return whole(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        patch.setattr("legscore.run.pipeline.KEEPING", 1)
        yield


def kept(folder: Path) -> PartFolder:
    rng = np.random.default_rng(1)
    store = PartFolder(folder)
    folder.mkdir(exist_ok=True)
    store.begin({"run": folder.name}, restart=False)
    for number in (3, 4):
        columns = {"score": rng.normal(size=PART).astype(np.float32)}
        status, n_count = np.zeros(PART, np.uint8), np.zeros(PART, np.int32)
        store.save(number, Scored(Results(columns, {}, status, n_count), PART, PART, PART))
    return store


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    store = kept(tmp_path / "one")
    path = tmp_path / "one" / "part-00000003"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DamagedPartError, match="is damaged"):
            store.load(3, PART)
    for length in (0, 1, 16, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedPartError, match="is damaged"):
            store.load(3, PART)
    path.write_bytes(whole)
    assert store.load(3, PART) is not None


def test_parts_say_whose_they_are(tmp_path: Path) -> None:
    store, other = kept(tmp_path / "one"), kept(tmp_path / "two")
    whole = (tmp_path / "one" / "part-00000003").read_bytes()
    shutil.copy(tmp_path / "one" / "part-00000004", tmp_path / "one" / "part-00000003")
    with pytest.raises(DamagedPartError, match=r"part-00000003 is part 4$"):
        store.load(3, PART)
    shutil.copy(tmp_path / "two" / "part-00000003", tmp_path / "one" / "part-00000003")
    with pytest.raises(DamagedPartError, match=r"part-00000003 is of another run$"):
        store.load(3, PART)
    (tmp_path / "one" / "part-00000003").write_bytes(whole)
    elsewhere = PartFolder(tmp_path / "one")  # as a worker opens it: the run is that of the record
    assert elsewhere.load(3, PART) is not None
    assert other.run != store.run


def test_a_record_that_is_none_stops_the_run(tmp_path: Path, source: Path, toy_model: Path) -> None:
    options = Options(
        [str(source)], str(tmp_path / "o.parquet"), [str(toy_model)], engine="null", part_rows=PART
    )
    with stopping("save", 3), pytest.raises(Interrupted):
        score(options)
    record = parts_folder(tmp_path / "o.parquet") / "record.json"
    whole = record.read_bytes()
    for broken in (b"", b"[]", b"{", b"[" * 100_000, b"\xff", whole[:-3]):
        record.write_bytes(broken)
        with pytest.raises(Exception, match=r"record.json cannot be read \(.*\); add --restart"):
            score(options)
    record.write_bytes(whole)
    assert score(options)["rows_resumed"] == 3 * PART


@pytest.mark.parametrize("what", ["exchanged", "another run's", "cut short"])
def test_parts_that_do_not_fit_are_scored_again(
    tmp_path: Path, source: Path, toy_model: Path, what: str
) -> None:
    common: dict[str, Any] = {
        "models": [str(toy_model)],
        "precision": "fp32",
        "part_rows": PART,
        "verify": 0.0,
    }
    score(Options([str(source)], str(tmp_path / "whole.parquet"), **common))
    out = tmp_path / "o.parquet"
    options = Options([str(source)], str(out), **common)
    with stopping("save", 5), pytest.raises(Interrupted):
        score(options)
    one, two = (parts_folder(out) / f"part-{number:08d}" for number in (1, 3))
    if what == "exchanged":
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    elif what == "cut short":
        one.write_bytes(one.read_bytes()[:-1])
    else:
        other = Options([str(source)], str(tmp_path / "other.parquet"), rc="none", **common)
        with stopping("save", 5), pytest.raises(Interrupted):
            score(other)
        shutil.copy(parts_folder(tmp_path / "other.parquet") / one.name, one)
    said: list[str] = []
    record = score(options, say=said.append)
    again = 2 if what == "exchanged" else 1
    assert (record["parts_damaged"], record["rows_resumed"]) == (again, (5 - again) * PART)
    assert any(line.startswith("warning: part 1 is scored again: ") for line in said)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_files_of_a_folder_that_do_not_fit_are_written_again(
    tmp_path: Path, source: Path, toy_model: Path
) -> None:
    common: dict[str, Any] = {
        "models": [str(toy_model)],
        "engine": "null",
        "part_rows": PART,
        "file_rows": 2 * PART,
    }
    score(Options([str(source)], f"{tmp_path}/whole/", **common))
    options = Options([str(source)], f"{tmp_path}/o/", **common)
    with stopping("rename", 0), pytest.raises(Interrupted):
        score(options)
    made = parts_folder(tmp_path / "o") / FILES
    rng = np.random.default_rng(2)
    whole = {path.name: path.read_bytes() for path in sorted(made.iterdir())}
    first, second = list(whole)[:2]
    for turn in range(24):
        if turn < 20:  # a bit anywhere: most of a file is no footer
            place = int(rng.integers(len(whole[first])))
            flipped = bytearray(whole[first])
            flipped[place] ^= 1 << int(rng.integers(8))
            (made / first).write_bytes(flipped)
        elif turn == 20:
            (made / first).write_bytes(whole[second])
        elif turn == 21:
            note = made.parent / f"output-{first}.json"
            note.write_text(note.read_text().replace('"run": "', '"run": "0'))
        elif turn == 22:
            (made.parent / f"output-{first}.json").write_bytes(b"[" * 1000)
        else:
            (made / "scores-00000099.parquet").write_bytes(whole[first])
        said: list[str] = []
        with stopping("rename", 0), pytest.raises(Interrupted):
            score(options, say=said.append)
        told = [
            line for line in said if f"file 0 is written again: {made / first} is not what this run" in line
        ]
        assert len(told) == (turn != 23), (turn, said)
        assert (made / first).read_bytes() == whole[first], turn
    score(options)
    found = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}


def test_a_folder_killed_at_every_rename_goes_on(tmp_path: Path, source: Path, toy_model: Path) -> None:
    common: dict[str, Any] = {
        "models": [str(toy_model)],
        "engine": "null",
        "part_rows": PART,
        "file_rows": 2 * PART,
    }
    score(Options([str(source)], f"{tmp_path}/whole/", **common))
    options = Options([str(source)], f"{tmp_path}/o/", **common)
    real = os.rename

    def then_killed(a: Any, b: Any) -> None:
        real(a, b)
        raise Interrupted

    for _ in range(4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "rename", then_killed)
            with pytest.raises(Interrupted):
                score(options)
    score(options)
    found = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert not parts_folder(tmp_path / "o").exists()


def test_a_folder_that_is_replaced_is_there_until_the_new_one_is(
    tmp_path: Path, source: Path, toy_model: Path
) -> None:
    out, name = tmp_path / "o", "scores-00000000.parquet"
    options: dict[str, Any] = {"models": [str(toy_model)], "engine": "null", "force": True}
    score(Options([str(source)], f"{out}/", keep="none", **options))
    earlier = (out / name).read_bytes()
    with stopping("save", 0), pytest.raises(Interrupted):
        score(Options([str(source)], f"{out}/", keep="all", **options))
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == earlier
    score(Options([str(source)], f"{out}/", keep="all", **options))
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() != earlier


def test_parts_of_a_null_that_do_not_fit_are_scored_again(
    cli: Cli, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A null has parts of its own, in OUT.parts/null_scores."""
    rng = np.random.default_rng(3)
    texts = [random_dna(rng, 40) for _ in range(12)]
    alts = [text[:20] + {"A": "C", "C": "A", "G": "T", "T": "G"}[text[20]] + text[21:] for text in texts]
    pq.write_table(pa.table({"ref_sequence": texts, "alt_sequence": alts}), tmp_path / "p.parquet")
    given = ("run", tmp_path / "p.parquet", "-m", toy_model, "--precision", "fp32", "--verify", 0)
    given = (*given, "--part-rows", 6, "--shuffle-null", 4)
    assert cli(*given, "-o", tmp_path / "whole.parquet").code == 0
    out = tmp_path / "o.parquet"
    with stopping("save", 7), pytest.raises(Interrupted):
        cli(*given, "-o", out)
    parts = sorted((parts_folder(out) / "null_scores").glob("part-*"))
    assert len(parts) == 5
    first, second = parts[0].read_bytes(), parts[1].read_bytes()
    parts[0].write_bytes(second)
    parts[1].write_bytes(first)
    assert cli(*given, "-o", out).code == 0
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_record_beside_an_output_of_a_folder(
    cli: Cli, tmp_path: Path, source: Path, toy_model: Path
) -> None:
    """The checksum of every file is in the record; an added or lacking file is seen."""
    given = ("run", source, "-m", toy_model, "--engine", "null", "--part-rows", PART, "--file-rows", PART)
    out = f"{tmp_path}/o/"
    assert cli(*given, "-o", out).code == 0
    record = json.loads((tmp_path / "o.run.json").read_text())
    assert sorted(record["output_files"]) == sorted(path.name for path in (tmp_path / "o").iterdir())
    (tmp_path / "o" / "more.txt").touch()
    one_line(cli(*given, "-o", out), "is there already and not what")
    (tmp_path / "o" / "more.txt").unlink()
    assert "already finished" in cli(*given, "-o", out).err
    (tmp_path / "o" / "scores-00000003.parquet").unlink()
    one_line(cli(*given, "-o", out), "is there already and not what")

"""Runs that were interrupted go on to the same bytes; what differs is named; shards join to the same
bytes."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, in_parts_of, random_dna, scored_by

from legscore.dna.batch import Batch
from legscore.engine.null_engine import NullEngine
from legscore.errors import InputError, OutputError
from legscore.output.part_file import DamagedPartError, Scored
from legscore.output.parts import PartFolder, parts_folder
from legscore.output.shards import Shard
from legscore.rows.reduce import Results
from legscore.run.job import score
from legscore.run.options import Options
from legscore.run.pipeline import scored_elsewhere
from legscore.run.prepare import prepared
from legscore.run.resume import fingerprint
from legscore.system.json_records import difference
from legscore.system.lock import locked_folder

ROWS, PART = 700, 97
OUTPUTS = ["o.parquet", "o.arrow", "o.csv", "o.tsv", "o.csv.gz", "o.tsv.gz"]


def sequences(path: Path, rows: int = ROWS, seed: int = 0) -> Path:
    """A table whose carried columns have nulls, repeated text, text that CSV must quote in some parts, and
    numbers."""
    rng = np.random.default_rng(seed)
    distinct = [random_dna(rng, int(n)) for n in rng.integers(1, 145, max(rows // 3, 1))]
    texts = [None if i % 17 == 5 else distinct[j] for i, j in enumerate(rng.integers(0, len(distinct), rows))]
    names = [
        None if i % 13 == 1 else f"gene {i // 40}" + (', "odd"' if i % 311 == 300 else "")
        for i in range(rows)
    ]
    columns = {"id": np.arange(rows), "gene": names, "level": rng.normal(size=rows)}
    pq.write_table(pa.table({**columns, "sequence": texts}), path, row_group_size=150)
    return path


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_parts_of(monkeypatch, PART)
    return sequences(tmp_path / "in.parquet")


class Interrupted(Exception):  # noqa: N818
    pass


class Cheap(NullEngine):
    """Scores that tell windows, members and rows apart, without a network: weighted counts of codes."""

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        codes_WL = batch.expand().astype(np.float32)
        return np.stack(
            [codes_WL @ np.sin(np.arange(codes_WL.shape[1], dtype=np.float32) + m) for m in members]
        )


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    scored_by(monkeypatch, Cheap)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, parts: int) -> pytest.MonkeyPatch:
    """The run stops after it kept so many parts more (one at a time, so that it is the first ones)."""
    whole, left = PartFolder.save, [parts]

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        whole(self, number, scored)

    patch = pytest.MonkeyPatch()
    patch.setattr(PartFolder, "save", save)
    patch.setattr("legscore.run.pipeline.KEEPING", 1)
    return patch


def interrupted(options: Options, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    patch = interrupt_after(monkeypatch, parts)
    with pytest.raises(Interrupted):
        score(options)
    patch.undo()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_run_goes_on_to_the_same_bytes(
    tmp_path: Path,
    source: Path,
    toy_models: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    common: dict[str, Any] = {"models": [str(toy_models)], "precision": "fp32", "per_model": "sv" not in name}
    if name != "o.parquet":  # one format on a real engine
        request.getfixturevalue("cheap")
    whole, cut = tmp_path / f"whole.{name}", tmp_path / f"cut.{name}"
    record = score(Options([str(source)], str(whole), **common))
    options = Options([str(source)], str(cut), **common)
    for parts in (0, 3, 1, 2):
        interrupted(options, monkeypatch, parts)
        assert not cut.exists()
        assert parts_folder(cut).exists() == (parts > 0), "nothing done, nothing left"
    assert PartFolder(parts_folder(cut)).numbers() == set(range(6))
    said: list[str] = []
    ticks: list[float] = []
    resumed = score(options, say=said.append, progress=lambda rows, members: ticks.append)
    assert f"resume: 6 of 8 parts are there ({parts_folder(cut)})" in said
    assert cut.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == sorted(
        ["in.parquet", cut.name, whole.name, f"{cut.name}.run.json", f"{whole.name}.run.json"]
    )
    for key in ("rows", "status", "windows_asked", "windows_scored"):
        assert resumed[key] == record[key]
    assert (resumed["rows_resumed"], record["rows_resumed"]) == (6 * PART, 0)
    assert sum(ticks) == pytest.approx(ROWS)


def test_bytes_are_those_of_one_pass_without_parts(source: Path, tmp_path: Path, toy_models: Path) -> None:
    """Standard output keeps no parts: its text is the twin."""
    code = (
        "import legscore.run.job as job, legscore.run.prepare as prepare; prepare.part_rows = lambda members, engine: 97\n"
        f"job.score(job.Options([{str(source)!r}], '-', [{str(toy_models)!r}], precision='fp32'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    score(Options([str(source)], str(tmp_path / "o.tsv"), [str(toy_models)], precision="fp32"))
    assert (tmp_path / "o.tsv").read_bytes() == done.stdout


@pytest.mark.usefixtures("cheap")
def test_parts_scored_elsewhere_are_joined(source: Path, tmp_path: Path, toy_models: Path) -> None:
    """A worker scores single parts in any order; the run that finds them scores only the rest."""
    options = Options([str(source)], str(tmp_path / "o.parquet"), [str(toy_models)], precision="fp32")
    score(options)
    expected = (tmp_path / "o.parquet").read_bytes()
    elsewhere = PartFolder(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    with prepared(options) as plan:
        elsewhere.begin(
            fingerprint(
                plan.opened, plan.metadata, plan.schema, plan.output, plan.format_name, derived_input=False
            ),
            restart=False,
        )
        for number in (5, 0, 7):
            (table,) = scored_elsewhere(plan, elsewhere, range(number, number + 1))
            assert table.num_rows == (PART if number < 7 else ROWS % PART)
    assert elsewhere.numbers() == {0, 5, 7}
    patch = pytest.MonkeyPatch()
    begin = PartFolder.begin

    def with_parts(self: PartFolder, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        for part in elsewhere.folder.iterdir():
            shutil.copy(part, self.folder)

    patch.setattr(PartFolder, "begin", with_parts)
    record = score(dataclasses.replace(options, force=True))
    patch.undo()
    assert record["rows_resumed"] == 2 * PART + ROWS % PART
    assert (tmp_path / "o.parquet").read_bytes() == expected


@pytest.mark.usefixtures("cheap")
def test_out_of_fold_runs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows scored by different members, and rows none may score."""
    from conftest import toy_checkpoint

    in_parts_of(monkeypatch, PART)
    for member in range(2):
        checkpoint = toy_checkpoint(member)
        rule = {"by": "column", "column": "fold", "fold_on": "insert", "n_folds": 3}
        training = {"folds": rule, "folds_held_out": [member], "recipe": {"keep": "last"}, "seed": member}
        object.__setattr__(checkpoint, "training", training)
        checkpoint.save(tmp_path / f"m{member}.safetensors")
    rng = np.random.default_rng(3)
    table = pa.table({"fold": rng.integers(0, 3, 400), "sequence": [random_dna(rng, 80) for _ in range(400)]})
    pq.write_table(table, tmp_path / "in.parquet")
    common: dict[str, Any] = {
        "models": [str(tmp_path / f"m{m}.safetensors") for m in range(2)],
        "precision": "fp32",
    }
    common |= {"out_of_fold": "fold", "per_model": True}
    score(Options([str(tmp_path / "in.parquet")], str(tmp_path / "whole.parquet"), **common))
    options = Options([str(tmp_path / "in.parquet")], str(tmp_path / "cut.parquet"), **common)
    interrupted(options, monkeypatch, 2)
    score(options)
    assert "in_training" in pq.read_table(tmp_path / "cut.parquet")["status"].to_pylist()
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def changes(source: Path, toy_models: Path) -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "option": ({"max_n": 3}, r"options max_n was null, is now 3"),
        "models": ({"models": [str(toy_models / "member1.safetensors")]}, r"models .* (was|is)"),
        "kept": ({"keep": "id"}, r"output columns gene is gone"),
        "strands": ({"rc": "none"}, r'options rc was "construct", is now "none"'),
        "engine": ({"engine": "null", "precision": "auto"}, r'engine engine was "openvino", is now "null"'),
        "part size": ({"part_rows": PART + 1}, rf"options part_rows was {PART}, is now {PART + 1}"),
    }


@pytest.mark.parametrize(
    "what",
    ["option", "models", "kept", "strands", "engine", "precision", "part size", "input", "version", "shard"],
)
def test_what_changed_is_named(
    tmp_path: Path, source: Path, toy_models: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"models": [str(toy_models)], "engine": "null"}
    if what == "engine":
        given = {"models": [str(toy_models)], "precision": "fp32"}
    out = tmp_path / "o.parquet"
    interrupted(Options([str(source)], str(out), **given), monkeypatch, 2)
    before = {path: path.read_bytes() for path in parts_folder(out).iterdir()}
    if what == "input":
        sequences(source, seed=1)
        message = rf"inputs {re.escape(str(source))} (size|modified_ns) was \d+, is now \d+"
    elif what == "version":
        monkeypatch.setattr("legscore.run.metadata.__version__", "99.0")
        message = r'legscore was "[^"]+", is now "99.0"'
    elif what == "precision":
        monkeypatch.setattr(NullEngine, "precision", "bf16")
        message = r'engine precision was "none", is now "bf16"'
    elif what == "shard":
        given, message = {**given, "shard": "1/2"}, r"shard is new"
    else:
        changed, message = changes(source, toy_models)[what]
        given = {**given, **changed}
    options = Options([str(source)], str(out), **given)
    with pytest.raises(
        OutputError, match=rf"holds an interrupted run that differs from this one: {message}.*--restart"
    ):
        score(options)
    assert {path: path.read_bytes() for path in parts_folder(out).iterdir()} == before, (
        "a refusal changes nothing"
    )
    score(Options([str(source)], str(out), restart=True, **given))
    score(Options([str(source)], str(tmp_path / "again.parquet"), **given))
    assert out.read_bytes() == (tmp_path / "again.parquet").read_bytes()
    assert not parts_folder(out).exists()


def test_an_older_input_of_the_same_size_is_named(
    tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(monkeypatch, 2)
    table = tmp_path / "s.csv"
    table.write_text("id,sequence\n" + "".join(f"{i},{'ACGT' * 5}\n" for i in range(9)))
    options = Options([str(table)], str(tmp_path / "o.csv"), [str(toy_model)], engine="null")
    interrupted(options, monkeypatch, 1)
    table.write_text(table.read_text().replace("ACGT", "TGCA"))
    os.utime(table, ns=(0, 10**18))
    with pytest.raises(OutputError, match=r"modified_ns was \d+, is now 1000000000000000000"):
        score(options)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "rows", "magic", "zeros", "another part's"])
@pytest.mark.usefixtures("cheap")
def test_a_damaged_part_is_scored_again(
    tmp_path: Path, source: Path, toy_models: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"models": [str(toy_models)], "precision": "fp32"}
    out = tmp_path / "o.parquet"
    score(Options([str(source)], str(tmp_path / "whole.parquet"), **given))
    interrupted(Options([str(source)], str(out), **given), monkeypatch, 3)
    part = parts_folder(out) / "part-00000001"
    content = bytearray(part.read_bytes())
    if damage == "rows":
        shutil.copy(part, part.with_name("part-00000007"))  # the last part is shorter
    elif damage == "another part's":
        content = bytearray(part.with_name("part-00000000").read_bytes())
    elif damage == "flip":
        content[len(content) // 2] ^= 4
    elif damage == "magic":
        content[3] ^= 1
    elif damage == "zeros":
        content = bytearray(len(content))
    else:
        content = content[: 0 if damage == "empty" else -5]
    part.write_bytes(content)
    said: list[str] = []
    record = score(Options([str(source)], str(out), **given), say=said.append)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert record["parts_damaged"] == 1
    assert any("scored again" in line for line in said)


def test_parts_hold_what_was_put_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=50).astype(np.float32) for name in ("score", "score_sd")}
    columns["score"][3] = np.nan
    lists = {"score_per_model": rng.normal(size=(50, 4)).astype(np.float32)}
    status, n_count = rng.integers(0, 17, 50).astype(np.uint8), rng.integers(-1, 9, 50).astype(np.int32)
    store = PartFolder(tmp_path)
    with pytest.raises(OutputError, match="holds no run"):
        store.save(7, Scored(Results(columns, lists, status, n_count), 99, 42, 126))
    store.begin({"what": "a run"}, restart=False)
    store.save(7, Scored(Results(columns, lists, status, n_count), 99, 42, 126))
    found = store.load(7, 50)
    assert found is not None
    assert (found.windows_asked, found.windows_scored) == (99, 42)
    for before, after in ((columns, found.results.columns), (lists, found.results.per_model)):
        assert list(before) == list(after)
        for name in before:
            assert after[name].dtype == np.float32
            assert (before[name].view(np.uint32) == np.ascontiguousarray(after[name]).view(np.uint32)).all()
    assert (found.results.status_N == status).all()
    assert found.results.status_N.dtype == np.uint8
    assert (found.results.n_count_N == n_count).all()
    assert found.results.n_count_N.dtype == np.int32
    assert store.load(8, 50) is None
    with pytest.raises(DamagedPartError, match="50 rows instead of 49"):
        store.load(7, 49)


def test_differences_are_found() -> None:
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == ""
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "a 2 b was 2, is now 3"
    assert difference({"a": 1}, {}) == "a is gone"
    assert difference({}, {"a": 1}) == "a is new"
    assert difference({"a": [1]}, {"a": [1, 2]}) == "a was [1], is now [1, 2]"


def test_a_second_run_is_refused_and_told_who_is_at_work(
    tmp_path: Path, source: Path, toy_model: Path, cli: Any
) -> None:
    out = tmp_path / "o.parquet"
    with locked_folder(parts_folder(out), str(out)):
        ran: Ran = cli("run", source, "-m", toy_model, "-o", out, "--engine", "null", "-q")
        assert ran.code == 2
        assert re.search(
            rf"o.parquet is being written by process {os.getpid()} on \S+ \(since 20", ran.err
        ), ran.err
        os.symlink(out, tmp_path / "link.parquet")
        assert (
            "is being written by"
            in cli("run", source, "-m", toy_model, "-o", tmp_path / "link.parquet", "--engine", "null").err
        )
    assert cli("run", source, "-m", toy_model, "-o", out, "--engine", "null", "-q").code == 0


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = f"import os; from pathlib import Path; from legscore.system.lock import locked_folder\nwith locked_folder(Path({str(tmp_path / 'x.parts')!r}), 'x'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / "x.parts" / "lock").exists()
    with locked_folder(tmp_path / "x.parts", "x"):
        pass
    assert not (tmp_path / "x.parts").exists()


def test_no_lock_where_the_file_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("legscore.system.lock.fcntl.flock", flock)
    with (
        pytest.raises(OutputError, match="cannot be locked: Operation not supported"),
        locked_folder(tmp_path / "x.parts", "x"),
    ):
        pass


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.usefixtures("cheap")
def test_shards_join_to_the_same_bytes(
    tmp_path: Path, source: Path, toy_models: Path, name: str, cli: Any
) -> None:
    common: dict[str, Any] = {"models": [str(toy_models)], "precision": "fp32", "per_model": "sv" not in name}
    score(Options([str(source)], str(tmp_path / name), **common))
    for n in (3, 11):  # 11 shards of 8 parts: some are empty
        shards = [tmp_path / f"{i}of{n}.{name}" for i in range(1, n + 1)]
        for i, shard in enumerate(shards, 1):
            score(Options([str(source)], str(shard), shard=f"{i}/{n}", **common))
        ran: Ran = cli("merge", *reversed(shards), "-o", tmp_path / f"joined.{name}", "--force")
        assert ran.code == 0, ran.err
        assert f"({ROWS:,} rows of {n:,} shards" in ran.err
        assert (tmp_path / f"joined.{name}").read_bytes() == (tmp_path / name).read_bytes(), n
        record = json.loads((tmp_path / f"joined.{name}.run.json").read_text())
        assert "shard" not in record
        assert record["rows"] == ROWS


@pytest.mark.usefixtures("cheap")
def test_parquet_shards_join_to_any_format(tmp_path: Path, source: Path, toy_models: Path, cli: Any) -> None:
    common: dict[str, Any] = {"models": [str(toy_models)], "engine": "null"}
    for i in (1, 2):
        score(Options([str(source)], str(tmp_path / f"{i}.parquet"), shard=f"{i}/2", **common))
    for name in OUTPUTS:
        score(Options([str(source)], str(tmp_path / f"whole.{name}"), **common))
        assert (
            cli(
                "merge",
                tmp_path / "1.parquet",
                tmp_path / "2.parquet",
                "-o",
                tmp_path / f"joined.{name}",
                "-q",
            ).code
            == 0
        )
        joined, whole = tmp_path / f"joined.{name}", tmp_path / f"whole.{name}"
        if name == "o.arrow":  # bytes under nulls are those of Parquet's reader
            assert (
                pa.ipc.open_file(joined.read_bytes())
                .read_all()
                .equals(pa.ipc.open_file(whole.read_bytes()).read_all())
            )
        else:
            assert joined.read_bytes() == whole.read_bytes()


def test_carried_types_survive_a_join(
    tmp_path: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime
    import decimal

    in_parts_of(monkeypatch, 3)
    day = datetime.datetime(2020, 2, 3, 4, 5, 6)
    columns = {
        "u8": pa.array([1, None, 3, 4] * 3, pa.uint8()),
        "large": pa.array(["a", "", None, "b"] * 3, pa.large_string()),
        "binary": pa.array([b"\x00\xff", None, b"", b"x"] * 3),
        "seconds": pa.array([day, None, day, day] * 3, pa.timestamp("s", tz="UTC")),
        "nanos": pa.array([day, None, day, day] * 3, pa.timestamp("ns")),
        "date": pa.array([day.date(), None, day.date(), day.date()] * 3),
        "decimal": pa.array([decimal.Decimal("1.50"), None, None, decimal.Decimal("-2.25")] * 3),
        "flag": pa.array([True, None, False, True] * 3),
        "list": pa.array([[1, 2], None, [], [None]] * 3, pa.list_(pa.int16())),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2, "b": None}] * 3),
        "nothing": pa.nulls(12),
        "float": pa.array([np.nan, -0.0, None, np.inf] * 3, pa.float32()),
    }
    pq.write_table(pa.table({**columns, "sequence": ["ACGTACGT"] * 12}), tmp_path / "in.parquet")
    for name in ("o.parquet", "o.arrow"):
        common: dict[str, Any] = {"models": [str(toy_model)], "engine": "null"}
        score(Options([str(tmp_path / "in.parquet")], str(tmp_path / name), **common))
        for i in (1, 2):
            score(
                Options(
                    [str(tmp_path / "in.parquet")], str(tmp_path / f"{i}.{name}"), shard=f"{i}/2", **common
                )
            )
        ran = cli("merge", tmp_path / f"1.{name}", tmp_path / f"2.{name}", "-o", tmp_path / f"j.{name}")
        assert ran.code == 0, ran.err
        assert (tmp_path / f"j.{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_wrong_shards_are_refused(tmp_path: Path, source: Path, toy_models: Path, cli: Any) -> None:
    def shard(name: str, which: str, **more: Any) -> Path:
        given: dict[str, Any] = {"models": [str(toy_models)], "engine": "null", **more}
        score(Options([str(source)], str(tmp_path / name), shard=which, **given))
        return tmp_path / name

    one, two, three = (shard(f"{i}.parquet", f"{i}/3") for i in (1, 2, 3))
    half = shard("half.parquet", "2/2")
    other = shard("other.parquet", "2/3", max_n=5)
    text, text2 = shard("1.csv", "1/2"), shard("2.csv", "2/2")
    whole = tmp_path / "whole.parquet"
    score(Options([str(source)], str(whole), [str(toy_models)], engine="null"))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(two.read_bytes()[:-30])
    flipped = tmp_path / "flipped.parquet"
    content = bytearray(two.read_bytes())
    content[200] ^= 1
    flipped.write_bytes(content)
    lone = tmp_path / "lone.csv"
    shutil.copy(text, lone)
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(two).slice(0, 20), fewer)
    longer = tmp_path / "longer.csv"
    longer.write_bytes(text.read_bytes() + b"1,2\n")
    shutil.copy(f"{text}.run.json", f"{longer}.run.json")
    out = tmp_path / "o.parquet"
    before = names(tmp_path)
    for given, to, message in (
        ([one, three], out, r"shards 2 of 3 are missing"),
        ([one], out, r"shards 2, 3 of 3 are missing"),
        ([one, two, three, two], out, r"are both shard 2/3"),
        ([one, half, three], out, r"half.parquet is of another run than .*: shard of was 3, is now 2"),
        (
            [one, other, three],
            out,
            r"other.parquet is of another run than .*1.parquet: options max_n was null, is now 5",
        ),
        ([one, whole, three], out, r"whole.parquet is no shard"),
        ([one, source, three], out, r"in.parquet is no shard"),
        ([one, cut, three], out, r"cut.parquet cannot be read"),
        ([one, flipped, three], out, r"flipped.parquet: reading stopped"),
        ([one, fewer, three], out, r"fewer.parquet holds 20 rows instead of"),
        ([one, tmp_path / "none.parquet"], out, r"none.parquet: no such file"),
        (
            [one, text, three],
            out,
            r"is csv, .* is parquet; join one format|is parquet, .* is csv; join one format",
        ),
        ([text, text2], out, r"shards in csv join to csv only"),
        ([lone, text2], tmp_path / "o.csv", r"lone.csv lacks lone.csv.run.json beside it"),
        ([longer, text2], tmp_path / "o.csv", r"longer.csv is not what longer.csv.run.json says"),
        ([one, two, three], one, r"is both input and output"),
        ([one, two, three], "-", r"not to standard output"),
        ([one, two, three], tmp_path / "o.xlsx", r"unknown extension"),
    ):
        ran: Ran = cli("merge", *given, "-o", to)
        assert ran.code == 2, (given, ran)
        assert re.search(message, ran.err), (message, ran.err)
        assert ran.err.count("\n") == 1, ran.err
    assert names(tmp_path) == before
    for which in ("0/3", "4/3", "3", "a/b", "1/0", "-1/3"):
        ran = cli("run", source, "-m", toy_models, "-o", out, "--shard", which, "--engine", "null", "-q")
        assert ran.code == 2
        assert "write INDEX/OF" in ran.err


@pytest.mark.parametrize("n_parts", [0, 1, 7, 64, 1000])
@pytest.mark.parametrize("of", [1, 3, 64])
def test_shards_are_all_parts_once(n_parts: int, of: int) -> None:
    found = [list(Shard(i, of).parts(n_parts)) for i in range(1, of + 1)]
    assert [part for parts in found for part in parts] == list(range(n_parts))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_slices_of_every_input_are_those_of_the_whole(tmp_path: Path) -> None:
    """Parts read from their own place are the parts of one pass, whatever the format and the seams between
    files."""
    from pyarrow import csv

    from legscore.input.read import open_input

    table = pq.read_table(sequences(tmp_path / "a.parquet", 260))
    pq.write_table(table.slice(0, 90), tmp_path / "b.parquet", row_group_size=17)
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=23)
    with pa.ipc.new_stream(str(tmp_path / "a.arrows"), table.schema) as writer:
        writer.write_table(table, max_chunksize=23)
    csv.write_csv(table, tmp_path / "a.csv")
    (tmp_path / "a.fa").write_text("".join(f">s{i} note\nACGT\n" for i in range(260)))
    for files in (["a.parquet", "b.parquet"], ["a.arrow"], ["a.arrows"], ["a.csv"], ["a.fa"]):
        opened = open_input([tmp_path / file for file in files])
        columns = opened.schema.names
        expected = list(opened.parts(columns, 31))
        for first, stop in ((0, 3), (2, 7), (4, len(expected)), (8, 9), (5, 5)):
            got = list(opened.parts(columns, 31, first, stop))
            assert [(p.number, p.first_row) for p in got] == [
                (p.number, p.first_row) for p in expected[first:stop]
            ]
            assert all(
                a.table.to_pylist() == b.table.to_pylist()
                for a, b in zip(got, expected[first:stop], strict=True)
            ), files


def test_bytes_do_not_show_what_lay_in_memory(tmp_path: Path, world: Path, toy_models: Path) -> None:
    """Freed memory is filled with one pattern and another: outputs and tables of variants are the same."""
    sequences(tmp_path / "in.parquet")
    code = f"""
import sys
import legscore.run.job as job
from legscore.variants.make import make
from legscore.variants.options import BuildOptions
job.part_rows = lambda members, engine: 97
for name in ("o.parquet", "o.arrow"):
    job.score(job.Options([{str(tmp_path / "in.parquet")!r}], sys.argv[1] + name, [{str(toy_models)!r}], engine="null", per_model=True))
options = BuildOptions(fasta={str(world / "g.fa")!r}, promoters={str(world / "g.gtf")!r}, assume_utr=20)
make({str(world / "v.vcf")!r}, sys.argv[1] + "v.parquet", options, numbered=True)
make(None, sys.argv[1] + "s.parquet", options, saturate=True)
"""
    for pattern in (17, 165):
        env = {**os.environ, "MALLOC_PERTURB_": str(pattern), "ARROW_DEFAULT_MEMORY_POOL": "system"}
        subprocess.run([sys.executable, "-c", code, f"{tmp_path}/{pattern}"], env=env, check=True)
    for name in ("o.parquet", "o.arrow", "v.parquet", "s.parquet"):
        assert (tmp_path / f"17{name}").read_bytes() == (tmp_path / f"165{name}").read_bytes(), name


GENOME_OUTPUTS = [
    ("o.parquet", ()),
    ("o.tsv.gz", ()),
    ("o.vcf.gz", ()),
    ("o.parquet", ("--shuffle-null", "5")),
]


@pytest.mark.parametrize(("name", "more"), GENOME_OUTPUTS)
@pytest.mark.usefixtures("cheap")
def test_runs_on_a_genome_go_on(
    world: Path, toy_models: Path, name: str, more: tuple[str, ...], cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(monkeypatch, 2)
    base = (
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        "--assume-utr",
        "20",
    )
    base = (*base, "-m", toy_models, "--precision", "fp32", "-q", *more)
    assert cli(*base, "-o", world / f"whole.{name}").code == 0
    out = world / f"cut.{name}"
    stops = 0
    for parts in (0, 1, 2, 3, 3, 3, 50):
        patch = interrupt_after(monkeypatch, parts)
        try:
            ran = cli(*base, "-o", out)
        except Interrupted:
            stops += 1
            assert not out.exists()
        finally:
            patch.undo()
        assert parts_folder(out).exists() == (not out.exists() and parts > 0)
        if out.exists():
            assert ran.code == 0, ran.err
            break
    assert stops >= 2
    found, expected = out.read_bytes(), (world / f"whole.{name}").read_bytes()
    if ".vcf" in name:  # whose header says the command, which names the output
        found, expected = (gzip.decompress(data) for data in (found, expected))
        expected = expected.replace(f"whole.{name}".encode(), f"cut.{name}".encode())
    assert found == expected
    assert not [entry for entry in names(world) if entry.startswith((".", "_")) or entry.endswith(".parts")]
    # another genome run than the one that was interrupted
    for path in (out, Path(f"{out}.run.json")):
        path.unlink()
    patch = interrupt_after(monkeypatch, 1)
    with pytest.raises(Interrupted):
        cli(*base, "-o", out)
    patch.undo()
    records = (world / "v.vcf").read_text()
    (world / "v.vcf").write_text(records + records.splitlines()[3] + "\n")
    ran = cli(*base, "-o", out)
    assert ran.code == 2
    assert "differs from this one: inputs _variants.parquet" in ran.err
    table = sequences(world / "in.parquet", 20)
    if name == "o.parquet":
        ran = cli("run", table, "-m", toy_models, "-o", out, "--engine", "null", "-q")
        assert ran.code == 2
        assert "holds an interrupted run on a genome" in ran.err
    assert cli(*base, "-o", out, "--restart").code == 0
    assert not parts_folder(out).exists()


@pytest.mark.usefixtures("cheap")
def test_tracks_go_on(world: Path, toy_models: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (
        "variants",
        "--saturate",
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        "--assume-utr",
        "20",
    )
    assert cli(*made, "--upstream", "80", "-o", world / "all.parquet").code == 0
    in_parts_of(monkeypatch, 100)
    base = ("run", world / "all.parquet", "-m", toy_models, "--engine", "null", "-q")
    assert cli(*base, "-o", world / "whole.bedgraph").code == 0
    patch = interrupt_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        cli(*base, "-o", world / "cut.bedgraph")
    patch.undo()
    assert parts_folder(world / "cut.bedgraph").exists()
    assert cli(*base, "-o", world / "cut.bedgraph").code == 0
    for strand in ("plus", "minus"):
        assert (world / f"cut.{strand}.bedgraph").read_bytes() == (
            world / f"whole.{strand}.bedgraph"
        ).read_bytes()
    assert not parts_folder(world / "cut.bedgraph").exists()


def test_a_table_run_is_not_thrown_away_by_a_genome_run(
    world: Path, toy_models: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(monkeypatch, 50)
    table = sequences(world / "in.parquet", 200)
    out = world / "o.parquet"
    interrupted(Options([str(table)], str(out), [str(toy_models)], engine="null"), monkeypatch, 2)
    ran = cli(
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--centered",
        "-m",
        toy_models,
        "-o",
        out,
        "--engine",
        "null",
    )
    assert ran.code == 2
    assert "holds an interrupted run on a table" in ran.err
    assert PartFolder(parts_folder(out)).numbers() == {0, 1}


@pytest.mark.usefixtures("cheap")
def test_shards_of_genome_runs(
    world: Path, toy_models: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(monkeypatch, 2)
    base = (
        "run",
        world / "v.vcf",
        "--fasta",
        world / "g.fa",
        "--promoters",
        world / "g.gtf",
        "--assume-utr",
        "20",
        "-q",
    )
    base = (*base, "-m", toy_models, "--engine", "null")
    assert cli(*base, "-o", world / "whole.parquet").code == 0
    for i in (1, 2):
        assert cli(*base, "-o", world / f"{i}.parquet", "--shard", f"{i}/2").code == 0
    assert (
        cli("merge", world / "1.parquet", world / "2.parquet", "-o", world / "joined.parquet", "-q").code == 0
    )
    assert (world / "joined.parquet").read_bytes() == (world / "whole.parquet").read_bytes()
    for more in (("-o", world / "o.vcf.gz"), ("-o", world / "o.parquet", "--shuffle-null", "3")):
        ran = cli(*base, *more, "--shard", "1/2")
        assert ran.code == 2
        assert "--shard goes with tables" in ran.err


def test_an_input_that_changes_while_it_is_read(tmp_path: Path, source: Path, toy_models: Path) -> None:
    """What was read before the change is kept; nothing read after it is."""
    out = tmp_path / "o.parquet"
    options = Options([str(source)], str(out), [str(toy_models)], engine="null")
    whole = PartFolder.save

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        whole(self, number, scored)
        if number == 2:
            os.replace(sequences(tmp_path / "new.parquet", seed=5), source)

    patch = pytest.MonkeyPatch()
    patch.setattr(PartFolder, "save", save)
    patch.setattr("legscore.run.pipeline.KEEPING", 1)
    with pytest.raises(InputError, match=r"in.parquet changed while it was being read"):
        score(options)
    patch.undo()
    assert not out.exists()
    assert PartFolder(parts_folder(out)).numbers() == {0, 1, 2}
    with pytest.raises(OutputError, match=r"in.parquet (size|modified_ns) was"):
        score(options)

"""A file that is named twice, by whatever names: it is read once and that is said, or refused; never read twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, toy_checkpoint

from legscore.errors import InputError
from legscore.input.files import find_files
from legscore.input.read import open_input
from legscore.system.overwrite import named_twice
from legscore.system.storage import Remote

Cli = Callable[..., Ran]
Link = Callable[[Any, Any], None]
LINKS = pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard link", "symbolic link"])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("d/b.parquet", "d/c.parquet"):
        Path(name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": [name], "sequence": ["ACGT" * 20], "x": [1.0], "y": [2.0]}), name)
    return tmp_path


@LINKS
@pytest.mark.parametrize("name", ["a.parquet", "z.parquet", "deep/m.parquet"])
def test_in_a_folder_or_a_pattern_it_is_read_once_and_said(
    here: Path, cli: Cli, link: Link, name: str
) -> None:
    (here / "d" / name).parent.mkdir(exist_ok=True)
    link(here / "d/b.parquet", here / "d" / name)
    for given in ("d", "d/**/*.parquet", f"{here}/d/**"):
        found = find_files([given])
        assert len(found.files) == 2, given
        assert "1 left out" in found.notes[0], given
        assert "a link, a copy" in found.notes[0], given
        assert open_input([given]).n_rows == 2
    ran = cli("run", "d", "-o", "o.parquet", "--engine", "null", "-m", model(here))
    assert ran.code == 0, ran.err
    assert "d: 1 left out" in ran.err
    assert pq.read_table("o.parquet").num_rows == 2


def model(folder: Path, name: str = "m.safetensors", seed: int = 0) -> Path:
    toy_checkpoint(seed).save(folder / name)
    return folder / name


def test_a_link_to_a_file_outside_is_read(here: Path) -> None:
    os.rename("d/b.parquet", "b.parquet")
    os.symlink("../b.parquet", "d/l1.parquet")
    assert [f.path.name for f in find_files(["d"]).files if isinstance(f.path, Path)] == [
        "c.parquet",
        "l1.parquet",
    ]
    os.symlink("../b.parquet", "d/l2.parquet")
    assert len(find_files(["d"]).files) == 2


SPELLINGS = [
    "./d/b.parquet",
    "d/../d/b.parquet",
    "d//b.parquet",
    "d/[b].parquet",
    "d",
    "linked/b.parquet",
    "x.parquet",
]


@LINKS
@pytest.mark.parametrize("other", SPELLINGS)
def test_in_a_list_it_is_refused(here: Path, cli: Cli, link: Link, other: str) -> None:
    os.symlink("d", "linked")
    link(here / "d/b.parquet", here / "x.parquet")
    with pytest.raises(InputError, match="b.parquet.* is named twice|x.parquet .* is named twice"):
        find_files(["d/b.parquet", other])
    one_line(
        cli("run", "d/b.parquet", other, "-o", "o.parquet", "--engine", "null", "-m", model(here)),
        "is named twice",
    )
    assert not Path("o.parquet").exists()


@LINKS
def test_tables_that_are_compared(here: Path, cli: Cli, link: Link) -> None:
    link(here / "d/b.parquet", here / "x.parquet")
    for words in ("evaluate", "plot scatter -o p.png"):
        given = ["d/b.parquet", "x.parquet", "--key", "id", "--truth", "b:x", "--prediction", "x:y"]
        one_line(cli(*words.split(), *given), "x.parquet (it is d/b.parquet) is named twice")


@LINKS
def test_trainings_that_are_drawn(here: Path, cli: Cli, link: Link) -> None:
    Path("t").mkdir()
    Path("t/seed1.metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    link(here / "t/seed1.metrics.jsonl", here / "other.metrics.jsonl")
    for other in ("other.metrics.jsonl", "t/seed1.metrics.jsonl", "./t"):
        one_line(cli("plot", "training", "t", other, "-o", "p.png"), "is named twice")


@LINKS
def test_models(here: Path, cli: Cli, link: Link) -> None:
    """By their content, whatever their names; --allow-duplicates is for those who mean it."""
    (here / "models").mkdir()
    link(model(here), here / "models/other.safetensors")
    os.link(here / "m.safetensors", here / "models/third.safetensors")
    run = ["run", "d", "-o", "o.parquet", "--engine", "null"]
    advice = "Leave one out; legscore run takes both with --allow-duplicates"  # other commands do not
    one_line(cli(*run, "-m", "models"), "is the same model as", advice)
    one_line(cli(*run, "-m", "m.safetensors", "-m", "models/other.safetensors"), "is the same model as")


@LINKS
def test_files_to_import(here: Path, cli: Cli, link: Link) -> None:
    torch = pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")
    (here / "set").mkdir()
    torch.save({"a": torch.zeros(2)}, here / "set/one.pt")
    link(here / "set/one.pt", here / "two.pt")
    one_line(cli("import", "set", "two.pt", "-o", "out"), "two.pt (it is set/one.pt) is named twice")
    one_line(cli("import", "set", "./set/one.pt", "-o", "out"), "is named twice")
    assert not Path("out").exists()


@LINKS
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_shards(here: Path, cli: Cli, link: Link, ending: str) -> None:
    run = ["run", "d", "-m", model(here), "--engine", "null", "--part-rows", "1"]
    assert cli(*run, "-o", f"1.{ending}", "--shard", "1/2").code == 0
    link(here / f"1.{ending}", here / f"x.{ending}")
    for name in (".run.json",):
        link(here / f"1.{ending}{name}", here / f"x.{ending}{name}")
    one_line(cli("merge", f"1.{ending}", f"x.{ending}", "-o", f"all.{ending}"), "are both shard 1/2")


@LINKS
def test_a_folder_that_is_trained_on(here: Path, cli: Cli, link: Link) -> None:
    pytest.importorskip("torch", reason="training needs legscore[train]")
    from conftest import measured

    os.makedirs("t")
    pq.write_table(measured(40), "t/a.parquet")
    link(here / "t/a.parquet", here / "t/b.parquet")
    settings = ("widths=8,8", "epochs=1", "steps_per_epoch=1", "batch=8", "kernel=3", "n_folds=2")
    ran = cli(
        "train", "t", "-o", "m", "--full", *(word for setting in settings for word in ("--set", setting))
    )
    assert ran.code == 0, ran.err
    assert "t: 1 left out" in ran.err
    assert "rows 40" in ran.err


@LINKS
def test_a_folder_that_is_reported_on(here: Path, cli: Cli, link: Link) -> None:
    for path in (here / "d").iterdir():
        pq.write_table(pq.read_table(path).rename_columns(["id", "sequence", "score", "y"]), path)
    link(here / "d/b.parquet", here / "d/x.parquet")
    ran = cli("report", "d", "-o", "r.html")
    assert ran.code == 0, ran.err
    assert "1 left out" in ran.err


def test_addresses_in_stores_are_compared_as_they_are_written() -> None:
    assert named_twice([Remote("s3://b/x.parquet"), Remote("s3://b/y.parquet")]) is None
    assert named_twice(["s3://b/x.parquet", Remote("s3://b/x.parquet")]) == "s3://b/x.parquet"

"""Outputs over inputs: one check for all commands, by the identity of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from legscore.errors import OutputError
from legscore.system.overwrite import check_apart


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d" / "more").mkdir(parents=True)
    for name in ("a.csv", "d/b.parquet", "d/more/c.PARQUET", "m.safetensors", "g.fa", "g.fa.fai", "d/x.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d" / "plain").write_bytes(b"PAR1" + bytes(20))
    os.symlink("a.csv", "link.csv")
    os.link("a.csv", "hard.csv")
    os.symlink("d", "e")
    os.symlink("new.csv", "dangling.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "inputs"),
    [
        ("a.csv", ["a.csv"]),
        ("./d/../a.csv", ["a.csv"]),
        ("link.csv", ["a.csv"]),
        ("hard.csv", ["a.csv"]),
        ("a.csv", ["link.csv"]),
        ("a.csv", ["*.csv"]),
        ("e/b.parquet", ["d/*.parquet"]),
        ("d/b.parquet", ["d"]),
        ("d/more/c.PARQUET", ["e/"]),
        ("d/plain", ["d"]),
        ("d/more/c.PARQUET", ["d/**/*.PARQUET"]),
        ("g.fa.fai", ["g.fa"]),
        ("g.fa.gzi", ["g.fa"]),
        ("a.csv.run.json", ["a.csv"]),
        ("new.csv", ["dangling.csv"]),
        ("d/", ["d/b.parquet"]),
        ("e/", ["d/more/c.PARQUET"]),
        ("s3://b/k/a.parquet", ["s3://b/k/a.parquet"]),
        ("S3://b//k/./a.parquet", ["s3://b/k/a.parquet"]),
        ("gcs://b/a.parquet", ["gs://b/a.parquet"]),
        ("s3://b/k/out/", ["s3://b/k/"]),
        ("s3://b/k/", ["s3://b/k/a.parquet"]),
        ("s3://b/k/out.parquet", ["s3://b/k/*.parquet"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_output_is_no_input(output: str, inputs: list[str]) -> None:
    with pytest.raises(OutputError, match=r"is both input and output.*; choose another --log-json"):
        check_apart({"-o": None, "--log-json": output}, inputs)


@pytest.mark.parametrize(
    ("output", "inputs"),
    [
        ("b.csv", ["a.csv"]),
        ("d/x.txt", ["d"]),
        ("d/new.parquet", ["d"]),
        ("d/out/", ["d"]),
        ("/dev/null", ["/dev/null"]),
        ("-", ["-"]),
        ("s3://b/kk/a.parquet", ["s3://b/k"]),
        ("s3://b/a.parquet", ["gs://b/a.parquet"]),
        ("all", ["all,others"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_other_files_are_free(output: str, inputs: list[str]) -> None:
    check_apart({"-o": output}, inputs)


@pytest.mark.usefixtures("folder")
def test_models_and_second_outputs(folder: Path) -> None:
    (folder / "models").mkdir()
    os.link("m.safetensors", "models/one.safetensors")
    with pytest.raises(OutputError, match=r"m.safetensors is both .* \(it is models/one.safetensors\)"):
        check_apart({"-o": "m.safetensors"}, [], ["models"])
    (folder / "models" / "scores.parquet").touch()
    check_apart({"-o": "models/scores.parquet"}, [], ["models"])
    for one, other in (("x.csv", "./x.csv"), ("hard.csv", "link.csv"), ("s3://b/x", "s3://b//x")):
        with pytest.raises(OutputError, match="would be written twice, by -o and --log-json"):
            check_apart({"-o": one, "--log-json": other}, [])
    check_apart({"-o": ["/dev/null", "a.run.json"], "--log-json": "/dev/null"}, [])

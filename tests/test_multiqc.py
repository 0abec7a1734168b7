"""`run --multiqc`: what MultiQC shows of a run, read by the real MultiQC where that is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import random_dna

from legscore.run.multiqc import content, sample_of


@pytest.fixture
def table(tmp_path: Path) -> Path:
    import numpy as np

    rng = np.random.default_rng(3)
    rows = [random_dna(rng, 80) for _ in range(9)] + ["ACGT" * 60]
    (tmp_path / "t.csv").write_text("sequence\n" + "\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_a_run_as_custom_content(tmp_path: Path, table: Path, cli: Any) -> None:
    given = ("run", table, "--engine", "null", "-m", "bundled", "-o", tmp_path / "scores.csv")
    report = tmp_path / "legscore_mqc.json"
    assert cli(*given, "--multiqc", report).code == 0
    found = json.loads(report.read_text())
    record = json.loads((tmp_path / "scores.csv.run.json").read_text())
    assert found == json.loads(json.dumps(content(record)))
    told = found["data"]["scores"]
    assert {name: told[name] for name in ("rows", "ok_share", "status_ok", "status_too_long", "engine", "models")} == {
        "rows": 10, "ok_share": 90.0, "status_ok": 9, "status_too_long": 1, "engine": "null", "models": 3,
    }  # fmt: skip
    assert set(found["headers"]) == set(told)
    report.unlink()
    ran = cli(*given, "--multiqc", report)
    assert "already finished" in ran.err
    assert json.loads(report.read_text()) == found, "a finished run tells it again"
    assert cli(*given, "--multiqc", report, "--force").code == 0, "its own file is replaced"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("a/NA12878.chr1.parquet", "NA12878.chr1"), ("NA12878.chr2.parquet", "NA12878.chr2"),
        ("scores.vcf.gz", "scores"), ("s3://bucket/o.tsv.gz", "o"), ("out.v1/", "out.v1"), ("-", "standard output"),
    ],
)  # fmt: skip
def test_each_output_is_a_sample_of_its_own(output: str, name: str) -> None:
    assert sample_of(output) == name


def test_fidelity_is_told(tmp_path: Path, table: Path, toy_model: Path, cli: Any) -> None:
    report = tmp_path / "x_mqc.json"
    given = (
        "run",
        table,
        "-m",
        toy_model,
        "--engine",
        "torch",
        "-o",
        tmp_path / "o.csv",
        "--multiqc",
        report,
    )
    pytest.importorskip("torch", reason="a second engine, whose fidelity is measured, needs torch")
    assert cli(*given).code == 0
    told = json.loads(report.read_text())["data"]["o"]
    assert told["engine"] == "torch fp32"
    assert 0.99 < told["effect_spearman"] <= 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("report.json", None, "MultiQC finds files whose names end in _mqc.json"),
        ("mine_mqc.json", '{"id": "mine"}', "is there already and tells of no run"),
        ("mine_mqc.json", "no JSON", "is there already and tells of no run"),
        ("none/x_mqc.json", None, "does not exist"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, table: Path, cli: Any, name: str, text: str | None, said: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    ran = cli("run", table, "--engine", "null", "-o", tmp_path / "o.csv", "--multiqc", path)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert not (tmp_path / "o.csv").exists()
    assert path.exists() == (text is not None)


def test_it_is_no_input(tmp_path: Path, table: Path, cli: Any) -> None:
    path = table.rename(tmp_path / "t_mqc.json")
    ran = cli("run", path, "--engine", "null", "-o", tmp_path / "o.csv", "--multiqc", path)
    assert ran.code == 2
    assert "--multiqc" in ran.err
    assert path.read_text().startswith("sequence\n")


def test_multiqc_reads_it(tmp_path: Path, table: Path, cli: Any) -> None:
    """Two runs are two rows of one table in the page of the real MultiQC."""
    multiqc = shutil.which("multiqc", path=str(Path(sys.executable).parent)) or shutil.which("multiqc")
    if multiqc is None:
        pytest.skip("multiqc is not installed: pip install multiqc")
    for name in ("first", "second"):
        given = ("run", table, "--engine", "null", "-m", "bundled", "-o", tmp_path / f"{name}.csv")
        assert cli(*given, "--multiqc", tmp_path / f"{name}_mqc.json").code == 0
    done = subprocess.run(
        [multiqc, "--no-version-check", "-o", "page", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (data,) = (tmp_path / "page/multiqc_data").glob("multiqc_legscore_run*.txt")
    lines = [line.split("\t") for line in data.read_text().splitlines()]
    assert [line[0] for line in lines] == ["Sample", "first", "second"]
    assert {"rows", "ok_share", "engine", "status_too_long"} <= set(lines[0])
    assert "legscore" in (tmp_path / "page/multiqc_report.html").read_text()

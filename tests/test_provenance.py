"""Where scores come from: the command, its inputs, versions and dates, in records, VCF headers and report pages."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import REPOSITORY

import legscore

GENOME = REPOSITORY / "examples" / "genome"
CODE = "import sys; sys.argv[0] = 'legscore'; from legscore.cli import main; main()"
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tmp_path: Path, toy_model: Path) -> Shell:
    """Run a line of a shell in a folder that holds the toy genome and a model; LEGSCORE is the command."""
    for path in GENOME.glob("toy.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(GENOME / "pairs.csv", tmp_path)
    shutil.copy(toy_model, tmp_path / "m.safetensors")
    os.utime(tmp_path / "pairs.csv", (1e9, 1e9))  # older than the run

    def run(line: str) -> subprocess.CompletedProcess[str]:
        told = line.replace("LEGSCORE", f"{sys.executable} -c {shlex.quote(CODE)}")
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TZ": "UTC"}
        ran = subprocess.run(
            ["bash", "-c", told], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran

    return run


def facts(page: Path) -> dict[str, str]:
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    assert held
    return dict(json.loads(held[1])["facts"])


def check_record(record: dict[str, Any], folder: Path, command: str, name: str) -> None:
    assert record["command"] == command
    assert record["inputs"] == [name]
    (stamp,) = record["asked"]["read"][name]
    found = (folder / name).stat()
    assert (stamp["size"], stamp["modified_ns"]) == (found.st_size, found.st_mtime_ns)
    assert record["legscore"] == legscore.__version__
    assert record["python"] == platform.python_version()
    assert record["libraries"] == {"numpy": np.__version__, "pyarrow": pa.__version__}
    assert record["directory"] == str(folder)
    started = datetime.fromisoformat(record["started"])
    assert 0 <= (datetime.now(timezone.utc) - started).total_seconds() < 600


def check_page(shown: dict[str, str], record: dict[str, Any], command: str, stamp: str) -> None:
    assert shown["legscore"] == legscore.__version__
    assert shown["command"] == command
    assert shown["input"] == f"{record['inputs'][0]}{stamp}"
    assert shown["scored"] == record["started"]
    assert shown["with"].startswith(f"Python {platform.python_version()}, ")
    assert f"numpy {np.__version__}" in shown["with"]
    assert f"pyarrow {pa.__version__}" in shown["with"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", shown["page made"])


@pytest.mark.parametrize("output", ["s.parquet", "s.arrow", "s.csv.gz", "s/"])
def test_tables_say_where_they_come_from(shell: Shell, tmp_path: Path, output: str) -> None:
    pytest.importorskip("polars", reason="the page needs legscore[report]")
    pytest.importorskip("plotly", reason="the page needs legscore[report]")
    told = f"run pairs.csv -m m.safetensors --engine null -o {output}"
    shell(f"LEGSCORE {told}")
    place = tmp_path / f"{output.rstrip('/')}.run.json"
    record = json.loads((place if place.exists() else tmp_path / output / ".run.json").read_text())
    check_record(record, tmp_path, f"legscore {told}", "pairs.csv")
    shell(f"LEGSCORE report {output} -o r.html")
    size = (tmp_path / "pairs.csv").stat().st_size
    shown = facts(tmp_path / "r.html")
    check_page(shown, record, f"legscore {told}", f", {size:,} bytes, of 2001-09-09 01:46")
    assert re.fullmatch(rf"{output}, [\d,]+ bytes, of \d{{4}}-.*", shown["file"])
    shell(f"LEGSCORE report {output} -o r.html --force") if output == "s/" else shell(
        f"cat {output} | LEGSCORE report - -o r.html --force"
    )
    again = facts(tmp_path / "r.html")
    if output not in ("s/", "s.csv.gz"):  # text that is piped has no record beside it
        assert re.fullmatch(r"standard input, [\d,]+ bytes", again["file"])
        assert again["legscore"] == shown["legscore"]


def test_vcfs_say_where_they_come_from(shell: Shell, tmp_path: Path) -> None:
    pytest.importorskip("pysam", reason="genomes need legscore[genome]")
    pytest.importorskip("plotly", reason="the page needs legscore[report]")
    told = "run toy.vcf --fasta toy.fa --promoters toy.gtf -m m.safetensors --engine null -o s.vcf"
    shell(f"LEGSCORE {told}")
    record = json.loads((tmp_path / "s.vcf.run.json").read_text())
    check_record(record, tmp_path, f"legscore {told}", "toy.vcf")
    assert {"toy.fa", "toy.gtf", "toy.vcf"} <= set(record["asked"]["read"])
    header = (tmp_path / "s.vcf").read_text().split("#CHROM")[0].splitlines()
    sha256 = record["models"][0]["sha256"]
    for line in (
        f"##legscore_version={legscore.__version__}",
        f"##legscore_models={sha256}",
        f"##legscore_command=legscore {told}",
    ):
        assert line in header
    shell("LEGSCORE report s.vcf -o r.html")
    shown = facts(tmp_path / "r.html")
    found = (tmp_path / "toy.vcf").stat()
    when = datetime.fromtimestamp(found.st_mtime, timezone.utc)
    check_page(shown, record, f"legscore {told}", f", {found.st_size:,} bytes, of {when:%Y-%m-%d %H:%M}")
    assert shown["file"].startswith("s.vcf, ")


def test_calls_from_python_say_where_they_come_from(shell: Shell, tmp_path: Path, toy_model: Path) -> None:
    output = tmp_path / "s.csv"
    legscore.score_file(tmp_path / "pairs.csv", output, models=toy_model, engine="null", keep="id")
    record = json.loads((tmp_path / "s.csv.run.json").read_text())
    assert record["command"]["function"] == "legscore.score_file"
    arguments = record["command"]["arguments"]
    assert arguments["inputs"] == str(tmp_path / "pairs.csv")
    assert arguments["output"] == str(output)
    assert (arguments["engine"], arguments["keep"]) == ("null", "id")

"""Shards by schedulers that exist: examples/Snakefile is run, the others are read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, random_dna

from legscore.cli.run import command
from legscore.run.job import score
from legscore.run.options import Options

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.parametrize("name", ["slurm.sh", "Snakefile", "main.nf"])
def test_examples_are_short_and_use_options_that_exist(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 40
    known = {option for parameter in command.params for option in parameter.opts} | {"-o", "-q", "--quiet"}
    runs = re.findall(r"legscore run (.*(?:\\\n.*)?)", text)
    assert runs
    for line in runs:
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line.split('"')[0])) <= known
    assert "legscore merge" in text
    assert "--shard" in text
    asked = {"slurm.sh": '"$SLURM_CPUS_PER_TASK"', "Snakefile": "{threads}", "main.nf": "${task.cpus}"}
    assert f"--threads {asked[name]}" in text


def test_slurm_script_is_shell() -> None:
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm.sh")], check=True)


def test_snakemake_makes_the_bytes_of_one_run(tmp_path: Path, toy_model: Path) -> None:
    snakemake = Path(sys.executable).with_name("snakemake")
    if not snakemake.exists():
        pytest.skip("snakemake is not installed: pip install snakemake")
    rng = np.random.default_rng(0)
    source = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({"id": np.arange(90), "sequence": [random_dna(rng, 80) for _ in range(90)]}), source
    )
    score(
        Options([str(source)], str(tmp_path / "one.parquet"), [str(toy_model)], engine="null", part_rows=30)
    )
    given = [
        f"input={source}",
        f"models={toy_model}",
        "output=scores.parquet",
        "shards=2",
        "extra=--engine null --part-rows 30",
    ]
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(snakemake.parent), os.environ.get("PATH", "")]),
        "HOME": str(tmp_path),
    }
    words = [str(snakemake), "-s", str(EXAMPLES / "Snakefile"), "--cores", "2", "--config", *given]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()

"""A plain installation: what it scores without the packages of any extra, and what it says of the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, random_dna, toy_checkpoint
from pyarrow import csv

from legscore.errors import LegscoreError
from legscore.system.extras import EXTRAS, MissingPackageError, naming_extras

HIDE = f"import sys; sys.modules.update(dict.fromkeys({(*EXTRAS, 'onnx', 'google', 'ml_dtypes', 'scipy')!r}))"
"""Neither imported nor found."""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder with small inputs and a Python that finds no package of any extra."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDE)
    toy_checkpoint(0).save(tmp_path / "m.safetensors")
    import numpy as np

    rng = np.random.default_rng(0)
    texts = [random_dna(rng, 80) for _ in range(9)]
    (tmp_path / "s.fa").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    (tmp_path / "s.csv").write_text("id,sequence\n" + "".join(f"s{i},{t}\n" for i, t in enumerate(texts)))
    placed = pa.table({"sequence": texts, "chrom": ["chrI"] * 9, "pos": list(range(1, 10))})
    csv.write_csv(placed, tmp_path / "placed.csv")
    record = json.dumps({"variants": {"contigs": {"chrI": 230_218}}})
    pq.write_table(placed.replace_schema_metadata({"legscore": record}), tmp_path / "genome.parquet")
    return tmp_path


def in_plain(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{folder / 'hide'}:{REPOSITORY}"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True)


def test_a_plain_installation_scores_tables_and_fasta(plain: Path) -> None:
    """Every command that needs no genome, figure or training runs without their packages."""
    for number, words in enumerate(
        (
            "run s.csv -m m.safetensors -o csv.parquet",
            "run s.fa -m m.safetensors -o fa.parquet",
            "run s.csv -m m.safetensors --engine null -o null.tsv",
            "run placed.csv -m m.safetensors --engine null -o placed.parquet",
            "run genome.parquet -m m.safetensors --engine null -o genome.scored.parquet",
            "show m.safetensors",
            "doctor",
            "cache list",
        )
    ):
        done = in_plain(plain, "-m", "legscore", *words.split())
        assert done.returncode == 0, (number, words, done.stderr)
    both = [pq.read_table(plain / f"{kind}.parquet") for kind in ("csv", "fa")]
    assert both[0]["score"].to_pylist() == both[1]["score"].to_pylist()
    assert both[1]["id"].to_pylist() == [f"s{i}" for i in range(9)]
    assert None not in both[0]["score"].to_pylist()


def test_python_names_the_extra_too(plain: Path) -> None:
    code = (
        "import legscore, legscore.errors\n"
        "try:\n"
        "    legscore.build_variants('s.csv', 'o.parquet', fasta='s.fa', centered=True)\n"
        "except legscore.errors.LegscoreError as error:\n"
        "    print(type(error).__name__, isinstance(error, ImportError), error.name, error)"
    )
    done = in_plain(plain, "-c", code)
    assert done.returncode == 0, done.stderr
    expected = "polars is not installed; pip install 'legscore[genome]' brings it"
    assert done.stdout.strip() == f"MissingPackageError True polars {expected}"


def test_only_packages_of_extras_are_named() -> None:
    with pytest.raises(MissingPackageError, match=r"legscore\[gpu\]") as caught, naming_extras():
        raise ModuleNotFoundError("No module named 'pycuda.driver'", name="pycuda.driver")
    assert isinstance(caught.value, LegscoreError)
    with pytest.raises(ModuleNotFoundError, match="numpy"), naming_extras():
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

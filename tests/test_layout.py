"""Rooms, doors and shop window: imports go one way, start-up stays light, help and README hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import REPOSITORY

import legscore
from legscore.cli import COMMANDS, cli
from legscore.system.resources import folder

PACKAGE = REPOSITORY / "legscore"
ROOMS = [
    {"errors"},
    {"storage", "ranges", "stream", "memory", "limits", "resources", "small_files"},
    {"contract", "schema", "publish", "row_groups", "lock", "runlog"},
    {"caches", "calibration", "source"},
    {"batch", "encode", "text_formats", "sequences", "folds"},
    {"formats"},
    {"run_record"},
    {"indels"},
    {"window", "reduce", "write", "read"},
    {"model", "cuda"},
    {"engine"},
    {"generate"},
    {"heldout", "adaptive", "parts", "remote_parts"},
    {"identity", "shards", "members"},
    {"verify"},
    {"pipeline"},
    {"resume", "settle", "dataset"},
    {"job"},
    {"api"},
    {"measure"},
    {"cluster"},
    {"train"},
    {"variants"},
    {"evaluate"},
    {"design"},
    {"cli"},
]
STAGES = {"read", "window", "encode", "reduce", "write"}
ALLOWED = {("write", "reduce")}  # a part of the output is made from Results, which reduce defines
COMPANIONS = {"train", "evaluate", "variants", "design"}


def modules() -> dict[str, Path]:
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """legscore modules that a file imports anywhere, as dotted names without the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("legscore."):
            base = node.module.removeprefix("legscore.")
            found |= {
                f"{base}.{alias.name}"
                if (PACKAGE / base.replace(".", "/") / f"{alias.name}.py").exists()
                else base
                for alias in node.names
            }
    return found


def level(module: str) -> int:
    room = module.split(".")[0]
    return next(i for i, rooms in enumerate(ROOMS) if room in rooms)


def test_imports_go_one_way() -> None:
    for module, path in modules().items():
        if module in ("__init__", "__main__"):
            continue
        for other in imports(path):
            if module.split(".")[0] == other.split(".")[0]:
                continue
            assert level(other) <= level(module), f"{module} imports {other}"
            companion = other.split(".")[0] in COMPANIONS
            assert not companion or module.startswith("cli."), f"{module} imports the companion {other}"
            if module in STAGES and other in STAGES:
                assert (module, other) in ALLOWED, f"stage {module} imports stage {other}"


def test_names_and_sizes() -> None:
    public = set(legscore.__all__)
    for module, path in modules().items():
        assert module.split(".")[-1] not in {"utils", "helpers", "misc"}
        assert len(path.read_text().splitlines()) <= 400, f"{module} is long; split it by purpose"
        assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"
        assert module not in public


def test_kernels_and_engines_hold_no_python() -> None:
    for name in ("kernels", "engines"):
        assert not list((REPOSITORY / name).rglob("*.py"))
        assert folder(name).is_dir()
    assert list(folder("bundled").glob("*.safetensors"))


HEAVY = (
    "ray",
    "legscore.cluster.drive",
    "torch",
    "polars",
    "tensorly",
    "pycuda",
    "tensorrt",
    "openvino",
    "numpy",
    "pyarrow",
    "onnx",
    "pysam",
)


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split("LOADED")[1].split())


def test_help_imports_nothing_heavy() -> None:
    code = "import legscore.cli\ntry:\n    legscore.cli.cli.main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(code) == set()
    assert loaded_after("import legscore") == set()


def test_scoring_imports_neither_torch_nor_polars_nor_tensorly(tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    code = f"import legscore\nlegscore.score_file({str(tmp_path / 's.csv')!r}, {str(tmp_path / 'o.parquet')!r}, models={str(toy_model)!r}, engine='openvino')"
    banned = {"torch", "polars", "tensorly", "pycuda", "tensorrt", "ray", "legscore.cluster.drive"}
    assert loaded_after(code) & banned == set()


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: command for name in COMMANDS if (command := cli.get_command(context, name)) is not None}


def test_help_texts() -> None:
    """The list of commands says what each command says of itself; every command shows an example; every
    option has help."""
    everything = dict(commands())
    for name, command in commands().items():
        assert command.name == name
        assert command.short_help == COMMANDS[name][1]
        assert (command.help or "").startswith(COMMANDS[name][1].rstrip("."))
        if isinstance(command, click.Group):
            everything |= {f"{name} {inner}": c for inner, c in command.commands.items()}
    for name, command in everything.items():
        assert f"legscore {name} " in (command.help or ""), f"{name} shows no example"
        for parameter in command.params:
            if (
                isinstance(parameter, click.Option)
                and not parameter.hidden
                and not isinstance(parameter.type, click.Choice)
            ):
                assert parameter.help, f"{name} {parameter.opts} has no help"


README = (REPOSITORY / "README.md").read_text()


def test_readme_commands_exist() -> None:
    """Every legscore command line in README parses: known command, known options."""
    blocks = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    lines = [line for block in blocks for line in re.findall(r"^(?:.*&& )?(legscore [^\n]+)$", block, re.M)]
    assert len(lines) >= 5
    for line in lines:
        words = line.split("#")[0].split("|")[0].replace("\\", "").split()
        if len(words) < 2 or words[1].startswith("-"):
            continue
        command = commands()[words[1]]
        rest = words[2:]
        if isinstance(command, click.Group):
            command, rest = command.commands[words[2]], words[3:]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        } | {"--help"}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word in known, f"README: {line}"


def test_readme_tree_names_every_file() -> None:
    listed = README[README.index("## The tree") :]
    for module, path in modules().items():
        if path.name != "__init__.py":
            assert path.name in listed, f"README's tree lacks {module}"


def test_readme_claims_no_speed_without_a_result() -> None:
    for name in re.findall(r"bench/results/[\w.-]+\.json", README):
        assert (REPOSITORY / name).is_file(), f"README cites {name}, which is not there"


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "setup.py", "pyproject.toml", ".ci/run"])
def test_top_level(name: str) -> None:
    assert (REPOSITORY / name).stat().st_size > 0


def test_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "bench/tables.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

"""The layout: where files lie, which way imports go, names and sizes; light start-up; help and README hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import click
import pytest
from conftest import REPOSITORY

import legscore
from legscore.cli import COMMANDS, cli
from legscore.system.resources import folder

PACKAGE = REPOSITORY / "legscore"
BASE = ("errors", "version", "system")
DATA = (*BASE, "dna", "rows", "input")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "version": (),
    "errors": (),
    "system": ("errors", "version"),
    "dna": BASE,
    "rows": (*BASE, "dna"),
    "input": (*BASE, "dna", "rows"),
    "output": DATA,
    "model": (*BASE, "dna"),
    "cuda": (*BASE, "dna", "model"),
    "engine": (*BASE, "dna", "model", "cuda"),
    "generate": (*BASE, "dna", "model", "cuda", "engine"),
    "run": (*DATA, "output", "model", "engine"),
    "measure": (*DATA, "output", "model", "engine", "run"),
    "cluster": (*DATA, "output", "model", "engine", "run", "measure"),
    "train": (*DATA, "output", "model", "engine", "generate"),
    "variants": (*DATA, "output", "model", "run"),
    "evaluate": (*DATA, "output", "model", "run"),
    "atlas": (*DATA, "output", "model", "engine", "run", "variants"),
    "attribute": (*DATA, "output", "model", "run", "variants", "evaluate"),
    "design": (*DATA, "output", "model", "engine", "generate", "run"),
    "distill": (*DATA, "model", "engine", "run", "train", "variants"),
    "api": (
        *(*DATA, "output", "model", "engine", "generate", "run", "variants", "evaluate", "atlas", "design"),
    ),
    "__init__": ("version", "errors", "dna", "run", "evaluate", "api"),
    "cli": (
        *(*DATA, "output", "model", "cuda", "engine", "generate", "run"),
        *(
            "measure",
            "cluster",
            "train",
            "variants",
            "evaluate",
            "atlas",
            "attribute",
            "design",
            "distill",
            "api",
        ),
    ),
    "__main__": ("cli",),
}
"""What each folder of legscore/ (or module beside them) may import: the one table of directions."""
SAME_NAME = {
    "ensemble": "models loaded as one; models trained as one",
    "make": "design and variants each have one function that makes their files",
    "options": "what a user can say, of each command that has more than a few",
    "page": "an HTML page, of scores and of designs",
    "plan": "everything decided before work starts, of a run and of a design",
    "recipe": "engines/*.toml and training recipes: the word is the field's for both",
}
"""Module names that may stand in several folders, each with its reason; besides cli/<command>.py."""
DUPLICATES_ALLOWED = 6


def modules() -> dict[str, Path]:
    """Every module by its dotted name within legscore; a package is named by its folder, the root `__init__`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, known: Collection[str]) -> set[str]:
    """legscore's modules that a file imports: anywhere in it, whole or in part, under TYPE_CHECKING, inside functions,
    and by a string that is a module's full name (importlib, lazy tables)."""
    found: set[str] = set()

    def take(dotted: str) -> None:
        if dotted == "legscore":
            found.add("__init__")
        elif dotted.startswith("legscore.") and dotted.removeprefix("legscore.") in known:
            found.add(dotted.removeprefix("legscore."))

    here = ["legscore", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                take(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                take(inner if inner.removeprefix("legscore.") in known else base)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            take(node.value)
    return found


def graph() -> dict[str, set[str]]:
    known = modules()
    return {module: imports(path, known) - {module} for module, path in known.items()}


def test_imports_go_one_way() -> None:
    """Each folder imports what MAY_IMPORT says, wherever in a file the import stands."""
    for module, others in graph().items():
        room = module.split(".")[0]
        assert room in MAY_IMPORT, f"legscore/{room} is no folder that the layout knows; see DEVELOPMENT.md"
        for other in others:
            its = other.split(".")[0]
            allowed = its == room or its in MAY_IMPORT[room]
            assert allowed, f"{module} imports {other}: {room}/ may not import {its}/"


def test_the_table_of_directions_has_no_circle() -> None:
    names = list(MAY_IMPORT)
    for place, (room, below) in enumerate(MAY_IMPORT.items()):
        if room == "__init__":
            continue
        for other in below:
            assert names.index(other) < place, f"{room} is listed before {other}, which it may import"


def test_no_module_imports_itself_round_a_corner() -> None:
    edges, finished = graph(), set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, "circle: " + " → ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for other in sorted(edges[module]):
            visit(other, [*path, module])
        finished.add(module)

    for module in edges:
        visit(module, [])


def test_names_and_sizes() -> None:
    public = set(legscore.__all__)
    for module, path in modules().items():
        assert module.split(".")[-1] not in {"utils", "helpers", "misc", "common_utils"}
        assert len(path.read_text().splitlines()) <= 430, f"{module} is long; split it by purpose"
        assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"
        assert module not in public


def test_docstrings_hold_no_quotes_of_code() -> None:
    """A line that was broken as code is broken leaves `"` at its end and at the next one's begin."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for folder_name in ("legscore", "tests", "bench"):
        for path in (REPOSITORY / folder_name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                text = (ast.get_docstring(node) or "") if isinstance(node, kinds) else ""
                assert not re.search(r' "\n\s*"', text), f"{path}: {text}"


def test_no_module_name_stands_twice() -> None:
    """Module names are one word for one thing: what stands twice is a command beside what it calls, or in SAME_NAME."""
    places: dict[str, list[str]] = {}
    for module, path in modules().items():
        if path.name != "__init__.py" and not module.startswith("cli."):
            places.setdefault(module.split(".")[-1], []).append(module)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert set(twice) == set(SAME_NAME), f"names that stand twice: {twice}"
    assert len(SAME_NAME) <= DUPLICATES_ALLOWED


MOST_LINES, MOST_PARAMETERS = 60, 12


def test_functions_are_short() -> None:
    """No function's body is longer than MOST_LINES (signature and docstring not counted); none takes more than
    MOST_PARAMETERS but click commands and the public functions of api/."""
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0
            assert lines <= MOST_LINES, f"{module}: {node.name} has {lines} lines"
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([one for one in given if one.arg not in ("self", "cls")])
            decorators = [ast.dump(decorator) for decorator in node.decorator_list]
            # a command takes its options, a kernel what it is launched with
            is_command = any(maker in text for text in decorators for maker in ("click", "'triton'"))
            exempt = (
                is_command
                or node.name == "__init__"
                or (module.split(".")[0] == "api" and not node.name.startswith("_"))
            )
            assert exempt or count <= MOST_PARAMETERS, f"{module}: {node.name} takes {count} parameters"


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


PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "examples").glob("*/README.md"),
        REPOSITORY / "bench/README.md",
    ]
)
PAGE_NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]


def command_lines(text: str) -> list[str]:
    """Every legscore command line in the code blocks of a page."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.M | re.S)
    joined = [block.replace("\\\n", " ") for block in blocks]
    return [line for block in joined for line in re.findall(r"^(?:.*&& )?(legscore [^\n]+)$", block, re.M)]


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_commands_of_the_pages_exist(name: str) -> None:
    """Every legscore command line on a page parses: known command, known options."""
    for line in command_lines((REPOSITORY / name).read_text()):
        words = line.split("#")[0].split("|")[0].replace("\\", "").split()
        if len(words) < 2 or words[1].startswith("-"):
            continue
        command = commands()[words[1]]
        rest = words[2:]
        if isinstance(command, click.Group):
            command, rest = command.commands[words[2]], words[3:]
        known = {"--help"}
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word in known, f"{name}: {line}"


def test_readme_is_short_and_shows_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    assert len(command_lines(readme)) >= 3


MOST_PAGE_LINES = 250


@pytest.mark.parametrize("name", [name for name in PAGE_NAMES if name.startswith("docs/")])
def test_pages_are_short(name: str) -> None:
    assert len((REPOSITORY / name).read_text().splitlines()) <= MOST_PAGE_LINES


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Links between the pages, to a heading too, and to files of the repository."""
    page = REPOSITORY / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name} links to {target}, which is not there"
        if heading:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{name} links to {target}; the page has no such heading"


def listed_files(text: str) -> set[str]:
    """Paths of the Python files in a tree of indented names, each line a name and what it is for."""
    found, folders = set(), []
    for line in text.splitlines():
        match = re.match(r"( *)(\S+)(?: {1,}\S|$)", line)
        if not match:
            continue
        depth, name = len(match[1]) // 2, match[2]
        if name.endswith("/"):
            folders[depth:] = [name]
        elif name.endswith(".py"):
            found.add("".join(folders[:depth]) + name)
    return found


TREES = ("docs/files.md", "docs/files-companions.md")
"""Pages that hold the tree: folders that a run goes through, and the others."""


def test_the_tree_lists_every_file_at_its_place() -> None:
    listed = set()
    for name in TREES:
        tree = re.search(r"^```\n(legscore/\n.*?)^```", (REPOSITORY / name).read_text(), re.M | re.S)
        assert tree is not None, f"{name} has no tree"
        listed |= {path for path in listed_files(tree[1]) if path.startswith("legscore/")}
    is_there = {str(path.relative_to(REPOSITORY)) for path in PACKAGE.rglob("*.py")}
    is_there -= {
        path for path in is_there if path.endswith("/__init__.py") and path != "legscore/__init__.py"
    }
    assert listed == is_there, f"not in {' or '.join(TREES)}, or not there: {sorted(listed ^ is_there)}"


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_pages_cite_results_that_are_there(name: str) -> None:
    for cited in re.findall(r"bench/results/[\w.-]+\.json", (REPOSITORY / name).read_text()):
        assert (REPOSITORY / cited).is_file(), f"{name} cites {cited}, which is not there"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "DEVELOPMENT.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "setup.py",
        "pyproject.toml",
        ".ci/run",
    ],
)
def test_top_level(name: str) -> None:
    assert (REPOSITORY / name).stat().st_size > 0


def test_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "bench/tables.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

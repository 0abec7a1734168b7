"""Names of modules, of what stands in them and of files that comments, docstrings and pages mention: each is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "legscore"
FOLDERS = ("legscore", "kernels", "engines", "bench", "tests", "docs", "examples", "recipes")
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
ENDINGS = {".py", ".md", ".toml", ".cu", ".cpp", ".h"}
DOTTED = re.compile(r"(?<![\w./-])legscore((?:\.[A-Za-z_]\w*)+)")
IN_VAIN = {"legscore.scores"}
"""Names that a test asks for in vain."""
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join([*FOLDERS, *ROOMS])})/[\w./-]*\w\.(?:py|md|toml|cu|cpp|h)\b")


def texts() -> Iterator[tuple[str, str]]:
    """(file, text) of the sources and the pages."""
    for path in [
        *REPOSITORY.glob("*.md"),
        *(p for folder in FOLDERS for p in (REPOSITORY / folder).rglob("*")),
    ]:
        if path.suffix in ENDINGS and path.is_file():
            yield str(path.relative_to(REPOSITORY)), path.read_text()


@cache
def defined(path: Path) -> dict[str, set[str]]:
    """{name: names within it} of a module: what it defines, assigns and imports; classes with what is theirs."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            inner = {n.name for n in ast.walk(node) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
            inner |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            found[node.name] = inner | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.setdefault(node.name, set())
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, set())
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                found.setdefault((alias.asname or alias.name).split(".")[0], set())
    return found


def is_there(dotted: str) -> bool:
    """Whether `.room.module.name.attribute` of legscore is: a package, a module, or something in one."""
    place, names = PACKAGE, dotted.strip(".").split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    module = place / "__init__.py"
    if names and (place / f"{names[0]}.py").is_file():
        module = place / f"{names.pop(0)}.py"
    if not names:
        return True
    inner = defined(module).get(names[0])
    return inner is not None and (len(names) == 1 or not inner or names[1] in inner)


FILES = dict(texts())


def test_what_is_looked_through() -> None:
    assert {"DEVELOPMENT.md", "legscore/run/job.py", "kernels/reduce.cu", "docs/files.md"} <= FILES.keys()
    assert is_there(".run.plan.Plan.groups")
    assert not is_there(".run.plan.Plan.grouped")
    assert not is_there(".run.planned")
    assert PATH.search("see `engine/base.py`")


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_names_in_the_package_are_there(folder: str) -> None:
    """Full names of modules and what they hold, wherever they stand: a test may patch one, a docstring point to it."""
    gone = [
        f"{file}:{text[: name.start()].count(chr(10)) + 1}: {name[0]}"
        for file, text in FILES.items()
        if file.rpartition("/")[0].split("/")[0] == folder
        for name in DOTTED.finditer(text)
        if name[0] not in IN_VAIN and not is_there(name[1])
    ]
    assert not gone, "\n".join(gone)


def test_files_that_are_named_are_there() -> None:
    """Paths from the repository's root, or from legscore/ where they begin with one of its folders."""
    gone = []
    for file, text in FILES.items():
        for path in PATH.findall(text):
            # an installed package has kernels/ and engines/ within
            places = (path, f"legscore/{path}", path.removeprefix("legscore/"))
            if not any((REPOSITORY / place).exists() for place in places):
                gone.append(f"{file}: {path}")
    assert not gone, "\n".join(gone)

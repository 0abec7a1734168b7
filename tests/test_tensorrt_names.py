"""Every name of TensorRT's that the code uses exists in each version that may run that code.

TensorRT cannot be imported without its libraries, and versions differ: a name is looked up in
tests/data/tensorrt_names.json, which holds those of our names that each version has. Where the full lists of
names are at hand, the file is checked against them.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

RTX = "RTX 1.7.1.116"
VERSIONS = ("8.6.0", "10.13.3.9", "10.16.1.11", "11.4.0.106", RTX)
SERVES = {
    "legscore/engine/trt/v8.py": VERSIONS[:1],
    "legscore/engine/trt/v10.py": VERSIONS[1:],
    "legscore/engine/trt/rtx.py": (RTX,),
}
"""Modules written for some versions; all others must hold on every one."""
DATA = REPOSITORY / "tests" / "data" / "tensorrt_names.json"
OBJECTS = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "config": "IBuilderConfig", "runtime": "Runtime",
    "engine": "ICudaEngine", "context": "IExecutionContext", "layer": "ILayer", "refitter": "Refitter", "reader": "OnnxParserRefitter",
    "cache": "ITimingCache", "first": "ITimingCache", "second": "ITimingCache",
}  # fmt: skip
"""What variables in those modules hold."""
RETURNS = {
    "get_input": "ITensor",
    "get_output": "ITensor",
    "get_timing_cache": "ITimingCache",
    "get_layer": "ILayer",
}


def modules() -> list[Path]:
    roots = (REPOSITORY / "legscore", REPOSITORY / "bench")
    return [
        path
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if re.search(r"^(import tensorrt as trt|trt: Any = )", path.read_text(), re.MULTILINE)
    ]


def uses() -> list[tuple[str, str, str, int]]:
    """(module, class or "" for the package itself, name, line) of every use."""
    found = []
    for path in modules():
        where = path.relative_to(REPOSITORY).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            value, owner = node.value, None
            if isinstance(value, ast.Name):
                owner = "" if value.id == "trt" else OBJECTS.get(value.id)
            elif (
                isinstance(value, ast.Attribute)
                and isinstance(value.value, ast.Name)
                and value.value.id == "trt"
            ):
                owner = value.attr
            elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                owner = RETURNS.get(value.func.attr)
            if owner is not None and not node.attr.startswith("__"):
                found.append((where, owner, node.attr, node.lineno))
    return found


def exists(names: dict[str, list[str]], owner: str, name: str) -> bool:
    return name in names.get(owner, ())


def load_list(path: Path) -> dict[str, list[str]]:
    """A full list of names: lines `ENUM name {...}`, `CLASS name [bases] [names]`, `OBJ name type`."""
    names: dict[str, list[str]] = {"": []}
    for line in path.read_text().splitlines():
        kind, name, rest = line.split(" ", 2)
        names[""].append(name)
        if kind == "ENUM":
            names[name] = [*ast.literal_eval(rest)]
        elif kind == "CLASS":
            names[name] = ast.literal_eval(rest[rest.index("]") + 2 :])
    return names


def test_every_name_exists_in_every_version_that_may_run_it() -> None:
    known = json.loads(DATA.read_text())
    assert tuple(known) == VERSIONS
    found = uses()
    assert len(found) > 50
    assert {where for where, *_ in found} >= set(SERVES)
    for where, owner, name, line in found:
        for version in SERVES.get(where, VERSIONS):
            assert exists(known[version], owner, name), (
                f"{where}:{line}: TensorRT {version} has no {owner or 'tensorrt'}.{name}"
            )


def test_versions_do_differ() -> None:
    """The walk would notice: names that only one branch may use are missing elsewhere."""
    known = json.loads(DATA.read_text())
    assert exists(known["8.6.0"], "BuilderFlag", "FP16")
    assert not exists(known["11.4.0.106"], "BuilderFlag", "FP16")
    assert not exists(known["8.6.0"], "ICudaEngine", "device_memory_size_v2")
    assert not exists(known["11.4.0.106"], "ILayer", "precision")


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_the_names_are_those_of_the_full_lists(shared: Path, version: str) -> None:
    full = load_list(shared / "reference" / "tensorrt_api" / f"{version}.txt")
    for owner, names in json.loads(DATA.read_text())[version].items():
        for name in names:
            assert exists(full, owner, name), f"TensorRT {version} has no {owner}.{name}"
    ours = {(owner, name) for where, owner, name, _ in uses() if version in SERVES.get(where, VERSIONS)}
    assert all(exists(full, owner, name) for owner, name in ours)


def test_the_names_of_tensorrt_rtx_are_those_of_its_bindings() -> None:
    code = (
        "import json, sys; import tensorrt_rtx_bindings as trt\n"
        "for owner, names in json.load(sys.stdin).items():\n"
        "    for name in names: getattr(getattr(trt, owner) if owner else trt, name)\n"
        "print(trt.__version__)"
    )
    names = json.dumps(json.loads(DATA.read_text())[RTX])
    ran = subprocess.run([sys.executable, "-c", code], input=names, capture_output=True, text=True)
    if "ModuleNotFoundError" in ran.stderr or "libtensorrt_rtx" in ran.stderr:
        pytest.skip("TensorRT-RTX is not installed: pip install 'legscore[trt-test]'")
    assert ran.returncode == 0, ran.stderr
    assert f"RTX {ran.stdout.strip()}" == RTX

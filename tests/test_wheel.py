"""What installing builds: a wheel without a C++ compiler, and the library with one that lacks fast forms' instructions."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY

if importlib.util.find_spec("wheel") is None:
    pytest.importorskip(
        "setuptools.command.bdist_wheel", reason="wheels are built with setuptools 70.1 or wheel"
    )
LIBRARY = "legscore/kernels/cpu/liblegnet.so"
COMPILER = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


def build(folder: Path, compiler: str) -> tuple[Path, str]:
    """The wheel that this compiler makes, and what was said."""
    source = folder / "source"
    for name in (
        "legscore",
        "kernels",
        "engines",
        "examples/models",
        "examples/models_1",
        "examples/student",
    ):
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    ran = subprocess.run(
        [sys.executable, "setup.py", "bdist_wheel", "-d", str(folder / "dist")],
        cwd=source,
        env={**os.environ, "CXX": compiler, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    (wheel,) = (folder / "dist").iterdir()
    return wheel, ran.stdout + ran.stderr


def test_without_a_compiler_the_wheel_is_for_any_platform_and_says_what_is_missing(tmp_path: Path) -> None:
    wheel, said = build(tmp_path, "/nonexistent/c++")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "no C++ compiler was found: the native engine was not built; OpenVINO scores on CPUs" in said
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        packed.extractall(tmp_path / "site")
    assert LIBRARY not in names
    assert {"legscore/kernels/cpu/amx.cpp", "legscore/kernels/cpu/driver.h"} <= names
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "LEGSCORE_CACHE": str(tmp_path / "cache")}

    def legscore(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "legscore", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    doctor = legscore("doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "was not built" in doctor.stdout
    assert "a C++ compiler is found" in doctor.stdout
    (tmp_path / "one.csv").write_text("sequence\n" + "ACGT" * 20 + "\n")
    ran = legscore("run", "one.csv", "-o", "o.csv", "--engine", "native")
    assert ran.returncode == 2
    assert "its library was not built" in ran.stderr.splitlines()[-1]


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="no C++ compiler here")
@pytest.mark.long
def test_each_form_is_probed_and_built_by_itself(tmp_path: Path) -> None:
    """A compiler without AVX-512 and AMX builds the portable form, and says what it lacks."""
    old = tmp_path / "old-c++"
    old.write_text(f'#!/bin/sh\ncase "$*" in *-mavx512f*) exit 1 ;; esac\nexec {COMPILER} "$@"\n')
    old.chmod(0o755)
    library = tmp_path / "liblegnet.so"
    ran = subprocess.run(
        [sys.executable, "setup.py", "build_cpu", f"--output={library}"],
        cwd=REPOSITORY,
        env={**os.environ, "CXX": str(old)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "has no instructions for: avx512, amx" in ran.stdout + ran.stderr
    runs = ctypes.CDLL(str(library)).legnet_runs
    assert [runs(form) for form in range(3)] == [0, 1, 1]  # 1: was not built

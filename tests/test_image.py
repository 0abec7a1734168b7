"""Compiled kernels: built by setup.py into the build folder, else on first use into the cache, else an error
that helps."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from legscore.cuda import image
from legscore.errors import EngineError
from legscore.system.resources import cache_folder, folder

STEMS = sorted(path.stem for path in folder("kernels").glob("*.cu"))
PARTS = ("setup.py", "README.md", "LICENSE", "pyproject.toml", "legscore", "kernels", "engines", "examples")


def script(folder: Path, text: str) -> Path:
    """A program called nvcc."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nvcc"
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.fatbin", "*.safetensors", "*.parquet")
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=ignore)
        else:
            shutil.copy(source, target / part)
    return target


def build(
    checkout: Path, target: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("CUDA_HOME", "CUDA_PATH", "PYTHONPATH")}
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(target)]
    return subprocess.run(
        command, cwd=checkout, env={**environment, "PATH": path}, capture_output=True, text=True
    )


@pytest.mark.long
def test_setup_compiles_into_the_build_folder(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here")
    done = build(checkout, tmp_path, os.environ["PATH"], monkeypatch)
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (tmp_path / "legscore" / "kernels").glob("*.fatbin")) == STEMS
    assert not list(checkout.rglob("*.fatbin"))


def test_a_failing_nvcc_never_fails_the_install(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "build" / "legscore" / "kernels" / "one_hot.fatbin"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of an earlier build")
    script(tmp_path / "bin", ': > "$4"; echo "nvcc fatal: no host compiler" >&2; exit 1')
    done = build(checkout, tmp_path / "build", str(tmp_path / "bin"), monkeypatch)
    assert done.returncode == 0
    assert "one_hot.cu was not compiled" in done.stderr + done.stdout
    assert "no host compiler" in done.stderr + done.stdout
    assert (tmp_path / "build" / "legscore" / "kernels" / "one_hot.cu").is_file()
    assert not list((tmp_path / "build").rglob("*.fatbin"))


def test_without_nvcc_an_old_image_is_not_shipped(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc lies where it is always looked for")
    old = tmp_path / "legscore" / "kernels" / "one_hot.fatbin"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    done = build(checkout, tmp_path, str(tmp_path), monkeypatch)
    assert done.returncode == 0, done.stderr
    assert (old.parent / "one_hot.cu").is_file()
    assert not old.exists()


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernels folder and a cache of this test's own; no nvcc anywhere."""
    kernels = tmp_path / "kernels"
    shutil.copytree(folder("kernels"), kernels, ignore=shutil.ignore_patterns("*.fatbin"))
    monkeypatch.setattr(image, "folder", lambda name: kernels)
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image, "find_nvcc", lambda: None)
    return kernels


def test_shipped_images_come_first(private: Path) -> None:
    for source in private.glob("*.cu"):
        source.with_suffix(".fatbin").write_bytes(source.stem.encode())
    taken: list[image.Images] = []
    assert image.load_images(taken.append, "sm_90") == "shipped"
    assert taken == [{stem: stem.encode() for stem in STEMS}]


def test_without_images_and_nvcc_the_error_says_what_to_install(private: Path) -> None:
    with pytest.raises(
        EngineError,
        match=r"no compiled kernels were installed and nvcc is not here; install the CUDA toolkit",
    ):
        image.load_images(lambda images: None, "sm_90")


def test_rejected_images_are_compiled_once_and_cached(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in private.glob("*.cu"):
        source.with_suffix(".fatbin").write_bytes(b"too new")
    calls = tmp_path / "calls"
    nvcc = script(
        tmp_path / "bin",
        f'if [ "$1" = --version ]; then echo "Build 1"; exit; fi; echo "$@" >> {calls}; echo "for $2" > "$4"',
    )
    monkeypatch.setattr(image, "find_nvcc", lambda: str(nvcc))
    taken: list[image.Images] = []

    def accept(images: image.Images) -> None:
        if b"too new" in images.values():
            raise image.RejectedError("no kernel image is available")
        taken.append(images)

    said: list[str] = []
    assert image.load_images(accept, "sm_75", said.append) == "compiled here"
    assert "rejects the installed kernels (no kernel image is available)" in said[0]
    assert taken[0] == dict.fromkeys(STEMS, b"for -arch=sm_75\n")
    assert image.load_images(accept, "sm_75") == "compiled here"
    assert taken[1] == taken[0]
    assert len(calls.read_text().splitlines()) == len(STEMS), "compiled twice"
    image.load_images(accept, "sm_80")
    assert len(calls.read_text().splitlines()) == 2 * len(STEMS), "another GPU needs its own"

    def reject(images: image.Images) -> None:
        raise image.RejectedError("unsupported toolchain")

    with pytest.raises(EngineError, match="rejects what .*nvcc compiles.*no newer than the driver"):
        image.load_images(reject, "sm_75")


def test_a_failing_nvcc_leaves_nothing_in_the_cache(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = script(
        tmp_path / "bin", 'if [ "$1" = --version ]; then exit; fi; : > "$4"; echo "bad code" >&2; exit 2'
    )
    monkeypatch.setattr(image, "find_nvcc", lambda: str(nvcc))
    with pytest.raises(EngineError, match="exit code 2: bad code"):
        image.load_images(lambda images: None, "sm_75")
    assert not list(cache_folder("kernels").glob("*.fatbin"))


def test_the_real_nvcc_compiles_on_first_use(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    monkeypatch.setattr(image, "find_nvcc", lambda: nvcc)
    taken: list[image.Images] = []
    assert image.load_images(taken.append, "sm_90") == "compiled here"
    assert b"one_hot_hwc8" in taken[0]["one_hot"]


def test_nvcc_is_found_where_toolkits_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = script(tmp_path / "cuda" / "bin", "exit")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert image.find_nvcc() == str(nvcc)

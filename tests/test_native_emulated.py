"""The amx form of kernels/cpu on emulated tiles and FP16 (tests/data/emulated_amx.h), so that its own text (tiles, their
configuration, the order of loads, the interleaved epilogue, FP16 vectors) runs on CPUs without AMX and must give the bits of the
portable form. On a CPU with AMX the same is tested of the real one (test_native_library.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, random_batch, toy_checkpoint, yeast_contract
from native_families import EXAMPLES, FAMILIES, NOT_BUILT, overflowing_at_poly_a, scores
from test_generator import toy_generator
from test_native_generator import inputs, probabilities

from legscore.dna.batch import Batch
from legscore.engine import native_library
from legscore.engine.native_library import library_digest, library_path, load_library, missing_form
from legscore.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(
    not library_path().is_file() or bool(missing_form("avx512")), reason=f"no AVX-512 here, or {NOT_BUILT}"
)


@pytest.fixture(scope="module", autouse=True)
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The library with emulated tiles in place of the one that is installed."""
    path = tmp_path_factory.mktemp("emulated") / "liblegnet.so"
    command = [sys.executable, "setup.py", "-q", "build_cpu", "--emulate", f"--output={path}"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    patch = pytest.MonkeyPatch()
    patch.setattr(native_library, "library_path", lambda: path)
    for cache in (load_library, library_digest):
        cache.cache_clear()
    yield path
    patch.undo()
    for cache in (load_library, library_digest):
        cache.cache_clear()


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str) -> None:
    member = FAMILIES[name]
    batch = random_batch(13, 6, member.contract.length)
    portable = scores(member, batch, form="portable")
    assert np.isfinite(portable).all()
    assert scores(member, batch, form="amx", threads=3).tobytes() == portable.tobytes()


@pytest.mark.parametrize("length", [80, 97, 151, 300])
def test_lengths(length: int) -> None:
    member = toy_checkpoint(1, yeast_contract().in_genome(length), kernel=9)
    batch = random_batch(11, 0, length)
    assert scores(member, batch, form="amx").tobytes() == scores(member, batch, form="portable").tobytes()


def test_a_generator() -> None:
    generator, x_N6L = toy_generator(1), inputs(11)
    portable = probabilities(generator, x_N6L, form="portable")
    assert probabilities(generator, x_N6L, form="amx").tobytes() == portable.tobytes()


def test_a_trained_network_among_its_members() -> None:
    """Of its full size: more inputs than a step interleaves rows with, several quads of inner channels."""
    member = load_checkpoint(EXAMPLES / "original/yeast_complex_original.safetensors")
    batch = random_batch(2, 0)
    assert scores(member, batch, form="amx").tobytes() == scores(member, batch, form="avx512").tobytes()


def test_beyond_the_range() -> None:
    member, codes = overflowing_at_poly_a()
    found = [scores(member, Batch(codes), form=form, both_strands=False) for form in ("portable", "amx")]
    assert np.isnan(found[1][0]).nonzero()[0].tolist() == [17]
    assert found[0].tobytes() == found[1].tobytes()

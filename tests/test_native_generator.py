"""A generator on the native engine: FP32 and the published vectors agree, forms and threads give the same bits, and
`legscore design` runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_families import BF16, FP32, HERE, NOT_BUILT
from test_generator import generator_contract, reference_inputs, softmax, toy_generator

from legscore.engine import choose
from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.errors import EngineError
from legscore.generate import open_denoiser as opening
from legscore.generate.native_denoiser import NativeDenoiser
from legscore.generate.openvino_denoiser import OpenVINODenoiser
from legscore.model.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(not library_path().is_file(), reason=NOT_BUILT)
KINDS: dict[str, dict[str, Any]] = {
    "published": {},
    "final SiLU, plain gate": {"final_activation": "silu", "se": "plain", "cp_ranks": (0, 0)},
    "added, wide kernels": {"residual": "add", "concat_order": "", "kernel": 9, "stem_kernel": 11},
    "uneven widths": {"widths": (40, 33, 70), "inner_widths": (72, 136)},
}


def inputs(n: int, length: int = 80, seed: int = 0) -> np.ndarray:
    """Soft bases, the expression wanted, and a number of mutations: float32 [n, 6, length]."""
    rng = np.random.default_rng(seed)
    x_N6L = np.empty((n, 6, length), dtype=np.float32)
    x_N6L[:, :4] = rng.dirichlet(np.full(4, 0.3), (n, length)).transpose(0, 2, 1)
    x_N6L[:, 4] = rng.uniform(0, 17, n)[:, None]
    x_N6L[:, 5] = rng.integers(1, 131, n)[:, None]
    return x_N6L


def rmse(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(((found - truth) ** 2).mean()))


def probabilities(generator: Checkpoint, x_N6L: np.ndarray, **options: Any) -> np.ndarray:
    denoiser = NativeDenoiser(generator, BF16, **options)
    try:
        return denoiser.probabilities(x_N6L)
    finally:
        denoiser.close()


@pytest.mark.parametrize("kind", KINDS)
def test_forms_and_threads_give_the_same_bits_close_to_fp32(kind: str) -> None:
    generator, x_N6L = toy_generator(1, **KINDS[kind]), inputs(23)
    found = probabilities(generator, x_N6L, form="portable", threads=1)
    for form in HERE:
        assert probabilities(generator, x_N6L, form=form, threads=3).tobytes() == found.tobytes(), form
    order = np.random.default_rng(1).permutation(len(x_N6L))
    assert (probabilities(generator, x_N6L[order]) == found[order]).all()
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6
    reference = OpenVINODenoiser(generator, FP32)
    truth = reference.probabilities(x_N6L)
    reference.close()
    assert rmse(found, truth) < 0.02  # OpenVINO bf16: 0.002 to 0.019
    assert (found.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.98
    assert truth.std() > 0.2


def test_other_lengths_and_alphabets() -> None:
    for contract in (
        generator_contract(length=230, insert_min=230, insert_max=230),
        generator_contract(alphabet="ACGT", channels=(*"ACGT", "expression", "n_mutations")),
    ):
        generator = toy_generator(2, contract)
        x_N6L = inputs(4, contract.length)
        reference = OpenVINODenoiser(generator, FP32)
        assert rmse(probabilities(generator, x_N6L), reference.probabilities(x_N6L)) < 0.02
        reference.close()


@pytest.mark.shared
def test_published_vectors(shared: Path) -> None:
    """Not further from a float64 pass than OpenVINO bf16, which has a RMSE of 0.0334 on them and gives the most
    probable base of 97.8 % of the positions."""
    generator, x_N6L, _, exact = reference_inputs(shared)
    truth, found = softmax(exact), probabilities(generator, x_N6L)
    assert rmse(found, truth) <= 0.0334
    assert (found.argmax(axis=1) == truth.argmax(axis=1)).mean() >= 0.977


def test_beyond_the_range_is_an_error() -> None:
    generator = toy_generator(1)
    generator.arrays["blocks.0.expand.conv.weight"][:] *= 1e5
    with pytest.raises(EngineError, match="leave the range of the formats"):
        NativeDenoiser(generator, BF16)


def test_forms_that_disagree_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(HERE) < 2:
        pytest.skip("this CPU runs the portable form alone")
    real = NativeDenoiser._rows
    monkeypatch.setattr(
        NativeDenoiser, "_rows", lambda self, x, form: real(self, x, form) + np.float32(form == "portable")
    )
    with pytest.raises(EngineError, match="disagree on this generator"):
        NativeDenoiser(toy_generator(1), BF16)


def test_auto_takes_it_where_it_is_preferred_and_openvino_where_it_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if opening.choose_engine("auto")[0] != "openvino":
        pytest.skip("auto takes a GPU here")
    monkeypatch.setattr(choose, "prefers_native", lambda request: request.engine == "auto")
    said: list[str] = []
    denoiser, agreement = opening.open_denoiser(toy_generator(1), Request(), said.append)
    assert denoiser.name == "native"
    assert agreement is not None
    assert any("engine native (the CPU has AMX" in line for line in said)
    denoiser.close()
    beyond = toy_generator(1)
    beyond.arrays["blocks.0.expand.conv.weight"][:] *= 1e5
    denoiser, _ = opening.open_denoiser(beyond, Request(), said.append)
    assert denoiser.name == "openvino"
    assert any("openvino instead of native" in line and "leave the range" in line for line in said)
    denoiser.close()

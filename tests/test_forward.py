"""The network in numpy, which verifies scores: equal to the published vectors, to OpenVINO and to PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import human_contract, toy_architecture, toy_arrays, yeast_contract

from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.dna.one_hot import strands
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import Checkpoint
from legscore.model.forward import Forward, channels, convolve

NETWORKS: list[tuple[dict[str, Any], Contract]] = [
    ({}, yeast_contract()),
    ({"se": "plain", "concat_order": "fx,x", "final_activation": "none"}, yeast_contract()),
    ({"se": "none", "residual": "add", "concat_order": ""}, yeast_contract()),
    ({"residual": "none", "concat_order": "", "filters_per_group": 1}, yeast_contract()),
    ({"filters_per_group": 4, "kernel": 3, "stem_kernel": 11}, yeast_contract()),
    (
        {"se": "plain", "in_channels": 4, "pools": (2, 3), "head": "scalar", "outputs": 1},
        replace(human_contract(), n_value=0.0),
    ),
]


def network(changes: dict[str, Any], contract: Contract, alphabet: str = "AGCT", seed: int = 3) -> Checkpoint:
    architecture = toy_architecture(**changes)
    extras = ("is_reverse", "is_singleton")[: architecture.in_channels - 4]
    contract = replace(contract, alphabet=alphabet, channels=(*alphabet, *extras))
    return Checkpoint("legscore", architecture, contract, toy_arrays(architecture, seed))


def windows(contract: Contract, n: int = 21) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 5, (n, contract.length), dtype=np.uint8)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("changes", "contract"), NETWORKS, ids=range(len(NETWORKS)))
def test_it_scores_as_openvino_does(changes: dict[str, Any], contract: Contract, both: bool) -> None:
    for alphabet in ("AGCT", "ACGT", "TGCA"):
        member = network(changes, contract, alphabet)
        codes = windows(member.contract)
        engine = OpenVINOEngine(
            [member], load_recipe("fp32"), both_strands=both, is_singleton=True, form="plain"
        )
        try:
            expected = engine.score(Batch(codes))[0]
        finally:
            engine.close()
        forward = Forward(member, both_strands=both, is_singleton=True)
        for threads in (1, 3):
            found = forward.score(codes, threads)
            assert found.dtype == np.float32
            assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
        assert forward.score(codes[:0]).shape == (0,)


def test_it_scores_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch", reason="the network in PyTorch needs legscore[train]")
    from legscore.model.legnet import from_checkpoint

    for changes, contract in NETWORKS:
        member = network(changes, contract)
        codes = windows(member.contract)
        x = strands(codes, member.contract, both=False, is_singleton=False)
        with torch.inference_mode():
            expected = from_checkpoint(member)(torch.from_numpy(x)).numpy()
        found = Forward(member, both_strands=False, is_singleton=False).score(codes)
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_channels_of_the_other_strand_are_those_of_the_reverse_complement() -> None:
    contract = replace(yeast_contract(), alphabet="ACGT", channels=(*"ACGT", "is_reverse", "is_singleton"))
    codes = windows(contract, 4)
    x = channels(codes, contract, reverse=False, is_singleton=True)
    assert x.shape == (6, 4, contract.length)
    assert (x[:4].sum(axis=0) == 1).all()  # an N is a quarter of each
    assert (x[4] == 0).all()
    assert (x[5] == 1).all()
    other = channels(codes, contract, reverse=True, is_singleton=True)
    assert (other[:4] == x[3::-1, :, ::-1]).all()  # ACGT backwards is TGCA
    assert (other[4] == 1).all()


def test_convolutions_are_the_sums_that_they_are_written_as() -> None:
    rng = np.random.default_rng(5)
    x, weight = rng.normal(size=(6, 2, 9)).astype(np.float32), rng.normal(size=(4, 3, 5)).astype(np.float32)
    found, padded = convolve(x, weight, groups=2), np.pad(x, ((0, 0), (0, 0), (2, 2)))
    for o in range(4):
        group = padded[3 * (o // 2) : 3 * (o // 2) + 3]
        for at in range(9):
            expected = np.einsum("it,int->n", weight[o], group[:, :, at : at + 5])
            assert np.allclose(found[o, :, at], expected, atol=1e-5)

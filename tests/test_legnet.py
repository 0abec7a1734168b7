"""The torch network against vectors of the published code, and the graph against the torch network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PUBLISHED, human_contract, parsed, toy_checkpoint, yeast_contract

torch = pytest.importorskip("torch", reason="the torch network needs legscore[train]")
pytest.importorskip("tensorly")
ort = pytest.importorskip("onnxruntime", reason="graph parity runs on ONNX Runtime (legscore[bench])")

from legscore.dna.codes import encode_text  # noqa: E402
from legscore.dna.contract import Contract, Output, reverse_complement  # noqa: E402
from legscore.dna.one_hot import one_hot, strands  # noqa: E402
from legscore.model.architecture import cp_rank  # noqa: E402
from legscore.model.checkpoint import Checkpoint  # noqa: E402
from legscore.model.graph import build_graph  # noqa: E402
from legscore.model.importers import import_checkpoint  # noqa: E402
from legscore.model.legnet import LegNet, from_checkpoint, state_arrays  # noqa: E402

PARAMETERS = {"original.pth": 1_852_846, "optimized.ckpt": 2_129_602, "human.ckpt": 857_825}


def run_graph(checkpoint: Checkpoint, x: np.ndarray, form: str = "rewritten", rank: int = 3) -> np.ndarray:
    model = build_graph(checkpoint, form, rank).to_bytes()
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def codes_of(sequences: np.ndarray) -> np.ndarray:
    return np.stack([encode_text(str(s)) for s in sequences])


@pytest.mark.parametrize("file", list(PUBLISHED))
def test_reference_vectors(shared: Path, file: str) -> None:
    """Network and graph reproduce the published code: scores, log-probabilities, strand average."""
    checkpoint = import_checkpoint(shared / "reference" / file, **PUBLISHED[file])
    vectors = np.load(shared / "reference" / f"{file.split('.')[0]}_io.npz")
    codes, contract = codes_of(vectors["sequence"]), checkpoint.contract
    network = from_checkpoint(checkpoint)
    assert checkpoint.architecture.n_parameters() == PARAMETERS[file]
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[file]

    x = np.empty((len(codes), len(contract.channels), contract.length), np.float32)
    for i in range(len(codes)):
        flags = {"is_reverse": bool(vectors["is_reverse"][i])}
        flags["is_singleton"] = bool(vectors["is_singleton"][i]) if "is_singleton" in vectors else False
        one_hot(codes[i : i + 1], contract, **flags, out=x[i : i + 1])
    with torch.inference_mode():
        assert np.abs(network(torch.from_numpy(x)).numpy() - vectors["score"]).max() < 1e-4
        if "logprobs" in vectors:
            ours = torch.log_softmax(network.logits(torch.from_numpy(x)), dim=1).numpy()
            assert np.abs(ours - vectors["logprobs"]).max() < 1e-4
    for form, rank in (("rewritten", 3), ("rewritten", 4), ("plain", 3)):
        assert np.abs(run_graph(checkpoint, x, form, rank) - vectors["score"]).max() < 1e-4

    both = strands(codes, contract, both=True, is_singleton=False)
    rows = run_graph(checkpoint, both)
    n = len(codes)
    assert np.abs((rows[:n] + rows[n:]) / 2 - vectors["score_rc_averaged"]).max() < 1e-4
    flipped = run_graph(
        checkpoint, strands(reverse_complement(codes), contract, both=True, is_singleton=False)
    )
    same = np.abs((flipped[:n] + flipped[n:]) / 2 - vectors["score_rc_averaged"]).max() < 1e-4
    # with the flag, x and its reverse complement may differ
    assert same == ("is_reverse" not in contract.channels)


SWITCHES: list[dict[str, Any]] = [
    {},
    {"se": "plain"},
    {"se": "none"},
    {"residual": "add"},
    {"residual": "none"},
    {"concat_order": "fx,x"},
    {"filters_per_group": 1},
    {"filters_per_group": 4},
    {"final_activation": "none"},
    {"widths": (16, 12, 8, 8), "inner_widths": (64, 48, 32), "pools": (1, 1, 1)},
    {"pools": (2, 3)},
    {"stem_kernel": 1, "kernel": 3},
    {"se": "plain", "filters_per_group": 1, "residual": "add", "final_activation": "none"},
]


@pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda s: " ".join(f"{k}={v}" for k, v in s.items()) or "toy"
)
def test_every_switch_graph_equals_network(switches: dict[str, Any]) -> None:
    codes = np.random.default_rng(1).integers(0, 5, (12, 150), dtype=np.uint8)
    for seed in range(20):  # a random network may saturate, and would then agree by accident
        checkpoint = toy_checkpoint(seed, **switches)
        x = strands(codes, checkpoint.contract, both=True, is_singleton=True)
        network = from_checkpoint(checkpoint)
        with torch.inference_mode():
            expected = network(torch.from_numpy(x)).numpy()
        if expected.std() > 0.05:
            break
    assert expected.std() > 0.05
    for form, rank in (("rewritten", 3), ("rewritten", 4), ("plain", 3)):
        assert np.abs(run_graph(checkpoint, x, form, rank) - expected).max() < 1e-4
    assert all((state_arrays(network)[k] == v).all() for k, v in checkpoint.arrays.items())


def test_scalar_head_with_pools_and_every_extra_channel() -> None:
    contract = human_contract(channels=(*"AGCT", "is_reverse"))
    checkpoint = toy_checkpoint(
        4, contract, pools=(2, 2), filters_per_group=1, se="plain", concat_order="fx,x"
    )
    x = strands(
        np.random.default_rng(2).integers(0, 4, (6, 230), dtype=np.uint8),
        contract,
        both=True,
        is_singleton=False,
    )
    with torch.inference_mode():
        expected = from_checkpoint(checkpoint)(torch.from_numpy(x)).numpy()
    for form, rank in (("rewritten", 3), ("rewritten", 4), ("plain", 3)):
        assert np.abs(run_graph(checkpoint, x, form, rank) - expected).max() < 1e-4


def test_alphabet_order_is_folded_into_the_graph() -> None:
    """The same weights under ACGT read the same sequences differently, and as a network fed ACGT one-hot
    does."""
    ours, other = (
        yeast_contract(),
        yeast_contract(alphabet="ACGT", channels=(*"ACGT", "is_reverse", "is_singleton")),
    )
    a, b = toy_checkpoint(5, ours), toy_checkpoint(5, other)
    codes = np.random.default_rng(3).integers(0, 4, (8, 150), dtype=np.uint8)
    x = strands(codes, ours, both=False, is_singleton=False)
    as_acgt = x[:, [0, 2, 1, 3, 4, 5]]
    with torch.inference_mode():
        expected = from_checkpoint(b)(torch.from_numpy(as_acgt)).numpy()
    assert np.abs(run_graph(b, x) - expected).max() < 1e-5
    assert np.abs(run_graph(a, x) - expected).max() > 1e-3


def test_n_value_and_singleton_matter_only_where_they_should() -> None:
    codes = np.random.default_rng(4).integers(0, 4, (4, 150), dtype=np.uint8)
    with_n = codes.copy()
    with_n[:, 70] = 4
    scores = {}
    for n_value in (0.25, 0.0):
        checkpoint = toy_checkpoint(6, yeast_contract(n_value=n_value))
        for name, c in (("plain", codes), ("N", with_n)):
            x = strands(c, checkpoint.contract, both=False, is_singleton=False)
            scores[n_value, name] = run_graph(checkpoint, x)
    assert (scores[0.25, "plain"] == scores[0.0, "plain"]).all()
    assert np.abs(scores[0.25, "N"] - scores[0.0, "N"]).max() > 1e-4
    checkpoint = toy_checkpoint(6)
    single = run_graph(checkpoint, strands(codes, checkpoint.contract, both=False, is_singleton=True))
    assert np.abs(single - scores[0.25, "plain"]).max() > 1e-4


def test_cp_rank_rule_and_composition() -> None:
    assert [cp_rank(s) for s in ((64, 64, 32), (32, 32, 16), (16, 16, 8))] == [410, 102, 26]
    network = LegNet(toy_checkpoint().architecture)
    layer = network.blocks[0].se.bilinear
    y = torch.randn(5, layer.factor_0.shape[0])
    full = torch.einsum("ni,nj,ijk->nk", y, y, layer.composed()) + layer.bias
    assert torch.allclose(layer(y), full, atol=1e-6)


def test_graph_is_what_tensorrt_8_6_parses() -> None:
    """Opset 17, IR 8, ReduceMean axes as attribute, no MatMul or Gemm behind the softmax, a free batch
    axis."""
    model = parsed(build_graph(toy_checkpoint()))
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    kinds = [node.op_type for node in model.graph.node]
    assert not {"MatMul", "Gemm"} & set(kinds[kinds.index("Softmax") :])
    assert all(len(node.input) == 1 for node in model.graph.node if node.op_type == "ReduceMean")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert not {"BatchNormalization"} & set(kinds)


def test_contracts_do_not_mix_with_heads() -> None:
    from legscore.errors import ModelError

    with pytest.raises(ModelError, match="the contract's highest is 12"):
        toy_checkpoint(contract=yeast_contract(output=Output("bins", "bin", 0.0, 12.0)))
    assert isinstance(toy_checkpoint().contract, Contract)


@pytest.mark.parametrize("per_group", [1, 2, 4, 16])
def test_grouped_gradients_equal_the_plain_ones(per_group: int) -> None:
    """The blocked passes against torch's own convolution in fp32, both on the same bf16 values."""
    from legscore.model.gradients import grouped_conv, with_mean

    generator = torch.Generator().manual_seed(per_group)
    x, w = torch.randn(3, 32, 1, 20, generator=generator), torch.randn(32, per_group, 7, generator=generator)
    dy = torch.randn(3, 32, 1, 20, generator=generator)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        x_, w_ = (t.bfloat16().to(dtype).requires_grad_() for t in (x, w))
        y = grouped_conv(x_.contiguous(memory_format=torch.channels_last), w_)
        plain = torch.conv1d(x_.squeeze(2).float(), w_.float(), padding=3, groups=32 // per_group)
        assert torch.allclose(y.squeeze(2).float(), plain, atol=0.15)
        y.backward(dy.bfloat16().to(dtype))
        found.append((x_.grad.float(), w_.grad.float()))
    for blocked, plain in zip(*found, strict=True):
        assert torch.allclose(blocked, plain, atol=0.02 * float(plain.abs().max()))
    x_ = x.clone().requires_grad_()
    same, mean = with_mean(x_)
    ((same * dy).sum() + (mean * dy[:, :, 0, 0]).sum()).backward()
    assert torch.allclose(x_.grad, dy + dy[:, :, :, :1] / 20, atol=1e-6)

"""The graph TensorRT builds from, run by ONNX Runtime on the CPU against the FP32 graph, in every form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import human_contract, parsed, toy_checkpoint

from legscore.dna.one_hot import strands
from legscore.engine.fidelity import correlation
from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_form import GROUPS, LAYOUTS, SILU, GpuForm
from legscore.model.gpu_graph import build_gpu_graph, float_names
from legscore.model.graph import build_graph

onnxruntime = pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

ROWS = 32


def scores(model: Any, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def inputs(checkpoint: Checkpoint, form: GpuForm) -> tuple[np.ndarray, np.ndarray]:
    """FP32 input of the plain graph and the same in the form's own shape and precision."""
    contract = checkpoint.contract
    codes = np.random.default_rng(3).integers(0, 5, (ROWS // 2, contract.length), dtype=np.uint8)
    x = strands(codes, contract, both=True, is_singleton=False)
    mine = x if form.layout == "ncl" else x[:, :, None]
    return x, mine.astype(np.float32 if form.precision == "fp32" else np.float16)


ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"final_activation": "none", "pools": (2, 1)},
    {"se": "plain", "residual": "add", "widths": (16, 16, 16), "filters_per_group": 1},
    {"se": "none", "filters_per_group": 8, "concat_order": "fx,x"},
    {"contract": human_contract(), "pools": (2, 2), "se": "plain"},
]


@pytest.mark.parametrize("changes", ARCHITECTURES, ids=["bilinear", "linear-head", "add", "eight", "human"])
@pytest.mark.parametrize("groups", GROUPS)
def test_forms_are_exact_in_fp32(changes: dict[str, Any], groups: str) -> None:
    checkpoint = toy_checkpoint(2, **changes)
    for layout, silu in itertools.product(("ncl", "nc1l"), SILU):
        form = GpuForm("fp32", groups, layout, silu)
        x, mine = inputs(checkpoint, form)
        error = np.abs(
            scores(build_gpu_graph(checkpoint, form, ROWS), mine)
            - scores(build_graph(checkpoint, "plain"), x)
        )
        assert error.max() < 2e-5, form


@pytest.mark.parametrize("changes", ARCHITECTURES, ids=["bilinear", "linear-head", "add", "eight", "human"])
def test_fp16_stays_close_to_fp32(changes: dict[str, Any]) -> None:
    checkpoint = toy_checkpoint(2, **changes)
    x, _ = inputs(checkpoint, GpuForm())
    truth = scores(build_graph(checkpoint, "plain"), x)
    for groups, layout, silu in [*zip(GROUPS, itertools.cycle(LAYOUTS), itertools.cycle(SILU), strict=False)]:
        form = GpuForm("fp16", groups, layout, silu)
        ours = scores(build_gpu_graph(checkpoint, form, ROWS), inputs(checkpoint, form)[1])
        assert ours.dtype == np.float32
        error = np.abs(ours - truth)
        assert 0 < error.max() < 0.03 * truth.std() + 2e-3, form
        assert correlation(ours.astype(np.float64), truth.astype(np.float64)) > 0.9999, form


@pytest.mark.parametrize(
    "form", [GpuForm(), GpuForm(groups="depthwise", layout="nc1l", silu="tanh")], ids=str
)
def test_fp16_rounded_after_every_node(form: GpuForm) -> None:
    """ONNX Runtime's CPU kernels may keep FP32 between nodes; onnx's own evaluator rounds, and sums, in
    FP16."""
    ReferenceEvaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator

    checkpoint = toy_checkpoint(2)
    x, mine = inputs(checkpoint, form)
    truth = scores(build_graph(checkpoint, "plain"), x)
    ours = ReferenceEvaluator(parsed(build_gpu_graph(checkpoint, form, ROWS))).run(None, {"x": mine})[0]
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - truth).max() < 0.01 * truth.std()
    assert correlation(ours.astype(np.float64), truth.astype(np.float64)) > 0.99999


def test_precision_lives_in_the_graph() -> None:
    """FP16 weights and input; means, softmax, expectation and output FP32; nothing else is cast."""
    graph = build_gpu_graph(toy_checkpoint(), GpuForm(), ROWS)
    message = parsed(graph)
    from onnx import TensorProto, shape_inference

    model = shape_inference.infer_shapes(message, strict_mode=True)
    kinds = {
        info.name: info.type.tensor_type.elem_type for info in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    head = next(i for i, node in reversed([*enumerate(model.graph.node)]) if node.op_type == "ReduceMean")
    for i, node in enumerate(model.graph.node):
        expected = TensorProto.FLOAT if node.op_type == "ReduceMean" or i >= head else TensorProto.FLOAT16
        if node.op_type != "Cast":
            assert {kinds[name] for name in node.output} == {expected}, node.name
            typed = {weights[name] for name in node.input if name in weights} - {TensorProto.INT64}
            assert typed <= {expected}, node.name
    named = float_names(graph)
    assert named == {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}, (
        "what TensorRT 8.6 is told"
    )
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    means = [node for node in model.graph.node if node.op_type == "ReduceMean"]
    assert len(casts) == 2 * len(means) - 1
    assert not {"MatMul", "Gemm"} & {node.op_type for node in model.graph.node[head:]}
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)


def test_names_do_not_depend_on_the_weights() -> None:
    a, b = (build_gpu_graph(toy_checkpoint(seed), GpuForm(groups="repack8"), ROWS) for seed in (0, 1))
    assert list(a.constants) == list(b.constants)
    assert a.nodes == b.nodes
    assert a.to_bytes() != b.to_bytes()
    assert a.to_bytes(weights=False) == b.to_bytes(weights=False)


def test_what_a_form_cannot_hold_is_an_error() -> None:
    checkpoint = toy_checkpoint(inner_widths=(24, 24))
    with pytest.raises(
        ModelError, match=r"24 channels, 2 a group, cannot be repacked to 16.*tensorrt\.groups"
    ):
        build_gpu_graph(checkpoint, GpuForm(groups="repack16"), ROWS)
    checkpoint = toy_checkpoint()
    checkpoint.arrays["stem.norm.weight"][0] = 1e6
    with pytest.raises(ModelError, match="does not fit FP16.*--precision fp32"):
        build_gpu_graph(checkpoint, GpuForm(), ROWS)
    for wrong in ({"groups": "repack4"}, {"layout": "nlc"}, {"silu": "hard"}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="unknown form"):
            GpuForm(**wrong)
    with pytest.raises(ValueError, match="FP16 only"):
        GpuForm("fp32", layout="hwc8")

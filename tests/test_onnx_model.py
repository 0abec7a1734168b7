"""The ONNX writer against the onnx package: the same bytes, and models that its checker takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import human_contract, parsed, toy_checkpoint

from legscore.model.gpu_form import GpuForm
from legscore.model.gpu_graph import build_gpu_graph
from legscore.model.graph import build_graph
from legscore.model.onnx_model import FLOAT, IR_VERSION, OPSET, Node, OnnxModel, Value
from legscore.model.phases import PhasedLowering

onnx = pytest.importorskip("onnx", reason="the writer is compared with onnx (legscore[test])")


def by_the_package(model: OnnxModel) -> Any:
    """The same model made with onnx's own helpers."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node(one.kind, list(one.inputs), list(one.outputs), name=one.name, **one.attributes)
        for one in model.nodes
    ]
    values = [
        helper.make_tensor_value_info(one.name, one.element, list(one.shape))
        for one in (model.input, model.output)
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in model.constants.items()]
    graph = helper.make_graph(nodes, model.graph_name, values[:1], values[1:], constants)
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(graph, opset_imports=[opset], producer_name="legscore")
    made.ir_version = IR_VERSION
    return made


MODELS = {
    "original": lambda: build_graph(toy_checkpoint()),
    "plain": lambda: build_graph(toy_checkpoint(), "plain", 4),
    "phased": lambda: build_graph(toy_checkpoint(), rank=4, lowering=PhasedLowering),
    "human, pools": lambda: build_graph(toy_checkpoint(contract=human_contract(), pools=(2, 2), se="plain")),
    "fp16": lambda: build_gpu_graph(toy_checkpoint(), GpuForm(layout="nc1l", silu="tanh"), 1000),
    "fp16 repacked": lambda: build_gpu_graph(toy_checkpoint(), GpuForm(groups="repack8"), 32),
    "every attribute": lambda: OnnxModel(
        "attributes",
        [
            Node("LeakyRelu", ("x",), ("y",), "float", {"alpha": 0.1}),
            Node("Concat", ("y", "w"), ("z",), "negative", {"axis": -1}),
            Node("Transpose", ("z",), ("t",), "list", {"perm": [1, 0]}),
            Node("Pad", ("t", "pads"), ("score",), "text", {"mode": "reflect"}),
        ],
        {"w": np.ones((300, 2), np.float32), "pads": np.array([0, 1, 0, 1 << 40], np.int64) % 2},
        Value("x", FLOAT, [300, 200]),
        Value("score", FLOAT, [202, "N"]),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_bytes_are_those_of_the_package(name: str) -> None:
    model = MODELS[name]()
    parsed(model)
    expected = by_the_package(model)
    assert model.to_bytes() == expected.SerializeToString(deterministic=True)
    for tensor in expected.graph.initializer:
        tensor.ClearField("raw_data")
    assert model.to_bytes(weights=False) == expected.SerializeToString(deterministic=True)


def test_numbers_of_any_size() -> None:
    from legscore.model.onnx_model import _varint

    assert [_varint(n) for n in (0, 127, 128, 300, -1)] == [
        b"\x00",
        b"\x7f",
        b"\x80\x01",
        b"\xac\x02",
        b"\xff" * 9 + b"\x01",
    ]

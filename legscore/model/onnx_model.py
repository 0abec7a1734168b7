"""ONNX models as bytes, written without the onnx package.

OpenVINO and TensorRT read ONNX themselves; of the package only the encoding of one message was needed, for
36 MB with its dependencies and a third of a second of imports. The encoding is that of Protocol Buffers, the
fields those of onnx.proto 1.16 (IR 8). Tests compare it with the package's own bytes and run its checker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

OPSET = 17
IR_VERSION = 8
FLOAT, INT64, FLOAT16 = 1, 7, 10
"""Element types of onnx.TensorProto that LegNets need."""
ELEMENT_TYPE = {"float32": FLOAT, "int64": INT64, "float16": FLOAT16}
"""numpy's name → element type."""
AttributeValue = int | float | str | Sequence[int]


@dataclass(frozen=True)
class Node:
    """One operation: its ONNX kind, names of inputs and outputs, attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str
    attributes: dict[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """A model's input or output: name, element type, and shape (a string is a size left open)."""

    name: str
    element: int
    shape: Sequence[int | str]


@dataclass(frozen=True)
class OnnxModel:
    """A network as nodes in the order of execution, constants by name, one input and one output."""

    graph_name: str
    nodes: Sequence[Node]
    constants: dict[str, np.ndarray]
    input: Value
    output: Value

    def to_bytes(self, *, weights: bool = True) -> bytes:
        """The model as an ONNX file holds it; the same model gives the same bytes.

        Args:
            weights: False leaves the values of constants out, which gives what tells networks apart that
                differ in their weights alone.
        """
        graph = [
            *(_message(1, _node(node)) for node in self.nodes),
            _text(2, self.graph_name),
            *(_message(5, _tensor(name, array, weights)) for name, array in self.constants.items()),
            _message(11, _value(self.input)),
            _message(12, _value(self.output)),
        ]
        opset = _text(1, "") + _number(2, OPSET)
        parts = [
            _number(1, IR_VERSION),
            _text(2, "legscore"),
            _message(7, b"".join(graph)),
            _message(8, opset),
        ]
        return b"".join(parts)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers as int64
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _message(tag: int, content: bytes) -> bytes:
    return b"".join((_varint(tag << 3 | 2), _varint(len(content)), content))


def _text(tag: int, text: str) -> bytes:
    return _message(tag, text.encode())


def _attribute(name: str, value: AttributeValue) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + np.float32(value).tobytes() + _number(20, 1)
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _number(20, 3)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7)


def _node(node: Node) -> bytes:
    parts: Iterable[bytes] = (
        *(_text(1, name) for name in node.inputs),
        *(_text(2, name) for name in node.outputs),
        _text(3, node.name),
        _text(4, node.kind),
        *(_message(5, _attribute(name, node.attributes[name])) for name in sorted(node.attributes)),
    )
    return b"".join(parts)


def _tensor(name: str, array: np.ndarray, weights: bool) -> bytes:
    parts = [*(_number(1, size) for size in array.shape), _number(2, ELEMENT_TYPE[array.dtype.name])]
    parts.append(_text(8, name))
    if weights:  # little-endian, as every machine that legscore runs on has it
        parts.append(_message(9, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()))
    return b"".join(parts)


def _value(value: Value) -> bytes:
    sizes = [_text(2, size) if isinstance(size, str) else _number(1, size) for size in value.shape]
    shape = b"".join(_message(1, size) for size in sizes)
    tensor = _number(1, value.element) + _message(2, shape)
    return _text(1, value.name) + _message(2, _message(1, tensor))

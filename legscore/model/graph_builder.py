"""What the nodes and constants of an ONNX graph are collected in, with the operations that LegNets need.

Tensors inside have rank 3, [N, C, L], or 4, [N, C, 1, L] with 2-D convolutions; `enter` and `leave` lead from
one to the other. It knows no network: `graph.Lowering` walks one and calls it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from legscore.model.onnx_model import FLOAT, FLOAT16, AttributeValue, Node, OnnxModel, Value


class Builder:
    """Collects nodes and float32 constants; every method returns the name of its result."""

    def __init__(self, rank: int) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.rank = rank

    def op(self, kind: str, *inputs: str, **attributes: AttributeValue) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(Node(kind, inputs, (name,), name, attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"const_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def conv(
        self,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray | None,
        groups: int = 1,
        border: tuple[int, int] | None = None,
        step: int = 1,
    ) -> str:
        """Convolution; `border` positions are added left and right (as many as keep the length, unless
        given). With a `step` taps read every step-th position, and so many positions come out."""
        kernel = [weight.shape[2]]
        left, right = border or (kernel[0] // 2, kernel[0] // 2)
        above = [0] * (self.rank - 3)
        if self.rank == 4:
            weight, kernel = weight[:, :, None], [1, *kernel]
        inputs = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        steps: dict[str, Any] = (
            {} if step == 1 else {name: [1] * len(above) + [step] for name in ("strides", "dilations")}
        )
        pads = [*above, left, *above, right]
        return self.op("Conv", *inputs, kernel_shape=kernel, pads=pads, group=groups, **steps)

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        return self.op("Gemm", x, self.constant(weight), self.constant(bias), transB=1)

    def mean_length(self, x: str) -> str:
        return self.op("ReduceMean", x, axes=list(range(2, self.rank)), keepdims=0)

    def last_mean(self, x: str) -> str:
        """The mean that the head is computed from, [N, C]."""
        return self.mean_length(x)

    def enter(self, x: str) -> str:
        """The input at the rank used inside."""
        return self.unsqueeze(x, 2) if self.rank == 4 else x

    def leave(self, x: str) -> str:
        """The output, [N, C, L], from the rank used inside."""
        return self.op("Squeeze", x, self.constant(np.array([2], dtype=np.int64))) if self.rank == 4 else x

    def max_pool(self, x: str, size: int) -> str:
        window = [size] if self.rank == 3 else [1, size]
        return self.op("MaxPool", x, kernel_shape=window, strides=window)

    def unsqueeze(self, y: str, *axes: int) -> str:
        return self.op("Unsqueeze", y, self.constant(np.array(axes, dtype=np.int64)))


def to_model(
    builder: Builder, score: str, shape: list[int | str], score_shape: list[int | str], half: bool = False
) -> OnnxModel:
    """ONNX model of what a builder collected: x of `shape` (float16 if `half`, else float32) → score float32
    `score_shape`."""
    nodes = [*builder.nodes, Node("Identity", (score,), ("score",), "score")]
    x = Value("x", FLOAT16 if half else FLOAT, shape)
    return OnnxModel("legnet", nodes, builder.constants, x, Value("score", FLOAT, score_shape))

"""Checkpoint → the ONNX graph that TensorRT builds from, in the form a recipe names.

The rewrites of `graph.py`, with precision in the graph itself, since TensorRT 11 takes every type from its
inputs:

- FP16: weights (BatchNorm folded in FP32 first), input and activations. Means over the length, and everything
  from the head's mean on (linear layers, softmax, expectation, output), are FP32 islands between Cast nodes:
  a sum over the length overflows FP16 early, and effects are differences of nearly equal scores.
- FP32: the same graph without casts.
- The batch is fixed: kernels are chosen for that one shape, and tails are padded.
- Grouped convolutions: `depthwise` ones between blocks of channels (as on CPUs); `repack8|16|32`,
  block-diagonal with that many channels a group and zeros elsewhere, a shape for tensor cores, exact for
  finite values; or `native`.
- Layouts `nc1l` and `hwc8` read x as [N, channels, 1, L] with 2-D convolutions throughout (`hwc8` is that
  graph with another order in memory); `ncl` reads [N, channels, L].
- SiLU as x·sigmoid(x), or as x·(½·tanh(½·x) + ½), which TensorRT can fuse behind a convolution.

The same architecture always gives the same names of nodes and weights: refitting a plan relies on it.
"""

from __future__ import annotations

import numpy as np

from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_form import FP16_MAX, GpuForm
from legscore.model.graph import Lowering, score_shape
from legscore.model.graph_builder import Builder, to_model
from legscore.model.onnx_model import ELEMENT_TYPE, FLOAT, FLOAT16, OnnxModel

GPU_REWRITE_VERSION = 2
"""Part of every plan's key, with graph.REWRITE_VERSION; raised when the forms here change."""
BILINEAR_SHIFT = 4
"""Powers of two that each of the bilinear layer's first two factors gives up, at most."""


class _GpuBuilder(Builder):
    """Emits FP16 until the head's mean and FP32 from there on; FP32 throughout where the form says so."""

    def __init__(self, form: GpuForm, loop: bool) -> None:
        super().__init__(rank=3 if form.layout == "ncl" else 4)
        self.loop = loop
        self.form, self.half = form, form.precision == "fp16"

    def cast(self, x: str, half: bool) -> str:
        return self.op("Cast", x, to=FLOAT16 if half else FLOAT)

    def constant(self, array: np.ndarray) -> str:
        if self.half and array.dtype.kind == "f":
            largest = float(np.abs(array).max(initial=0.0))
            if not largest <= FP16_MAX:
                raise ModelError(
                    f"a weight of {largest:g} does not fit FP16 (largest {FP16_MAX:g}); use --precision fp32"
                )
            array = array.astype(np.float16)
        return super().constant(array)

    def silu(self, x: str) -> str:
        if self.form.silu == "sigmoid":
            return super().silu(x)
        half = self.constant(np.array(0.5, dtype=np.float32))
        slope = self.op("Tanh", self.op("Mul", x, half))
        return self.op("Mul", x, self.op("Add", self.op("Mul", slope, half), half))

    def mean_length(self, x: str) -> str:
        if not self.half:
            return super().mean_length(x)
        return self.cast(super().mean_length(self.cast(x, half=False)), half=True)

    def last_mean(self, x: str) -> str:
        if self.half:
            x, self.half = self.cast(x, half=False), False
        return super().mean_length(x)

    def enter(self, x: str) -> str:
        if not self.loop:
            return x
        return self.cast(super().enter(x), half=True) if self.half else super().enter(x)

    def leave(self, x: str) -> str:
        x = super().leave(x)
        return self.cast(x, half=False) if self.half else x


class _GpuLowering(Lowering):
    def __init__(self, checkpoint: Checkpoint, builder: _GpuBuilder) -> None:
        super().__init__(checkpoint, "rewritten", builder)
        self.form = builder.form
        self.as_blocks = self.form.groups == "depthwise"

    def packed(self, weight: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
        if not self.form.groups.startswith("repack"):
            return weight, groups
        return repacked(weight, groups, int(self.form.groups.removeprefix("repack")), "tensorrt")

    def factors(self, at: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return balanced(*super().factors(at))


def repacked(weight: np.ndarray, groups: int, size: int, engine: str) -> tuple[np.ndarray, int]:
    """A grouped convolution's weight [channels, each, taps] block-diagonally, `size` channels a group and
    zeros elsewhere, and its number of groups.

    Raises:
        ModelError: such groups cannot be made; `engine` is the recipe's table that asks for them.
    """
    channels, each, taps = weight.shape
    if size % each or channels % size:
        raise ModelError(
            f"grouped convolutions of {channels} channels, {each} a group, cannot be repacked to {size} "
            f"a group; choose another {engine}.groups in the recipe"
        )
    wide = np.zeros((channels, size, taps), dtype=weight.dtype)
    rows = np.arange(channels)
    for i in range(each):
        wide[rows, rows // each * each % size + i] = weight[:, i]
    return wide, channels // size


def balanced(
    left: np.ndarray, right: np.ndarray, joined: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors of the bilinear layer, powers of two moved from the first two to the third: their products
    would come within a sixth of FP16's range on repetitive sequences, where trained weights of the third are
    far below 1. Exact, and as many as leave the third below 2^10."""
    largest = float(np.abs(joined).max(initial=0.0))
    room = 10 - np.frexp(largest)[1] if 0 < largest < np.inf else 0
    shift = int(np.clip(room // 2, 0, BILINEAR_SHIFT))
    down = np.float32(2.0**-shift)
    return left * down, right * down, joined * np.float32(4.0**shift)


def build_gpu_graph(checkpoint: Checkpoint, form: GpuForm, batch: int, *, loop: bool = False) -> OnnxModel:
    """Lower one checkpoint for TensorRT.

    Args:
        checkpoint: a validated checkpoint.
        form: see `GpuForm`.
        batch: rows of a pass.
        loop: of a generator: as its loop runs it, x float32 [batch, 6, length] in any form → probabilities of
            the bases.

    Returns:
        ONNX model, x float16 or float32 [batch, channels, length] or [batch, channels, 1, length] → score
        float32 [batch], or [batch, 4, length] of a generator.

    Raises:
        ModelError: the form cannot hold this checkpoint.
    """
    contract, builder = checkpoint.contract, _GpuBuilder(form, loop)
    between = [1] if builder.rank == 4 and not loop else []
    shape: list[int | str] = [batch, len(contract.channels), *between, contract.length]
    score = _GpuLowering(checkpoint, builder).emit("x")
    if loop:
        score = builder.op("Softmax", score, axis=1)
    return to_model(
        builder, score, shape, [batch, *score_shape(checkpoint)], half=form.precision == "fp16" and not loop
    )


def float_names(model: OnnxModel) -> frozenset[str]:
    """Names of the nodes of a graph that compute in FP32 (each node has the name of its first output, or
    gives it)."""
    kinds: dict[str, object] = {model.input.name: model.input.element}
    kinds |= {name: ELEMENT_TYPE[array.dtype.name] for name, array in model.constants.items()}
    found = set()
    for node in model.nodes:
        kind = node.attributes["to"] if node.kind == "Cast" else kinds[node.inputs[0]]
        kinds |= dict.fromkeys(node.outputs, kind)
        if kind == FLOAT:
            found |= {node.name, *node.outputs}
    return frozenset(found)

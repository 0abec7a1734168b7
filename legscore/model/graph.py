"""Checkpoint → ONNX inference graph, with numpy alone (no torch, about 0.1 s a member).

Input `x` float32 [N, channels, length]: the four bases in the order A,G,C,T whatever the checkpoint's own
order, then the contract's extra channels. Output `score` float32 [N]; of a generator its logits [N, 4,
length] in the same order. Opset 17, IR 8, ReduceMean axes as attribute, so that TensorRT 8.6 parses it too.

Rewrites, all exact up to rounding:

- BatchNorm is folded into the convolution or linear layer beside it.
- The bilinear layer stays factored: ((y·A)∘(y·B))·Cᵀ + b, the CP weights folded into C.
- A convolution with g channels per group becomes depthwise ones. The inner channels are held as g blocks,
  block j being the j-th channel of every group (the order is folded into the neighbouring 1×1 and SE
  weights); output block j is Σ_i dw_ij(block i). Blocks are never split or joined: expand writes them,
  project sums over them. `bench/engine.py` compares it with the native grouped convolution.
- Rank 4 inside (`rank=4`) lets OpenVINO keep channels last through means and gates (`bench/nodes.py` compares
  it with rank 3).
- Without a final activation the head's 1×1 convolution runs after the mean over the length.
- The expectation over bins is Mul + ReduceSum, never MatMul (OpenVINO would run the softmax before it in
  bf16).

`form="plain"` leaves all of it as published; benchmarks and tests compare the two.
"""

from __future__ import annotations

import numpy as np

from legscore.dna.contract import BASES
from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph_builder import Builder, to_model
from legscore.model.onnx_model import OnnxModel

REWRITE_VERSION = 1
"""Part of every cache key; raised when the rewrites change."""
BN_EPSILON = 1e-5


class Lowering:
    """Walks one checkpoint's architecture and emits it."""

    as_blocks = True
    """Grouped convolutions as depthwise ones between blocks of channels."""

    def __init__(self, checkpoint: Checkpoint, form: str, builder: Builder) -> None:
        if form not in ("rewritten", "plain"):
            raise ValueError(f"unknown form {form!r}")
        self.a, self.arrays, self.plain, self.b = (
            checkpoint.architecture,
            checkpoint.arrays,
            form == "plain",
            builder,
        )
        contract = checkpoint.contract
        self.length = contract.length
        base_order = [contract.alphabet.index(base) for base in BASES]
        self.input_order = base_order + list(range(4, len(contract.channels)))

    def scale_shift(self, at: str) -> tuple[np.ndarray, np.ndarray]:
        """BatchNorm in evaluation mode as y = scale·x + shift (float64 inside)."""
        part = {
            leaf: self.arrays[f"{at}.{leaf}"].astype(np.float64)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        }
        scale = part["weight"] / np.sqrt(part["running_var"] + BN_EPSILON)
        return scale, part["bias"] - scale * part["running_mean"]

    def folded(self, at: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight [outputs, inputs, taps] and bias of a convolution with its BatchNorm (float64)."""
        scale, shift = self.scale_shift(f"{at}.norm")
        return self.arrays[f"{at}.conv.weight"].astype(np.float64) * scale[:, None, None], shift

    def batch_norm(self, x: str, at: str) -> str:
        leaves = [
            self.b.constant(self.arrays[f"{at}.{leaf}"])
            for leaf in ("weight", "bias", "running_mean", "running_var")
        ]
        return self.b.op("BatchNormalization", x, *leaves, epsilon=BN_EPSILON)

    def conv_norm(
        self,
        x: str,
        at: str,
        groups: int = 1,
        inputs: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
    ) -> str:
        """Convolution, BatchNorm, SiLU; `inputs`/`outputs` reorder the channels."""
        chosen = slice(None) if inputs is None else inputs
        if self.plain:
            weight = self.arrays[f"{at}.conv.weight"][:, chosen]
            return self.b.silu(self.batch_norm(self.b.conv(x, weight, None, groups), f"{at}.norm"))
        weight, shift = self.folded(at)
        weight = weight[:, chosen]
        if outputs is not None:
            weight, shift = weight[outputs], shift[outputs]
        if groups > 1:
            weight, groups = self.packed(weight, groups)
        return self.b.silu(self.b.conv(x, weight.astype(np.float32), shift.astype(np.float32), groups))

    def mix(self, x: str, at: str, length: int) -> str:
        """The convolution that ends a block, over `length` positions, BatchNorm, SiLU."""
        return self.conv_norm(x, at)

    def packed(self, weight: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
        """Weight and number of groups as a grouped convolution shall hold them."""
        return weight, groups

    def grouped(self, blocks: list[str], at: str, order: np.ndarray) -> list[str]:
        """The grouped convolution as depthwise ones between blocks of channels (see the module's head)."""
        weight, shift = self.folded(at)
        g, size = len(blocks), len(order) // len(blocks)
        taps = weight[order].reshape(g, size, g, -1).astype(np.float32)  # [block out, group, block in, tap]
        bias = shift[order].reshape(g, size).astype(np.float32)
        outputs = []
        for j in range(g):
            total = ""
            for i, block in enumerate(blocks):
                term = self.b.conv(block, taps[j, :, i, None], bias[j] if i == 0 else None, size)
                total = self.b.op("Add", total, term) if total else term
            outputs.append(self.b.silu(total))
        return outputs

    def gate(self, blocks: list[str], at: str, order: np.ndarray) -> list[str]:
        """Squeeze-and-excitation of the inner channels, which lie in blocks in `order`."""

        def w(leaf: str) -> np.ndarray:
            return self.arrays[f"{at}.{leaf}"]

        means = [self.b.mean_length(block) for block in blocks]
        y = means[0] if len(means) == 1 else self.b.op("Concat", *means, axis=1)
        y = self.b.silu(self.b.linear(y, w("squeeze.weight")[:, order], w("squeeze.bias")))
        if self.a.se == "bilinear":
            y = self.b.linear(y, w("hidden.weight"), w("hidden.bias"))
            y = self.b.silu(self.b.op("Concat", y, self.bilinear(y, f"{at}.bilinear"), axis=1))
        gated = []
        for block, rows in zip(blocks, np.split(order, len(blocks)), strict=True):
            open_ = self.b.op("Sigmoid", self.b.linear(y, w("excite.weight")[rows], w("excite.bias")[rows]))
            gated.append(self.b.op("Mul", block, self.b.unsqueeze(open_, *range(2, self.b.rank))))
        return gated

    def project(self, blocks: list[str], at: str, order: np.ndarray) -> str:
        """1×1 convolution back to the outer width, summed over the blocks, BatchNorm, SiLU."""
        weight, shift = self.folded(at)
        weight = weight.astype(np.float32)
        total = ""
        for i, (block, columns) in enumerate(zip(blocks, np.split(order, len(blocks)), strict=True)):
            term = self.b.conv(block, weight[:, columns], shift.astype(np.float32) if i == 0 else None)
            total = self.b.op("Add", total, term) if total else term
        return self.b.silu(total)

    def factors(self, at: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factors of the bilinear layer, float32: the CP weights folded into the third."""
        a, b, c = (self.arrays[f"{at}.factor_{i}"].astype(np.float64) for i in range(3))
        weights = self.arrays[f"{at}.weights"].astype(np.float64)
        return a.astype(np.float32), b.astype(np.float32), (c * weights).astype(np.float32)

    def bilinear(self, y: str, at: str) -> str:
        bias = self.arrays[f"{at}.bias"]
        if self.plain:
            a, b, c = (self.arrays[f"{at}.factor_{i}"].astype(np.float64) for i in range(3))
            weights, n = self.arrays[f"{at}.weights"].astype(np.float64), a.shape[0]
            full = np.einsum("r,ir,jr,kr->ijk", weights, a, b, c, optimize=True).reshape(n * n, -1)
            outer = self.b.op("Mul", self.b.unsqueeze(y, 2), self.b.unsqueeze(y, 1))
            flat = self.b.op("Reshape", outer, self.b.constant(np.array([-1, n * n], dtype=np.int64)))
            return self.b.linear(flat, full.T.astype(np.float32), bias)
        a, b, c = self.factors(at)
        left = self.b.op("MatMul", y, self.b.constant(a))
        right = self.b.op("MatMul", y, self.b.constant(b))
        return self.b.linear(self.b.op("Mul", left, right), c, bias)

    def block(self, x: str, i: int, length: int) -> str:
        at, inner, g = f"blocks.{i}", self.a.inner_widths[i], self.a.filters_per_group
        if self.plain or not self.as_blocks:
            order = np.arange(inner)
            blocks = [self.conv_norm(self.conv_norm(x, f"{at}.expand"), f"{at}.group", groups=inner // g)]
        else:
            order = np.arange(inner).reshape(-1, g).T.ravel()
            blocks = [self.conv_norm(x, f"{at}.expand", outputs=rows) for rows in np.split(order, g)]
            blocks = self.grouped(blocks, f"{at}.group", order)
        if self.a.se != "none":
            blocks = self.gate(blocks, f"{at}.se", order)
        fx = (
            self.conv_norm(blocks[0], f"{at}.project")
            if self.plain
            else self.project(blocks, f"{at}.project", order)
        )
        if self.a.residual == "concat":
            x = self.b.op("Concat", *((x, fx) if self.a.concat_order == "x,fx" else (fx, x)), axis=1)
        else:
            x = self.b.op("Add", x, fx) if self.a.residual == "add" else fx
        x = self.mix(x, f"{at}.mix", length)
        pool = self.a.pools[i]
        return self.b.max_pool(x, pool) if pool > 1 else x

    def pooled(self, x: str) -> str:
        """The head's 1×1 convolution and the mean over the length, [N, outputs]."""
        weight, bias = self.arrays["head.conv.weight"], self.arrays["head.conv.bias"]
        if self.a.head == "scalar":
            if self.plain:
                x = self.batch_norm(x, "head.norm")
            else:
                scale, shift = self.scale_shift("head.norm")
                folded = weight[:, :, 0].astype(np.float64)
                bias = (bias + folded @ shift).astype(np.float32)
                weight = (folded * scale).astype(np.float32)[:, :, None]
        if self.plain or self.a.final_activation == "silu":
            x = self.b.conv(x, weight, bias)
            return self.b.last_mean(self.b.silu(x) if self.a.final_activation == "silu" else x)
        return self.b.linear(self.b.last_mean(x), weight[:, :, 0], bias)

    def score(self, x: str) -> str:
        x = self.pooled(x)
        if self.a.head == "bins":
            bins = self.b.constant(np.arange(self.a.outputs, dtype=np.float32))
            axes = self.b.constant(np.array([1], dtype=np.int64))
            return self.b.op(
                "ReduceSum", self.b.op("Mul", self.b.op("Softmax", x, axis=1), bins), axes, keepdims=0
            )
        hidden, bias = self.arrays["head.hidden.weight"], self.arrays["head.hidden.bias"]
        if self.plain:
            x = self.b.silu(self.batch_norm(self.b.linear(x, hidden, bias), "head.hidden_norm"))
        else:
            scale, shift = self.scale_shift("head.hidden_norm")
            weight = (hidden * scale[:, None]).astype(np.float32)
            x = self.b.silu(self.b.linear(x, weight, (bias * scale + shift).astype(np.float32)))
        x = self.b.linear(x, self.arrays["head.out.weight"], self.arrays["head.out.bias"])
        return self.b.op("Squeeze", x, self.b.constant(np.array([1], dtype=np.int64)))

    def bases(self, x: str) -> str:
        """A generator's logits [N, 4, L], in the order A,G,C,T."""
        order = self.input_order[: len(BASES)]
        x = self.b.conv(x, self.arrays["head.conv.weight"][order], self.arrays["head.conv.bias"][order])
        return self.b.leave(self.b.silu(x) if self.a.final_activation == "silu" else x)

    def emit(self, x: str) -> str:
        x = self.b.enter(x)
        x = self.conv_norm(x, "stem", inputs=np.array(self.input_order))
        length = self.length
        for i in range(self.a.n_blocks):
            x = self.block(x, i, length)
            length //= self.a.pools[i]
        return self.bases(x) if self.a.head == "bases" else self.score(x)


def build_graph(
    checkpoint: Checkpoint,
    form: str = "rewritten",
    rank: int = 3,
    *,
    probabilities: bool = False,
    lowering: type[Lowering] = Lowering,
) -> OnnxModel:
    """Lower one checkpoint.

    Args:
        checkpoint: a validated checkpoint.
        form: "rewritten" (fast) or "plain" (as published).
        rank: of the tensors inside: 3, [N, C, L], or 4, [N, C, 1, L] with 2-D convolutions; the input stays
            [N, C, L].
        probabilities: of a generator: softmax over the bases instead of logits.
        lowering: how the rewritten form is written; `phases.PhasedLowering` is for some CPUs.

    Returns:
        ONNX model, x float32 ["N", channels, length] → score float32 ["N"], or ["N", 4, length] of a
        generator.

    Raises:
        ModelError: weights overflow where normalisation is folded into them.
    """
    builder = Builder(rank)
    try:
        with np.errstate(over="raise", invalid="raise"):
            score = lowering(checkpoint, form, builder).emit("x")
    except FloatingPointError:
        raise ModelError(
            f"{checkpoint.path or 'model'}: its weights overflow float32 where normalisation is folded into "
            "them; the file is damaged or its training diverged"
        ) from None
    if probabilities:
        score = builder.op("Softmax", score, axis=1)
    length = checkpoint.contract.length
    return to_model(
        builder, score, ["N", len(checkpoint.contract.channels), length], ["N", *score_shape(checkpoint)]
    )


def score_shape(checkpoint: Checkpoint) -> list[int | str]:
    """Shape of one row of the output: nothing, or [4, length] of a generator."""
    return [len(BASES), checkpoint.contract.length] if checkpoint.architecture.head == "bases" else []

"""A checkpoint → its weights with normalisation folded in, one after another: what the native library packs
and the PyTorch network places.

Folded in float64, as in `legscore.model.graph`; channels of the input in the order A,G,C,T.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from legscore.dna.contract import BASES
from legscore.errors import ModelError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import Lowering
from legscore.model.graph_builder import Builder


def folded_arrays(checkpoint: Checkpoint) -> list[np.ndarray]:
    """A checkpoint's weights, FP32, in the order of kernels/cpu/pack.cpp: stem, blocks, head.

    Raises:
        ModelError: weights overflow where normalisation is folded into them.
    """
    lowering = Lowering(checkpoint, "rewritten", Builder(3))
    a, w = checkpoint.architecture, checkpoint.arrays
    try:
        with np.errstate(over="raise", invalid="raise"):
            weight, shift = lowering.folded("stem")
            arrays = [weight[:, lowering.input_order], shift]
            for i in range(a.n_blocks):
                at = f"blocks.{i}"
                arrays += lowering.folded(f"{at}.expand")
                arrays += lowering.folded(f"{at}.group")
                arrays += _gate(a, w, f"{at}.se")
                arrays += lowering.folded(f"{at}.project")
                arrays += lowering.folded(f"{at}.mix")
            arrays += _head(lowering)
            return [np.ascontiguousarray(array, dtype=np.float32) for array in arrays]
    except FloatingPointError:
        raise ModelError(
            f"{checkpoint.path or 'model'}: its weights overflow float32 where normalisation is folded into "
            "them; the file is damaged or its training diverged"
        ) from None


def _gate(a: Architecture, w: Mapping[str, np.ndarray], at: str) -> list[np.ndarray]:
    if a.se == "none":
        return []
    arrays = [w[f"{at}.squeeze.weight"], w[f"{at}.squeeze.bias"]]
    if a.se == "bilinear":
        joined = w[f"{at}.bilinear.factor_2"].astype(np.float64) * w[f"{at}.bilinear.weights"]
        arrays += [w[f"{at}.hidden.weight"], w[f"{at}.hidden.bias"]]
        arrays += [
            w[f"{at}.bilinear.factor_0"],
            w[f"{at}.bilinear.factor_1"],
            joined,
            w[f"{at}.bilinear.bias"],
        ]
    return [*arrays, w[f"{at}.excite.weight"], w[f"{at}.excite.bias"]]


def _head(lowering: Lowering) -> list[np.ndarray]:
    w = lowering.arrays
    weight, bias = w["head.conv.weight"][:, :, 0].astype(np.float64), w["head.conv.bias"]
    if lowering.a.head == "bases":
        order = lowering.input_order[: len(BASES)]
        return [weight[order], bias[order]]
    if lowering.a.head != "scalar":
        return [weight, bias]
    scale, shift = lowering.scale_shift("head.norm")
    arrays = [weight * scale, bias + weight @ shift]
    scale, shift = lowering.scale_shift("head.hidden_norm")
    arrays += [w["head.hidden.weight"] * scale[:, None], w["head.hidden.bias"] * scale + shift]
    return [*arrays, w["head.out.weight"], w["head.out.bias"]]

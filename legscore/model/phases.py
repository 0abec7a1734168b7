"""The graph as CPUs with 256-bit vectors want it (AVX2 without AVX-512), for OpenVINO in FP32.

The same network as `graph.py`'s rewritten form, to rounding (scores differ by about 2e-6). The wide
convolutions that end blocks, six tenths of the arithmetic, are written otherwise; `bench/forms.py` measures
what each of the two ways brings on a CPU.

**Borders before convolutions.** A convolution that adds more than one position of border itself takes
another, slower path in OpenVINO's AVX2 kernels; a border of one position does not. So these convolutions read
a copy that has its border. The border is 2⁻¹⁰⁰ instead of 0, or OpenVINO would put the two together again;
times any weight it is lost in rounding.

**Two phases.** Even and odd positions of the output need the same products in part. With taps h = h[0], h[1]
…, e = h[0::2], o = h[1::2] and x[0] the position that the first of two outputs reads second:

    shared[t] = Σ_j o[j] · (x[2(t+j)] + x[2(t+j)+1])
    y[2t]     = shared[t] + Σ_j (e − [0, o])[j] · x[2(t+j)−1]
    y[2t+1]   = shared[t] + Σ_j (e − [o, 0])[j] · x[2(t+j)]

which is 11 products for two positions instead of 14 (7 taps) and a few sums, for weights half as large again.
(The transposed form of a two-parallel fast FIR filter: Parhi, VLSI Digital Signal Processing Systems, 1999,
chapter 9.)
"""

from __future__ import annotations

import numpy as np

from legscore.model.checkpoint import Checkpoint
from legscore.model.graph import Lowering
from legscore.model.graph_builder import Builder

BORDER = 2.0**-100


class PhasedLowering(Lowering):
    """Emits the form above. Tensors inside have rank 4, [N, C, 1, L]."""

    phased_channels = 1
    """Input channels from which a convolution over an even length is computed in phases."""

    def __init__(self, checkpoint: Checkpoint, form: str, builder: Builder) -> None:
        if builder.rank != 4 or form != "rewritten":
            raise ValueError("phases are for the rewritten form at rank 4")
        super().__init__(checkpoint, form, builder)

    def mix(self, x: str, at: str, length: int) -> str:
        weight, bias = self.folded(at)
        channels, border = weight.shape[1], weight.shape[2] // 2
        if border == 0:
            return super().mix(x, at, length)
        if channels >= self.phased_channels and length % 2 == 0:
            return self.in_phases(x, weight, bias, length)
        x = self.bordered(x, border, border)
        return self.b.silu(self.b.conv(x, weight.astype(np.float32), bias.astype(np.float32), border=(0, 0)))

    def bordered(self, x: str, left: int, right: int) -> str:
        """x with positions that are nearly 0 on both sides."""
        pads = self.b.constant(np.array([0, 0, 0, left, 0, 0, 0, right], dtype=np.int64))
        return self.b.op("Pad", x, pads, self.b.constant(np.array(BORDER, dtype=np.float32)))

    def in_phases(self, x: str, weight: np.ndarray, bias: np.ndarray, length: int) -> str:
        """SiLU of a convolution (odd number of taps, even length) in two phases, which lie side by side at
        the end."""
        outputs, border = weight.shape[0], weight.shape[2] // 2
        even, odd = weight[:, :, 0::2], weight[:, :, 1::2]
        none = np.zeros_like(odd[:, :, :1])
        x = self.bordered(x, border - 1, border)
        pairs = self.b.op("AveragePool", x, kernel_shape=[1, 2], strides=[1, 2])  # half the sums
        shared = self.b.conv(pairs, (2 * odd).astype(np.float32), bias.astype(np.float32), border=(0, 0))
        phases = []
        for left, taken in (
            (1, np.concatenate([none, odd], axis=2)),
            (0, np.concatenate([odd, none], axis=2)),
        ):
            own = self.b.conv(x, (even - taken).astype(np.float32), None, border=(left, 0), step=2)
            phases.append(self.b.silu(self.b.op("Add", shared, own)))
        # [N, 1, L/2, phases × C]
        y = self.b.op("Transpose", self.b.op("Concat", *phases, axis=1), perm=[0, 2, 3, 1])
        y = self.b.op("Reshape", y, self.b.constant(np.array([0, 1, length, outputs], dtype=np.int64)))
        return self.b.op("Transpose", y, perm=[0, 3, 1, 2])

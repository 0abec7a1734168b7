"""A checkpoint → weights as kernels/cpu packs them, and what the native engine covers.

The arrays of `legscore.model.folded` go to the library in their order. What is not covered is refused with
the reason (`docs/native_engine.md` has the table).
"""

from __future__ import annotations

import ctypes

import numpy as np

from legscore.engine.native_library import load_library
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.folded import folded_arrays

LENGTHS = (8, 600)
MOST_KERNEL, MOST_PER_GROUP, MOST_BLOCKS, MOST_POOL, MOST_CHANNELS = 31, 16, 64, 16, 8
MOST_WIDTH, MOST_INNER, MOST_OUTPUTS, MOST_HIDDEN, MOST_RANK = 4096, 8192, 4096, 4096, 8192
JOINS = {"none": 0, "add": 1, "x,fx": 2, "fx,x": 3}
GATES = ("none", "plain", "bilinear")
HEADS = ("bins", "scalar", "bases")
REFUSALS = {
    1: "its shape is not covered",
    2: "its arrays do not fit its shape",
    3: "a weight is beyond the range of the formats (2^20, in groups and gates 65,504) or not finite",
    4: "what was packed is not what was sent",
    5: "there is no memory for its weights",
}
"""What `legnet_pack` says besides 0."""


def uncovered(checkpoint: Checkpoint) -> str:
    """Why the native engine does not run a checkpoint, or an empty string."""
    a, contract = checkpoint.architecture, checkpoint.contract
    limits = [
        ("a window", [contract.length], LENGTHS),
        ("a kernel", [a.stem_kernel, a.kernel], (1, MOST_KERNEL)),
        ("filters per group", [a.filters_per_group], (1, MOST_PER_GROUP)),
        ("the number of blocks", [a.n_blocks], (1, MOST_BLOCKS)),
        ("a pool", list(a.pools), (1, MOST_POOL)),
        ("a width", list(a.widths), (1, MOST_WIDTH)),
        ("an inner width", list(a.inner_widths), (1, MOST_INNER)),
        ("a hidden width", list(a.se_widths), (0, MOST_HIDDEN)),
        ("a rank", list(a.cp_ranks), (0, MOST_RANK)),
        ("the number of outputs", [a.outputs], (1, MOST_OUTPUTS)),
        ("the number of channels", [len(contract.channels)], (4, MOST_CHANNELS)),
    ]
    for what, values, (least, most) in limits:
        for value in values:
            if not least <= value <= most:
                return f"{what} is {value}, outside {least}..{most}"
    return ""


def packed_shape(checkpoint: Checkpoint) -> np.ndarray:
    """int32, as `read_shape` of shape.h takes it."""
    a, contract = checkpoint.architecture, checkpoint.contract
    place = {name: contract.channels.index(name) for name in contract.extras}
    numbers = [
        contract.length, a.n_blocks, len(contract.channels), a.stem_kernel, a.kernel, a.filters_per_group,
        JOINS[a.concat_order or a.residual], GATES.index(a.se), HEADS.index(a.head), a.outputs,
        int(a.final_activation == "silu"), int(contract.n_value > 0), place.get("is_reverse", -1),
        place.get("is_singleton", -1), *a.widths, *a.inner_widths, *a.se_widths, *a.cp_ranks, *a.pools,
    ]  # fmt: skip
    return np.array(numbers, dtype=np.int32)


class PackedNetwork:
    """One member's weights as the library holds them; freed with this object."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Fold and pack.

        Raises:
            EngineError: the library does not take it.
            ModelError: weights overflow where normalisation is folded into them.
        """
        self._library = load_library()
        name = checkpoint.path or "model"
        if why := uncovered(checkpoint):
            raise EngineError(f"engine native does not cover {name}: {why}")
        shape, arrays = packed_shape(checkpoint), folded_arrays(checkpoint)
        pointers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
        sizes = np.array([array.size for array in arrays], dtype=np.int64)
        error = ctypes.c_int32()
        self.handle = self._library.legnet_pack(
            shape.ctypes.data, len(shape), pointers, sizes.ctypes.data, len(arrays), ctypes.byref(error)
        )
        if not self.handle:
            raise EngineError(f"engine native does not take {name}: {REFUSALS[error.value]}")
        self.length, self.width = checkpoint.contract.length, checkpoint.architecture.widths

    @property
    def n_bytes(self) -> int:
        """Bytes that the packed weights take."""
        return int(self._library.legnet_bytes(self.handle))

    def close(self) -> None:
        """Free the weights."""
        handle, self.handle = self.handle, None
        if handle:
            self._library.legnet_free(handle)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.close()

"""A generator on the CPU through the project's own kernels (kernels/cpu), as
`legscore.engine.native_engine` scores with them.

The input's channels are rounded to bf16 and the softmax is taken in double. When it is opened, one input runs
through the form and the portable one, which must agree bit for bit.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from legscore.dna.contract import BASES
from legscore.engine.native_buffers import NativeBuffers
from legscore.engine.native_library import FORMS, library_digest, load_library, usable_form
from legscore.engine.native_pack import PackedNetwork
from legscore.engine.recipe import Recipe
from legscore.errors import EngineError
from legscore.generate.host_denoiser import HostDenoiser
from legscore.model.checkpoint import Checkpoint
from legscore.system.cores import usable_cores
from legscore.system.threads import running_pool

ROWS = 40
"""Designs that a thread takes at once."""
LEFT_RANGE = "engine native: this generator's activations leave the range of the formats (FP16: 65,504)"


class NativeDenoiser(HostDenoiser):
    """See `legscore.generate.sample.Denoiser`."""

    name = "native"

    def __init__(
        self, checkpoint: Checkpoint, recipe: Recipe, *, threads: int | None = None, form: str | None = None
    ) -> None:
        """Pack the network and check the form.

        Raises:
            EngineError: the library or the form is not here, the network is not covered or leaves the range
            of the formats, or the forms disagree.
        """
        super().__init__(checkpoint.contract.length)
        self.form, self.precision = usable_form(form), recipe.precision
        self._library, self._halt = load_library(), ctypes.c_int32(0)
        self._network = PackedNetwork(checkpoint)
        threads = threads or usable_cores()
        self._buffers = NativeBuffers(self._network.handle, threads)
        self._pool = running_pool(threads, "legscore-native")
        try:
            self._check(len(checkpoint.contract.channels))
        except BaseException:
            self.close()
            raise

    def _check(self, channels: int) -> None:
        x_N6L = np.random.default_rng(0).random((1, channels, self.length), dtype=np.float32)
        found = [self._rows(x_N6L, form) for form in (self.form, "portable")]
        if found[0].tobytes() != found[1].tobytes():
            raise EngineError(
                f"engine native: forms {self.form} and portable disagree on this generator; this CPU or this "
                "build cannot be trusted; use --engine openvino"
            )

    def _rows(self, x_N6L: np.ndarray, form: str) -> np.ndarray:
        """Probabilities [N, 4, L] of contiguous inputs [N, 6, L]."""
        out_N4L = np.empty((len(x_N6L), len(BASES), self.length), dtype=np.float32)
        with self._buffers.lent() as buffers:
            code = self._library.legnet_bases(
                FORMS.index(form), self._network.handle, buffers, x_N6L.ctypes.data, len(x_N6L),
                ctypes.byref(self._halt), out_N4L.ctypes.data,
            )  # fmt: skip
        if code:
            raise EngineError("the generator was closed" if code == 1 else LEFT_RANGE)
        return out_N4L

    def _run(self) -> None:
        began = time.perf_counter()
        parts = [slice(first, first + ROWS) for first in range(0, len(self._x), ROWS)]
        found = self._pool.map(lambda rows: self._rows(self._x[rows], self.form), parts)
        for rows, out_N4L in zip(parts, found, strict=True):
            self._out[rows] = out_N4L
        self.engine_s += time.perf_counter() - began

    def describe(self) -> dict[str, Any]:
        """What defines the designs, for the output's metadata."""
        return {
            "engine": self.name,
            "precision": self.precision,
            "form": self.form,
            "library_sha256": library_digest(),
        }

    def close(self) -> None:
        """Free the network."""
        self._halt.value = 1
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._buffers.close()
        self._network.close()

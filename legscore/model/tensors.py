"""The architecture that the tensors of a published checkpoint show, and what each of them is here."""

from __future__ import annotations

from typing import Any

import numpy as np

from legscore.errors import ModelError, shorten
from legscore.model.architecture import Architecture
from legscore.model.families import upstream_name


class Tensors:
    """A family's state dict, read by this project's array names.

    Attributes:
        in_residual: whether a block's body lies in a residual module.
        bilinear: whether the squeeze-and-excitation gate is the bilinear one.
    """

    def __init__(self, family: str, prefix: str, stored: dict[str, np.ndarray]) -> None:
        """`stored` has the keys of the file, each with the prefix."""
        self.family, self.prefix = family, prefix
        self.state = state = {key.removeprefix(prefix): array for key, array in stored.items()}
        self.in_residual = family in ("F1", "F5") or any(".fn.block." in key for key in state)
        self.bilinear = any(".mod.trl." in key for key in state)

    def key_of(self, name: str) -> str:
        """The upstream key, without prefix, of an array's name."""
        return upstream_name(self.family, name, wrapped=self.in_residual, bilinear=self.bilinear)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array; ModelError where it is missing or has another number of dimensions."""
        key = self.key_of(name)
        if key not in self.state:
            raise ModelError(f"family {self.family}, but key {self.prefix}{key} is missing")
        found = self.state[key].shape
        dimensions = 3 if name.endswith("conv.weight") else 2 if name.endswith("squeeze.weight") else 1
        if len(found) != dimensions:
            raise ModelError(
                f"array {self.prefix}{key} has shape {found}; {dimensions} dimensions were expected"
            )
        return found

    def n_blocks(self) -> int:
        """How many blocks there are, at least one."""
        n = 0
        while self.key_of(f"blocks.{n}.expand.conv.weight") in self.state:
            n += 1
        if not n:
            self.shape("blocks.0.expand.conv.weight")  # which says that it is missing
        return n

    def fields(self) -> dict[str, Any]:
        """Fields of an Architecture, but for concat_order, final_activation and pools."""
        blocks = range(self.n_blocks())
        expand = [self.shape(f"blocks.{i}.expand.conv.weight") for i in blocks]
        mix = [self.shape(f"blocks.{i}.mix.conv.weight") for i in blocks]
        group, stem = self.shape("blocks.0.group.conv.weight"), self.shape("stem.conv.weight")
        residual = "none"
        if self.in_residual:
            residual = "concat" if mix[0][1] == 2 * expand[0][1] else "add"
        gated = any(".6.fc.0.weight" in key for key in self.state)
        return {
            "in_channels": stem[1],
            "widths": (stem[0], *(shape[0] for shape in mix)),
            "inner_widths": tuple(shape[0] for shape in expand),
            "stem_kernel": stem[2],
            "kernel": group[2],
            "filters_per_group": group[1],
            "se": "bilinear" if self.bilinear else "plain" if gated else "none",
            "se_widths": tuple(
                self.shape(f"blocks.{i}.se.squeeze.weight")[0] if gated or self.bilinear else 0
                for i in blocks
            ),
            "cp_ranks": tuple(
                self.shape(f"blocks.{i}.se.bilinear.weights")[0] if self.bilinear else 0 for i in blocks
            ),
            "residual": residual,
            "head": {"F3": "scalar", "F5": "bases"}.get(self.family, "bins"),
            "outputs": 1 if self.family == "F3" else self.shape("head.conv.weight")[0],
        }

    def arrays(self, architecture: Architecture) -> dict[str, np.ndarray]:
        """Every array of the architecture by its name here, float32.

        Raises:
            ModelError: arrays are missing, or there are others; bins that are not 0, 1, 2 and so on.
        """
        key_of = {name: self.key_of(name) for name in architecture.shapes()}
        if missing := [self.prefix + key for key in key_of.values() if key not in self.state]:
            raise ModelError(f"family {self.family}, but keys are missing: {shorten(missing, 4)}")
        known = set(key_of.values())
        if architecture.head == "bins":
            known.add("bins")
            if not np.array_equal(self.state.get("bins", ()), np.arange(architecture.outputs)):
                raise ModelError(
                    f'its "bins" are not 0..{architecture.outputs - 1}; the score would mean something else'
                )
        unknown = [key for key in self.state if key not in known and not key.endswith("num_batches_tracked")]
        if unknown:
            named = shorten([self.prefix + key for key in unknown], 4)
            raise ModelError(f"family {self.family}, but with unknown keys: {named}")
        return {name: np.asarray(self.state[key], dtype=np.float32) for name, key in key_of.items()}

"""Arrays of a checkpoint file that can be let go of and are read again when they are asked for.

An ensemble of 50 holds 370 MB of weights, which nobody needs once its networks are compiled. Whoever reads
them later gets what was read first, or an error: the file's hash is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


class StoredArrays(Mapping[str, np.ndarray]):
    """{name: float32 array}; `read` returns them again and raises ModelError when the file has changed."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], read: Callable[[], Mapping[str, np.ndarray]]
    ) -> None:
        self._arrays: Mapping[str, np.ndarray] | None = arrays
        self._read = read

    def _held(self) -> Mapping[str, np.ndarray]:
        arrays = self._arrays  # another thread may let go at any time
        if arrays is None:
            arrays = self._arrays = self._read()
        return arrays

    def release(self) -> None:
        """Let go of the arrays until somebody asks for them."""
        self._arrays = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the arrays: where they are unpickled the file may not be."""
        return dict, (dict(self._held()),)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._held()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held())

    def __len__(self) -> int:
        return len(self._held())

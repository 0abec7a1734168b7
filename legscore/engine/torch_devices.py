"""What PyTorch finds here, and the switches of its arithmetic, which are the process's."""

from __future__ import annotations

import contextlib
import threading

import torch


def best_device() -> str:
    """cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def gpu_names() -> list[str]:
    """Names of the NVIDIA GPUs that PyTorch uses, by number."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


class _Exact:
    """`exact`: PyTorch's switches are the process's, and an engine of each GPU has a thread of its own. The
    first one within turns them off, the last one puts back what the first one found."""

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._found = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._turn_off()
            self._within += 1

    def _turn_off(self) -> None:
        matmul = torch.backends.cuda.matmul
        for name in ("allow_fp16_reduced_precision_reduction", "allow_tf32"):
            self._found.callback(setattr, matmul, name, getattr(matmul, name))
            setattr(matmul, name, False)
        self._found.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._found.close()


exact = _Exact()
"""Within, FP32 is FP32 on CUDA too (no TF32), and sums of FP16 products are kept in FP32."""

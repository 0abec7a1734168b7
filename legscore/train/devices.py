"""Where training runs: device, arithmetic, torch.compile, and torch's own DDP when started by torchrun."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from legscore.errors import LegscoreError


@dataclass(frozen=True)
class World:
    """The processes that train one member together; one process by itself has rank 0 of 1. `device` carries
    what they tell each other."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this process validates, saves and reports."""
        return self.rank == 0

    def leave(self) -> None:
        """Wait for the others, then part; a process that is gone early makes the others' connections fail."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
        return bool(value)

    def same(self, value: float) -> float:
        """The leading process's value."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def joined(self, values: np.ndarray) -> np.ndarray:
        """All processes' values put together again; each holds every size-th one, from its rank on."""
        if self.size == 1:
            return values
        pieces: list[np.ndarray] = [values] * self.size
        distributed.all_gather_object(pieces, values)
        whole = np.empty(sum(len(piece) for piece in pieces), dtype=values.dtype)
        for rank, piece in enumerate(pieces):
            whole[rank :: self.size] = piece
        return whole


def join_world(asked: str | None = None) -> World:
    """This process's place among those that torchrun started (NCCL on GPUs, Gloo on CPUs); one by itself
    otherwise.

    Args:
        asked: device as for `choose_device`.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return World()
    device = choose_device(asked)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(distributed.get_rank(), distributed.get_world_size(), device)


def choose_device(asked: str | None) -> torch.device:
    """The asked device, else this process's GPU, else the CPU. LegscoreError when it cannot be had."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    if asked is None:
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(f"cuda:{asked}" if asked.isdigit() else asked)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise LegscoreError(f"--device {asked} is no device to train on; write the number of a GPU, or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LegscoreError(f"--device {asked}: this torch ({torch.__version__}) finds no NVIDIA GPU")
    if "TORCHELASTIC_RUN_ID" in os.environ and device.type == "cuda":
        if device.index is not None:
            raise LegscoreError(
                f"--device {asked}: torchrun gives each process its own GPU; leave the number out"
            )
        return torch.device("cuda", local)
    return device


def choose_precision(asked: str, device: torch.device) -> torch.dtype:
    """dtype of autocast; float32 for none. `auto`: bf16 on GPUs and CPUs that have it, FP16 on older GPUs."""
    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if asked == "fp16" and device.type != "cuda":
        raise LegscoreError("precision fp16 trains on GPUs only; a CPU takes bf16 or fp32")
    if asked != "auto":
        return names[asked]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bf16() else torch.float32


def has_bf16() -> bool:
    """Whether this CPU has bf16 instructions."""
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
        )
    except (OSError, StopIteration):
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

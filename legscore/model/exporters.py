"""legscore generators → files that the published code loads (family F5), keys and types as `torch.save` wrote
them there.

The file holds `epoch`, `model_state_dict` and `loss`. It has no `optimizer_state_dict`: a checkpoint keeps no
state of the optimiser, so the published code can sample with it but not go on training. What the sequence
contract says (construct, range of targets) has no place in that format; importing it again takes the
published values or options.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from legscore.dna.contract import BASES
from legscore.errors import ModelError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.families import upstream_name
from legscore.system.publish import publishing, writing


def upstream_state(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Arrays of a generator under the published keys, in the published order A,G,C,T, counters of BatchNorm
    included.

    Raises:
        ModelError: a predictor, or a network that the published class cannot hold, with what differs.
    """
    if not checkpoint.contract.is_generator:
        raise ModelError("is a predictor; only generators (family F5) are exported")
    if difference := _unpublished(checkpoint.architecture):
        raise ModelError(f"the published generator class cannot hold it: {difference}")
    order = [checkpoint.contract.alphabet.index(base) for base in BASES]
    arrays = dict(checkpoint.arrays)
    stem = arrays["stem.conv.weight"]
    arrays["stem.conv.weight"] = np.concatenate([stem[:, order], stem[:, len(BASES) :]], axis=1)
    for leaf in ("weight", "bias"):
        arrays[f"head.conv.{leaf}"] = arrays[f"head.conv.{leaf}"][order]
    state: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        key = upstream_name("F5", name, wrapped=True, bilinear=True)
        state[key] = np.ascontiguousarray(array, dtype=np.float32)
        if name.endswith("running_var"):
            state[key.removesuffix("running_var") + "num_batches_tracked"] = np.array(0, dtype=np.int64)
    return state


def _unpublished(a: Architecture) -> str:
    """What the published class does otherwise, or an empty string."""
    pairs = list(zip(a.widths, a.widths[1:], strict=False))
    fixed = {
        "se": "bilinear", "residual": "concat", "concat_order": "x,fx", "filters_per_group": 2,
        "final_activation": "none", "stem_kernel": a.kernel, "inner_widths": tuple(4 * s for _, s in pairs),
        "se_widths": tuple(p // 4 for p, _ in pairs), "cp_ranks": tuple(_rank(p // 4) for p, _ in pairs),
    }  # fmt: skip
    for name, value in fixed.items():
        if getattr(a, name) != value:
            return f"{name} is {getattr(a, name)}, published {value}"
    return ""


def _rank(hidden: int) -> int:
    """CP rank of a hidden × hidden × hidden/2 tensor at half its size, rounded as TensorLy does."""
    sides = (hidden, hidden, hidden // 2)
    return max(1, round(0.5 * hidden * hidden * (hidden // 2) / sum(sides)))


def export_generator(checkpoint: Checkpoint, path: Path) -> int:
    """Write the PyTorch file by rename; returns its number of keys. Needs torch.

    Raises:
        ModelError: no torch, or as `upstream_state`.
    """
    try:
        import torch
    except ImportError:
        raise ModelError(
            "exporting writes PyTorch files and needs torch: pip install 'legscore[train]'"
        ) from None
    state = {key: torch.from_numpy(array) for key, array in upstream_state(checkpoint).items()}
    metrics = checkpoint.training.get("metrics") or {}
    stored = {
        "epoch": checkpoint.training.get("steps", 0),
        "model_state_dict": state,
        "loss": metrics.get("loss", 0.0),
    }
    with publishing(path) as temporary, writing(path):
        torch.save(stored, temporary)
    return len(state)

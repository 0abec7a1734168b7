"""A PyTorch file → the arrays of one network, out of whatever training wrapped around them.

Third-party pickles are opened with `weights_only=True` and so cannot run code. Wrappers are entries that hold
a state dict (`state_dict`, `model`, `ema` and others) and parts of keys that DistributedDataParallel,
torch.compile or weight averaging put before or between names (`module.`, `_orig_mod.`). What was taken is
told with the arrays.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import ModelError, shorten
from legscore.model.architecture import MAX_ELEMENTS
from legscore.model.pickles import load_plain

MAX_FILE_BYTES = 4 << 30
"""With optimiser states a training file of the largest LegNet stays far below."""
ENTRIES = (
    "state_dict", "model_state_dict", "model", "network", "net", "module",
    "ema", "ema_state_dict", "model_ema", "state_dict_ema", "ema_model", "shadow",
)  # fmt: skip
"""Entries that hold a network, those of averaged weights last; the first that is there is taken."""
MOST_ENTRIES = 4
"""Entries within entries; training scripts write one or two."""
WRAPPERS = ("module", "_orig_mod")
"""Parts of keys that DistributedDataParallel and weight averaging add, and that torch.compile adds."""
AVERAGED = "n_averaged"
"""A counter that torch's AveragedModel keeps beside the network."""


@dataclass(frozen=True)
class StateDict:
    """Arrays of a network by their keys, without wrappers; `taken` says what was unwrapped, for people."""

    arrays: dict[str, np.ndarray]
    taken: str


def read_state(path: Path, entry: str | None = None) -> StateDict:
    """The network that a PyTorch file holds.

    Args:
        entry: which entry to take, where the file has several networks (`ema`, say).

    Raises:
        ModelError: not a file of plain tensors, no network in it, or no such entry.
    """
    try:
        import torch
    except ImportError:
        raise ModelError(
            "importing reads PyTorch files and needs torch: pip install 'legscore[train]'"
        ) from None
    if not path.is_file():
        raise ModelError("no such file")
    _check_archive(path)
    try:
        loaded = load_plain(path)
    except Exception as error:  # many kinds: pickle, zip, runtime, EOF, Unicode, Key, Index errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"is not a PyTorch file of plain tensors ({reason[:160]}). Files that hold Python objects are "
            "refused, since opening them could run code: save the state dict alone and import that"
        ) from None
    if not isinstance(loaded, Mapping):
        raise ModelError(f"holds a {type(loaded).__name__}, not a state dict")
    state, taken = _unwrapped(loaded, entry)
    if not state:
        raise ModelError("holds no state dict")
    arrays, elements = {}, 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"entry {str(key)[:60]!r} of its state dict is no tensor")
        elements += value.numel()
        if elements > MAX_ELEMENTS:
            raise ModelError(
                f"array {key} claims {value.numel():,} elements; with those before it, this is no LegNet"
            )
        arrays[key] = _array(key, value.detach())
    arrays, removed = _without_wrappers(arrays)
    return StateDict(arrays, ", ".join([*taken, *removed]))


def _array(key: str, tensor: Any) -> np.ndarray:
    import torch

    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ModelError(f"array {key} is no plain tensor (sparse, quantised or without data)")
    counter = key.endswith(("num_batches_tracked", "bins", AVERAGED))
    if not tensor.is_floating_point() and not (counter and tensor.dtype in (torch.int64, torch.int32)):
        raise ModelError(
            f"array {key} is {str(tensor.dtype).removeprefix('torch.')}; weights must be floating point"
        )
    return np.asarray((tensor if counter else tensor.float()).numpy())


def _unwrapped(loaded: Mapping[Any, Any], entry: str | None) -> tuple[Mapping[Any, Any], list[str]]:
    """The innermost mapping that holds a network, and the entries it was found in."""
    if "state_dict" in loaded and "config" in loaded and "extra" in loaded:
        raise ModelError(
            "looks like mpralegnet_predict's F6 (keys config, state_dict, extra): it reads ACGT; refused"
        )
    path: list[str] = []
    others: list[str] = []
    if entry is not None:
        if not isinstance(loaded.get(entry), Mapping):
            there = [str(name) for name, value in loaded.items() if isinstance(value, Mapping)]
            raise ModelError(
                f"--entry {entry}: it holds no such entry; its entries are {shorten(there) or 'none'}"
            )
        loaded, path = loaded[entry], [entry]
    for _ in range(MOST_ENTRIES):
        found = [name for name in ENTRIES if isinstance(loaded.get(name), Mapping)]
        if not found:
            break
        others += found[1:]
        path.append(found[0])
        loaded = loaded[found[0]]
    taken = [f"entry {'.'.join(path)}"] if path else []
    if others:
        taken.append(f"not {', '.join(others)} (--entry takes another)")
    return loaded, taken


def _without_wrappers(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Keys without the parts that wrappers put there, and which these were."""
    kept: dict[str, np.ndarray] = {}
    removed: dict[str, None] = {}
    for key, array in arrays.items():
        if key == AVERAGED:
            continue
        parts = key.split(".")
        removed.update(dict.fromkeys(part for part in parts if part in WRAPPERS))
        name = ".".join(part for part in parts if part not in WRAPPERS)
        if name in kept:
            raise ModelError(
                f"array {name} is there twice, with and without {' or '.join(removed)}; save one network"
            )
        kept[name] = array
    return kept, [f"keys without {part}." for part in removed]


def _check_archive(path: Path) -> None:
    """Refuse what is too large, or would become so when it is unpacked: PyTorch stores tensors as they are,
    unpacked."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(
            f"{size:,} bytes; published LegNets take less than 100 MB, and no more than {MAX_FILE_BYTES:,} "
            "are read"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error):
        return  # the older format, or damaged: `load_plain` refuses what it cannot open either
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(e.file_size for e in entries) > size
    ):
        raise ModelError(
            "is an archive that claims more than it holds, or is packed; torch.save stores tensors unpacked"
        )

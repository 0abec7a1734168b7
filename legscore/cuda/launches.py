"""Launches of kernels/*.cu: which kernel, how many threads, which arguments. Their cards are in the kernel
files.

Everything here is arithmetic on shapes; a GPU (`driver.py`) and the tests' host run the same launches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.dna.contract import Contract
from legscore.model.gpu_form import LAYOUTS

BLOCK = 256
"""Threads of a block. None of the kernels shares anything within a block, so any multiple of 32 is right."""
MOST_ELEMENTS = 2**31 - 1
SOURCE = {
    "one_hot_ncl_f16": "one_hot",
    "one_hot_ncl_f32": "one_hot",
    "one_hot_hwc8": "one_hot",
    "mutate": "mutate",
    "average_strands": "reduce",
    "mark_sites": "denoise",
    "mutate_bases": "denoise",
    "keep_bases": "denoise",
}
"""Kernel → the file in kernels/ that holds it."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch: its name, blocks of BLOCK threads, and arguments as numpy scalars (pointers as
    uintp)."""

    kernel: str
    grid: int
    arguments: tuple[np.generic, ...]


def _grid(threads: int) -> int:
    return -(-threads // BLOCK)


def _checked(elements: int) -> int:
    if elements > MOST_ELEMENTS:
        raise ValueError(f"{elements:,} elements do not fit a launch; use a smaller batch")
    return elements


def input_bytes(rows: int, contract: Contract, layout: str, precision: str) -> int:
    """Bytes of the network's input for a pass of `rows` rows."""
    if layout == "hwc8":
        return rows * contract.length * 16
    return rows * len(contract.channels) * contract.length * (4 if precision == "fp32" else 2)


def one_hot(
    codes: int,
    x: int,
    windows: int,
    rows: int,
    contract: Contract,
    *,
    both: bool,
    is_singleton: bool,
    layout: str,
    precision: str,
) -> Launch:
    """Fill the input at address `x` from `windows` rows of codes at address `codes` (twin:
    `legscore.dna.one_hot.strands`)."""
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}")
    if layout == "hwc8" and precision == "fp32":
        raise ValueError("the layout hwc8 holds FP16 only")
    if windows * (2 if both else 1) > rows:
        raise ValueError(f"{windows} windows do not fit {rows} rows")
    channels, length = len(contract.channels), contract.length
    values = np.array([1.0, contract.n_value])
    if precision == "fp32":
        kernel, bits, each = "one_hot_ncl_f32", values.astype(np.float32).view(np.uint32), 4
    else:
        kernel, bits, each = "one_hot_ncl_f16", values.astype(np.float16).view(np.uint16), 8
    if layout == "hwc8":
        kernel = "one_hot_hwc8"
    threads = -(-_checked(rows * length * (8 if layout == "hwc8" else channels)) // each)
    marks = [
        sum(bool(value[name]) << k for k, name in enumerate(contract.extras))
        for value in ({"is_reverse": reverse, "is_singleton": is_singleton} for reverse in (False, True))
    ]
    numbers = (windows, length, channels, rows, int(both), *bits, *marks)
    return Launch(kernel, _grid(threads), (np.uintp(codes), np.uintp(x), *map(np.uint32, numbers)))


def mutate(
    codes: int, edits: tuple[int, int, int], out: int, *, plain: int, length: int, start: int, count: int
) -> Launch:
    """Write codes of scored windows start..start+count-1 at address `out` (twin: `Batch.expand`).

    Args:
        codes: address of codes_WL, `plain` rows.
        edits: addresses of window_E, offset_E and base_E.
    """
    sizes = map(np.uint32, (plain, length, start, count))
    return Launch(
        "mutate",
        _grid(_checked(count * length)),
        (np.uintp(codes), *map(np.uintp, edits), np.uintp(out), *sizes),
    )


def average_strands(
    rows: int, scores: int, *, members: int, batch: int, windows: int, both: bool, columns: int, start: int
) -> Launch:
    """Reduce rows_MB at address `rows` into columns start.. of scores_MN at `scores` (twin:
    `ThreadedEngine.average`)."""
    sizes = map(np.uint32, (members, batch, windows, int(both), columns, start))
    return Launch(
        "average_strands", _grid(_checked(members * windows)), (np.uintp(rows), np.uintp(scores), *sizes)
    )


def mark_sites(seeds: int, hits: int, *, designs: int, length: int, mutations: int, step: int) -> Launch:
    """Mark the positions that a step mutates, drawn with replacement, with the step's number (twin:
    `draws.shuffles`).

    Args:
        seeds: address of the designs' seeds, uint64.
        hits: address of hit_NL, uint32 [designs, length]; steps count from 1.
    """
    _checked(designs * length)
    sizes = map(np.uint32, (designs, length, mutations, step))
    return Launch(
        "mark_sites", _grid(_checked(designs * mutations)), (np.uintp(seeds), np.uintp(hits), *sizes)
    )


def mutate_bases(
    bases: int,
    seeds: int,
    hits: int,
    targets: int,
    x: int,
    *,
    first: int,
    count: int,
    rows: int,
    length: int,
    step: int,
    told: int,
) -> Launch:
    """Fill the generator's input, FP32 [rows, 6, length] at address `x`, from designs first..first+count-1
    with their marked positions permuted; what is left of the rows is zero (twin: `draws.shuffles` and
    PERMUTATIONS)."""
    if count > rows:
        raise ValueError(f"{count} designs do not fit {rows} rows")
    _checked(rows * length * 6)
    addresses = map(np.uintp, (bases, seeds, hits, targets, x))
    return Launch(
        "mutate_bases",
        _grid(rows * length),
        (*addresses, *map(np.uint32, (first, count, rows, length, step, told))),
    )


def keep_bases(
    out: int, seeds: int, bases: int, *, first: int, count: int, length: int, step: int, draw: bool
) -> Launch:
    """Copy a pass's probabilities to designs first..first+count-1, or with `draw` one base drawn from them
    for each position (twin: `draws.drawn`)."""
    sizes = map(np.uint32, (first, count, length, step, int(draw)))
    return Launch(
        "keep_bases", _grid(_checked(count * length)), (*map(np.uintp, (out, seeds, bases)), *sizes)
    )

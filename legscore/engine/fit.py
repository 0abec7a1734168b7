"""What fits on a card: device memory, groups of members; and which cards.

All of it is decided before the first part is written. Sizes are bytes; everything a kernel or TensorRT reads
starts at a multiple of 256 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from legscore.dna.contract import Contract
from legscore.errors import EngineError, shorten

ALIGNMENT = 256
USABLE = 0.92
"""Share of the free memory that is planned with; the rest is for what TensorRT and the driver take
unasked."""
MEMBER_OVERHEAD = 24 << 20
"""Bytes a loaded member takes beyond its plan's own size (its context, its kernels). An estimate, not a
measurement."""
IN_FLIGHT = 512 << 20
"""Bytes set aside for codes, edits and scores of the batches in flight."""


def aligned(nbytes: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Need:
    """Device memory of an ensemble: what all members share, and what each holds while loaded."""

    shared: int
    members: tuple[int, ...]


def need(
    contract: Contract, *, batch: int, layout: str, precision: str, scratch: int, plans: Sequence[int]
) -> Need:
    """Estimate the memory of an ensemble.

    Args:
        scratch: the largest scratch of any member for a pass (`device_memory_size`).
        plans: size of each member's plan.
    """
    from legscore.cuda.launches import input_bytes

    x = aligned(input_bytes(batch, contract, layout, precision))
    rows = aligned(4 * batch * len(plans))
    return Need(
        aligned(scratch) + x + rows + IN_FLIGHT, tuple(aligned(size) + MEMBER_OVERHEAD for size in plans)
    )


def member_groups(wanted: Need, free: int) -> list[list[int]] | None:
    """Members in order, in as few groups as fit in `free` bytes one after another; None when one member does
    not fit."""
    room = int(free * USABLE) - wanted.shared
    groups: list[list[int]] = []
    left = -1
    for member, size in enumerate(wanted.members):
        if size > room:
            return None
        if size > left:
            groups.append([])
            left = room
        groups[-1].append(member)
        left -= size
    return groups


def in_turn(groups: Sequence[Sequence[int]]) -> str:
    """What is said of members in more than one group."""
    n = sum(map(len, groups))
    return f"members: {n} do not fit the memory together; loaded in {len(groups)} groups in turn"


def too_large(batch: int, wanted: Need, free: int) -> str:
    """What is said of a batch with which not even one member fits in `free` bytes."""
    least = wanted.shared + max(wanted.members)
    needed = f"batch: {batch:,} rows need {least / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    return f"{needed}; trying the next smaller"


def choose_devices(asked: str | None, names: Sequence[str]) -> list[int]:
    """Cards to use.

    Args:
        asked: `0`, `0,1`, `all`, or None for the first.
        names: of the cards present, by number.

    Raises:
        EngineError: no such card, or cards of several kinds, whose scores would differ in the last bits.
    """
    if not names:
        raise EngineError("no NVIDIA GPU can be used here")
    if asked is None:
        return [0]
    if asked == "all":
        chosen = list(range(len(names)))
    elif re.fullmatch(r"\d+(,\d+)*", asked):
        chosen = [int(number) for number in asked.split(",")]
    else:
        raise EngineError(f"--device {asked}: write a number, several with commas, or all")
    for number in chosen:
        if number >= len(names):
            raise EngineError(
                f"--device {asked}: there is no GPU {number}; here are {shorten(_listed(names))}"
            )
    if len(set(chosen)) != len(chosen):
        raise EngineError(
            f"--device {asked}: GPU {next(n for n in chosen if chosen.count(n) > 1)} is named twice"
        )
    if len({names[number] for number in chosen}) > 1:
        kinds = shorten(_listed(names, chosen))
        raise EngineError(f"--device {asked}: {kinds} differ, and so would their last bits; run them apart")
    return chosen


def _listed(names: Sequence[str], numbers: Sequence[int] | None = None) -> list[str]:
    return [f"{number} ({names[number]})" for number in (range(len(names)) if numbers is None else numbers)]

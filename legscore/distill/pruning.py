"""A member cut down to a student: how wide it may be at a cost, and which channels stay.

Mixing convolutions make most of a LegNet's cost, so the widths of blocks are narrowed, and inner widths with
them. A channel's importance is what the layers behind it make of it: the squares of their weights, times the
square of the scale that BatchNorm gives it. Kernels, gates and the head stay as they are; so does the last
width, which the head reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from legscore.dna.contract import Contract
from legscore.errors import LegscoreError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint

TOLERANCE = 1.05
"""A student may cost this much more than was asked: widths go in steps."""
OF_EXPANSION = 0.3
"""Weight of what an expansion makes of a channel beside what the mixing convolution makes of it."""
NORM = ("weight", "bias", "running_mean", "running_var")


def strands_of(contract: Contract) -> int:
    """Strands that a model reads of a window."""
    return 2 if contract.rc_trained else 1


def cost_of(architecture: Architecture, contract: Contract) -> int:
    """Multiply-adds for one window on all the strands that a model reads."""
    return strands_of(contract) * architecture.multiply_adds(contract.length)


def student_shape(architecture: Architecture, contract: Contract, budget: float) -> Architecture:
    """The widest student within a budget.

    Args:
        architecture: of the member that it is cut from.
        contract: of the student.
        budget: multiply-adds for a window.

    Raises:
        LegscoreError: not even the narrowest fits.
    """
    narrowest = None
    for narrowest in _shapes(replace(architecture, in_channels=len(contract.channels))):
        if narrowest.multiply_adds(contract.length) <= TOLERANCE * budget:
            return narrowest
    assert narrowest is not None
    cheapest = narrowest.multiply_adds(contract.length)
    raise LegscoreError(
        f"--cost asks for {budget / 1e6:.3g} million multiply-adds a window; the narrowest student of these "
        f"models takes {cheapest / 1e6:.3g}; ask for a lower cost ratio"
    )


def parse_shape(architecture: Architecture, contract: Contract, text: str) -> Architecture:
    """The student's shape in the user's words.

    Args:
        architecture: of the member that it is cut from.
        text: WIDTHS or WIDTHS/INNER: channels that enter each block, and inner channels of each block; one
            number for all, or a list with commas. The last width, which the head reads, stays the member's.

    Raises:
        LegscoreError: the text says no shape, or one that is wider than the member anywhere.
    """
    a = replace(architecture, in_channels=len(contract.channels))
    outer, _, inner = text.partition("/")
    widths = _widths("widths", text, outer, a.widths[:-1], 1)
    unit = a.filters_per_group
    inner_widths = _widths("inner widths", text, inner, a.inner_widths, unit) if inner else a.inner_widths
    return _shaped(a, (*widths, a.widths[-1]), inner_widths)


def _widths(what: str, text: str, given: str, most: tuple[int, ...], unit: int) -> tuple[int, ...]:
    numbers = [part.strip() for part in given.split(",")]
    if not all(part.isascii() and part.isdigit() for part in numbers):
        raise LegscoreError(f"--architecture {text!r}: {what} are whole numbers with commas between them")
    widths = tuple(map(int, numbers)) * (len(most) if len(numbers) == 1 else 1)
    if len(numbers) == 1:
        widths = tuple(min(width, at_most) for width, at_most in zip(widths, most, strict=True))
    if len(widths) != len(most):
        raise LegscoreError(
            f"--architecture {text!r}: {len(widths)} {what}; these models have {len(most)} "
            f"({','.join(map(str, most))})"
        )
    for width, at_most in zip(widths, most, strict=True):
        if not unit <= width <= at_most or width % unit:
            multiple = f", multiples of {unit}" if unit > 1 else ""
            raise LegscoreError(
                f"--architecture {text!r}: {what} go from {unit} to those of the member "
                f"({','.join(map(str, most))}){multiple}"
            )
    return widths


def _shapes(a: Architecture) -> Iterator[Architecture]:
    """Shapes of students, the dearest first: the member, fewer inner channels, then narrower blocks."""
    widest = max(a.widths)
    step = 8 if widest >= 64 else 2
    narrower = ((width, width / (2 * widest)) for width in range(widest - step, 3, -step))
    for width, share in ((widest, 1.0), (widest, 0.75), (widest, 0.5), *narrower):
        widths = (*(min(w, width) for w in a.widths[:-1]), a.widths[-1])
        inner = tuple(_narrowed(m, share, a.filters_per_group) for m in a.inner_widths)
        yield _shaped(a, widths, inner)


def _shaped(a: Architecture, widths: tuple[int, ...], inner: tuple[int, ...]) -> Architecture:
    """With these widths; hidden units of plain gates follow the inner channels."""
    hidden = a.se_widths
    if a.se == "plain":
        hidden = tuple(min(h, max(8, m // 4)) for h, m in zip(hidden, inner, strict=True))
    return replace(a, widths=widths, inner_widths=inner, se_widths=hidden)


def _narrowed(inner: int, share: float, per_group: int) -> int:
    """A share of the inner channels, in whole groups and in eights where there are many."""
    unit = per_group if inner < 64 else int(np.lcm(per_group, 8))
    return min(inner, max(unit, round(inner * share / unit) * unit))


def pruned(member: Checkpoint, shape: Architecture, contract: Contract) -> Checkpoint:
    """The member with only its most important channels, reading forward strands by a contract.

    Args:
        member: its other channels than the four bases are 0 on forward strands that are no singletons.
        shape: as `student_shape` gives it for this member's architecture.
        contract: of the student.
    """
    a, given, made = member.architecture, member.arrays, dict[str, np.ndarray]()
    kept = [_top(_outer_importance(a, given, b), shape.widths[b]) for b in range(a.n_blocks)]
    kept.append(np.arange(a.widths[-1]))
    made["stem.conv.weight"] = given["stem.conv.weight"][kept[0]][:, : shape.in_channels]
    _take_norm(made, given, "stem.norm", kept[0])
    for b in range(a.n_blocks):
        at, outer = f"blocks.{b}", kept[b]
        inner = _inner_channels(a, given, b, outer, shape.inner_widths[b])
        made[f"{at}.expand.conv.weight"] = given[f"{at}.expand.conv.weight"][inner][:, outer]
        made[f"{at}.group.conv.weight"] = given[f"{at}.group.conv.weight"][inner]
        made[f"{at}.project.conv.weight"] = given[f"{at}.project.conv.weight"][outer][:, inner]
        joined = np.concatenate([outer, outer + a.widths[b]]) if a.residual == "concat" else outer
        made[f"{at}.mix.conv.weight"] = given[f"{at}.mix.conv.weight"][kept[b + 1]][:, joined]
        for layer, rows in (("expand", inner), ("group", inner), ("project", outer), ("mix", kept[b + 1])):
            _take_norm(made, given, f"{at}.{layer}.norm", rows)
        _take_gate(made, given, a, f"{at}.se", inner, shape.se_widths[b])
    made |= {name: array for name, array in given.items() if name.startswith("head.")}
    copied = {name: np.ascontiguousarray(array) for name, array in made.items()}
    return Checkpoint("legscore", shape, contract, copied)


def _take_norm(
    made: dict[str, np.ndarray], given: Mapping[str, np.ndarray], at: str, rows: np.ndarray
) -> None:
    for leaf in NORM:
        made[f"{at}.{leaf}"] = given[f"{at}.{leaf}"][rows]


def _take_gate(
    made: dict[str, np.ndarray],
    given: Mapping[str, np.ndarray],
    a: Architecture,
    at: str,
    inner: np.ndarray,
    hidden: int,
) -> None:
    """A gate of the inner channels that stay; a plain one keeps its most important hidden units too."""
    if a.se == "none":
        return
    squeeze, excite = given[f"{at}.squeeze.weight"][:, inner], given[f"{at}.excite.weight"][inner]
    if a.se == "bilinear":  # its hidden units are bound to each other, and cost next to nothing
        units = np.arange(len(squeeze))
        made |= {n: array for n, array in given.items() if n.startswith((f"{at}.hidden.", f"{at}.bilinear."))}
        made[f"{at}.excite.weight"] = excite
    else:
        units = _top((squeeze**2).sum(axis=1) * (excite**2).sum(axis=0), hidden)
        made[f"{at}.excite.weight"] = excite[:, units]
    made[f"{at}.squeeze.weight"] = squeeze[units]
    made[f"{at}.squeeze.bias"] = given[f"{at}.squeeze.bias"][units]
    made[f"{at}.excite.bias"] = given[f"{at}.excite.bias"][inner]


def _outer_importance(a: Architecture, given: Mapping[str, np.ndarray], block: int) -> np.ndarray:
    """Of each channel that enters a block, float32 [width]: as it comes, and as the block's body adds to
    it."""
    at, width = f"blocks.{block}", a.widths[block]
    before = "stem" if block == 0 else f"blocks.{block - 1}.mix"
    comes = given[f"{before}.norm.weight"] ** 2
    body = given[f"{at}.project.norm.weight"] ** 2
    mixed = (given[f"{at}.mix.conv.weight"] ** 2).sum(axis=(0, 2))
    of_x = of_body = mixed
    if a.residual == "concat":
        first, second = mixed[:width], mixed[width:]
        of_x, of_body = (first, second) if a.concat_order == "x,fx" else (second, first)
    elif a.residual == "none":
        of_x = np.zeros_like(mixed)
    expanded = (given[f"{at}.expand.conv.weight"] ** 2).sum(axis=(0, 2))
    return np.asarray((of_x + OF_EXPANSION * expanded) * comes + of_body * body)


def _inner_channels(
    a: Architecture, given: Mapping[str, np.ndarray], block: int, outer: np.ndarray, n: int
) -> np.ndarray:
    """Inner channels of a block that stay, whole groups of the grouped convolution, in order."""
    at, size = f"blocks.{block}", a.filters_per_group
    importance = (given[f"{at}.project.conv.weight"][outer] ** 2).sum(axis=(0, 2))
    importance = importance * given[f"{at}.group.norm.weight"] ** 2
    groups = _top(importance.reshape(-1, size).sum(axis=1), n // size)
    return (groups[:, None] * size + np.arange(size)).ravel()


def _top(importance: np.ndarray, n: int) -> np.ndarray:
    """Places of the n largest, in order; of equal ones the first."""
    return np.sort(np.argsort(-importance, kind="stable")[:n])

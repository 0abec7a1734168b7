"""Decide before the first row: which plans, which batch, which groups of members. Knows nothing of TensorRT.

The largest batch is tried first. A batch that cannot fit is given up as soon as its first member's plan is
known, before the others are built; the user is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from legscore.engine.fit import Need, in_turn, member_groups, too_large
from legscore.engine.plans import PlanCache, Stored
from legscore.errors import EngineError
from legscore.system.log import Say


class Compiler(Protocol):
    """Makes plans of the members of an ensemble for one kind of card."""

    names: list[str]
    """Of the members, for messages."""

    def key(self, member: int, batch: int) -> dict[str, Any]: ...

    def build(self, member: int, batch: int) -> Stored: ...

    def open(self, stored: Stored) -> Any | None:
        """The plan as an engine, or None when it is not taken. What was kept is given once, not opened
        again."""

    def keep(self, stored: Stored, engine: Any) -> None:
        """Hold on to an engine, its weights on the card, until its plan is to be opened."""

    def forget(self) -> None:
        """Let go of what was kept."""


@dataclass(frozen=True)
class Arrangement:
    """Rows of a pass, members that are in memory together, and each member's plan by its hash."""

    batch: int
    groups: list[list[int]]
    plans: tuple[str, ...]


def obtain(cache: PlanCache, compiler: Compiler, member: int, batch: int, say: Say) -> tuple[Stored, Any]:
    """A member's plan, opened; compiled, with a line about it, when it is missing or not taken."""

    def build() -> Stored:
        say(
            f"plan: compiling {compiler.names[member]} ({member + 1} of {len(compiler.names)}) for passes "
            f"of {batch:,} rows"
        )
        return compiler.build(member, batch)

    return cache.obtain(compiler.key(member, batch), build, compiler.open)


def arrange(
    cache: PlanCache,
    compiler: Compiler,
    batches: Sequence[int],
    need: Callable[[int, list[Stored]], Need],
    free: Callable[[], int],
    say: Say,
) -> Arrangement:
    """Settle batch and groups, with every plan in the cache.

    Args:
        batches: rows of a pass to try, largest first.
        need: memory of an ensemble with these plans at a batch.
        free: bytes free on the card now.

    Raises:
        EngineError: no batch fits, or a plan cannot be built.
    """
    n = len(compiler.names)
    for batch in batches:
        stored: list[Stored] = []
        groups: list[list[int]] | None = None
        available = free()  # before engines that are kept take some of it
        for member in range(n):
            plan = cache.read(compiler.key(member, batch))
            if plan is None:
                plan, opened = obtain(cache, compiler, member, batch, say)
                compiler.keep(plan, opened)
                del opened
            stored.append(plan)
            groups = member_groups(need(batch, stored + [plan] * (n - member - 1)), available)
            if groups is None or len(groups) > 1:
                compiler.forget()
            if groups is None:
                break
        if groups is not None:
            if len(groups) > 1:
                say(in_turn(groups))
            return Arrangement(batch, groups, tuple(plan.sha256[:16] for plan in stored))
        say(too_large(batch, need(batch, stored), available))
    raise EngineError(
        f"not even passes of {batches[-1]:,} rows fit this card's memory ({free() / 1e9:.1f} GB free); end "
        "what else runs on it, or add a smaller tensorrt.batch to a recipe"
    )

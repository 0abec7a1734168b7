"""Around a run: taking up what an interrupted one left, and saying what this one leaves when it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from legscore import __version__
from legscore.identity import pinned
from legscore.parts import PartFolder
from legscore.pipeline import Plan
from legscore.runlog import RunLog

Say = Callable[[str], None]


@contextlib.contextmanager
def going_on(plan: Plan, store: PartFolder, say: Say, log: RunLog, *, made: bool, restart: bool) -> Iterator[None]:
    """Take up what an interrupted run left, and say what is left when this one is interrupted.

    Args:
        store: the folder of parts, which this run holds.
        made: the input was made anew for this run.
        restart: throw away what is there.

    Raises:
        OutputError: what is there belongs to a run that differs.
    """
    n_parts = len(plan.numbers)
    store.begin(pinned(plan.opened, plan.metadata, plan.schema, plan.output, plan.format_name, made=made), restart=restart)
    if found := len(store.numbers()):
        say(f"resume: {found:,} of {n_parts:,} parts are there ({store.where})")
        log.event("resume", parts=found)
    try:
        yield
    except BaseException:
        store.tidy()
        if kept := len(store.numbers()):
            say(f"kept: {kept:,} of {n_parts:,} parts ({store.where}); the same command goes on from there")
        raise


def beginning(plan: Plan, shard: str | None) -> dict[str, Any]:
    """What the event `start` says, beside the inputs."""
    return {
        "legscore": __version__,
        "output": plan.output,
        "rows": plan.n_rows,
        "parts": len(plan.numbers),
        "members": plan.engine.n_members,
        "engine": plan.engine.describe(),
        "shard": shard,
    }

"""Settings that the command line may leave open, decided once for a run and said."""

from __future__ import annotations

from collections.abc import Callable

from legscore.adaptive import LEAST, Until
from legscore.contract import Contract
from legscore.engine.base import ThreadedEngine
from legscore.errors import LegscoreError
from legscore.read import Input
from legscore.schema import RC_MODES, SEQUENCE_IS, Roles
from legscore.window import SNIFF_ROWS, decide_sequence_is

Say = Callable[[str], None]


def settle_sequence_is(opened: Input, roles: Roles, contract: Contract, asked: str, say: Say) -> str:
    """What the sequences are, decided once for the input and said."""
    if asked != "auto":
        return asked
    made = {str(source.made_by.get("sequence_is")) for source in opened.sources}
    if made <= set(SEQUENCE_IS):
        decided = made.pop()
        say(f"sequences: read as {decided} (legscore variants wrote them so)")
        return decided
    column = roles.sequence_columns[0]
    head = opened.head([column], SNIFF_ROWS).column(column)
    texts = head.combine_chunks()
    decided = decide_sequence_is(texts.dictionary_decode() if hasattr(texts, "dictionary_decode") else texts, contract)
    say(f"sequences: read as {decided} (from the first {len(head):,} rows; --sequence-is overrides)")
    return decided


def settle_rc(contract: Contract, asked: str | None, sequence_is: str) -> str:
    """Strand mode: as asked, else `construct` for models trained on both strands and `none` for others."""
    if asked is None:
        return "construct" if contract.rc_trained else "none"
    if asked not in RC_MODES:
        raise LegscoreError(f"rc is {asked!r}; known are {', '.join(RC_MODES)}")
    if asked == "insert" and sequence_is == "window":
        raise LegscoreError(
            "--rc insert needs to know where the insert lies, which a window does not say; pass inserts or oligos"
        )
    return asked


def settle_until(bound: float | None, n_members: int, say: Say) -> Until | None:
    """The rule by which members are added to a row, or None for all of them. LegscoreError for ensembles too small for it."""
    if bound is None:
        return None
    if n_members <= LEAST:
        raise LegscoreError(f"--until-se: every row gets at least {LEAST} members and there are {n_members}; leave it out")
    say(f"members: {LEAST} to {n_members} a row, until the standard error is below {bound:g}; column n_members tells how many")
    say("         scores of rows with different members are not strictly comparable")
    return Until(bound, ThreadedEngine.depth)


def check_singleton(contract: Contract, singleton: int) -> None:
    if singleton and "is_singleton" not in contract.channels:
        raise LegscoreError("--singleton 1: these models have no is_singleton channel")

"""Settings that a user may leave open: decided once for a run, and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import BASES, Contract
from legscore.engine.base import ThreadedEngine
from legscore.errors import InputError, LegscoreError, shorten
from legscore.input.read import Input
from legscore.model.checkpoint import MAX_LOADED_MEMBERS, Checkpoint
from legscore.model.student import student_record
from legscore.rows.reading import SNIFF_ROWS, decide_sequence_is
from legscore.rows.schema import RC_MODES, SEQUENCE_IS, Roles
from legscore.run.options import margin_of, parse_shifts
from legscore.system.log import Detail, Say

if TYPE_CHECKING:
    from legscore.rows.shifts import Shifts
    from legscore.run.adaptive import AdaptiveScorer


def resolve_sequence_is(opened: Input, roles: Roles, contract: Contract, asked: str, say: Say) -> str:
    """What the sequences are, decided once for the input and said."""
    if asked != "auto":
        return asked
    made = {str(source.made_by.get("sequence_is")) for source in opened.sources}
    if made <= set(SEQUENCE_IS):
        decided = made.pop()
        say(Detail(f"sequences: read as {decided} (legscore variants wrote them so)"))
        return decided
    column = roles.sequence_columns[0]
    head = opened.head([column], SNIFF_ROWS).column(column)
    texts = head.combine_chunks()
    decided = decide_sequence_is(
        texts.dictionary_decode() if hasattr(texts, "dictionary_decode") else texts, contract
    )
    say(Detail(f"sequences: read as {decided} (from the first {len(head):,} rows; --sequence-is overrides)"))
    return decided


def resolve_rc(contract: Contract, asked: str | None, sequence_is: str) -> str:
    """Strand mode: as asked, else `construct` for models trained on both strands and `none` for others."""
    if asked is None:
        return "construct" if contract.rc_trained else "none"
    if asked not in RC_MODES:
        raise LegscoreError(f"rc is {asked!r}; known are {', '.join(RC_MODES)}")
    if asked == "insert" and sequence_is == "window":
        raise LegscoreError(
            "--rc insert needs to know where the insert lies, which a window does not say; pass inserts or "
            "oligos"
        )
    return asked


def resolve_until(bound: float | None, n_members: int, say: Say) -> AdaptiveScorer | None:
    """The rule by which members are added to a row, or None for all of them. LegscoreError for ensembles too
    small for it."""
    if bound is None:
        return None
    from legscore.run.adaptive import LEAST, AdaptiveScorer

    if n_members <= LEAST:
        raise LegscoreError(
            f"--until-se: every row gets at least {LEAST} members and there are {n_members}; leave it out"
        )
    say(
        f"members: {LEAST} to {n_members} a row, until the standard error is below {bound:g}; column "
        "n_members tells how many"
    )
    say("         scores of rows with different members are not strictly comparable")
    return AdaptiveScorer(bound, ThreadedEngine.depth)


def check_singleton(contract: Contract, singleton: int) -> None:
    if singleton and "is_singleton" not in contract.channels:
        raise LegscoreError("--singleton 1: these models have no is_singleton channel")


def in_context(
    opened: Input, members: list[Checkpoint], shifts: str | None, say: Say
) -> tuple[list[Checkpoint], Shifts | None]:
    """The members, which read whole windows of genome where `legscore variants --context genome` made the
    input; and how windows move, where they do.

    Raises:
        LegscoreError: windows of several kinds; windows that would move into DNA that is not known.
    """
    places = None if shifts is None else parse_shifts(shifts)
    lengths = {
        source.made_by.get("length") for source in opened.sources if source.made_by.get("context") == "genome"
    }
    if not lengths:
        if places is None:
            return members, None
        from legscore.rows.shifts import in_vector

        moved = in_vector(places, members[0].contract, _downstream(members))
        say(f"shifts: {_told(places)}, along the vector")
        return members, moved
    length = lengths.pop()
    if (
        lengths
        or not isinstance(length, int)
        or any(s.made_by.get("context") != "genome" for s in opened.sources)
    ):
        raise InputError(
            f"{opened.name}: windows of genome and inserts, or of several lengths; score them in "
            "separate runs"
        )
    for member in members:
        if student_record(member):
            raise InputError(
                f"{opened.name} holds windows of genome; {member.name} is a student and reads inserts of "
                f"{member.contract.insert_min} bases in the construct only. Score it with the ensemble"
            )
    margin = opened.sources[0].made_by.get("margin", 0)
    if type(margin) is not int or not 0 <= 2 * margin < length:
        raise InputError(f"{opened.name}: its windows of {length} bases cannot have a margin of {margin!r}")
    if places is not None and margin < margin_of(places):
        raise InputError(
            f"--shifts: {opened.name} holds windows of genome without what lies around them; score the VCF "
            "itself, with --fasta and --centered"
        )
    length -= 2 * margin
    say(f"context: genome; windows of {length} bases without the construct's flanks")
    if places is not None:
        say(f"shifts: {_told(places)}, on the genome")
    found = []
    for member in members:
        found.append(replace(member, contract=member.contract.in_genome(length)))
        if len(members) > MAX_LOADED_MEMBERS:  # the arrays were looked at once more
            member.release()
    if places is None:
        return found, None
    from legscore.rows.shifts import on_genome

    return found, on_genome(places, margin)


def _told(places: Sequence[int]) -> str:
    several = f"mean of {len(places)} windows" if len(places) > 1 else "windows"
    return f"{several} moved by {shorten([str(place) for place in places], 8)}"


def _downstream(members: Sequence[Checkpoint]) -> str:
    """What all members' training moved windows into; nothing where it is not recorded, or differs."""
    found = {str(_construct_of(member).get("downstream", "")) for member in members}
    known = found.pop() if len(found) == 1 else ""
    return "" if set(known) - set(BASES) else known


def _construct_of(member: Checkpoint) -> dict[str, Any]:
    recipe = member.training.get("recipe")
    construct = recipe.get("construct") if isinstance(recipe, dict) else None
    return construct if isinstance(construct, dict) else {}

"""Finished designs against the constraints, by plain text search: the slow twin of
`legscore.design.constraints`.

It shares no code with what kept the constraints while designing, and runs on every design that is written.
"""

from __future__ import annotations

import re

from legscore.design.constraints import Rules
from legscore.design.motifs import IUPAC
from legscore.dna.contract import Contract


def broken_rules(insert: str, rules: Rules, contract: Contract, start: str | None = None) -> list[str]:
    """Every constraint that an insert breaks, in words; an empty list when all hold.

    Args:
        insert: upper-case A, C, G, T.
        start: the sequence that the design was started from, if any.
    """
    broken = []
    text, begin = contract.flank5 + insert + contract.flank3, len(contract.flank5)
    end = begin + len(insert)
    for name, motif in rules.motifs.items():
        for form in (motif, _other_strand(motif)):
            for match in re.finditer(f"(?={_expression(form)})", text):
                if match.start() < end and match.start() + len(form) > begin:
                    broken.append(f"holds {name} at place {match.start() - begin}")
    if rules.homopolymer is not None:
        for match in re.finditer(r"A+|C+|G+|T+", text):
            # of a run that reaches into a flank only that which a longest window overlapping the insert can
            # see counts
            longest = min(match.end(), end + rules.homopolymer) - max(
                match.start(), begin - rules.homopolymer
            )
            if match.start() < end and match.end() > begin and longest > rules.homopolymer:
                broken.append(f"has a run of {match.end() - match.start()} {match[0][0]}")
    if rules.gc is not None:
        share = (insert.count("G") + insert.count("C")) / len(insert)
        if not rules.gc[0] - 1e-9 <= share <= rules.gc[1] + 1e-9:
            broken.append(f"has {share:.1%} G and C")
    for item in rules.keep:
        if placed := re.fullmatch(r"(\d+):(.+)", item):
            at, bases = int(placed[1]), placed[2].upper()
            if any(
                base not in ("N", found)
                for base, found in zip(bases, insert[at : at + len(bases)], strict=True)
            ):
                broken.append(f"does not keep {item}")
        elif span := re.fullmatch(r"(\d+)-(\d+)", item):
            if start is None or insert[int(span[1]) : int(span[2])] != start[int(span[1]) : int(span[2])]:
                broken.append(f"does not keep {item}")
        elif start is None:
            if not re.search(_expression(_motif(item)), insert):
                broken.append(f"lacks {item}")
        else:
            for form in (_motif(item), _other_strand(_motif(item))):
                for match in re.finditer(f"(?={_expression(form)})", start):
                    span_of = slice(match.start(), match.start() + len(form))
                    if insert[span_of] != start[span_of]:
                        broken.append(f"does not keep {item} at place {match.start()}")
    return broken


def _motif(item: str) -> str:
    from legscore.design.motifs import read_motif

    return read_motif(item, "--keep")


def _expression(motif: str) -> str:
    return "".join(f"[{IUPAC[letter]}]" for letter in motif)


def _other_strand(motif: str) -> str:
    """Reverse complement of an IUPAC motif."""
    letters = {frozenset(bases): letter for letter, bases in IUPAC.items() if letter != "U"}
    flipped = str.maketrans("ACGT", "TGCA")
    return "".join(letters[frozenset(IUPAC[letter].translate(flipped))] for letter in reversed(motif))

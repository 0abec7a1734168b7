"""--keep: which bases of each design are fixed beforehand.

`PLACE:BASES` puts BASES at PLACE (from 0). `FIRST-LAST` keeps these places (from 0, LAST excluded) as they
are in the sequence started from. A motif (IUPAC) is kept wherever the sequence started from has it, on either
strand; without --from it is put at a place drawn for each design, so that every design holds it.
"""

from __future__ import annotations

import re

import numpy as np

from legscore.design.constraints import FREE, Constraints, Rules
from legscore.design.motifs import IUPAC, expanded, other_strand, read_motif
from legscore.dna.codes import encode_text
from legscore.dna.contract import N_CODE, Contract
from legscore.errors import InputError
from legscore.generate.draws import below

KEEP_STEP = 1 << 24
"""Step of the designs' random numbers (`draws.below`) that the places of motifs are drawn from."""
TRIES = 64
LETTERS = np.frombuffer(b"AGCT", dtype=np.uint8)


def text_of(codes_L: np.ndarray) -> str:
    """Letters of codes 0..3."""
    return LETTERS[codes_L].tobytes().decode()


def pattern_of(motif: str) -> str:
    """An IUPAC motif as a regular expression."""
    return "".join(f"[{IUPAC[letter]}]" for letter in motif)


def places(motif: str, text: str) -> list[int]:
    """Where a motif, or its reverse complement, begins in a text; overlapping ones too."""
    found = {match.start() for match in re.finditer(f"(?={pattern_of(motif)})", text)}
    flipped = other_strand(text)
    found |= {
        len(text) - match.start() - len(motif) for match in re.finditer(f"(?={pattern_of(motif)})", flipped)
    }
    return sorted(found)


def kept_bases(
    rules: Rules,
    contract: Contract,
    length: int,
    seed_N: np.ndarray,
    start_NL: np.ndarray | None,
    names: list[str] | None = None,
) -> np.ndarray:
    """uint8 [N, L]: the bases that each design keeps, FREE elsewhere.

    Args:
        seed_N: int64 [N], from which the places of motifs are drawn.
        start_NL: uint8 [N, L], what the designs start from; None for random starts.
        names: of the starts, for messages.

    Raises:
        InputError: unreadable, contradicting, or impossible to place.
    """
    kept = np.full((len(seed_N), length), FREE, dtype=np.uint8)
    motifs: list[tuple[str, str]] = []
    for text in rules.keep:
        if match := re.fullmatch(r"(\d+):(.+)", text):
            _put(kept, int(match[1]), match[2], text, length)
        elif match := re.fullmatch(r"(\d+)-(\d+)", text):
            first, last = int(match[1]), int(match[2])
            if start_NL is None:
                raise InputError(
                    f"--keep {text}: keeps places of the sequences started from; give them with --from"
                )
            if not first < last <= length:
                raise InputError(f"--keep {text}: places are 0-{length}, the last one excluded")
            _merge(kept, np.arange(len(kept)), first, start_NL[:, first:last], text)
        else:
            motifs.append((text, read_motif(text, "--keep")))
    for text, motif in motifs:
        if len(motif) > length:
            raise InputError(f"--keep {text}: longer than the insert of {length} bases")
        if start_NL is None:
            _place(kept, rules, contract, motif, text, seed_N)
            continue
        for row, codes in enumerate(start_NL):
            found = places(motif, text_of(codes))
            if not found:
                name = names[row] if names else f"sequence {row}"
                raise InputError(f"--keep {text}: {name} has no such motif to keep")
            for place in found:
                _merge(kept, np.array([row]), place, codes[None, place : place + len(motif)], text)
    return kept


def _put(kept: np.ndarray, place: int, bases: str, text: str, length: int) -> None:
    if set(bases.upper()) - set("ACGTN"):
        raise InputError(f"--keep {text}: bases are A, C, G, T, or N for any")
    if place + len(bases) > length:
        raise InputError(f"--keep {text}: reaches beyond the insert of {length} bases")
    codes = encode_text(bases)
    known = np.where(codes == N_CODE, np.uint8(FREE), codes)
    _merge(kept, np.arange(len(kept)), place, np.tile(known, (len(kept), 1)), text)


def _merge(kept: np.ndarray, rows: np.ndarray, place: int, bases: np.ndarray, text: str) -> None:
    """Add bases to keep; InputError where others are kept already."""
    span = slice(place, place + bases.shape[1])
    old = kept[rows, span]
    if clash := np.argwhere((old != FREE) & (bases != FREE) & (old != bases)).tolist():
        row, at = clash[0]
        raise InputError(
            f"impossible constraints: --keep {text} wants {text_of(bases[row, at : at + 1])} at place "
            f"{place + at}, another "
            f"--keep wants {text_of(old[row, at : at + 1])} there; drop one"
        )
    kept[rows, span] = np.where(bases != FREE, bases, old)


def _place(
    kept: np.ndarray, rules: Rules, contract: Contract, motif: str, text: str, seed_N: np.ndarray
) -> None:
    """Put a motif into every design, at a place and in a form drawn for it, such that all constraints can
    still hold."""
    length, forms = kept.shape[1], [encode_text(form) for form in expanded(motif, "--keep")]
    waiting = np.arange(len(kept))
    salt = sum(map(ord, text))
    for attempt in range(TRIES):
        place_N = below(seed_N[waiting], KEEP_STEP + salt, 2 * attempt, 1, length - len(motif) + 1)[:, 0]
        form_N = below(seed_N[waiting], KEEP_STEP + salt, 2 * attempt + 1, 1, len(forms))[:, 0]
        tried = kept[waiting].copy()
        fits = np.zeros(len(waiting), dtype=bool)
        for i, (place, form) in enumerate(zip(place_N, forms_at(forms, form_N), strict=True)):
            span = tried[i, place : place + len(form)]
            fits[i] = bool(((span == FREE) | (span == form)).all())
            span[:] = form
        different, inverse = np.unique(tried, axis=0, return_inverse=True)
        fits &= Constraints(rules, contract, length, different).possible()[inverse.ravel()]
        kept[waiting[fits]] = tried[fits]
        waiting = waiting[~fits]
        if not len(waiting):
            return
    raise InputError(
        f"impossible constraints: no place was found for --keep {text} in {TRIES} tries that goes with the "
        "other constraints; "
        "drop one, or give its place as PLACE:BASES"
    )


def forms_at(forms: list[np.ndarray], numbers: np.ndarray) -> list[np.ndarray]:
    """The forms with these numbers."""
    return [forms[number] for number in numbers]

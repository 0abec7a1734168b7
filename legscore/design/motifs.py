"""Motifs as people write them: IUPAC letters, names of restriction enzymes, both strands."""

from __future__ import annotations

import itertools

from legscore.errors import InputError, nearest

IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT",
    "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
COMPLEMENT = str.maketrans("ACGT", "TGCA")
ENZYMES = {
    "AarI": "CACCTGC", "AgeI": "ACCGGT", "ApaI": "GGGCCC", "AscI": "GGCGCGCC", "AvrII": "CCTAGG",
    "BamHI": "GGATCC", "BbsI": "GAAGAC", "BglII": "AGATCT", "BsaI": "GGTCTC", "BsiWI": "CGTACG",
    "BsmBI": "CGTCTC", "BspQI": "GCTCTTC", "BtgZI": "GCGATG", "ClaI": "ATCGAT", "DpnI": "GATC",
    "EcoRI": "GAATTC", "EcoRV": "GATATC", "Esp3I": "CGTCTC", "HindIII": "AAGCTT", "KpnI": "GGTACC",
    "MluI": "ACGCGT", "NcoI": "CCATGG", "NdeI": "CATATG", "NheI": "GCTAGC", "NotI": "GCGGCCGC",
    "PacI": "TTAATTAA", "PmeI": "GTTTAAAC", "PstI": "CTGCAG", "PvuII": "CAGCTG", "SacI": "GAGCTC",
    "SalI": "GTCGAC", "SapI": "GCTCTTC", "SbfI": "CCTGCAGG", "SfiI": "GGCCNNNNNGGCC", "SmaI": "CCCGGG",
    "SpeI": "ACTAGT", "SphI": "GCATGC", "StuI": "AGGCCT", "XbaI": "TCTAGA", "XhoI": "CTCGAG",
    "XmaI": "CCCGGG",
}  # fmt: skip
"""Recognition sites (REBASE) of the enzymes that cloning uses most; any other site can be written as a
motif."""
MAX_EXPANDED = 4096


def read_motif(text: str, option: str) -> str:
    """An enzyme's name or a motif in IUPAC letters → upper-case IUPAC. InputError for anything else."""
    names = {name.lower(): site for name, site in ENZYMES.items()}
    if text.lower() in names:
        return names[text.lower()]
    motif = text.upper()
    if not motif or set(motif) - set(IUPAC):
        known = nearest(text, ENZYMES) or f"; enzymes known by name are {', '.join(ENZYMES)}"
        raise InputError(
            f"{option} {text}: neither a motif in IUPAC letters nor the name of an enzyme known here{known}"
        )
    return motif.replace("U", "T")


def expanded(motif: str, option: str) -> list[str]:
    """Every sequence over A,C,G,T that an IUPAC motif stands for. InputError beyond MAX_EXPANDED."""
    count = 1
    for letter in motif:
        count *= len(IUPAC[letter])
    if count > MAX_EXPANDED:
        raise InputError(
            f"{option} {motif}: stands for {count:,} sequences; at most {MAX_EXPANDED:,} are followed"
        )
    return ["".join(letters) for letters in itertools.product(*(IUPAC[letter] for letter in motif))]


def other_strand(text: str) -> str:
    """Reverse complement of a text over A,C,G,T."""
    return text.translate(COMPLEMENT)[::-1]


def both_strands(motif: str, option: str) -> list[str]:
    """The sequences of a motif and their reverse complements, sorted."""
    found = expanded(motif, option)
    return sorted({*found, *map(other_strand, found)})

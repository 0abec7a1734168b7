"""Contig names: those of one file → those of the FASTA, and whose genome a FASTA is.

Names are matched as written, without `chr`, by numeral, and by the names of the mitochondrion.

A single letter says nothing alone: `X` is chromosome 10 where chromosomes are I, II, III and a sex chromosome
where they are 1, 2, 3. So the names of a file are read together, and a name that means something else in the
FASTA stays unmapped even where the letters are equal. Every mapping and every name left out is said;
`--contig-map` overrides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from legscore.errors import InputError, nearest, shorten

_UNITS = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
ROMAN = {"X" * (i // 10) + _UNITS[i % 10]: i for i in range(1, 40)}
MITOCHONDRION = {"M", "MT", "MITO", "MITOCHONDRION", "MTDNA", "MITOCHONDRIAL"}
UNKNOWN_LENGTH = 2_147_483_647
"""What some tools write for a contig whose length they do not know."""


@dataclass(frozen=True)
class ContigMap:
    """Contig names of a file and those of the FASTA.

    Attributes:
        of: file's name → FASTA's name; names that have none are not in it.
        said: what to print.
        wrong_length: file's name → message, for contigs that have another length in the FASTA.
    """

    of: Mapping[str, str]
    said: tuple[str, ...] = field(default=())
    wrong_length: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        return self.of.get(name)

    def check_lengths(self, used: Iterable[str]) -> None:
        """InputError when a contig of `used` (the file's names) has another length in the FASTA."""
        for name in used:
            if name in self.wrong_length:
                raise InputError(self.wrong_length[name])


def _bare(name: str) -> str:
    return name[3:] if name[:3].lower() == "chr" and len(name) > 3 else name


def numerals(names: Iterable[str]) -> str | None:
    """`roman`, `arabic`, or None where the names do not tell (only single letters, or both)."""
    bare = [_bare(name) for name in names]
    arabic = any(name.isdecimal() for name in bare)
    roman = any(name in ROMAN and len(name) > 1 for name in bare)
    return None if arabic == roman else "arabic" if arabic else "roman"


def _meaning(name: str, system: str | None) -> tuple[str, str | int]:
    """What a name stands for, comparable between files."""
    bare = _bare(name)
    if bare.upper() in MITOCHONDRION:
        return ("mitochondrion", "")
    if bare.isdecimal():
        return ("chromosome", int(bare))
    if system == "roman" and bare in ROMAN:
        return ("chromosome", ROMAN[bare])
    if system == "arabic" and bare.upper() in ("X", "Y"):
        return ("sex chromosome", bare.upper())
    return ("name", bare)


def reconcile(
    names: Iterable[str],
    genome: Mapping[str, int],
    what: str,
    given: Mapping[str, str] | None = None,
    lengths: Mapping[str, int | None] | None = None,
    *,
    used: Iterable[str] | None = None,
    mappable: bool = True,
) -> ContigMap:
    """Map the contigs of a file to those of the FASTA.

    Args:
        names: all contig names of the file, which are read together.
        genome: contig → length of the FASTA.
        what: the file, for messages.
        given: {file's name: FASTA's name}, from --contig-map; wins over everything.
        lengths: lengths that the file states.
        used: names whose stated lengths must be the FASTA's; all of them where not given. Others can be
            checked later (`ContigMap.check_lengths`).
        mappable: whether --contig-map is about this file, so that errors name it.

    Raises:
        InputError: no contig in common, a given name that is not there, or a stated length that differs.
    """
    given, lengths, names = dict(given or {}), dict(lengths or {}), list(dict.fromkeys(names))
    for target in given.values():
        if target not in genome:
            raise InputError(
                f"--contig-map: the FASTA has no contig {target!r}{nearest(target, genome)}; it has "
                f"{shorten(genome)}"
            )
    theirs, ours = numerals(names), numerals(genome)
    meanings = {name: _meaning(name, ours or theirs) for name in genome}
    twice = {meaning for meaning, n in Counter(meanings.values()).items() if n > 1}
    by_meaning = {meaning: name for name, meaning in meanings.items() if meaning not in twice}
    found: dict[str, str] = {}
    left: list[str] = []
    for name in names:
        meaning = _meaning(name, theirs or ours)
        if name in given:
            found[name] = given[name]
        elif name in genome and meaning == meanings[name]:
            found[name] = name
        elif meaning in by_meaning:
            found[name] = by_meaning[meaning]
        else:
            left.append(name)
    if names and not found:
        advice = (
            "pass another --fasta, or say which is which with --contig-map NAME=FASTA_NAME"
            if mappable
            else "pass the FASTA that it was made of"
        )
        raise InputError(
            f"{what} and the FASTA have no contig in common: {shorten(names)} against {shorten(genome)}; "
            f"{advice}"
        )
    stated = {name: lengths.get(name) for name in found if name not in given}
    wrong = _wrong_lengths(what, stated, found, genome, mappable)
    mapped = ContigMap(found, tuple(_lines(what, names, genome, found, left, theirs, ours)), wrong)
    mapped.check_lengths(found if used is None else used)
    return mapped


def _wrong_lengths(
    what: str,
    stated: Mapping[str, int | None],
    found: Mapping[str, str],
    genome: Mapping[str, int],
    mappable: bool,
) -> dict[str, str]:
    """File's name → message, for contigs whose stated length is not that of the FASTA."""
    wrong = {}
    for name, bases in stated.items():
        target = found[name]
        if bases is not None and bases not in (UNKNOWN_LENGTH, genome[target]):
            advice = (
                f"Pass its --fasta, or insist with --contig-map {name}={target}"
                if mappable
                else "Pass the FASTA of that build"
            )
            wrong[name] = (
                f"{what}: contig {name} is {bases:,} bases long, {target} of the FASTA "
                f"{genome[target]:,}: another genome build? {advice}"
            )
    return wrong


def _lines(
    what: str,
    names: list[str],
    genome: Mapping[str, int],
    found: Mapping[str, str],
    left: list[str],
    theirs: str | None,
    ours: str | None,
) -> Iterable[str]:
    renamed = [f"{name}→{target}" for name, target in found.items() if name != target]
    same = len(found) - len(renamed)
    parts = [f"{same} by the same name"] * bool(same) + [shorten(renamed, 30)] * bool(renamed)
    if found:
        yield f"contigs of {what}: {'; '.join(parts)}"
    if left:
        yield (
            f"contigs of {what} that the FASTA does not have: {shorten(left, 12)} (--contig-map "
            "NAME=FASTA_NAME maps them)"
        )
    for name in left:
        if name in genome:
            yield (
                f"         {name} is not mapped to {name}: {what} counts in {theirs} numerals, the FASTA "
                f"in {ours} ones"
            )


R64_LENGTHS = {
    "I": 230218, "II": 813184, "III": 316620, "IV": 1531933, "V": 576874, "VI": 270161, "VII": 1090940,
    "VIII": 562643, "IX": 439888, "X": 745751, "XI": 666816, "XII": 1078177, "XIII": 924431,
    "XIV": 784333, "XV": 1091291, "XVI": 948066, "Mito": 85779,
}  # fmt: skip
"""Saccharomyces cerevisiae S288C, R64 (sacCer3): chromosome → bases."""
_R64_GENBANK = (*range(35, 42), 34, *range(42, 50))
"""BK0069.. of chromosomes I to XVI."""
_ACCESSION = re.compile(r"(?:^|\|)([A-Z]{1,2}_?\d{6,})(?:\.\d+)?(?:\||$)")


def organism_of(lengths: Mapping[str, int]) -> str | None:
    """The organism whose reference genome has these contigs, of those that bundled models are for.

    All contigs must be chromosomes of Saccharomyces cerevisiae R64 by name (I, chrI, 1, chr01, NC_001133.9,
    BK006935.2, ref|NC_001133|; the mitochondrion by any of its names) and by length. A FASTA of some of them
    is enough; plasmids and other contigs that are named as no chromosome do not count when all sixteen
    chromosomes are there.

    Args:
        lengths: contig of a FASTA → bases.

    Returns:
        "Saccharomyces cerevisiae", or None where the genome is another one.
    """
    chromosome_of = {name: _r64_chromosome(name) for name in lengths}
    named = {name: chromosome for name, chromosome in chromosome_of.items() if chromosome is not None}
    if any(lengths[name] != R64_LENGTHS[chromosome] for name, chromosome in named.items()):
        return None
    nuclear = set(named.values()) - {"Mito"}
    others = len(lengths) - len(named)
    if not nuclear or len(set(named.values())) < len(named) or (others and len(nuclear) < 16):
        return None
    return "Saccharomyces cerevisiae"


def outside_r64(places: Mapping[str, int]) -> str | None:
    """A place that the genome of Saccharomyces cerevisiae R64 does not have, as CONTIG:POSITION; None where
    it may have all of them, or there are none.

    Contigs that are named as no chromosome may be plasmids, and do not count beside chromosomes.

    Args:
        places: contig → the largest position, from 1.
    """
    chromosome_of = {name: _r64_chromosome(name) for name in places}
    for name, chromosome in chromosome_of.items():
        if chromosome is not None and places[name] > R64_LENGTHS[chromosome]:
            return f"{name}:{places[name]:,}"
    if any(chromosome_of.values()):
        return None
    return next((f"{name}:{position:,}" for name, position in places.items()), None)


def _r64_chromosome(name: str) -> str | None:
    """The chromosome of yeast (a key of R64_LENGTHS) that a contig name stands for."""
    roman = [chromosome for chromosome in R64_LENGTHS if chromosome != "Mito"]
    if accession := _ACCESSION.search(name):
        refseq = {f"NC_{1133 + i:06d}": chromosome for i, chromosome in enumerate(roman)}
        genbank = {f"BK0069{n}": chromosome for n, chromosome in zip(_R64_GENBANK, roman, strict=True)}
        return (refseq | genbank | {"NC_001224": "Mito", "AJ011856": "Mito"}).get(accession[1])
    kind, which = _meaning(re.sub("^chromosome[ _]?", "", name, flags=re.IGNORECASE), "roman")
    if kind == "mitochondrion":
        return "Mito"
    return roman[int(which) - 1] if kind == "chromosome" and 1 <= int(which) <= 16 else None


def read_contig_map(entries: Iterable[str]) -> dict[str, str]:
    """--contig-map: NAME=FASTA_NAME, or a file of two columns separated by tabs. InputError for anything
    else."""
    given: dict[str, str] = {}
    for entry in entries:
        path = Path(entry)
        if "=" in entry and not path.is_file():
            pairs = [(entry, *entry.rsplit("=", 1))]
        elif path.is_file():
            pairs = list(_map_rows(path))
        else:
            raise InputError(f"--contig-map {entry}: write NAME=FASTA_NAME, or name a file of two columns")
        for where, name, target in pairs:
            if not name or not target:
                raise InputError(f"--contig-map {where}: a name is empty")
            if given.setdefault(name, target) != target:
                raise InputError(
                    f"--contig-map {where}: {name} is mapped twice, to {given[name]} and {target}"
                )
    return given


def _map_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where a row stands, NAME and FASTA_NAME, of a file of two columns."""
    from legscore.variants.lines import read_fields  # needs polars, which no other part of this module does

    for frame in read_fields(path, ["name", "target", "more"]):
        for number, name, target, more in frame.rows():
            if target is None or more is not None:
                n = 1 if target is None else "more than 2"
                raise InputError(
                    f"--contig-map {path}, line {number}: {n} columns; write NAME, tab, FASTA_NAME"
                )
            yield f"{path}, line {number}", name.strip(), target.strip()

"""Contig names of one file → those of the FASTA: by name, by `chr`, by numeral, by the names of the
mitochondrion.

A single letter says nothing alone: `X` is chromosome 10 where chromosomes are I, II, III and a sex chromosome
where they are 1, 2, 3. So the names of a file are read together, and a name that means something else in the
FASTA stays unmapped even where the letters are equal. Every mapping and every name left out is said;
`--contig-map` overrides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
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
    """`of` maps a file's contig name to the FASTA's; names that have none are not in it. `said` is what to
    print."""

    of: Mapping[str, str]
    said: tuple[str, ...] = field(default=())

    def get(self, name: str) -> str | None:
        return self.of.get(name)


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
) -> ContigMap:
    """Map the contigs of a file to those of the FASTA.

    Args:
        names: all contig names of the file, which are read together.
        genome: contig → length of the FASTA.
        what: the file, for messages.
        given: {file's name: FASTA's name}, from --contig-map; wins over everything.
        lengths: lengths that the file states.

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
        raise InputError(
            f"{what} and the FASTA have no contig in common: {shorten(names)} against {shorten(genome)}; "
            "pass another --fasta, or say which is which with --contig-map NAME=FASTA_NAME"
        )
    for name, target in found.items():
        stated = lengths.get(name)
        if name not in given and stated not in (None, UNKNOWN_LENGTH, genome[target]):
            raise InputError(
                f"{what}: contig {name} is {stated:,} bases long, {target} of the FASTA {genome[target]:,}: "
                "another genome "
                f"build? Pass its --fasta, or insist with --contig-map {name}={target}"
            )
    return ContigMap(found, tuple(_lines(what, names, genome, found, left, theirs, ours)))


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


def read_contig_map(entries: Iterable[str]) -> dict[str, str]:
    """--contig-map: NAME=FASTA_NAME, or a file of two columns separated by tabs. InputError for anything
    else."""
    given: dict[str, str] = {}
    for entry in entries:
        path = Path(entry)
        if "=" in entry and not path.is_file():
            pairs = [(entry, *entry.rsplit("=", 1))]
        elif path.is_file():
            pairs = []
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                fields = line.split("\t")
                if line.strip() and not line.startswith("#"):
                    if len(fields) != 2:
                        raise InputError(
                            f"--contig-map {path}, line {number}: {len(fields)} columns; write NAME, tab, "
                            "FASTA_NAME"
                        )
                    pairs.append((f"{path}, line {number}", fields[0].strip(), fields[1].strip()))
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
